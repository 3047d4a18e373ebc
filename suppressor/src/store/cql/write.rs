//! A batch's writes as statements, and the timestamps that make their order of arrival not matter.
//!
//! A row that is written at a position carries `USING TIMESTAMP` of it, in one place, [`stamp`]:
//! - `evidence` has the position in its key: rows of different positions never meet, and of several the reader takes the
//!   lowest. Trimming deletes all of an event's at the position that trims, which is above theirs; should the event be
//!   told again after that, its row lies above the deletion and lives.
//! - `profile`, `suppression` and `applied` are derived: of two the higher position stays (R2).
//! - `audit`, `policy`, `incident` hold one value for a position; written again it is the same. A row of `incident` that
//!   nothing needs any more is deleted at its own position: at equal timestamps the deletion wins.
//! - `due` goes by the write's position; what is spent is deleted at the position it was written at, so that the same end
//!   set later lives.
//! - `seen` and `message` have the position in their key too, and are never deleted: their rows are written in real time,
//!   which their time to live and their compaction by time window go by.

use super::{
    bucket_of, hour_of, partition_key,
    statements::{Statements, bind},
};
use crate::{
    Evidence, History, StoreError,
    store::{Forget, Write, value::write_value},
};
use domain::Kind;
use scylla::{
    statement::{
        batch::{Batch, BatchType},
        bound::BoundStatement,
        prepared::PreparedStatement,
    },
    value::MaybeUnset,
};

use std::cmp::Ordering;

/// Rows of one recipient sent in one batch.
const BATCH_ROWS_MAX: usize = 32;

/// The write timestamp of a position's number: numbers are below 2^50, which lies below the present in microseconds.
pub(super) fn stamp(number: u64) -> i64 {
    signed(number).saturating_add(1)
}

/// A position's number as CQL keeps it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX - 1)
}

pub(super) type EvidenceValues = (String, i64, Vec<u8>, i32, i64, Vec<u8>, MaybeUnset<Vec<u8>>, i64);

/// One request.
#[derive(Debug)]
pub(super) enum Request {
    One(BoundStatement),
    /// Rows of evidence of one recipient, and so of one partition.
    Rows(Vec<EvidenceValues>),
}

/// The requests of a batch's writes: those of `first` in any order, then, once all are done, those of `trims` (R5, and
/// what is trimmed is noted as seen before).
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) first: Vec<Request>,
    pub(super) trims: Vec<Request>,
}

impl Requests {
    pub(super) fn of(statements: &Statements, writes: &[Write]) -> Result<Self, StoreError> {
        let mut requests = Self::default();
        for write in writes {
            requests.add(statements, write)?;
        }
        Ok(requests)
    }

    fn add(&mut self, statements: &Statements, write: &Write) -> Result<(), StoreError> {
        let recipient = write.key.to_log_key();
        let position = position_of(write);
        self.add_evidence(statements, write, &recipient, position)?;
        let one = |request: BoundStatement| Request::One(request);
        for (at, id, number) in &write.seen {
            let values = (at.as_micros(), id.as_bytes().as_slice(), signed(*number));
            self.first.push(one(bind(&statements.put_seen, &values)?));
        }
        for entry in &write.messages {
            let values = (
                entry.key.tenant.as_str(),
                entry.message_id.as_str(),
                entry.occurred_at.as_micros(),
                entry.event_id.as_bytes().as_slice(),
                signed(entry.position),
                write_value(entry)?,
            );
            self.first.push(one(bind(&statements.put_message, &values)?));
        }
        for due in &write.due {
            let hour = hour_of(due.at);
            let (ends_at, owner) = (due.at.as_micros(), due.key.to_log_key());
            let (bucket, scope) = (bucket_of(&owner), due.scope.to_string());
            let values = (hour, bucket, ends_at, owner, scope, signed(position), stamp(position));
            self.first.push(one(bind(&statements.put_due, &values)?));
        }
        for (number, scope, delta) in &write.audit {
            let values = (recipient.as_str(), signed(*number), scope.to_string(), delta.as_slice(), stamp(*number));
            self.first.push(one(bind(&statements.put_audit, &values)?));
        }
        if let Some(in_force) = write.in_force.as_ref()
            && !(in_force.decision.is_empty() && write.trimmed.is_empty() && never_suppressed(&write.history))
        {
            let values = (recipient.as_str(), write_value(in_force)?, stamp(in_force.position));
            self.first.push(one(bind(&statements.put_in_force, &values)?));
        }
        if let Some(forget) = &write.forget {
            self.add_forget(statements, forget, &recipient, write.history.rows.is_empty())?;
        }
        for (at, id, rules) in &write.trimmed {
            let values =
                (stamp(position), recipient.as_str(), at.as_micros(), id.as_bytes().as_slice(), revision(*rules));
            self.trims.push(one(bind(&statements.trim, &values)?));
        }
        Ok(())
    }

    /// Deletes what was written at or below an erasure's position; of whom nothing came since, all there is.
    fn add_forget(
        &mut self,
        statements: &Statements,
        forget: &Forget,
        recipient: &str,
        is_all: bool,
    ) -> Result<(), StoreError> {
        let below = stamp(forget.below);
        let evidence = if is_all { stamp(forget.position) } else { below };
        self.trims.push(Request::One(bind(&statements.drop_evidence, &(evidence, recipient))?));
        self.trims.push(Request::One(bind(&statements.drop_in_force, &(below, recipient))?));
        self.trims.push(Request::One(bind(&statements.drop_audit, &(below, recipient))?));
        for due in &forget.ends {
            let (ends_at, scope) = (due.at.as_micros(), due.scope.to_string());
            let values = (below, hour_of(due.at), bucket_of(recipient), ends_at, recipient, scope);
            self.trims.push(Request::One(bind(&statements.spend, &values)?));
        }
        for at in &forget.places {
            let statement = match at.position.cmp(&forget.below) {
                Ordering::Less => &statements.drop_erased,
                Ordering::Equal => &statements.unname_erased,
                Ordering::Greater => continue,
            };
            let values = (stamp(at.position), partition_key(at.partition), signed(at.position));
            self.trims.push(Request::One(bind(statement, &values)?));
        }
        Ok(())
    }

    /// Rows of evidence, and the profile with the row of its position, or by itself.
    fn add_evidence(
        &mut self,
        statements: &Statements,
        write: &Write,
        recipient: &str,
        position: u64,
    ) -> Result<(), StoreError> {
        // Of whom all is forgotten there is none.
        let is_gone = write.forget.is_some() && write.history.rows.is_empty();
        let profile = || write_value(&(&write.history.engagement, &write.history.address));
        let mut profile = if is_gone { None } else { Some(profile()?) };
        let mut rows = Vec::with_capacity(write.rows.len());
        for row in &write.rows {
            let with = if row.position == position { profile.take() } else { None };
            rows.push(evidence_values(recipient, row, with)?);
        }
        if let Some(profile) = profile {
            let values = (recipient, profile, stamp(position));
            self.first.push(Request::One(bind(&statements.put_profile, &values)?));
        }
        if let [only] = rows.as_slice() {
            self.first.push(Request::One(bind(&statements.put_evidence, only)?));
            return Ok(());
        }
        for rows in rows.chunks(BATCH_ROWS_MAX) {
            self.first.push(Request::Rows(rows.to_vec()));
        }
        Ok(())
    }
}

/// One statement over and over, for one partition: nothing to coordinate, so nothing is logged.
pub(super) fn batch_of(statement: &PreparedStatement, n: usize) -> Batch {
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    if let Some(consistency) = statement.get_consistency() {
        batch.set_consistency(consistency);
    }
    for _ in 0..n {
        batch.append_statement(statement.clone());
    }
    batch
}

fn evidence_values(recipient: &str, row: &Evidence, profile: Option<Vec<u8>>) -> Result<EvidenceValues, StoreError> {
    Ok((
        recipient.to_owned(),
        row.occurred_at.as_micros(),
        row.event_id.as_bytes().to_vec(),
        revision(row.rules),
        signed(row.position),
        write_value(row)?,
        profile.map_or(MaybeUnset::Unset, MaybeUnset::Set),
        stamp(row.position),
    ))
}

pub(super) fn revision(rules: u32) -> i32 {
    i32::try_from(rules).unwrap_or(i32::MAX)
}

/// The newest position of a write: every write comes from at least one event, which left a row or was noted as seen.
fn position_of(write: &Write) -> u64 {
    let rows = write.rows.iter().map(|row| row.position);
    let seen = write.seen.iter().map(|(_, _, number)| *number);
    let messages = write.messages.iter().map(|entry| entry.position);
    let audit = write.audit.iter().map(|(number, _, _)| *number);
    let in_force = write.in_force.iter().map(|row| row.position);
    let forget = write.forget.iter().map(|forget| forget.position);
    rows.chain(seen).chain(messages).chain(audit).chain(in_force).chain(forget).max().unwrap_or(0)
}

/// Whether nothing in a history can ever have suppressed: most recipients of a sender. They have no row in `suppression`,
/// so that the table lookups read stays small. What was trimmed can have; but a row of `suppression` that it led to was
/// written over when it was overridden, while it was still in the history.
fn never_suppressed(history: &History) -> bool {
    history.kept.is_empty()
        && history.rows.iter().all(|row| matches!(row.kind, Kind::Delivered | Kind::Opened | Kind::Clicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_stamp_of_its_own_below_the_present() {
        let newest = (1 << 50) - 1;
        assert_eq!(stamp(0), 1, "servers take nothing below");
        assert!(stamp(newest - 1) < stamp(newest));
        assert!(stamp(newest) < 1_600_000_000_000_000, "ScyllaDB refuses what lies days ahead");
    }
}
