-- The same over the files of `quell export --parquet lake`: who was mailed for at least 90 days and in the last 90 neither
-- opened nor clicked. Opens by machines do not count.
--
--   duckdb -csv < unengaged.duckdb.sql > unengaged.csv
--   quell import unengaged.csv
WITH seen AS (
    SELECT recipient, least(occurred_at, received_at) AS seen_at, kind IN ('accepted', 'delivered') AS is_send,
           kind IN ('opened', 'clicked') AND NOT machine AS is_engagement
    FROM read_parquet('lake/events/*/*/*.parquet', hive_partitioning = true)
    WHERE channel = 'email' AND tenant = 'default'
)
SELECT
    recipient AS email_address,
    'unengaged' AS event_type,
    strftime(max(seen_at) FILTER (WHERE is_send) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ') AS event_timestamp
FROM seen
GROUP BY recipient
HAVING min(seen_at) FILTER (WHERE is_send) <= now() - INTERVAL 90 DAY
   AND max(seen_at) FILTER (WHERE is_send) >= now() - INTERVAL 90 DAY
   AND count(*) FILTER (WHERE is_engagement AND seen_at >= now() - INTERVAL 90 DAY) = 0
ORDER BY recipient;
