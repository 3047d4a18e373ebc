//! The seam for state: rows written at positions, read by stage, lookups and jobs.
//!
//! Contract, which one behavioural suite holds every implementation to:
//! - Writing a row twice changes nothing. Of two rows of evidence with one key, the lower position stays; a derived row
//!   of an older position never overwrites a newer one (R2).
//! - A write is whole or absent per recipient, or whole after a replay: applying the same writes again completes it.
//! - What `load` returns holds every write whose `apply` returned.

pub mod cql;
pub mod embedded;
pub mod erasing;
pub mod identity;
mod layout;
pub mod memory;
pub mod timed;
mod value;

use crate::{
    Evidence, History,
    erasure::{Erased, Pseudonym},
    evidence::RowKey,
};
use async_trait::async_trait;
use domain::{Decision, EventId, Group, Kind, RecipientKey, Ruling, Scope, Tenant, Timestamp};
use serde::{Deserialize, Serialize};

/// A store that cannot answer. It never means "allowed".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Away; try again.
    #[error("the store cannot answer: {0}")]
    Unavailable(String),
    /// What it holds cannot be read.
    #[error("the store holds what cannot be read: {0}")]
    Corrupt(String),
}

/// What is in force for a recipient, as a lookup reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Number of the position that decided.
    pub position: u64,
    /// Version of the policy that decided.
    pub policy: u32,
    /// The address as last sent.
    pub address: String,
    /// Every cause.
    pub decision: Decision,
}

/// One entry of a message's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEntry {
    /// Whose message.
    pub key: RecipientKey,
    /// The provider that carried it.
    pub provider: String,
    /// The provider's id.
    pub message_id: String,
    /// The event.
    pub event_id: EventId,
    /// The provider's time, clamped by the receipt.
    pub occurred_at: Timestamp,
    /// When the gateway took it.
    pub received_at: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// The provider's own word.
    pub provider_kind: String,
    /// Opened or clicked by a machine.
    pub machine: bool,
    /// Class, code and reply of a failure, in one line.
    pub failure: Option<String>,
    /// Campaign.
    pub campaign: Option<String>,
    /// The receipt that first brought it.
    pub receipt_id: String,
    /// Number of the position that first brought it.
    pub position: u64,
}

/// An end to come: when it passes, an `expired` event goes into the log (R7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Due {
    /// The end.
    pub at: Timestamp,
    /// Whose.
    pub key: RecipientKey,
    /// Where.
    pub scope: Scope,
}

/// Everything one batch writes for one recipient.
#[derive(Debug, Clone)]
pub struct Write {
    /// Whose.
    pub key: RecipientKey,
    /// New rows, or rows found to have been brought earlier.
    pub rows: Vec<Evidence>,
    /// Rows to delete: committed and overridden (R6).
    pub trimmed: Vec<RowKey>,
    /// The whole history with `rows` in and `trimmed` out, for engines that keep a recipient in one piece.
    pub history: History,
    /// What is in force now; `None` where no row of evidence was added.
    pub in_force: Option<InForce>,
    /// Events of which no row is kept, with the position that first brought them: for dedupe. Written before `trimmed` is
    /// deleted, so that a duplicate always finds one or the other.
    pub seen: Vec<(Timestamp, EventId, u64)>,
    /// Entries of message timelines.
    pub messages: Vec<MessageEntry>,
    /// Ends to come.
    pub due: Vec<Due>,
    /// Encoded deltas by position, for as-of answers.
    pub audit: Vec<(u64, Scope, Vec<u8>)>,
    /// The recipient is to be forgotten as far as an erasure reaches. `history` is what is left.
    pub forget: Option<Forget>,
}

/// A recipient to be forgotten: everything of theirs below the erasure's position goes, but timelines of messages, which go
/// by themselves in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// Number of the position that forgets.
    pub position: u64,
    /// Number of the erasure's.
    pub below: u64,
    /// Ends to come that are no longer waited for.
    pub ends: Vec<Due>,
    /// The recipient's erasures: earlier ones go, that of `below` no longer says whose it is. [`erasing::Erasing`] knows them.
    pub places: Vec<ErasedAt>,
}

/// A policy and since which position of a partition it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Its version.
    pub version: u32,
    /// Revision of decide's code when it was applied.
    pub decide_revision: u32,
    /// Its text.
    pub document: String,
    /// When.
    pub applied_at: Timestamp,
    /// By whom.
    pub applied_by: String,
}

/// What is known of an incident from a position of a partition on: what the guard found, or an operator ruled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentRow {
    /// Which.
    pub incident: EventId,
    /// Whose bounces.
    pub group: Group,
    /// Start of the jump, in event time.
    pub from: Timestamp,
    /// End, in event time; of one that lasts, how far it is known to last.
    pub to: Timestamp,
    /// The guard's verdicts of an incident count from 1; 0 in an operator's ruling.
    pub revision: u32,
    /// The rate is back to its rhythm.
    pub is_over: bool,
    /// What holds for its bounces.
    pub ruling: Ruling,
    /// Version of the policy by which it was found.
    pub policy: u32,
    /// Hard bounces counted in it so far.
    pub bounced: u64,
    /// Of these, of recipients who lately opened or clicked.
    pub engaged: u64,
    /// When.
    pub decided_at: Timestamp,
    /// `guard`, or who.
    pub decided_by: String,
    /// Why.
    pub note: String,
}

/// Where an erasure lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErasedAt {
    /// Number of its position.
    pub position: u64,
    /// The partition of its event.
    pub partition: u32,
    /// Whose.
    pub pseudonym: Pseudonym,
}

/// One page of a scan, and where to go on.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Pass this to go on; `None` at the end.
    pub next: Option<String>,
}

/// State, by recipient.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The histories of recipients, in the order asked; empty where nothing is known.
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError>;

    /// The positions that first brought events of which no row is kept (no evidence, or trimmed), in the order asked.
    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError>;

    /// Applies a batch's writes, then moves the partition's applied position up to `applied`.
    async fn apply(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError>;

    /// Number of the last position applied in a partition.
    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError>;

    /// How many offsets below a committed position the store may have lost in a crash, and the owner applies again (R4).
    fn sync_window(&self) -> u64;

    /// What is in force, in the order asked; `None` where nothing ever was.
    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError>;

    /// A message's timeline, by provider's id, at most `entries_max`.
    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError>;

    /// Encoded deltas of a recipient, oldest first, at most `entries_max` of the newest.
    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError>;

    /// Ends at or before `until`, at most `max`, earliest first. From `from` on, where it is given: what was spent costs a
    /// store that keeps tombstones something each time that it is passed over.
    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError>;

    /// Drops ends that were dealt with.
    async fn spent(&self, due: &[Due]) -> Result<(), StoreError>;

    /// Histories in a fixed order, each recipient once, for jobs. `after` is the `next` of the page before; what it says is
    /// the store's own, one line of text. A page may hold fewer than `max`, or none, and still have a `next`. Recipients
    /// that come while a scan goes on are in it or not.
    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError>;

    /// What is in force, paged as in [`Self::scan`], for export.
    async fn scan_in_force(&self, after: Option<&str>, max: usize)
    -> Result<Page<(RecipientKey, InForce)>, StoreError>;

    /// Records that a policy holds in a partition from a position on.
    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError>;

    /// Every policy of a partition with the position since which it holds, oldest first.
    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError>;

    /// Records what is known of an incident in a partition from a position on.
    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError>;

    /// Everything known of incidents in a partition with the position since which it is, oldest first.
    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError>;

    /// Deletes rows that nothing needs any more: of each it is known at which position it lies. What is written there again
    /// later, by an owner of before, stays away or says the same.
    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError>;

    /// The newest erasure of each partition.
    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError>;

    /// Erasures of a partition after a position, in order, at most `max`.
    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError>;

    /// One erasure.
    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError>;

    /// Records an erasure at its position. What is there already stays: it was made from evidence that may be gone.
    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError>;

    /// Under which pseudonym a recipient is kept once erased; `None` where this store knows no key.
    fn pseudonym(&self, _: &RecipientKey) -> Option<Pseudonym> {
        None
    }

    /// What the newest erasure of a recipient left; `None` where there was none, or this store knows no key.
    async fn erasure_of(&self, _: &RecipientKey) -> Result<Option<Erased>, StoreError> {
        Ok(None)
    }

    /// A job's note to itself (cursor, last run).
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Writes such a note.
    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError>;
}
