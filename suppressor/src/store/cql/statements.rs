//! Every statement, prepared once. All are idempotent but the conditional insert of a token: retried they do the same
//! again, since what is written at a position says so.

use super::{
    config::{CqlConfig, ttl_seconds},
    session::{failed, told, writing},
};
use crate::StoreError;
use scylla::{client::session::Session, statement::prepared::PreparedStatement};

/// The statements, ready to be bound.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) load: PreparedStatement,
    pub(super) scan: PreparedStatement,
    pub(super) put_evidence: PreparedStatement,
    pub(super) put_profile: PreparedStatement,
    pub(super) trim: PreparedStatement,
    pub(super) in_force: PreparedStatement,
    pub(super) scan_in_force: PreparedStatement,
    pub(super) put_in_force: PreparedStatement,
    pub(super) seen: PreparedStatement,
    pub(super) put_seen: PreparedStatement,
    pub(super) message: PreparedStatement,
    pub(super) put_message: PreparedStatement,
    pub(super) audit: PreparedStatement,
    pub(super) put_audit: PreparedStatement,
    pub(super) due: PreparedStatement,
    pub(super) due_position: PreparedStatement,
    pub(super) put_due: PreparedStatement,
    pub(super) spend: PreparedStatement,
    pub(super) due_hours: PreparedStatement,
    pub(super) put_due_hour: PreparedStatement,
    pub(super) drop_due_hour: PreparedStatement,
    pub(super) applied: PreparedStatement,
    pub(super) put_applied: PreparedStatement,
    pub(super) policies: PreparedStatement,
    pub(super) put_policy: PreparedStatement,
    pub(super) incidents: PreparedStatement,
    pub(super) put_incident: PreparedStatement,
    pub(super) drop_incident: PreparedStatement,
    pub(super) erased_newest: PreparedStatement,
    pub(super) put_erased_newest: PreparedStatement,
    pub(super) erased: PreparedStatement,
    pub(super) erased_at: PreparedStatement,
    pub(super) put_erased: PreparedStatement,
    pub(super) drop_erased: PreparedStatement,
    pub(super) unname_erased: PreparedStatement,
    pub(super) drop_evidence: PreparedStatement,
    pub(super) drop_in_force: PreparedStatement,
    pub(super) drop_audit: PreparedStatement,
    pub(super) note: PreparedStatement,
    pub(super) put_note: PreparedStatement,
    pub(super) receipt: PreparedStatement,
    pub(super) put_receipt: PreparedStatement,
    pub(super) bind_token: PreparedStatement,
}

impl Statements {
    /// Prepares them. Names are whole, so that no connection depends on a keyspace being in use.
    pub(super) async fn prepare(session: &Session, config: &CqlConfig) -> Result<Self, StoreError> {
        let keyspace = &config.keyspace;
        let page = i32::try_from(config.page_rows).unwrap_or(1_000);
        let prepare = async |text: String| {
            let prepared = session.prepare(text).await;
            prepared.map_err(|error| StoreError::Unavailable(told(&error)))
        };
        let read = async |text: String| {
            let mut prepared = prepare(text).await?;
            prepared.set_is_idempotent(true);
            prepared.set_page_size(page);
            Ok::<_, StoreError>(prepared)
        };
        let write = async |text: String| {
            let mut prepared = prepare(text).await?;
            prepared.set_is_idempotent(true);
            prepared.set_consistency(writing(config.consistency));
            Ok::<_, StoreError>(prepared)
        };
        let (seen_ttl, message_ttl, receipt_ttl) =
            (ttl_seconds(config.seen_days), ttl_seconds(config.message_days), ttl_seconds(config.receipt_days));
        let evidence = "position, row, profile";
        Ok(Self {
            load: read(format!("SELECT {evidence} FROM {keyspace}.evidence WHERE recipient = ?")).await?,
            scan: read(format!(
                "SELECT token(recipient), recipient, {evidence} FROM {keyspace}.evidence WHERE token(recipient) >= ?"
            ))
            .await?,
            put_evidence: write(format!(
                "INSERT INTO {keyspace}.evidence (recipient, occurred_at, event_id, rules, position, row, profile) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            put_profile: write(format!(
                "INSERT INTO {keyspace}.evidence (recipient, profile) VALUES (?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            trim: write(format!(
                "DELETE FROM {keyspace}.evidence USING TIMESTAMP ? \
                 WHERE recipient = ? AND occurred_at = ? AND event_id = ? AND rules = ?"
            ))
            .await?,
            in_force: read(format!("SELECT row FROM {keyspace}.suppression WHERE recipient = ?")).await?,
            scan_in_force: read(format!(
                "SELECT token(recipient), recipient, row FROM {keyspace}.suppression WHERE token(recipient) >= ?"
            ))
            .await?,
            put_in_force: write(format!(
                "INSERT INTO {keyspace}.suppression (recipient, row) VALUES (?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            seen: read(format!("SELECT position FROM {keyspace}.seen WHERE occurred_at = ? AND event_id = ? LIMIT 1"))
                .await?,
            put_seen: write(format!(
                "INSERT INTO {keyspace}.seen (occurred_at, event_id, position) VALUES (?, ?, ?) USING TTL {seen_ttl}"
            ))
            .await?,
            message: read(format!(
                "SELECT occurred_at, event_id, entry FROM {keyspace}.message WHERE tenant = ? AND message_id = ?"
            ))
            .await?,
            put_message: write(format!(
                "INSERT INTO {keyspace}.message (tenant, message_id, occurred_at, event_id, position, entry) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TTL {message_ttl}"
            ))
            .await?,
            audit: read(format!("SELECT position, scope, delta FROM {keyspace}.audit WHERE recipient = ? LIMIT ?"))
                .await?,
            put_audit: write(format!(
                "INSERT INTO {keyspace}.audit (recipient, position, scope, delta) VALUES (?, ?, ?, ?) \
                 USING TIMESTAMP ?"
            ))
            .await?,
            due: read(format!(
                "SELECT ends_at, recipient, scope FROM {keyspace}.due \
                 WHERE hour = ? AND bucket = ? AND ends_at >= ? AND ends_at <= ? LIMIT ?"
            ))
            .await?,
            due_position: read(format!(
                "SELECT position FROM {keyspace}.due \
                 WHERE hour = ? AND bucket = ? AND ends_at = ? AND recipient = ? AND scope = ?"
            ))
            .await?,
            put_due: write(format!(
                "INSERT INTO {keyspace}.due (hour, bucket, ends_at, recipient, scope, position) \
                 VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            spend: write(format!(
                "DELETE FROM {keyspace}.due USING TIMESTAMP ? \
                 WHERE hour = ? AND bucket = ? AND ends_at = ? AND recipient = ? AND scope = ?"
            ))
            .await?,
            due_hours: read(format!("SELECT hour FROM {keyspace}.due_hour WHERE list = 0 AND hour <= ?")).await?,
            put_due_hour: write(format!("INSERT INTO {keyspace}.due_hour (list, hour) VALUES (0, ?)")).await?,
            drop_due_hour: write(format!(
                "DELETE FROM {keyspace}.due_hour USING TIMESTAMP ? WHERE list = 0 AND hour = ?"
            ))
            .await?,
            applied: read(format!("SELECT position FROM {keyspace}.applied WHERE partition = ?")).await?,
            put_applied: write(format!(
                "INSERT INTO {keyspace}.applied (partition, position) VALUES (?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            policies: read(format!("SELECT position, row FROM {keyspace}.policy WHERE partition = ?")).await?,
            put_policy: write(format!(
                "INSERT INTO {keyspace}.policy (partition, position, row) VALUES (?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            incidents: read(format!("SELECT position, row FROM {keyspace}.incident WHERE partition = ?")).await?,
            put_incident: write(format!(
                "INSERT INTO {keyspace}.incident (partition, position, row) VALUES (?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            drop_incident: write(format!(
                "DELETE FROM {keyspace}.incident USING TIMESTAMP ? WHERE partition = ? AND position = ?"
            ))
            .await?,
            erased_newest: read(format!("SELECT partition, position FROM {keyspace}.erased_newest WHERE list = 0"))
                .await?,
            put_erased_newest: write(format!(
                "INSERT INTO {keyspace}.erased_newest (list, partition, position) VALUES (0, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            erased: read(format!(
                "SELECT position, row, recipient FROM {keyspace}.erased WHERE partition = ? AND position > ? LIMIT ?"
            ))
            .await?,
            erased_at: read(format!(
                "SELECT position, row, recipient FROM {keyspace}.erased WHERE partition = ? AND position = ?"
            ))
            .await?,
            put_erased: write(format!(
                "INSERT INTO {keyspace}.erased (partition, position, row, recipient) VALUES (?, ?, ?, ?) \
                 USING TIMESTAMP ?"
            ))
            .await?,
            drop_erased: write(format!(
                "DELETE FROM {keyspace}.erased USING TIMESTAMP ? WHERE partition = ? AND position = ?"
            ))
            .await?,
            unname_erased: write(format!(
                "DELETE recipient FROM {keyspace}.erased USING TIMESTAMP ? WHERE partition = ? AND position = ?"
            ))
            .await?,
            drop_evidence: write(format!("DELETE FROM {keyspace}.evidence USING TIMESTAMP ? WHERE recipient = ?"))
                .await?,
            drop_in_force: write(format!("DELETE FROM {keyspace}.suppression USING TIMESTAMP ? WHERE recipient = ?"))
                .await?,
            drop_audit: write(format!("DELETE FROM {keyspace}.audit USING TIMESTAMP ? WHERE recipient = ?")).await?,
            note: read(format!("SELECT text FROM {keyspace}.note WHERE name = ?")).await?,
            put_note: write(format!("INSERT INTO {keyspace}.note (name, text) VALUES (?, ?)")).await?,
            receipt: read(format!("SELECT receipt FROM {keyspace}.receipt WHERE spooled = ?")).await?,
            put_receipt: write(format!(
                "INSERT INTO {keyspace}.receipt (spooled, receipt) VALUES (?, ?) USING TTL {receipt_ttl}"
            ))
            .await?,
            bind_token: {
                // Never sent again by the driver: whether the first try was applied decides the answer.
                let text =
                    format!("INSERT INTO {keyspace}.\"token\" (hash, body) VALUES (?, ?) IF NOT EXISTS USING TTL ?");
                let mut prepared = prepare(text).await?;
                prepared.set_is_idempotent(false);
                prepared.set_consistency(writing(config.consistency));
                prepared
            },
        })
    }
}

/// Binds values to a statement. What cannot be bound was made wrongly here: nothing from outside decides it.
pub(super) fn bind(
    statement: &PreparedStatement,
    values: &impl scylla::serialize::row::SerializeRow,
) -> Result<scylla::statement::bound::BoundStatement, StoreError> {
    statement.clone().bind(values).map_err(|error| failed(error.into()))
}
