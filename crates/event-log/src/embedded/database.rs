//! Opening the one database that the log and the store of a process share.

use fjall::{Database, DatabaseBuilder};
use std::path::Path;

/// fjall keeps its journals until all they hold lies in tables: this bounds both the disk they take and what is read
/// again after a crash.
const JOURNAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// One is enough, as most compactions only move tables; with two, fjall 3.1 keeps one spinning while the other compacts.
const WORKER_THREADS: usize = 1;

/// How the database is to be opened: `manual_journal_persist`, because durability is the log's business (one
/// `fdatasync` a group of writes, see [`super::EmbeddedLog`]), and bounded memory: `cache_bytes` of blocks, some tens of
/// megabytes a busy keyspace of unflushed writes.
pub fn database_builder(path: &Path, cache_bytes: u64) -> DatabaseBuilder<Database> {
    Database::builder(path)
        .manual_journal_persist(true)
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .worker_threads(WORKER_THREADS)
}

/// Opens or creates the database. One process at a time may have it open.
///
/// The store of a stage opens its keyspaces in this same database: there is one journal, so what a stage wrote before
/// it committed lies before that commit, and is on disk once the commit is, whatever crashes.
pub fn open_database(path: &Path, cache_bytes: u64) -> Result<Database, fjall::Error> {
    database_builder(path, cache_bytes).open()
}
