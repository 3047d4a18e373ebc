-- Quell's tables in PostgreSQL 14 or newer, as the connectors postgres-*.json fill them. Run it once, before the connectors
-- start, and again after an upgrade of Quell: it changes nothing that is there.
--
--   psql -v ON_ERROR_STOP=1 -f postgres.sql
--
-- Every table is a function of the set of records that were written to it: written twice, in another order, or by a worker
-- that was thought dead, they give the same rows. Times come as microseconds since 1970 (…_us) and stand beside as
-- timestamptz, exact and whatever the time zones of worker and session are.

BEGIN;

CREATE SCHEMA IF NOT EXISTS quell;

-- Canonical events, one row an event however often it was told. For good: delete what you do not need.
CREATE TABLE IF NOT EXISTS quell.events (
    tenant                  text     NOT NULL,
    event_id                text     NOT NULL,
    channel                 text     NOT NULL,
    recipient               text     NOT NULL,
    address                 text     NOT NULL,
    kind                    text     NOT NULL,
    provider_kind           text     NOT NULL,
    occurred_at_us          bigint   NOT NULL,
    received_at_us          bigint   NOT NULL,
    rules                   integer  NOT NULL,
    provider                text     NOT NULL,
    source                  text     NOT NULL,
    message_id              text,
    campaign                text,
    categories              text[]   NOT NULL,
    failure_attribution     text,
    failure_class           text,
    failure_smtp_code       integer,
    failure_enhanced_status text,
    failure_provider_code   text,
    failure_attempt         integer,
    failure_diagnostic      text,
    failure_rule            text,
    scope                   text,
    machine                 boolean  NOT NULL,
    echo                    boolean  NOT NULL,
    receipt_id              text     NOT NULL,
    kafka_partition         integer  NOT NULL,
    kafka_offset            bigint   NOT NULL,
    occurred_at timestamptz NOT NULL GENERATED ALWAYS AS (to_timestamp(occurred_at_us / 1e6)) STORED,
    received_at timestamptz NOT NULL GENERATED ALWAYS AS (to_timestamp(received_at_us / 1e6)) STORED,
    inserted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (tenant, event_id)
);
CREATE INDEX IF NOT EXISTS events_by_recipient ON quell.events (tenant, recipient, occurred_at);
CREATE INDEX IF NOT EXISTS events_by_time ON quell.events (occurred_at);

-- Changes of suppression: the history. change is suppressed, updated, released or erased.
CREATE TABLE IF NOT EXISTS quell.deltas (
    delta_id           text    NOT NULL PRIMARY KEY,
    tenant             text    NOT NULL,
    channel            text    NOT NULL,
    recipient          text    NOT NULL,
    address            text    NOT NULL,
    scope              text    NOT NULL,
    change             text    NOT NULL,
    before_reason      text,
    before_since_us    bigint,
    before_until_us    bigint,
    before_incident    text,
    now_reason         text,
    now_since_us       bigint,
    now_until_us       bigint,
    now_rule           text,
    now_event_id       text,
    now_provider       text,
    now_source         text,
    now_incident       text,
    trigger_event_id   text    NOT NULL,
    trigger_kind       text    NOT NULL,
    trigger_provider   text    NOT NULL,
    trigger_source     text    NOT NULL,
    trigger_receipt_id text    NOT NULL,
    decided_at_us      bigint  NOT NULL,
    position           bigint  NOT NULL,
    policy             integer NOT NULL,
    before_since timestamptz GENERATED ALWAYS AS (to_timestamp(before_since_us / 1e6)) STORED,
    before_until timestamptz GENERATED ALWAYS AS (to_timestamp(before_until_us / 1e6)) STORED,
    now_since    timestamptz GENERATED ALWAYS AS (to_timestamp(now_since_us / 1e6)) STORED,
    now_until    timestamptz GENERATED ALWAYS AS (to_timestamp(now_until_us / 1e6)) STORED,
    decided_at   timestamptz NOT NULL GENERATED ALWAYS AS (to_timestamp(decided_at_us / 1e6)) STORED,
    inserted_at  timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS deltas_by_recipient ON quell.deltas (tenant, recipient, scope, position);
CREATE INDEX IF NOT EXISTS deltas_by_time ON quell.deltas (decided_at);

-- What is in force, one row a recipient and scope. A release deletes the row: its history is in deltas. incident names the
-- incident under which a suppression is provisional; it is empty for all others.
CREATE TABLE IF NOT EXISTS quell.suppression_state (
    state_key   text    NOT NULL PRIMARY KEY,
    id          bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant      text    NOT NULL,
    channel     text    NOT NULL,
    recipient   text    NOT NULL,
    address     text    NOT NULL,
    scope       text    NOT NULL,
    reason      text    NOT NULL,
    since_us    bigint  NOT NULL,
    until_us    bigint,
    rule        text    NOT NULL,
    event_id    text    NOT NULL,
    provider    text    NOT NULL,
    source      text    NOT NULL,
    incident    text,
    position    bigint  NOT NULL,
    since       timestamptz NOT NULL GENERATED ALWAYS AS (to_timestamp(since_us / 1e6)) STORED,
    until       timestamptz GENERATED ALWAYS AS (to_timestamp(until_us / 1e6)) STORED,
    inserted_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS suppression_state_by_recipient ON quell.suppression_state (tenant, recipient);
CREATE INDEX IF NOT EXISTS suppression_state_by_insertion ON quell.suppression_state (inserted_at);

-- The highest revision of the rules counts, and of the same the first receipt: as Quell itself reads its log.
CREATE OR REPLACE FUNCTION quell.keep_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.rules, OLD.received_at_us, OLD.kafka_offset) > (OLD.rules, NEW.received_at_us, NEW.kafka_offset) THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER keep_event BEFORE UPDATE ON quell.events
    FOR EACH ROW EXECUTE FUNCTION quell.keep_event();

-- Nothing older overwrites what is newer. What comes into the list again, or for the first time, is new in it.
CREATE OR REPLACE FUNCTION quell.keep_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.position <= OLD.position THEN
        RETURN NULL;
    END IF;
    IF OLD.incident IS NOT NULL AND NEW.incident IS NULL OR OLD.until <= CURRENT_TIMESTAMP THEN
        NEW.inserted_at := CURRENT_TIMESTAMP;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_state BEFORE UPDATE ON quell.suppression_state
    FOR EACH ROW EXECUTE FUNCTION quell.keep_state();

-- Who must not be mailed, and why. An end that passed is over at once, before anything is told of it; what is provisional is
-- not in it until it is confirmed, so that whoever syncs this list to a provider syncs nothing that an incident may yet undo.
-- It can only be read: what is suppressed is decided in Quell (`quell suppress`, `quell import`).
CREATE OR REPLACE VIEW quell.suppression_list AS
WITH in_force AS (
    SELECT * FROM quell.suppression_state
    WHERE channel = 'email' AND incident IS NULL AND (until IS NULL OR until > CURRENT_TIMESTAMP)
)
SELECT
    id,
    recipient AS email_address,
    CASE
        WHEN reason IN ('hard_bounce', 'soft_bounce', 'unknown_bounce') THEN 'bounce'
        WHEN reason = 'spam_complaint' THEN 'complaint'
        ELSE reason
    END AS event_type,
    since AS event_timestamp,
    inserted_at,
    tenant,
    address,
    scope,
    reason,
    until,
    provider
FROM in_force;

-- From when to when each suppression held; released_at is empty while it does.
CREATE OR REPLACE VIEW quell.suppression_history AS
WITH changes AS (
    SELECT *, lead(decided_at) OVER (PARTITION BY tenant, channel, recipient, scope ORDER BY position) AS next_at
    FROM quell.deltas
)
SELECT
    tenant, channel, recipient, address, scope,
    now_reason AS reason, now_since AS since, now_until AS until, now_rule AS rule, now_provider AS provider,
    decided_at AS suppressed_at, next_at AS released_at, delta_id
FROM changes
WHERE change <> 'released';

-- Removes a person from these tables. Records of them that are still in the topics come again with a replay: call it once more
-- when the retention of quell.events.v1 has passed.
CREATE OR REPLACE FUNCTION quell.forget(of_tenant text, of_recipient text) RETURNS bigint LANGUAGE sql AS $$
    WITH
        e AS (DELETE FROM quell.events WHERE tenant = of_tenant AND recipient = of_recipient RETURNING 1),
        d AS (DELETE FROM quell.deltas WHERE tenant = of_tenant AND recipient = of_recipient RETURNING 1),
        s AS (DELETE FROM quell.suppression_state WHERE tenant = of_tenant AND recipient = of_recipient RETURNING 1)
    SELECT (SELECT count(*) FROM e) + (SELECT count(*) FROM d) + (SELECT count(*) FROM s)
$$;

COMMIT;
