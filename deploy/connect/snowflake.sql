-- Quell's tables in Snowflake, as the connectors snowflake-*.json fill them, and the views that are read. Run it once, before the
-- connectors start. Not run by Quell's tests, which have no Snowflake: they parse it in its dialect and compare the
-- columns with the connectors.
--
-- The connectors only append: a record that is delivered twice is there twice, and the views take one. Times are microseconds
-- since 1970, UTC.

CREATE SCHEMA IF NOT EXISTS quell;

-- Canonical events.
CREATE TABLE IF NOT EXISTS quell.events (
    tenant VARCHAR NOT NULL,
    event_id VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    recipient VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    provider_kind VARCHAR NOT NULL,
    occurred_at_us NUMBER(38, 0) NOT NULL,
    received_at_us NUMBER(38, 0) NOT NULL,
    rules NUMBER(38, 0) NOT NULL,
    provider VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    message_id VARCHAR,
    campaign VARCHAR,
    categories ARRAY,
    failure_attribution VARCHAR,
    failure_class VARCHAR,
    failure_smtp_code NUMBER(38, 0),
    failure_enhanced_status VARCHAR,
    failure_provider_code VARCHAR,
    failure_attempt NUMBER(38, 0),
    failure_diagnostic VARCHAR,
    failure_rule VARCHAR,
    scope VARCHAR,
    machine BOOLEAN NOT NULL,
    echo BOOLEAN NOT NULL,
    receipt_id VARCHAR NOT NULL,
    kafka_partition NUMBER(38, 0) NOT NULL,
    kafka_offset NUMBER(38, 0) NOT NULL,
    inserted_at TIMESTAMP_NTZ DEFAULT CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ)
)
CLUSTER BY (tenant, recipient);

-- Changes of suppression: suppressed, updated, released or erased.
CREATE TABLE IF NOT EXISTS quell.deltas (
    delta_id VARCHAR NOT NULL,
    tenant VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    recipient VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    change VARCHAR NOT NULL,
    before_reason VARCHAR,
    before_since_us NUMBER(38, 0),
    before_until_us NUMBER(38, 0),
    before_incident VARCHAR,
    now_reason VARCHAR,
    now_since_us NUMBER(38, 0),
    now_until_us NUMBER(38, 0),
    now_rule VARCHAR,
    now_event_id VARCHAR,
    now_provider VARCHAR,
    now_source VARCHAR,
    now_incident VARCHAR,
    trigger_event_id VARCHAR NOT NULL,
    trigger_kind VARCHAR NOT NULL,
    trigger_provider VARCHAR NOT NULL,
    trigger_source VARCHAR NOT NULL,
    trigger_receipt_id VARCHAR NOT NULL,
    decided_at_us NUMBER(38, 0) NOT NULL,
    position NUMBER(38, 0) NOT NULL,
    policy NUMBER(38, 0) NOT NULL,
    inserted_at TIMESTAMP_NTZ DEFAULT CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ)
);

-- What came into force, as the compacted topic told it. Its releases are in deltas.
CREATE TABLE IF NOT EXISTS quell.suppression_state (
    tenant VARCHAR NOT NULL,
    channel VARCHAR NOT NULL,
    recipient VARCHAR NOT NULL,
    address VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    since_us NUMBER(38, 0) NOT NULL,
    until_us NUMBER(38, 0),
    rule VARCHAR NOT NULL,
    event_id VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    incident VARCHAR,
    position NUMBER(38, 0) NOT NULL,
    inserted_at TIMESTAMP_NTZ DEFAULT CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ)
);

-- Each event once: the highest revision of the rules counts, and of the same the first receipt.
CREATE OR REPLACE VIEW quell.canonical_events AS
SELECT *, TO_TIMESTAMP_NTZ(occurred_at_us, 6) AS occurred_at, TO_TIMESTAMP_NTZ(received_at_us, 6) AS received_at
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
SELECT * FROM newest WHERE NOT is_release AND (until_us IS NULL OR TO_TIMESTAMP_NTZ(until_us, 6) > CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ));

-- Who must not be mailed, and why. What is provisional is not in it until it is confirmed.
CREATE OR REPLACE VIEW quell.suppression_list AS
SELECT
    recipient AS email_address,
    CASE
        WHEN reason IN ('hard_bounce', 'soft_bounce', 'unknown_bounce') THEN 'bounce'
        WHEN reason = 'spam_complaint' THEN 'complaint'
        ELSE reason
    END AS event_type,
    TO_TIMESTAMP_NTZ(since_us, 6) AS event_timestamp,
    inserted_at,
    tenant,
    address,
    scope,
    reason,
    TO_TIMESTAMP_NTZ(until_us, 6) AS until,
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
HAVING min(CASE WHEN is_send THEN seen_at END) <= DATEADD(day, -90, CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ))
   AND max(CASE WHEN is_send THEN seen_at END) >= DATEADD(day, -90, CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ))
   AND sum(CASE WHEN is_engagement AND seen_at >= DATEADD(day, -90, CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ)) THEN 1 ELSE 0 END) = 0;
