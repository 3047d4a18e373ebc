-- Quell's tables in Redshift, as the connectors redshift-*.json fill them, and the views that are read. Run it once, before the
-- connectors start. Not run by Quell's tests, which have no Redshift: they parse it in its dialect and compare the
-- columns with the connectors.
--
-- The connectors only append: a record that is delivered twice is there twice, and the views take one. Times are microseconds
-- since 1970, UTC.

CREATE SCHEMA IF NOT EXISTS quell;

-- Canonical events.
CREATE TABLE IF NOT EXISTS quell.events (
    tenant VARCHAR(512) NOT NULL,
    event_id VARCHAR(512) NOT NULL,
    channel VARCHAR(512) NOT NULL,
    recipient VARCHAR(512) NOT NULL,
    address VARCHAR(512) NOT NULL,
    kind VARCHAR(512) NOT NULL,
    provider_kind VARCHAR(512) NOT NULL,
    occurred_at_us BIGINT NOT NULL,
    received_at_us BIGINT NOT NULL,
    rules INTEGER NOT NULL,
    provider VARCHAR(512) NOT NULL,
    source VARCHAR(512) NOT NULL,
    message_id VARCHAR(512),
    campaign VARCHAR(512),
    failure_attribution VARCHAR(512),
    failure_class VARCHAR(512),
    failure_smtp_code INTEGER,
    failure_enhanced_status VARCHAR(512),
    failure_provider_code VARCHAR(512),
    failure_attempt INTEGER,
    failure_diagnostic VARCHAR(4096),
    failure_rule VARCHAR(512),
    scope VARCHAR(512),
    machine BOOLEAN NOT NULL,
    echo BOOLEAN NOT NULL,
    receipt_id VARCHAR(512) NOT NULL,
    kafka_partition INTEGER NOT NULL,
    kafka_offset BIGINT NOT NULL,
    inserted_at TIMESTAMP DEFAULT GETDATE()
)
DISTKEY (recipient) SORTKEY (inserted_at);

-- Changes of suppression: suppressed, updated, released or erased.
CREATE TABLE IF NOT EXISTS quell.deltas (
    delta_id VARCHAR(512) NOT NULL,
    tenant VARCHAR(512) NOT NULL,
    channel VARCHAR(512) NOT NULL,
    recipient VARCHAR(512) NOT NULL,
    address VARCHAR(512) NOT NULL,
    scope VARCHAR(512) NOT NULL,
    change VARCHAR(512) NOT NULL,
    before_reason VARCHAR(512),
    before_since_us BIGINT,
    before_until_us BIGINT,
    before_incident VARCHAR(512),
    now_reason VARCHAR(512),
    now_since_us BIGINT,
    now_until_us BIGINT,
    now_rule VARCHAR(512),
    now_event_id VARCHAR(512),
    now_provider VARCHAR(512),
    now_source VARCHAR(512),
    now_incident VARCHAR(512),
    trigger_event_id VARCHAR(512) NOT NULL,
    trigger_kind VARCHAR(512) NOT NULL,
    trigger_provider VARCHAR(512) NOT NULL,
    trigger_source VARCHAR(512) NOT NULL,
    trigger_receipt_id VARCHAR(512) NOT NULL,
    decided_at_us BIGINT NOT NULL,
    position BIGINT NOT NULL,
    policy INTEGER NOT NULL,
    inserted_at TIMESTAMP DEFAULT GETDATE()
)
DISTKEY (recipient) SORTKEY (inserted_at);

-- What came into force, as the compacted topic told it. Its releases are in deltas.
CREATE TABLE IF NOT EXISTS quell.suppression_state (
    tenant VARCHAR(512) NOT NULL,
    channel VARCHAR(512) NOT NULL,
    recipient VARCHAR(512) NOT NULL,
    address VARCHAR(512) NOT NULL,
    scope VARCHAR(512) NOT NULL,
    reason VARCHAR(512) NOT NULL,
    since_us BIGINT NOT NULL,
    until_us BIGINT,
    rule VARCHAR(512) NOT NULL,
    event_id VARCHAR(512) NOT NULL,
    provider VARCHAR(512) NOT NULL,
    source VARCHAR(512) NOT NULL,
    incident VARCHAR(512),
    position BIGINT NOT NULL,
    inserted_at TIMESTAMP DEFAULT GETDATE()
)
DISTKEY (recipient) SORTKEY (inserted_at);

-- Each event once: the highest revision of the rules counts, and of the same the first receipt.
CREATE OR REPLACE VIEW quell.canonical_events AS
SELECT * FROM (
    SELECT *, (TIMESTAMP 'epoch' + occurred_at_us * INTERVAL '0.000001 second') AS occurred_at, (TIMESTAMP 'epoch' + received_at_us * INTERVAL '0.000001 second') AS received_at, row_number() OVER (PARTITION BY tenant, event_id ORDER BY rules DESC, received_at_us, kafka_offset) AS nth
    FROM quell.events
) AS numbered WHERE nth = 1;

-- What is in force: of a recipient and scope the highest position says, be it told by state or by a delta.
CREATE OR REPLACE VIEW quell.in_force AS
WITH all_known AS (
    SELECT tenant, channel, recipient, address, scope, reason, since_us, until_us, provider, incident, position, inserted_at, FALSE AS is_release
    FROM quell.suppression_state
    UNION ALL
    SELECT tenant, channel, recipient, address, scope, now_reason, now_since_us, now_until_us, now_provider, now_incident, position, inserted_at, change IN ('released', 'erased')
    FROM quell.deltas
), newest AS (
    SELECT *, row_number() OVER (PARTITION BY tenant, channel, recipient, scope ORDER BY position DESC, inserted_at) AS nth
    FROM all_known
)
SELECT * FROM newest WHERE nth = 1 AND NOT is_release AND (until_us IS NULL OR (TIMESTAMP 'epoch' + until_us * INTERVAL '0.000001 second') > GETDATE());

-- Who must not be mailed, and why. What is provisional is not in it until it is confirmed.
CREATE OR REPLACE VIEW quell.suppression_list AS
SELECT
    recipient AS email_address,
    CASE
        WHEN reason IN ('hard_bounce', 'soft_bounce', 'unknown_bounce') THEN 'bounce'
        WHEN reason = 'spam_complaint' THEN 'complaint'
        ELSE reason
    END AS event_type,
    (TIMESTAMP 'epoch' + since_us * INTERVAL '0.000001 second') AS event_timestamp,
    inserted_at,
    tenant,
    address,
    scope,
    reason,
    (TIMESTAMP 'epoch' + until_us * INTERVAL '0.000001 second') AS until,
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
HAVING min(CASE WHEN is_send THEN seen_at END) <= DATEADD(day, -90, GETDATE())
   AND max(CASE WHEN is_send THEN seen_at END) >= DATEADD(day, -90, GETDATE())
   AND sum(CASE WHEN is_engagement AND seen_at >= DATEADD(day, -90, GETDATE()) THEN 1 ELSE 0 END) = 0;
