//! What the store was asked for, as it counts itself (Cassandra's virtual tables, `system_views.local_read_latency` and
//! `local_write_latency`; one node has one replica of everything), and how big the rows are that it holds.

use super::servers::KEYSPACE;
use anyhow::Context as _;
use scylla::client::{session::Session, session_builder::SessionBuilder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const ROWS: u32 = 1_000;

/// Requests by table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) reads: BTreeMap<String, u64>,
    pub(crate) writes: BTreeMap<String, u64>,
}

impl Counts {
    /// Since then; tables that nobody touched are left out.
    pub(super) fn since(&self, before: &Self) -> Self {
        let grown = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let one = |(table, count): (&String, &u64)| {
                let grown = count.saturating_sub(before.get(table).copied().unwrap_or(0));
                (grown > 0).then(|| (table.clone(), grown))
            };
            now.iter().filter_map(one).collect()
        };
        Self { reads: grown(&self.reads, &before.reads), writes: grown(&self.writes, &before.writes) }
    }

    /// Reads and writes.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.reads.values().sum(), self.writes.values().sum())
    }
}

/// Bytes of the values in a row, on average.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sizes {
    pub(crate) evidence: usize,
    pub(crate) profile: usize,
    pub(crate) message: usize,
    pub(crate) suppression: usize,
    pub(crate) audit: usize,
}

/// Asks the store about itself.
#[derive(Debug)]
pub(super) struct Asker {
    runtime: tokio::runtime::Runtime,
    session: Session,
}

impl Asker {
    pub(super) fn connect(address: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let session = runtime.block_on(SessionBuilder::new().known_node(address).build())?;
        Ok(Self { runtime, session })
    }

    /// Requests to Quell's tables so far.
    pub(super) fn counts(&self) -> anyhow::Result<Counts> {
        Ok(Counts { reads: self.table("local_read_latency")?, writes: self.table("local_write_latency")? })
    }

    fn table(&self, view: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let text = format!("SELECT keyspace_name, table_name, \"count\" FROM system_views.{view}");
        let answer = self.runtime.block_on(self.session.query_unpaged(text, ()))?.into_rows_result()?;
        let mut counts = BTreeMap::new();
        for row in answer.rows::<(String, String, i64)>().context("the store counts otherwise than expected")? {
            let (keyspace, table, count) = row?;
            if keyspace == KEYSPACE {
                counts.insert(table, u64::try_from(count)?);
            }
        }
        Ok(counts)
    }

    /// Of the rows that Quell wrote.
    pub(super) fn sizes(&self) -> anyhow::Result<Sizes> {
        Ok(Sizes {
            evidence: self.mean("evidence", "row")?,
            profile: self.mean("evidence", "profile")?,
            message: self.mean("message", "entry")?,
            suppression: self.mean("suppression", "row")?,
            audit: self.mean("audit", "delta")?,
        })
    }

    fn mean(&self, table: &str, column: &str) -> anyhow::Result<usize> {
        let text = format!("SELECT {column} FROM {KEYSPACE}.{table} LIMIT {ROWS}");
        let answer = self.runtime.block_on(self.session.query_unpaged(text, ()))?.into_rows_result()?;
        let (mut rows, mut bytes) = (0, 0);
        for row in answer.rows::<(Option<Vec<u8>>,)>()? {
            let (Some(value),) = row? else { continue };
            (rows, bytes) = (rows + 1, bytes + value.len());
        }
        Ok(bytes / rows.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_compared_table_by_table() {
        let map = |all: &[(&str, u64)]| all.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect();
        let before = Counts { reads: map(&[("a", 2)]), writes: map(&[("a", 5), ("b", 1)]) };
        let now = Counts { reads: map(&[("a", 5), ("c", 4)]), writes: map(&[("a", 5), ("b", 3)]) };
        let grown = now.since(&before);
        assert_eq!(grown, Counts { reads: map(&[("a", 3), ("c", 4)]), writes: map(&[("b", 2)]) });
        assert_eq!(grown.totals(), (7, 2));
    }
}
