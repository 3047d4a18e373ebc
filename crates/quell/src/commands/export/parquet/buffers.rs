//! Rows by table and partition, held until they fill a file, within a bound for all of them.

use super::{folder::Folder, rows::Rows, tables::Table};
use std::collections::BTreeMap;

/// Over all partitions.
const BYTES_MAX: usize = 64 << 20;
const PARTITIONS_MAX: usize = 1_000;

/// Where a row goes: `TABLE/tenant=TENANT/date=DATE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) table: Table,
    pub(super) tenant: String,
    /// `2026-01-20`
    pub(super) date: String,
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    open: BTreeMap<Partition, Rows>,
    /// A schema of this build that could not be read: told by the next flush.
    failed: Option<anyhow::Error>,
}

impl Buffers {
    /// The rows of a partition, to put one more.
    pub(super) fn row(&mut self, table: Table, tenant: &str, date: &str, put: impl FnOnce(&mut Rows)) {
        let place = Partition { table, tenant: tenant.to_owned(), date: date.to_owned() };
        if let Some(rows) = self.open.get_mut(&place) {
            return put(rows);
        }
        match table.rows() {
            Ok(rows) => put(self.open.entry(place).or_insert(rows)),
            Err(error) => self.failed = Some(error),
        }
    }

    /// Writes the largest ones until the rest is half of what may be held.
    pub(super) fn bound(&mut self, folder: &mut Folder) -> anyhow::Result<()> {
        if self.held() <= BYTES_MAX && self.open.len() <= PARTITIONS_MAX {
            return Ok(());
        }
        while self.held() > BYTES_MAX / 2 || self.open.len() > PARTITIONS_MAX / 2 {
            let largest = self.open.iter().max_by_key(|(_, rows)| rows.bytes).map(|(place, _)| place.clone());
            let Some((place, rows)) = largest.and_then(|place| self.open.remove_entry(&place)) else { break };
            folder.write(&place, rows)?;
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Writes all of them.
    pub(super) fn flush(&mut self, folder: &mut Folder) -> anyhow::Result<()> {
        for (place, rows) in std::mem::take(&mut self.open) {
            folder.write(&place, rows)?;
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    fn held(&self) -> usize {
        self.open.values().map(|rows| rows.bytes).sum()
    }
}
