-- Who was mailed for at least 90 days and in the last 90 neither opened nor clicked. Opens by machines (mail privacy
-- protection, image proxies, link scanners) do not count; who was first mailed a week ago has had no time to.
--
--   psql -v ON_ERROR_STOP=1 --csv -f unengaged.postgres.sql > unengaged.csv
--   quell import unengaged.csv
WITH seen AS (
    SELECT recipient, least(occurred_at, received_at) AS seen_at, kind IN ('accepted', 'delivered') AS is_send,
           kind IN ('opened', 'clicked') AND NOT machine AS is_engagement
    FROM quell.events
    WHERE channel = 'email' AND tenant = 'default'
)
SELECT
    recipient AS email_address,
    'unengaged' AS event_type,
    to_char(max(seen_at) FILTER (WHERE is_send) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS event_timestamp
FROM seen
GROUP BY recipient
HAVING min(seen_at) FILTER (WHERE is_send) <= CURRENT_TIMESTAMP - INTERVAL '90 days'
   AND max(seen_at) FILTER (WHERE is_send) >= CURRENT_TIMESTAMP - INTERVAL '90 days'
   AND count(*) FILTER (WHERE is_engagement AND seen_at >= CURRENT_TIMESTAMP - INTERVAL '90 days') = 0
ORDER BY recipient;
