//! The store in memory, row by row as a wide-column store would keep it: for tests and the simulator.

use super::{Due, ErasedAt, Forget, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Store, StoreError, Write};
use crate::{
    Evidence, History,
    erasure::Erased,
    evidence::{Engagement, RowKey},
};
use async_trait::async_trait;
use domain::{EventId, RecipientKey, Scope, Tenant, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Decides before each step of the store whether it fails, and lets others go first.
pub trait Weather: Send + Sync + Debug {
    /// Called before each row is read or written.
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;
}

/// Nothing ever fails.
#[derive(Debug, Clone, Copy)]
pub struct Calm;

impl Weather for Calm {
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// One write of one row, so that a simulator can take back the newest.
#[derive(Debug, Clone)]
enum Undo {
    Row(String, RowKey, Option<Box<Evidence>>),
    InForce(String, Option<InForce>),
    Applied(u32, Option<u64>),
}

#[derive(Debug, Default)]
struct Tables {
    evidence: BTreeMap<String, BTreeMap<RowKey, Evidence>>,
    engagement: BTreeMap<String, Engagement>,
    address: BTreeMap<String, String>,
    in_force: BTreeMap<String, InForce>,
    seen: BTreeMap<(Timestamp, EventId), u64>,
    messages: BTreeMap<(String, String), BTreeMap<(Timestamp, EventId), MessageEntry>>,
    audit: BTreeMap<String, BTreeMap<(u64, Scope), Vec<u8>>>,
    due: BTreeSet<Due>,
    applied: BTreeMap<u32, u64>,
    policies: BTreeMap<u32, BTreeMap<u64, PolicyRow>>,
    incidents: BTreeMap<u32, BTreeMap<u64, IncidentRow>>,
    erased: BTreeMap<ErasedAt, Erased>,
    erased_newest: BTreeMap<u32, u64>,
    /// Up to which position a recipient is forgotten: what arrives late from below stays away, as under a tombstone.
    forgotten: BTreeMap<String, u64>,
    notes: BTreeMap<String, String>,
    journal: Vec<Undo>,
}

/// Every table as a sorted map.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
    weather: Arc<dyn Weather>,
    sync_window: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(Calm), 0)
    }
}

const JOURNAL_MAX: usize = 4_096;

impl MemoryStore {
    /// An empty store under some weather, which may lose what was written within the last `sync_window` offsets.
    pub fn new(weather: Arc<dyn Weather>, sync_window: u64) -> Self {
        Self { tables: Arc::default(), weather, sync_window }
    }

    /// The same tables under another weather: what another process would see.
    #[must_use]
    pub fn under(&self, weather: Arc<dyn Weather>) -> Self {
        Self { tables: Arc::clone(&self.tables), weather, sync_window: self.sync_window }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back the newest writes, as a store does that loses its unsynced tail in a crash. Those that brought
    /// positions below `floor` stay: they were synced long ago.
    pub fn lose_newest(&self, writes: usize, floor: u64) {
        let mut tables = self.tables();
        for _ in 0..writes {
            let Some(undo) = tables.journal.pop() else { return };
            match undo {
                Undo::Row(key, row_key, was) => {
                    let rows = tables.evidence.entry(key).or_default();
                    if rows.get(&row_key).is_some_and(|row| row.position < floor) {
                        continue;
                    }
                    match was {
                        Some(row) => rows.insert(row_key, *row),
                        None => rows.remove(&row_key),
                    };
                }
                Undo::InForce(key, was) => {
                    if tables.in_force.get(&key).is_some_and(|row| row.position < floor) {
                        continue;
                    }
                    match was {
                        Some(row) => tables.in_force.insert(key, row),
                        None => tables.in_force.remove(&key),
                    };
                }
                Undo::Applied(partition, was) => {
                    match was {
                        Some(number) => tables.applied.insert(partition, number.max(floor)),
                        None => tables.applied.remove(&partition),
                    };
                }
            }
        }
    }

    /// Everything in force, for comparing with a fold.
    pub fn all_in_force(&self) -> BTreeMap<String, InForce> {
        self.tables().in_force.clone()
    }

    /// Forgets everything, as a store does that was never restored.
    pub fn wipe(&self) {
        *self.tables() = Tables::default();
    }
}

impl Tables {
    fn is_forgotten(&self, key: &str, position: u64) -> bool {
        self.forgotten.get(key).is_some_and(|below| position <= *below)
    }

    fn forget(&mut self, key: &str, forget: &Forget, engagement: Engagement) {
        let floor = self.forgotten.entry(key.to_owned()).or_default();
        *floor = forget.below.max(*floor);
        if let Some(rows) = self.evidence.get_mut(key) {
            rows.retain(|_, row| row.position >= forget.below);
        }
        self.engagement.insert(key.to_owned(), engagement);
        if self.evidence.get(key).is_none_or(BTreeMap::is_empty) {
            self.evidence.remove(key);
            self.engagement.remove(key);
            self.address.remove(key);
        }
        if self.in_force.get(key).is_some_and(|row| row.position <= forget.below) {
            self.in_force.remove(key);
        }
        if let Some(entries) = self.audit.get_mut(key) {
            entries.retain(|(position, _), _| *position > forget.below);
        }
        for due in &forget.ends {
            self.due.remove(due);
        }
        for at in &forget.places {
            if at.position < forget.below {
                self.erased.remove(at);
            } else if at.position == forget.below
                && let Some(row) = self.erased.get_mut(at)
            {
                row.recipient = None;
            }
        }
    }
}

fn note_undo(tables: &mut Tables, undo: Undo) {
    if tables.journal.len() >= JOURNAL_MAX {
        tables.journal.drain(..JOURNAL_MAX / 2);
    }
    tables.journal.push(undo);
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        let mut histories = Vec::with_capacity(keys.len());
        for key in keys {
            self.weather.step().await?;
            let key = key.to_log_key();
            let tables = self.tables();
            histories.push(History {
                rows: tables.evidence.get(&key).map(|rows| rows.values().cloned().collect()).unwrap_or_default(),
                engagement: tables.engagement.get(&key).copied().unwrap_or_default(),
                address: tables.address.get(&key).cloned().unwrap_or_default(),
                kept: Vec::new(),
            });
        }
        Ok(histories)
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        Ok(events.iter().map(|event| tables.seen.get(event).copied()).collect())
    }

    async fn apply(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        for write in writes {
            let key = write.key.to_log_key();
            for row in write.rows {
                self.weather.step().await?;
                let mut tables = self.tables();
                if tables.is_forgotten(&key, row.position) {
                    continue;
                }
                let row_key = row.row_key();
                let known = tables.evidence.entry(key.clone()).or_default().get(&row_key).cloned();
                if known.as_ref().is_none_or(|known| known.position > row.position) {
                    note_undo(&mut tables, Undo::Row(key.clone(), row_key, known.map(Box::new)));
                    tables.evidence.entry(key.clone()).or_default().insert(row_key, row);
                }
            }
            // Before what is trimmed goes: a duplicate of it must find one or the other.
            self.weather.step().await?;
            for (at, id, position) in write.seen {
                let mut tables = self.tables();
                let known = tables.seen.entry((at, id)).or_insert(position);
                *known = position.min(*known);
            }
            for row_key in &write.trimmed {
                self.weather.step().await?;
                if let Some(rows) = self.tables().evidence.get_mut(&key) {
                    rows.remove(row_key);
                }
            }
            if let Some(in_force) = write.in_force {
                self.weather.step().await?;
                let mut tables = self.tables();
                let known = tables.in_force.get(&key).cloned();
                if tables.is_forgotten(&key, in_force.position) {
                    // It comes too late.
                } else if known.as_ref().is_none_or(|known| known.position <= in_force.position) {
                    note_undo(&mut tables, Undo::InForce(key.clone(), known));
                    tables.in_force.insert(key.clone(), in_force);
                }
            }
            self.weather.step().await?;
            let mut tables = self.tables();
            let engagement = tables.engagement.entry(key.clone()).or_default();
            *engagement = engagement.merge(write.history.engagement);
            tables.address.insert(key.clone(), write.history.address);
            for entry in write.messages {
                let at = (entry.key.tenant.as_str().to_owned(), entry.message_id.clone());
                tables.messages.entry(at).or_default().entry((entry.occurred_at, entry.event_id)).or_insert(entry);
            }
            let audit: Vec<_> = write.audit.into_iter().filter(|(at, ..)| !tables.is_forgotten(&key, *at)).collect();
            for (position, scope, bytes) in audit {
                tables.audit.entry(key.clone()).or_default().insert((position, scope), bytes);
            }
            if let Some(forget) = &write.forget {
                tables.forget(&key, forget, write.history.engagement);
            }
            tables.due.extend(write.due);
        }
        for (partition, number) in applied {
            self.weather.step().await?;
            let mut tables = self.tables();
            let known = tables.applied.get(partition).copied();
            if known.is_none_or(|known| known < *number) {
                note_undo(&mut tables, Undo::Applied(*partition, known));
                tables.applied.insert(*partition, *number);
            }
        }
        Ok(())
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        self.weather.step().await?;
        Ok(self.tables().applied.get(&partition).copied())
    }

    fn sync_window(&self) -> u64 {
        self.sync_window
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        Ok(keys.iter().map(|key| tables.in_force.get(&key.to_log_key()).cloned()).collect())
    }

    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        self.weather.step().await?;
        let at = (tenant.as_str().to_owned(), message_id.to_owned());
        let tables = self.tables();
        let timeline = tables.messages.get(&at);
        Ok(timeline.map(|rows| rows.values().take(entries_max).cloned().collect()).unwrap_or_default())
    }

    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let Some(rows) = tables.audit.get(&key.to_log_key()) else { return Ok(Vec::new()) };
        let skipped = rows.len().saturating_sub(entries_max);
        Ok(rows.iter().skip(skipped).map(|((at, scope), bytes)| (*at, scope.clone(), bytes.clone())).collect())
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let since = tables.due.iter().skip_while(|due| from.is_some_and(|from| due.at < from));
        Ok(since.take_while(|due| due.at <= until).take(max).cloned().collect())
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        self.weather.step().await?;
        let mut tables = self.tables();
        for due in due {
            tables.due.remove(due);
        }
        Ok(())
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        let keys: Vec<String> = {
            let tables = self.tables();
            let known: BTreeSet<&String> = tables.evidence.keys().chain(tables.engagement.keys()).collect();
            let rest = known.into_iter().filter(|key| after.is_none_or(|after| key.as_str() > after));
            rest.take(max).cloned().collect()
        };
        let next = if keys.len() == max { keys.last().cloned() } else { None };
        let keys: Vec<RecipientKey> = keys.iter().filter_map(|key| RecipientKey::from_log_key(key)).collect();
        let histories = self.load(&keys).await?;
        Ok(Page { items: keys.into_iter().zip(histories).collect(), next })
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let rest = tables.in_force.iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let found: Vec<(&String, &InForce)> = rest.take(max).collect();
        let next = if found.len() == max { found.last().map(|(key, _)| (*key).clone()) } else { None };
        let items = found
            .into_iter()
            .filter_map(|(key, row)| RecipientKey::from_log_key(key).map(|key| (key, row.clone())))
            .collect();
        Ok(Page { items, next })
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        self.weather.step().await?;
        self.tables().policies.entry(partition).or_default().insert(position, row);
        Ok(())
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let rows = tables.policies.get(&partition);
        Ok(rows.map(|rows| rows.iter().map(|(at, row)| (*at, row.clone())).collect()).unwrap_or_default())
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        self.weather.step().await?;
        self.tables().incidents.entry(partition).or_default().insert(position, row);
        Ok(())
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let rows = tables.incidents.get(&partition);
        Ok(rows.map(|rows| rows.iter().map(|(at, row)| (*at, row.clone())).collect()).unwrap_or_default())
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        for position in positions {
            self.weather.step().await?;
            self.tables().incidents.entry(partition).or_default().remove(position);
        }
        Ok(())
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.weather.step().await?;
        Ok(self.tables().erased_newest.iter().map(|(partition, newest)| (*partition, *newest)).collect())
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.weather.step().await?;
        let tables = self.tables();
        let later = tables
            .erased
            .iter()
            .filter(|(at, _)| at.partition == partition && after.is_none_or(|after| at.position > after));
        Ok(later.take(max).map(|(at, row)| (at.position, row.clone())).collect())
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.weather.step().await?;
        Ok(self.tables().erased.get(&at).cloned())
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        self.weather.step().await?;
        let at = ErasedAt { position, partition, pseudonym: row.pseudonym };
        self.tables().erased.entry(at).or_insert(row);
        // Two tables: a process that is killed between them leaves a row that nobody is told of.
        self.weather.step().await?;
        let mut tables = self.tables();
        let newest = tables.erased_newest.entry(partition).or_default();
        *newest = position.max(*newest);
        Ok(())
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.weather.step().await?;
        Ok(self.tables().notes.get(name).cloned())
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.weather.step().await?;
        self.tables().notes.insert(name.to_owned(), text.to_owned());
        Ok(())
    }
}
