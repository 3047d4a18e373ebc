//! Any store, timed: each call is told to a watcher, with how long it took and whether it failed.

use super::{Due, ErasedAt, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Store, StoreError, Write};
use crate::{
    History,
    erasure::{Erased, Pseudonym},
};
use async_trait::async_trait;
use domain::{EventId, RecipientKey, Scope, Tenant, Timestamp};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Store::load`].
    Load,
    /// [`Store::seen`].
    Seen,
    /// [`Store::apply`].
    Apply,
    /// [`Store::applied`].
    Applied,
    /// [`Store::in_force`].
    InForce,
    /// [`Store::message`].
    Message,
    /// [`Store::audit`].
    Audit,
    /// [`Store::due`].
    Due,
    /// [`Store::spent`].
    Spent,
    /// [`Store::scan`].
    Scan,
    /// [`Store::scan_in_force`].
    ScanInForce,
    /// [`Store::put_policy`].
    PutPolicy,
    /// [`Store::policies`].
    Policies,
    /// [`Store::put_incident`].
    PutIncident,
    /// [`Store::incidents`].
    Incidents,
    /// [`Store::drop_incidents`].
    DropIncidents,
    /// [`Store::erased_up_to`], [`Store::erased`] and [`Store::erased_at`].
    Erased,
    /// [`Store::put_erased`].
    PutErased,
    /// [`Store::note`].
    Note,
    /// [`Store::put_note`].
    PutNote,
}

impl Operation {
    /// Every one, in declaration order.
    pub const ALL: [Self; 20] = [
        Self::Load,
        Self::Seen,
        Self::Apply,
        Self::Applied,
        Self::InForce,
        Self::Message,
        Self::Audit,
        Self::Due,
        Self::Spent,
        Self::Scan,
        Self::ScanInForce,
        Self::PutPolicy,
        Self::Policies,
        Self::PutIncident,
        Self::Incidents,
        Self::DropIncidents,
        Self::Erased,
        Self::PutErased,
        Self::Note,
        Self::PutNote,
    ];

    /// Its word, as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Seen => "seen",
            Self::Apply => "apply",
            Self::Applied => "applied",
            Self::InForce => "in_force",
            Self::Message => "message",
            Self::Audit => "audit",
            Self::Due => "due",
            Self::Spent => "spent",
            Self::Scan => "scan",
            Self::ScanInForce => "scan_in_force",
            Self::PutPolicy => "put_policy",
            Self::Policies => "policies",
            Self::PutIncident => "put_incident",
            Self::Incidents => "incidents",
            Self::DropIncidents => "drop_incidents",
            Self::Erased => "erased",
            Self::PutErased => "put_erased",
            Self::Note => "note",
            Self::PutNote => "put_note",
        }
    }
}

/// Hears of every call.
pub trait StoreWatch: Send + Sync + std::fmt::Debug {
    /// A call ended. A call that was given up before its end (its asker went away) is not told.
    fn called(&self, operation: Operation, took: Duration, is_error: bool);
}

/// A store whose calls are told.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    store: S,
    watch: Arc<dyn StoreWatch>,
}

impl<S: Store> Timed<S> {
    /// A store, and who hears of its calls.
    pub const fn new(store: S, watch: Arc<dyn StoreWatch>) -> Self {
        Self { store, watch }
    }

    async fn timed<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let answer = call.await;
        self.watch.called(operation, began.elapsed(), answer.is_err());
        answer
    }
}

#[async_trait]
impl<S: Store> Store for Timed<S> {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        self.timed(Operation::Load, self.store.load(keys)).await
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        self.timed(Operation::Seen, self.store.seen(events)).await
    }

    async fn apply(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        self.timed(Operation::Apply, self.store.apply(writes, applied)).await
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        self.timed(Operation::Applied, self.store.applied(partition)).await
    }

    fn sync_window(&self) -> u64 {
        self.store.sync_window()
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        self.timed(Operation::InForce, self.store.in_force(keys)).await
    }

    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        self.timed(Operation::Message, self.store.message(tenant, message_id, entries_max)).await
    }

    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        self.timed(Operation::Audit, self.store.audit(key, entries_max)).await
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        self.timed(Operation::Due, self.store.due(from, until, max)).await
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        self.timed(Operation::Spent, self.store.spent(due)).await
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        self.timed(Operation::Scan, self.store.scan(after, max)).await
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        self.timed(Operation::ScanInForce, self.store.scan_in_force(after, max)).await
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        self.timed(Operation::PutPolicy, self.store.put_policy(partition, position, row)).await
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        self.timed(Operation::Policies, self.store.policies(partition)).await
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        self.timed(Operation::PutIncident, self.store.put_incident(partition, position, row)).await
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        self.timed(Operation::Incidents, self.store.incidents(partition)).await
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        self.timed(Operation::DropIncidents, self.store.drop_incidents(partition, positions)).await
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.timed(Operation::Erased, self.store.erased_up_to()).await
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.timed(Operation::Erased, self.store.erased(partition, after, max)).await
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.timed(Operation::Erased, self.store.erased_at(at)).await
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        self.timed(Operation::PutErased, self.store.put_erased(partition, position, row)).await
    }

    async fn erasure_of(&self, key: &RecipientKey) -> Result<Option<Erased>, StoreError> {
        self.store.erasure_of(key).await
    }

    fn pseudonym(&self, key: &RecipientKey) -> Option<Pseudonym> {
        self.store.pseudonym(key)
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.timed(Operation::Note, self.store.note(name)).await
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.timed(Operation::PutNote, self.store.put_note(name, text)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{MemoryStore, Weather};
    use std::{pin::Pin, sync::Mutex};

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(&'static str, bool)>>);

    impl StoreWatch for Heard {
        fn called(&self, operation: Operation, took: Duration, is_error: bool) {
            assert!(took < Duration::from_secs(5));
            self.0.lock().unwrap().push((operation.as_str(), is_error));
        }
    }

    #[derive(Debug)]
    struct Storm;

    impl Weather for Storm {
        fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
            Box::pin(std::future::ready(Err(StoreError::Unavailable("storm".to_owned()))))
        }
    }

    #[tokio::test]
    async fn every_call_is_told_with_how_it_ended() {
        let heard = Arc::new(Heard::default());
        let key =
            RecipientKey { tenant: Tenant::default(), recipient: domain::Recipient::guess("a@b.example").unwrap() };
        let calm = MemoryStore::new(Arc::new(crate::store::memory::Calm), 7);
        let store = Timed::new(calm.clone(), heard.clone());
        assert_eq!(store.sync_window(), 7);
        store.put_note("n", "text").await.unwrap();
        assert_eq!(store.note("n").await.unwrap().as_deref(), Some("text"));
        assert_eq!(store.load(std::slice::from_ref(&key)).await.unwrap().len(), 1);
        let store = Timed::new(calm.under(Arc::new(Storm)), heard.clone());
        assert!(store.load(&[key]).await.is_err());
        let heard = heard.0.lock().unwrap();
        assert_eq!(*heard, [("put_note", false), ("note", false), ("load", false), ("load", true)]);
        assert_eq!(
            Operation::ALL.map(Operation::as_str).iter().collect::<std::collections::BTreeSet<_>>().len(),
            Operation::ALL.len()
        );
    }
}
