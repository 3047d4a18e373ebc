//! The store of one process on one machine, over the same fjall database as the embedded log.
//!
//! One journal serves both: what a stage wrote here before it committed to the log is never behind that commit after a
//! crash, so nothing has to be applied again (R4). Each recipient's history is one value, read and written whole by the
//! one owner of its partition; bloom filters answer for the many recipients that are new.

mod erased;
mod retention;

pub use retention::{Retention, Sweep};

use super::{
    Due, ErasedAt, InForce, IncidentRow, MessageEntry, Page, PolicyRow, Store, StoreError, Write,
    layout::Stored,
    value::{read_value, write_value},
};
use crate::{History, erasure::Erased};
use async_trait::async_trait;
use domain::{EventId, RecipientKey, Scope, Tenant, Timestamp};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::FilterPolicy};

/// A scan never returns more at once.
const PAGE_MAX: usize = 10_000;
const SEPARATOR: u8 = 0;
/// Unflushed writes of one table: there are several, and what is small stays in the processor's caches.
const MEMTABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Tables as keyspaces of one database.
#[derive(Clone)]
pub struct EmbeddedStore {
    db: Database,
    recipients: Keyspace,
    in_force: Keyspace,
    seen: Keyspace,
    messages: Keyspace,
    audit: Keyspace,
    due: Keyspace,
    erased: Keyspace,
    meta: Keyspace,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

fn engine(error: fjall::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

impl EmbeddedStore {
    /// Opens the tables, creating what is missing.
    pub fn open(db: Database) -> Result<Self, StoreError> {
        // Durability is the log's business: what lies in the journal before a commit is synced with it.
        let options =
            || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES_MAX).manual_journal_persist(true);
        let table = |name: &str| db.keyspace(name, options).map_err(engine);
        // Only ever read in ranges: a filter would be built, and kept in memory, for nothing.
        let scanned =
            |name: &str| db.keyspace(name, || options().filter_policy(FilterPolicy::disabled())).map_err(engine);
        Ok(Self {
            recipients: table("store.recipients")?,
            in_force: table("store.in_force")?,
            seen: table("store.seen")?,
            messages: scanned("store.messages")?,
            audit: scanned("store.audit")?,
            due: scanned("store.due")?,
            erased: table("store.erased")?,
            meta: table("store.meta")?,
            db,
        })
    }

    fn apply_now(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        for write in writes {
            let key = write.key.to_log_key();
            match &write.forget {
                Some(forget) => self.forget(&mut batch, &key, forget, &write)?,
                None => batch.insert(&self.recipients, key.as_bytes(), write_value(&write.history)?),
            }
            let below = write.forget.as_ref().map_or(0, |forget| forget.below);
            if let Some(in_force) = write.in_force.as_ref().filter(|row| below == 0 || row.position > below) {
                self.put_in_force(&mut batch, &key, in_force, !write.history.kept.is_empty())?;
            }
            for (at, id, position) in write.seen {
                batch.insert(&self.seen, seen_key(at, &id), position.to_be_bytes());
            }
            for entry in &write.messages {
                batch.insert(&self.messages, message_key(entry), write_value(entry)?);
            }
            for (position, scope, bytes) in write.audit {
                batch.insert(&self.audit, audit_key(&key, position, &scope), bytes);
            }
            for due in &write.due {
                batch.insert(&self.due, due_key(due), write_value(due)?);
            }
        }
        for (partition, number) in applied {
            batch.insert(&self.meta, applied_key(*partition), number.to_be_bytes());
        }
        batch.commit().map_err(engine)
    }

    /// Recipients for whom nothing was ever in force have no row, so that the table lookups read stays small; but where an
    /// erasure kept something, a row says that it ended.
    fn put_in_force(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        key: &str,
        row: &InForce,
        is_kept: bool,
    ) -> Result<(), StoreError> {
        if row.decision.is_empty() && !is_kept {
            let known = self.in_force.get(key.as_bytes()).map_err(engine)?;
            let Some(known) = known else { return Ok(()) };
            if read_value::<InForce>(&known)?.decision.is_empty() {
                return Ok(());
            }
        }
        batch.insert(&self.in_force, key.as_bytes(), write_value(row)?);
        Ok(())
    }

    fn get<T: Stored>(&self, table: &Keyspace, key: &str) -> Result<Option<T>, StoreError> {
        table.get(key.as_bytes()).map_err(engine)?.map(|bytes| read_value(&bytes)).transpose()
    }

    fn page<T: Stored>(
        table: &Keyspace,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, T)>, StoreError> {
        let max = max.min(PAGE_MAX);
        let from = after.map_or(std::ops::Bound::Unbounded, |after| std::ops::Bound::Excluded(after.as_bytes()));
        let range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) = (from, std::ops::Bound::Unbounded);
        let mut page = Page { items: Vec::new(), next: None };
        let (mut read, mut last) = (0, None);
        for guard in table.range::<&[u8], _>(range).take(max) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            read += 1;
            let text = String::from_utf8_lossy(&key).into_owned();
            if let Some(recipient) = RecipientKey::from_log_key(&text) {
                page.items.push((recipient, read_value(&value)?));
            }
            last = Some(text);
        }
        if read == max {
            page.next = last;
        }
        Ok(page)
    }
}

fn applied_key(partition: u32) -> Vec<u8> {
    [b"applied".as_slice(), &partition.to_be_bytes()].concat()
}

fn policy_prefix(partition: u32) -> Vec<u8> {
    [b"policy".as_slice(), &partition.to_be_bytes()].concat()
}

fn incident_prefix(partition: u32) -> Vec<u8> {
    [b"incident".as_slice(), &partition.to_be_bytes()].concat()
}

fn seen_key(at: Timestamp, id: &EventId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&at.as_micros().to_be_bytes());
    key[8..].copy_from_slice(id.as_bytes());
    key
}

fn message_prefix(tenant: &Tenant, message_id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(160);
    key.extend_from_slice(tenant.as_str().as_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(message_id.as_bytes());
    key.push(SEPARATOR);
    key
}

fn message_key(entry: &MessageEntry) -> Vec<u8> {
    let mut key = message_prefix(&entry.key.tenant, &entry.message_id);
    key.extend_from_slice(&entry.occurred_at.as_micros().to_be_bytes());
    key.extend_from_slice(entry.event_id.as_bytes());
    key
}

fn audit_prefix(key: &str) -> Vec<u8> {
    [key.as_bytes(), &[SEPARATOR]].concat()
}

fn audit_key(key: &str, position: u64, scope: &Scope) -> Vec<u8> {
    let mut bytes = audit_prefix(key);
    bytes.extend_from_slice(&position.to_be_bytes());
    bytes.extend_from_slice(scope.to_string().as_bytes());
    bytes
}

fn due_key(due: &Due) -> Vec<u8> {
    let mut key = due.at.as_micros().to_be_bytes().to_vec();
    key.extend_from_slice(due.key.to_log_key().as_bytes());
    key.push(SEPARATOR);
    key.extend_from_slice(due.scope.to_string().as_bytes());
    key
}

fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    let array = bytes.try_into().map_err(|_| StoreError::Corrupt("a position is eight bytes".to_owned()))?;
    Ok(u64::from_be_bytes(array))
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn load(&self, keys: &[RecipientKey]) -> Result<Vec<History>, StoreError> {
        keys.iter().map(|key| Ok(self.get(&self.recipients, &key.to_log_key())?.unwrap_or_default())).collect()
    }

    async fn seen(&self, events: &[(Timestamp, EventId)]) -> Result<Vec<Option<u64>>, StoreError> {
        events
            .iter()
            .map(|(at, id)| self.seen.get(seen_key(*at, id)).map_err(engine)?.map(|bytes| number(&bytes)).transpose())
            .collect()
    }

    async fn apply(&self, writes: Vec<Write>, applied: &[(u32, u64)]) -> Result<(), StoreError> {
        self.apply_now(writes, applied)
    }

    async fn applied(&self, partition: u32) -> Result<Option<u64>, StoreError> {
        self.meta.get(applied_key(partition)).map_err(engine)?.map(|bytes| number(&bytes)).transpose()
    }

    fn sync_window(&self) -> u64 {
        0
    }

    async fn in_force(&self, keys: &[RecipientKey]) -> Result<Vec<Option<InForce>>, StoreError> {
        keys.iter().map(|key| self.get(&self.in_force, &key.to_log_key())).collect()
    }

    async fn message(
        &self,
        tenant: &Tenant,
        message_id: &str,
        entries_max: usize,
    ) -> Result<Vec<MessageEntry>, StoreError> {
        let prefix = message_prefix(tenant, message_id);
        let rows = self.messages.prefix(prefix).take(entries_max.min(PAGE_MAX));
        rows.map(|guard| read_value(&guard.value().map_err(engine)?)).collect()
    }

    async fn audit(&self, key: &RecipientKey, entries_max: usize) -> Result<Vec<(u64, Scope, Vec<u8>)>, StoreError> {
        let prefix = audit_prefix(&key.to_log_key());
        let mut rows = Vec::new();
        for guard in self.audit.prefix(&prefix).rev().take(entries_max.min(PAGE_MAX)) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            let rest = &key[prefix.len()..];
            let (position, scope) = rest.split_at_checked(8).unwrap_or((&[], rest));
            let scope = String::from_utf8_lossy(scope).parse();
            rows.push((number(position)?, scope.map_err(|_| StoreError::Corrupt("scope".to_owned()))?, value.to_vec()));
        }
        rows.reverse();
        Ok(rows)
    }

    async fn due(&self, from: Option<Timestamp>, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        let begin = from.map_or([0; 8], |from| from.as_micros().to_be_bytes());
        let end = until.next().as_micros().to_be_bytes();
        let rows = self.due.range::<&[u8], _>(begin.as_slice()..end.as_slice()).take(max.min(PAGE_MAX));
        rows.map(|guard| read_value(&guard.value().map_err(engine)?)).collect()
    }

    async fn spent(&self, due: &[Due]) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        for due in due {
            batch.remove(&self.due, due_key(due));
        }
        batch.commit().map_err(engine)
    }

    async fn scan(&self, after: Option<&str>, max: usize) -> Result<Page<(RecipientKey, History)>, StoreError> {
        Self::page(&self.recipients, after, max)
    }

    async fn scan_in_force(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Page<(RecipientKey, InForce)>, StoreError> {
        Self::page(&self.in_force, after, max)
    }

    async fn put_policy(&self, partition: u32, position: u64, row: PolicyRow) -> Result<(), StoreError> {
        let key = [policy_prefix(partition).as_slice(), &position.to_be_bytes()].concat();
        self.meta.insert(key, write_value(&row)?).map_err(engine)
    }

    async fn policies(&self, partition: u32) -> Result<Vec<(u64, PolicyRow)>, StoreError> {
        let prefix = policy_prefix(partition);
        let mut rows = Vec::new();
        for guard in self.meta.prefix(&prefix) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            rows.push((number(&key[prefix.len()..])?, read_value(&value)?));
        }
        Ok(rows)
    }

    async fn put_incident(&self, partition: u32, position: u64, row: IncidentRow) -> Result<(), StoreError> {
        let key = [incident_prefix(partition).as_slice(), &position.to_be_bytes()].concat();
        self.meta.insert(key, write_value(&row)?).map_err(engine)
    }

    async fn incidents(&self, partition: u32) -> Result<Vec<(u64, IncidentRow)>, StoreError> {
        let prefix = incident_prefix(partition);
        let mut rows = Vec::new();
        for guard in self.meta.prefix(&prefix) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            rows.push((number(&key[prefix.len()..])?, read_value(&value)?));
        }
        Ok(rows)
    }

    async fn drop_incidents(&self, partition: u32, positions: &[u64]) -> Result<(), StoreError> {
        let prefix = incident_prefix(partition);
        let mut batch = self.db.batch();
        for position in positions {
            batch.remove(&self.meta, [prefix.as_slice(), &position.to_be_bytes()].concat());
        }
        batch.commit().map_err(engine)
    }

    async fn erased_up_to(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.erased_newest()
    }

    async fn erased(&self, partition: u32, after: Option<u64>, max: usize) -> Result<Vec<(u64, Erased)>, StoreError> {
        self.erased_after(partition, after, max)
    }

    async fn erased_at(&self, at: ErasedAt) -> Result<Option<Erased>, StoreError> {
        self.erased.get(erased::row_key(at)).map_err(engine)?.map(|bytes| read_value(&bytes)).transpose()
    }

    async fn put_erased(&self, partition: u32, position: u64, row: Erased) -> Result<(), StoreError> {
        self.erased_put(ErasedAt { position, partition, pseudonym: row.pseudonym }, &row)
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.get(&self.meta, &format!("note.{name}"))
    }

    async fn put_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.meta.insert(format!("note.{name}").into_bytes(), write_value(&text)?).map_err(engine)
    }
}
