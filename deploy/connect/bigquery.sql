-- Quell's tables in BigQuery, as the connectors bigquery-*.json fill them, and the views that are read. Run it once, before the
-- connectors start. Not run by Quell's tests, which have no BigQuery: they parse it in its dialect and compare the
-- columns with the connectors.
--
-- The connectors only append: a record that is delivered twice is there twice, and the views take one. Times are microseconds
-- since 1970, UTC.

CREATE SCHEMA IF NOT EXISTS quell;

-- Canonical events.
CREATE TABLE IF NOT EXISTS quell.events (
    tenant STRING NOT NULL,
    event_id STRING NOT NULL,
    channel STRING NOT NULL,
    recipient STRING NOT NULL,
    address STRING NOT NULL,
    kind STRING NOT NULL,
    provider_kind STRING NOT NULL,
    occurred_at_us INT64 NOT NULL,
    received_at_us INT64 NOT NULL,
    rules INT64 NOT NULL,
    provider STRING NOT NULL,
    source STRING NOT NULL,
    message_id STRING,
    campaign STRING,
    categories ARRAY<STRING>,
    failure_attribution STRING,
    failure_class STRING,
    failure_smtp_code INT64,
    failure_enhanced_status STRING,
    failure_provider_code STRING,
    failure_attempt INT64,
    failure_diagnostic STRING,
    failure_rule STRING,
    scope STRING,
    machine BOOL NOT NULL,
    echo BOOL NOT NULL,
    receipt_id STRING NOT NULL,
    kafka_partition INT64 NOT NULL,
    kafka_offset INT64 NOT NULL,
    inserted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP()
)
PARTITION BY TIMESTAMP_TRUNC(inserted_at, DAY)
CLUSTER BY tenant, recipient;

-- Changes of suppression: suppressed, updated, released or erased.
CREATE TABLE IF NOT EXISTS quell.deltas (
    delta_id STRING NOT NULL,
    tenant STRING NOT NULL,
    channel STRING NOT NULL,
    recipient STRING NOT NULL,
    address STRING NOT NULL,
    scope STRING NOT NULL,
    change STRING NOT NULL,
    before_reason STRING,
    before_since_us INT64,
    before_until_us INT64,
    before_incident STRING,
    now_reason STRING,
    now_since_us INT64,
    now_until_us INT64,
    now_rule STRING,
    now_event_id STRING,
    now_provider STRING,
    now_source STRING,
    now_incident STRING,
    trigger_event_id STRING NOT NULL,
    trigger_kind STRING NOT NULL,
    trigger_provider STRING NOT NULL,
    trigger_source STRING NOT NULL,
    trigger_receipt_id STRING NOT NULL,
    decided_at_us INT64 NOT NULL,
    position INT64 NOT NULL,
    policy INT64 NOT NULL,
    inserted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP()
)
PARTITION BY TIMESTAMP_TRUNC(inserted_at, DAY)
CLUSTER BY tenant, recipient;

-- What came into force, as the compacted topic told it. Its releases are in deltas.
CREATE TABLE IF NOT EXISTS quell.suppression_state (
    tenant STRING NOT NULL,
    channel STRING NOT NULL,
    recipient STRING NOT NULL,
    address STRING NOT NULL,
    scope STRING NOT NULL,
    reason STRING NOT NULL,
    since_us INT64 NOT NULL,
    until_us INT64,
    rule STRING NOT NULL,
    event_id STRING NOT NULL,
    provider STRING NOT NULL,
    source STRING NOT NULL,
    incident STRING,
    position INT64 NOT NULL,
    inserted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP()
)
CLUSTER BY tenant, recipient;

-- Each event once: the highest revision of the rules counts, and of the same the first receipt.
CREATE OR REPLACE VIEW quell.canonical_events AS
SELECT *, TIMESTAMP_MICROS(occurred_at_us) AS occurred_at, TIMESTAMP_MICROS(received_at_us) AS received_at
FROM quell.events
QUALIFY row_number() OVER (PARTITION BY tenant, event_id ORDER BY rules DESC, received_at_us, kafka_offset) = 1;

-- What is in force: of a recipient and scope the highest position says, be it told by state or by a delta.
CREATE OR REPLACE VIEW quell.in_force AS
WITH all_known AS (
    SELECT tenant, channel, recipient, address, scope, reason, since_us, until_us, provider, incident, position, inserted_at, FALSE AS is_release
    FROM quell.suppression_state
    UNION ALL
    SELECT tenant, channel, recipient, address, scope, now_reason, now_since_us, now_until_us, now_provider, now_incident, position, inserted_at, change IN ('released', 'erased')
    FROM quell.deltas
), newest AS (
    SELECT * FROM all_known
    QUALIFY row_number() OVER (PARTITION BY tenant, channel, recipient, scope ORDER BY position DESC, inserted_at) = 1
)
SELECT * FROM newest WHERE NOT is_release AND (until_us IS NULL OR TIMESTAMP_MICROS(until_us) > CURRENT_TIMESTAMP());

-- Who must not be mailed, and why. What is provisional is not in it until it is confirmed.
CREATE OR REPLACE VIEW quell.suppression_list AS
SELECT
    recipient AS email_address,
    CASE
        WHEN reason IN ('hard_bounce', 'soft_bounce', 'unknown_bounce') THEN 'bounce'
        WHEN reason = 'spam_complaint' THEN 'complaint'
        ELSE reason
    END AS event_type,
    TIMESTAMP_MICROS(since_us) AS event_timestamp,
    inserted_at,
    tenant,
    address,
    scope,
    reason,
    TIMESTAMP_MICROS(until_us) AS until,
    provider
FROM quell.in_force
WHERE channel = 'email' AND incident IS NULL;

-- Who was mailed for at least 90 days and in the last 90 neither opened nor clicked. Opens by machines do not count.
CREATE OR REPLACE VIEW quell.unengaged AS
WITH seen AS (
    SELECT tenant, recipient, least(occurred_at, received_at) AS seen_at, kind IN ('accepted', 'delivered') AS is_send,
           kind IN ('opened', 'clicked') AND NOT machine AS is_engagement
    FROM quell.canonical_events
    WHERE channel = 'email'
)
SELECT
    tenant,
    recipient AS email_address,
    'unengaged' AS event_type,
    max(CASE WHEN is_send THEN seen_at END) AS event_timestamp
FROM seen
GROUP BY tenant, recipient
HAVING min(CASE WHEN is_send THEN seen_at END) <= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 90 DAY)
   AND max(CASE WHEN is_send THEN seen_at END) >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 90 DAY)
   AND sum(CASE WHEN is_engagement AND seen_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 90 DAY) THEN 1 ELSE 0 END) = 0;
