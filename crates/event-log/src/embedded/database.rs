//! Opening the one database that the log and the store of a process share.

use fjall::{Database, DatabaseBuilder};
use std::{io, path::Path};

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
pub fn open_database(path: &Path, cache_bytes: u64) -> Result<Database, DatabaseError> {
    database_builder(path, cache_bytes).open().map_err(DatabaseError::from)
}

/// Why a database does not open.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has it open.
    #[error("is another quell running on it? stop that one, or give this one a folder of its own")]
    Locked,
    /// The system does not let this user read or write there.
    #[error("{0}: give the folder and all in it to the user that quell runs as")]
    Denied(io::Error),
    /// Anything else.
    #[error(transparent)]
    Failed(fjall::Error),
}

impl From<fjall::Error> for DatabaseError {
    fn from(error: fjall::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error))
                if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                Self::Denied(error)
            }
            error => Self::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let first = open_database(folder.path(), 1 << 20).unwrap();
        assert!(matches!(open_database(folder.path(), 1 << 20), Err(DatabaseError::Locked)));
        drop(first);
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let denied = DatabaseError::from(fjall::Error::Io(kind.into()));
            assert!(denied.to_string().ends_with("to the user that quell runs as"), "{denied}");
        }
        let full = DatabaseError::from(fjall::Error::Io(io::ErrorKind::StorageFull.into()));
        assert!(matches!(full, DatabaseError::Failed(_)), "{full}");
    }
}
