//! A keyspace of someone else's beside the log, written by the log's writer.
//!
//! Nobody waits for these writes: each is on disk no later than whatever is appended after it, because both go through one
//! queue into one journal. Until then reads find them in memory.

use super::{
    EmbeddedLog, Shared,
    queue::{Note, Request},
};
use crate::AppendError;
use fjall::{Keyspace, KeyspaceCreateOptions};
use std::{
    collections::HashMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// A small map that is durable with the log beside it: keys of up to 256 bytes. Clones share it.
#[derive(Clone)]
pub struct Aside {
    /// Whoever holds it holds the log open.
    log: EmbeddedLog,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").field("keyspace", &self.inner.keyspace.name()).finish_non_exhaustive()
    }
}

/// What an entry becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// It has this value from now on.
    Put(Vec<u8>),
    /// It is gone.
    Remove,
}

pub(super) struct Inner {
    pub(super) keyspace: Keyspace,
    unwritten: Mutex<Unwritten>,
}

/// Values by key, `None` for a removal, each with the number of the note that holds it.
#[derive(Debug, Default)]
struct Unwritten {
    values: HashMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
    n_notes: u64,
}

impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Note").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what the keyspace holds by now.
    pub(super) fn written(&self, notes: impl Iterator<Item = (Vec<u8>, u64)>) {
        let mut unwritten = self.lock();
        for (key, number) in notes {
            // A later note of the key still waits.
            if unwritten.values.get(&key).is_some_and(|(last, _)| *last == number) {
                unwritten.values.remove(&key);
            }
        }
    }
}

impl EmbeddedLog {
    /// Opens or makes a keyspace beside the log. Its name must not begin like one of the log's own. Open it once: two of one
    /// name do not see what the other has yet to write.
    pub fn aside(&self, name: &str) -> Result<Aside, fjall::Error> {
        let options = || KeyspaceCreateOptions::default().manual_journal_persist(true);
        let keyspace = self.shared().db.keyspace(name, options)?;
        let inner = Arc::new(Inner { keyspace, unwritten: Mutex::default() });
        Ok(Aside { log: self.clone(), inner })
    }
}

impl Aside {
    /// Looks at an entry and changes it, with nobody in between. Reads the disk where memory does not hold the entry.
    pub fn change<T>(&self, key: &[u8], decide: impl FnOnce(Option<&[u8]>) -> (Change, T)) -> Result<T, AppendError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: key.len(), bytes_max: KEY_BYTES_MAX });
        }
        let mut unwritten = self.inner.lock();
        let stored;
        let known = match unwritten.values.get(key) {
            Some((_, value)) => value.as_deref(),
            None => {
                stored = self.inner.keyspace.get(key).map_err(|error| unavailable(&error))?;
                stored.as_deref()
            }
        };
        let (change, answer) = decide(known);
        self.note(&mut unwritten, key, change)?;
        Ok(answer)
    }

    /// Looks at up to `n_max` entries after a key, in order, and removes those that `is_over` names. Gives the last key seen,
    /// or none where the end was reached. Entries that are not written yet are left alone.
    pub fn sweep(
        &self,
        after: Option<Vec<u8>>,
        n_max: usize,
        is_over: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, AppendError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut last, mut n_seen) = (None, 0);
        for guard in self.inner.keyspace.range((from, Bound::<Vec<u8>>::Unbounded)).take(n_max) {
            let (key, value) = guard.into_inner().map_err(|error| unavailable(&error))?;
            n_seen += 1;
            if is_over(&value) {
                // Looked at again, as it may have changed meanwhile.
                self.change(&key, |now| match now {
                    Some(value) if is_over(value) => (Change::Remove, ()),
                    _ => (Change::Keep, ()),
                })?;
            }
            last = Some(key.to_vec());
        }
        Ok(last.filter(|_| n_seen == n_max))
    }

    /// Queues the change while the map is locked, so that changes of a key are queued in the order they were decided in.
    fn note(&self, unwritten: &mut Unwritten, key: &[u8], change: Change) -> Result<(), AppendError> {
        let value = match change {
            Change::Keep => return Ok(()),
            Change::Put(value) => Some(value),
            Change::Remove => None,
        };
        let number = unwritten.n_notes;
        let note = Note { aside: Arc::clone(&self.inner), key: key.to_vec(), value: value.clone(), number };
        self.shared().queue.push(Request::Note(note))?;
        unwritten.n_notes += 1;
        unwritten.values.insert(key.to_vec(), (number, value));
        Ok(())
    }

    fn shared(&self) -> &Shared {
        self.log.shared()
    }
}

fn unavailable(error: &fjall::Error) -> AppendError {
    AppendError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Append, Record, TopicSpec,
        embedded::{Limits, open_database},
    };

    fn open(folder: &std::path::Path) -> (EmbeddedLog, Aside) {
        let database = open_database(folder, 1 << 20).unwrap();
        let log = EmbeddedLog::open(
            database,
            &[TopicSpec { name: "t".into(), partitions: 1, retention_ms: Some(1_000) }],
            Limits::default(),
        )
        .unwrap();
        let aside = log.aside("aside").unwrap();
        (log, aside)
    }

    fn set(aside: &Aside, key: &str, value: &str) {
        aside.change(key.as_bytes(), |_| (Change::Put(value.into()), ())).unwrap();
    }

    fn get(aside: &Aside, key: &str) -> Option<String> {
        let read = |value: Option<&[u8]>| value.map(|value| String::from_utf8(value.to_vec()).unwrap());
        aside.change(key.as_bytes(), |value| (Change::Keep, read(value))).unwrap()
    }

    async fn append(log: &EmbeddedLog) {
        let record = Record { key: None, value: None, headers: Vec::new(), timestamp_ms: 0 };
        log.append("t", None, record).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_set_is_read_at_once_and_is_durable_with_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let (log, aside) = open(folder.path());
        set(&aside, "a", "1");
        assert_eq!(get(&aside, "a").as_deref(), Some("1"));
        assert_eq!(aside.inner.keyspace.get("a").unwrap(), None, "nobody waited for it");
        append(&log).await;
        assert_eq!(aside.inner.keyspace.get("a").unwrap().as_deref(), Some(b"1".as_slice()));
        assert!(aside.inner.lock().values.is_empty(), "memory forgets what is written");
        drop((log, aside));
        assert_eq!(get(&open(folder.path()).1, "a").as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn of_several_changes_in_one_group_the_last_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (log, aside) = open(folder.path());
        for value in ["1", "2", "3"] {
            set(&aside, "a", value);
            set(&aside, "b", value);
        }
        aside.change(b"b", |_| (Change::Remove, ())).unwrap();
        assert_eq!((get(&aside, "a").as_deref(), get(&aside, "b")), (Some("3"), None));
        append(&log).await;
        assert_eq!((get(&aside, "a").as_deref(), get(&aside, "b")), (Some("3"), None));
        // What waits when the log is closed is written too.
        set(&aside, "b", "4");
        drop((log, aside));
        assert_eq!(get(&open(folder.path()).1, "b").as_deref(), Some("4"));
    }

    #[tokio::test]
    async fn notes_that_no_record_follows_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let (_log, aside) = open(folder.path());
        for n in 0..2 * crate::embedded::queue::NOTES_MAX {
            set(&aside, &n.to_string(), "");
        }
        let written = async || {
            while aside.inner.lock().values.len() > crate::embedded::queue::NOTES_MAX {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), written()).await.unwrap();
    }

    #[tokio::test]
    async fn a_sweep_takes_away_what_is_over_and_spares_what_changed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (log, aside) = open(folder.path());
        for n in 0..10 {
            set(&aside, &n.to_string(), if n % 2 == 0 { "over" } else { "on" });
        }
        append(&log).await;
        set(&aside, "4", "on");
        let is_over = |value: &[u8]| value == b"over";
        let (mut after, mut n_steps) = (None, 0);
        loop {
            after = aside.sweep(after, 4, is_over).unwrap();
            n_steps += 1;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(n_steps, 3);
        append(&log).await;
        let left: Vec<_> = (0..10).filter(|n| get(&aside, &n.to_string()).is_some()).collect();
        assert_eq!(left, [1, 3, 4, 5, 7, 9]);
    }
}
