//! The log of one process on one machine, in a [`fjall`] database.
//!
//! The database is handed in, because the store of a stage lies in the same one. There is one journal for both: what a
//! stage wrote to its store before it committed a batch is never behind that commit after a crash. (The store may be
//! *ahead* of the commit; positions make that harmless.) The database must be opened with `manual_journal_persist`, as
//! [`open_database`] does.
//!
//! One thread writes. All that waits goes into one batch of the database with one `fdatasync`; then readers see it and
//! waiters are answered. So an append costs a share of a sync, never one of its own, and under load the group grows
//! while the sync before it runs. If a write or a sync fails, what is on disk is not known: all waiters are told, and
//! every later write is refused until the process starts again and reads the truth.
//!
//! An append that is no longer waited for is written all the same, once it is in the queue.
//!
//! What it is not: a broker. There is one process, partitions are assigned by whoever opens a session, and a topic's
//! number of partitions never changes.

mod aside;
mod browse;
mod codec;
mod committer;
mod database;
mod keys;
mod queue;
mod retention;
mod segments;
mod session;
mod signal;
mod topic;

pub use aside::{Aside, Change};
pub use database::{DatabaseError, database_builder, open_database};
pub use retention::segment_span_ms;
pub use segments::{Damage, SegmentError, SegmentOptions};
pub use session::EmbeddedSession;

use crate::{Append, AppendError, NextOffset, Output, Position, Record, TopicSpec};
use async_trait::async_trait;
use codec::Encoded;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use queue::{Put, Queue, Request};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};
use tokio::sync::oneshot;
use topic::Topic;

/// A key is also a key of the database, which takes 64 KiB.
const KEY_BYTES_MAX: usize = 32 * 1024;
const GROUP_NAME_BYTES_MAX: usize = 255;
const SMALL_MEMTABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bounds of an embedded log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records that may wait to be written; beyond that appends are refused as [`AppendError::Busy`].
    pub queue_records_max: usize,
    /// Bytes that may wait to be written.
    pub queue_bytes_max: usize,
    /// Records of one group commit.
    pub group_records_max: usize,
    /// Bytes of one group commit.
    pub group_bytes_max: usize,
    /// Bytes of one record: key, value and headers.
    pub record_bytes_max: usize,
    /// How long a compacted topic keeps a tombstone, so that a reader who lags less still sees it.
    pub tombstone_keep_ms: u64,
    /// Records that one call of [`EmbeddedLog::enforce_retention`] takes away at most.
    pub retention_records_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_records_max: 20_000,
            queue_bytes_max: 64 * 1024 * 1024,
            group_records_max: 4_096,
            group_bytes_max: 8 * 1024 * 1024,
            record_bytes_max: 16 * 1024 * 1024,
            tombstone_keep_ms: 24 * 60 * 60 * 1_000,
            retention_records_max: 10_000,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database failed.
    #[error("the log's database cannot be opened: {0}")]
    Database(#[from] fjall::Error),
    /// A topic's name cannot be used.
    #[error("topic name {0:?}: use 1 to 200 letters, digits, dots, dashes and underscores")]
    TopicName(String),
    /// A topic without partitions.
    #[error("topic {0} has no partitions: give it at least one")]
    NoPartitions(String),
    /// The same topic was given twice.
    #[error("topic {0} is declared twice")]
    Twice(String),
    /// Partitions never change in place.
    #[error(
        "topic {topic} has {stored} partitions and cannot get {asked}: keys would move; set it back, or make a new topic"
    )]
    PartitionsChanged {
        /// The topic.
        topic: String,
        /// What it was made with.
        stored: u32,
        /// What was asked for now.
        asked: u32,
    },
    /// Compaction never changes in place.
    #[error("topic {topic} was made with compaction {}: set it back, or make a new topic", on_off(*.was_compacted))]
    CompactionChanged {
        /// The topic.
        topic: String,
        /// What it was made with.
        was_compacted: bool,
    },
    /// Topics never leave their segments.
    #[error("topic {0} lies in segments: open the log with them")]
    InSegments(String),
    /// Only topics that are kept by time can lie in segments.
    #[error("topic {0} is compacted: it cannot lie in segments")]
    CompactedInSegments(String),
    /// The segments failed.
    #[error("the log's segments cannot be opened: {0}")]
    Segments(#[from] SegmentError),
    /// Something stored cannot be read.
    #[error("the log's database is damaged: {0} cannot be read; restore it from a backup")]
    Corrupt(&'static str),
    /// The thread that writes could not be started.
    #[error("the log's writer cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No such topic or partition.
    #[error("no topic {topic}, or no partition {partition:?} of it")]
    Unknown {
        /// The topic.
        topic: String,
        /// The partition, where it is the partition that is not there.
        partition: Option<u32>,
    },
    /// The group's name cannot be used.
    #[error("a group's name has 1 to 255 bytes")]
    GroupName,
    /// Another session of the group has the partition.
    #[error("partition {partition} of {topic} belongs to another session of group {group}")]
    Taken {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
}

/// What handles, sessions and the writing thread share.
struct Shared {
    db: Database,
    meta: Keyspace,
    groups: Keyspace,
    topics: Vec<Topic>,
    limits: Limits,
    queue: Queue,
    epoch: AtomicU16,
    /// Partitions that a session has: group, topic, partition.
    taken: Mutex<HashSet<(String, usize, u32)>>,
    /// One enforcement of retention at a time.
    retention: Mutex<()>,
}

impl Shared {
    fn topic(&self, name: &str) -> Option<(usize, &Topic)> {
        self.topics.iter().enumerate().find(|(_, topic)| &*topic.spec.name == name)
    }

    fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<NextOffset>, fjall::Error> {
        let stored = self.groups.get(keys::group(group, topic, partition))?;
        let offset = stored.and_then(|bytes| Some(u64::from_be_bytes((*bytes).try_into().ok()?)));
        Ok(offset.map(NextOffset::from_stored))
    }

    /// Checks a record and makes it ready for the queue.
    fn put(&self, topic: &str, partition: Option<u32>, record: &Record) -> Result<Put, AppendError> {
        let unavailable = |why: String| Err(AppendError::Unavailable(why));
        let Some((index, open)) = self.topic(topic) else { return unavailable(format!("no topic {topic}")) };
        let (bytes, bytes_max) = (codec::size(record), self.limits.record_bytes_max);
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let key = record.key.as_deref();
        if let Some(bytes) = key.map(<[u8]>::len).filter(|bytes| *bytes > KEY_BYTES_MAX) {
            return Err(AppendError::TooLarge { bytes, bytes_max: KEY_BYTES_MAX });
        }
        if open.compacted.is_some() && key.is_none() {
            return unavailable(format!("topic {topic} is compacted: its records need a key"));
        }
        let Some(partition) = open.choose(partition, key) else {
            return unavailable(format!("no partition {partition:?} of topic {topic}"));
        };
        let is_compacted = open.compacted.is_some();
        Ok(Put {
            topic: index,
            partition,
            encoded: if open.segments.is_some() { Encoded::small(record) } else { Encoded::whole(record) },
            key: record.key.clone().filter(|_| is_compacted),
            tombstone_ms: (is_compacted && record.value.is_none()).then_some(record.timestamp_ms),
        })
    }

    /// A commit's outputs are in one write with its positions, so none lies in a segment.
    fn puts<'a>(&self, outputs: impl Iterator<Item = &'a Output>) -> Result<Vec<Put>, AppendError> {
        let put = |output: &Output| {
            if self.topic(&output.topic).is_some_and(|(_, open)| open.segments.is_some()) {
                let why =
                    format!("topic {} lies in segments: it takes appends, but no outputs of a stage", output.topic);
                return Err(AppendError::Unavailable(why));
            }
            self.put(&output.topic, output.partition, &output.record)
        };
        outputs.map(put).collect()
    }

    /// Puts a request in the queue and blocks until it is answered.
    fn ask<T>(&self, request: impl FnOnce(queue::Answer<T>) -> Request) -> Result<T, AppendError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.queue.push(request(answer))?;
        answered.recv().unwrap_or_else(|_| Err(writer_ended()))
    }
}

fn writer_ended() -> AppendError {
    AppendError::Unavailable("the log's writer ended: restart the process".to_owned())
}

/// Closes the queue with the last handle; what waits is still written.
struct Owner {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            // It holds the database: once it is gone, the directory can be opened again. Its panics were told already.
            let _ = writer.join();
        }
    }
}

/// A handle on the log; clones share it. With the last handle or session gone, the log is closed.
#[derive(Clone)]
pub struct EmbeddedLog {
    owner: Arc<Owner>,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("topics", &self.shared().topics).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log in a database, making the topics that are new. A topic's number of partitions and whether it is
    /// compacted never change; its retention may.
    pub fn open(db: Database, topics: &[TopicSpec], limits: Limits) -> Result<Self, OpenError> {
        Self::open_all(db, topics, limits, None)
    }

    /// As [`Self::open`], with some topics in segment files. A topic that lay in the database until now goes on in segments;
    /// what it held stays where it is until it is too old. There is no way back.
    pub fn open_with_segments(
        db: Database,
        topics: &[TopicSpec],
        limits: Limits,
        segments: &SegmentOptions,
    ) -> Result<Self, OpenError> {
        Self::open_all(db, topics, limits, Some(segments))
    }

    fn open_all(
        db: Database,
        topics: &[TopicSpec],
        limits: Limits,
        segments: Option<&SegmentOptions>,
    ) -> Result<Self, OpenError> {
        if let Some(twice) =
            topics.iter().enumerate().find(|(i, spec)| topics[..*i].iter().any(|t| t.name == spec.name))
        {
            return Err(OpenError::Twice(twice.1.name.to_string()));
        }
        let small = || {
            KeyspaceCreateOptions::default().max_memtable_size(SMALL_MEMTABLE_BYTES_MAX).manual_journal_persist(true)
        };
        let meta = db.keyspace(keys::META, small)?;
        let groups = db.keyspace(keys::GROUPS, small)?;
        let topics =
            topics.iter().map(|spec| Topic::open(&db, &meta, spec, segments)).collect::<Result<Vec<_>, _>>()?;
        let epoch = match meta.get(keys::EPOCH)? {
            None => 0,
            Some(bytes) => u16::from_be_bytes((*bytes).try_into().map_err(|_| OpenError::Corrupt("the epoch"))?),
        };
        db.persist(PersistMode::SyncAll)?;
        let shared = Arc::new(Shared {
            db,
            meta,
            groups,
            topics,
            limits,
            queue: Queue::new(limits),
            epoch: AtomicU16::new(epoch),
            taken: Mutex::default(),
            retention: Mutex::default(),
        });
        let writer = std::thread::Builder::new().name("log-writer".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || committer::run(&shared, epoch)
        })?;
        Ok(Self { owner: Arc::new(Owner { shared, writer: Some(writer) }) })
    }

    /// A session of a group that has the given partitions of a topic until it is dropped. Its first poll returns
    /// [`crate::Polled::Assigned`]. No two sessions of a group have a partition at once.
    pub fn session(&self, group: &str, topic: &str, partitions: &[u32]) -> Result<EmbeddedSession, JoinError> {
        EmbeddedSession::join(self.clone(), group, topic, partitions)
    }

    /// The epoch of records appended from now on.
    pub fn epoch(&self) -> u16 {
        self.shared().epoch.load(Ordering::Acquire)
    }

    /// Raises the epoch, as for a log that was imported or made anew beside a store that remembers positions of an older
    /// one, and returns it. Records already there keep the epoch they were appended under. Blocks until it is on disk.
    pub fn raise_epoch(&self) -> Result<u16, AppendError> {
        self.shared().ask(|answer| Request::RaiseEpoch { answer })
    }

    /// Whether the log still takes writes: an error once a write failed, for readiness.
    pub fn writable(&self) -> Result<(), AppendError> {
        self.shared().queue.open()
    }

    /// How many records wait to be written.
    pub fn n_waiting(&self) -> usize {
        self.shared().queue.n_waiting()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}

#[async_trait]
impl Append for EmbeddedLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        let shared = self.shared();
        let put = shared.put(topic, partition, &record)?;
        // Its memory is still in the processor's cache for whoever is next, and many wait at once.
        drop(record);
        let (answer, answered) = oneshot::channel();
        shared.queue.push(Request::Append { put, answer })?;
        answered.await.unwrap_or_else(|_| Err(writer_ended()))
    }

    fn partitions(&self, topic: &str) -> Result<u32, AppendError> {
        let found = self.shared().topic(topic);
        let (_, topic) = found.ok_or_else(|| AppendError::Unavailable(format!("no topic {topic}")))?;
        Ok(topic.spec.partitions)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
