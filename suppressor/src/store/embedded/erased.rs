//! What erasures kept, and what they take away.
//!
//! Rows lie by partition and position; another for each partition holds its newest position.

use super::{EmbeddedStore, PAGE_MAX, audit_prefix, due_key, engine, number, read_value, write_value};
use crate::{
    StoreError,
    erasure::Erased,
    store::{ErasedAt, Forget, Write},
};
use std::ops::Bound;

const ROW: u8 = b'r';
const NEWEST: u8 = b'n';

pub(super) fn row_key(at: ErasedAt) -> Vec<u8> {
    let mut key = row_prefix(at.partition);
    key.extend_from_slice(&at.position.to_be_bytes());
    key
}

fn row_prefix(partition: u32) -> Vec<u8> {
    [&[ROW], partition.to_be_bytes().as_slice()].concat()
}

fn newest_key(partition: u32) -> Vec<u8> {
    [&[NEWEST], partition.to_be_bytes().as_slice()].concat()
}

fn partition_of(bytes: &[u8]) -> Result<u32, StoreError> {
    let array = bytes.try_into().map_err(|_| StoreError::Corrupt("a partition is four bytes".to_owned()))?;
    Ok(u32::from_be_bytes(array))
}

impl EmbeddedStore {
    pub(super) fn erased_newest(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let mut newest = Vec::new();
        for guard in self.erased.prefix([NEWEST]) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            newest.push((partition_of(&key[1..])?, number(&value)?));
        }
        Ok(newest)
    }

    pub(super) fn erased_after(
        &self,
        partition: u32,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<(u64, Erased)>, StoreError> {
        let prefix = row_prefix(partition);
        let from = match after {
            Some(after) => [prefix.as_slice(), &after.saturating_add(1).to_be_bytes()].concat(),
            None => prefix.clone(),
        };
        let end = row_prefix(partition.saturating_add(1));
        let range = (Bound::Included(from.as_slice()), Bound::Excluded(end.as_slice()));
        let mut rows = Vec::new();
        for guard in self.erased.range::<&[u8], _>(range).take(max.min(PAGE_MAX)) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            rows.push((number(&key[prefix.len()..])?, read_value(&value)?));
        }
        Ok(rows)
    }

    pub(super) fn erased_put(&self, at: ErasedAt, row: &Erased) -> Result<(), StoreError> {
        if self.erased.contains_key(row_key(at)).map_err(engine)? {
            return Ok(());
        }
        let mut batch = self.db.batch();
        batch.insert(&self.erased, row_key(at), write_value(row)?);
        let newest = self.erased.get(newest_key(at.partition)).map_err(engine)?;
        let newest = newest.map(|bytes| number(&bytes)).transpose()?.unwrap_or(0).max(at.position);
        batch.insert(&self.erased, newest_key(at.partition), newest.to_be_bytes());
        batch.commit().map_err(engine)
    }

    /// Stages the removal of everything below an erasure. No key is written that the same batch writes for its recipient.
    pub(super) fn forget(
        &self,
        batch: &mut fjall::OwnedWriteBatch,
        key: &str,
        forget: &Forget,
        write: &Write,
    ) -> Result<(), StoreError> {
        if write.history.rows.is_empty() {
            batch.remove(&self.recipients, key.as_bytes());
        } else {
            batch.insert(&self.recipients, key.as_bytes(), write_value(&write.history)?);
        }
        if write.in_force.as_ref().is_none_or(|row| row.position <= forget.below) {
            let known = self.get::<crate::store::InForce>(&self.in_force, key)?;
            if known.is_some_and(|row| row.position <= forget.below) {
                batch.remove(&self.in_force, key.as_bytes());
            }
        }
        let prefix = audit_prefix(key);
        for guard in self.audit.prefix(&prefix) {
            let entry = guard.key().map_err(engine)?;
            if number(entry.get(prefix.len()..prefix.len() + 8).unwrap_or_default())? <= forget.below {
                batch.remove(&self.audit, entry);
            }
        }
        for due in forget.ends.iter().filter(|due| !write.due.contains(due)) {
            batch.remove(&self.due, due_key(due));
        }
        for at in &forget.places {
            let Some(bytes) = self.erased.get(row_key(*at)).map_err(engine)? else { continue };
            if at.position < forget.below {
                batch.remove(&self.erased, row_key(*at));
            } else if at.position == forget.below {
                let nameless = Erased { recipient: None, ..read_value(&bytes)? };
                batch.insert(&self.erased, row_key(*at), write_value(&nameless)?);
            }
        }
        Ok(())
    }
}
