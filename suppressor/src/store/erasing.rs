//! Any store, with what erasures kept: it finds an erased recipient again by their pseudonym.
//!
//! Where erasures lie is held in memory, some 100 bytes each. Each call that looks at recipients first learns which are new: one
//! small read. What it looks at it reads before that, so that an erasure that took rows away in between is never missed.

use super::{Due, ErasedAt, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Store, StoreError, Write};
use crate::{
    History,
    erasure::{Erased, ErasureKey, Pseudonym},
};
use async_trait::async_trait;
use domain::{EventId, RecipientKey, Scope, Tenant, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const PAGE: usize = 1_000;
/// The store's note of the key that its pseudonyms were made with.
const KEY_NOTE: &str = "erasure.key";

/// The fingerprint of the key that a store's pseudonyms were made with, if there are any.
pub async fn noted_key(store: &dyn Store) -> Result<Option<String>, StoreError> {
    store.note(KEY_NOTE).await
}

/// Notes it.
pub async fn note_key(store: &dyn Store, fingerprint: &str) -> Result<(), StoreError> {
    store.put_note(KEY_NOTE, fingerprint).await
}

/// Where erasures lie.
#[derive(Debug, Default)]
struct Known {
    newest: BTreeMap<u32, u64>,
    by: HashMap<Pseudonym, BTreeSet<ErasedAt>>,
}

impl Known {
    fn add(&mut self, at: ErasedAt) {
        self.by.entry(at.pseudonym).or_default().insert(at);
    }
}

/// A store and the key of its pseudonyms. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Erasing<S> {
    store: S,
    key: Option<Arc<ErasureKey>>,
    known: Arc<Mutex<Known>>,
}

impl<S: Store> Erasing<S> {
    /// A store without a key answers as ever as long as nobody was erased from it.
    pub fn new(store: S, key: Option<Arc<ErasureKey>>) -> Self {
        Self { store, key, known: Arc::default() }
    }

    /// The store itself.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of new erasures.
    async fn refresh(&self) -> Result<(), StoreError> {
        for (partition, newest) in self.store.erased_up_to().await? {
            loop {
                let after = self.known().newest.get(&partition).copied();
                if after.is_some_and(|after| after >= newest) {
                    break;
                }
                self.checked_key().await?;
                let rows = self.store.erased(partition, after, PAGE).await?;
                let Some(last) = rows.last().map(|(position, _)| *position) else {
                    return Err(StoreError::Unavailable("an erasure is told of, but not there yet".to_owned()));
                };
                let mut known = self.known();
                for (position, row) in &rows {
                    known.add(ErasedAt { position: *position, partition, pseudonym: row.pseudonym });
                }
                let up_to = known.newest.entry(partition).or_insert(last);
                *up_to = last.max(*up_to);
            }
        }
        Ok(())
    }

    /// The key, which must be the one that the store's pseudonyms were made with.
    async fn checked_key(&self) -> Result<&ErasureKey, StoreError> {
        let Some(key) = &self.key else {
            return Err(StoreError::Unavailable(
                "recipients were erased from this store, and [erasure] key is not configured: set it to the key that it \
                 was set to then"
                    .to_owned(),
            ));
        };
        match self.store.note(KEY_NOTE).await? {
            Some(noted) if noted != key.fingerprint() => Err(StoreError::Unavailable(
                "recipients were erased from this store under another key than [erasure] key: set it to that one"
                    .to_owned(),
            )),
            _ => Ok(key),
        }
    }

    /// Where a recipient's erasures lie, if there are any.
    fn places(&self, key: &RecipientKey) -> Vec<ErasedAt> {
        let known = self.known();
        if known.by.is_empty() {
            return Vec::new();
        }
        let Some(pseudonym) = self.pseudonym(key) else { return Vec::new() };
        known.by.get(&pseudonym).map(|places| places.iter().copied().collect()).unwrap_or_default()
    }

    async fn kept(&self, key: &RecipientKey) -> Result<Vec<Erased>, StoreError> {
        let mut kept = Vec::new();
        for at in self.places(key) {
            // An earlier one is gone once a later one has forgotten the recipient.
            kept.extend(self.store.erased_at(at).await?);
        }
        Ok(kept)
    }
}

#[async_trait]
impl<S: Store> Store for Erasing<S> {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        let mut histories = self.store.load(keys).await?;
        self.refresh().await?;
        for (key, history) in keys.iter().zip(&mut histories) {
            history.kept = self.kept(key).await?.into_iter().flat_map(|erased| erased.rows).collect();
        }
        Ok(histories)
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        let mut rows = self.store.in_force(keys).await?;
        self.refresh().await?;
        for (key, row) in keys.iter().zip(&mut rows) {
            if row.is_none() {
                *row = self.kept(key).await?.pop().map(|erased| erased.in_force);
            }
        }
        Ok(rows)
    }

    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        let mut entries = self.store.message(tenant, message_id, entries_max).await?;
        self.refresh().await?;
        // They go by themselves in time; nobody is shown them meanwhile.
        entries.retain(|entry| self.places(&entry.key).iter().all(|erased| erased.position < entry.position));
        Ok(entries)
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        let fingerprint = self.checked_key().await?.fingerprint();
        if self.store.note(KEY_NOTE).await?.is_none() {
            self.store.put_note(KEY_NOTE, &fingerprint).await?;
        }
        let at = ErasedAt { position, partition, pseudonym: row.pseudonym };
        self.store.put_erased(partition, position, row).await?;
        self.known().add(at);
        Ok(())
    }

    async fn erasure_of(&self, key: &RecipientKey) -> Result<Option<Erased>, StoreError> {
        self.refresh().await?;
        Ok(self.kept(key).await?.pop())
    }

    fn pseudonym(&self, key: &RecipientKey) -> Option<Pseudonym> {
        self.key.as_ref().map(|erasure| erasure.pseudonym(key))
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        self.store.seen(events).await
    }

    async fn apply(&self, mut writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        for write in &mut writes {
            if let Some(forget) = &mut write.forget {
                let places = self.places(&write.key);
                let own = places.iter().find(|at| at.position == forget.below).map(|at| at.partition);
                // Those of other partitions were moved here. One may be its partition's newest, which whoever learns of
                // erasures looks for: it stays, and decides nothing beside a later one.
                forget.places = places.into_iter().filter(|at| Some(at.partition) == own).collect();
            }
        }
        self.store.apply(writes, applied).await
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        self.store.applied(partition).await
    }

    fn sync_window(&self) -> u64 {
        self.store.sync_window()
    }

    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        self.store.audit(key, entries_max).await
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        self.store.due(from, until, max).await
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        self.store.spent(due).await
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        self.store.scan(after, max).await
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        self.store.scan_in_force(after, max).await
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        self.store.put_policy(partition, position, row).await
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        self.store.policies(partition).await
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        self.store.put_incident(partition, position, row).await
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        self.store.incidents(partition).await
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        self.store.drop_incidents(partition, positions).await
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.store.erased_up_to().await
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.store.erased(partition, after, max).await
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.store.erased_at(at).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.store.note(name).await
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.store.put_note(name, text).await
    }
}
