//! A topic as it is open: its keyspaces, how far readers may see, whom to wake.

use super::{OpenError, codec, keys};
use crate::{Consumed, Position, TopicSpec, gather::Room, partition::partition_of};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::FilterPolicy};
use std::{
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Of all the partitions of a topic together, while each gets at least a useful share.
const MEMTABLES_BYTES_MAX: u64 = 32 * 1024 * 1024;
const MEMTABLE_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// Keyspace names are at most 255 bytes; ours add a prefix.
const TOPIC_NAME_BYTES_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Partition {
    /// The oldest offset that may be there.
    start: AtomicU64,
    /// One after the newest that is on disk: readers see nothing from here on.
    end: AtomicU64,
}

/// The keyspaces a compacted topic has besides its records.
pub(super) struct Compacted {
    pub(super) newest: Keyspace,
    pub(super) tombstones: Keyspace,
}

/// Where the newest record of a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) offset: u64,
    /// When it was appended, if it is a tombstone.
    pub(super) tombstone_ms: Option<i64>,
}

impl Newest {
    pub(super) fn encode(self) -> [u8; 17] {
        let mut out = [0; 17];
        out[..8].copy_from_slice(&self.offset.to_be_bytes());
        out[8] = u8::from(self.tombstone_ms.is_some());
        out[9..].copy_from_slice(&self.tombstone_ms.unwrap_or_default().to_be_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let offset = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let timestamp = i64::from_be_bytes(bytes.get(9..17)?.try_into().ok()?);
        Some(Self { offset, tombstone_ms: (*bytes.get(8)? != 0).then_some(timestamp) })
    }
}

pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    /// A keyspace a partition: each only ever grows at its end, so that its tables never overlap and compaction moves
    /// them instead of writing them again.
    records: Vec<Keyspace>,
    pub(super) compacted: Option<Compacted>,
    pub(super) appended: Signal,
    partitions: Vec<Partition>,
    turn: AtomicU32,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("spec", &self.spec).field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl Topic {
    /// Opens a topic, making it where it is new, and finds the end of each partition.
    pub(super) fn open(db: &Database, meta: &Keyspace, spec: &TopicSpec) -> Result<Self, OpenError> {
        check_name(&spec.name)?;
        if spec.partitions == 0 {
            return Err(OpenError::NoPartitions(spec.name.to_string()));
        }
        check_shape(meta, spec)?;
        let memtable_bytes = (MEMTABLES_BYTES_MAX / u64::from(spec.partitions)).max(MEMTABLE_BYTES_MIN);
        let looked_up =
            || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes).manual_journal_persist(true);
        // Records are only ever read in ranges: a filter would be built for nothing.
        let scanned = || looked_up().filter_policy(FilterPolicy::disabled());
        let records = |partition| db.keyspace(&keys::records_keyspace(&spec.name, partition), scanned);
        let records = (0..spec.partitions).map(records).collect::<Result<Vec<_>, _>>()?;
        let compacted = match spec.retention_ms {
            Some(_) => None,
            None => Some(Compacted {
                newest: db.keyspace(&keys::newest_keyspace(&spec.name), looked_up)?,
                tombstones: db.keyspace(&keys::tombstones_keyspace(&spec.name), scanned)?,
            }),
        };
        let partitions = (0..).zip(&records).map(|(p, records)| recover(records, meta, &spec.name, p));
        let partitions = partitions.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            spec: spec.clone(),
            records,
            compacted,
            appended: Signal::default(),
            partitions,
            turn: AtomicU32::new(0),
        })
    }

    /// The keyspace of the records of a partition, which must be one of the topic.
    pub(super) fn records(&self, partition: u32) -> &Keyspace {
        &self.records[partition as usize]
    }

    /// The partition of a record: the one asked for, else that of its key, else the next in turn. `None` where there is
    /// no such partition.
    pub(super) fn choose(&self, asked: Option<u32>, key: Option<&[u8]>) -> Option<u32> {
        let n_partitions = self.spec.partitions;
        match (asked, key) {
            (Some(partition), _) => (partition < n_partitions).then_some(partition),
            (None, Some(key)) => Some(partition_of(key, n_partitions)),
            (None, None) => Some(self.turn.fetch_add(1, Ordering::Relaxed) % n_partitions),
        }
    }

    /// The oldest offset that may be there and the one after the newest that is on disk.
    pub(super) fn bounds(&self, partition: u32) -> Option<Range<u64>> {
        let bounds = self.partitions.get(partition as usize)?;
        Some(bounds.start.load(Ordering::Acquire)..bounds.end.load(Ordering::Acquire))
    }

    pub(super) fn set_end(&self, partition: u32, end: u64) {
        if let Some(bounds) = self.partitions.get(partition as usize) {
            bounds.end.store(end, Ordering::Release);
        }
    }

    pub(super) fn set_start(&self, partition: u32, start: u64) {
        if let Some(bounds) = self.partitions.get(partition as usize) {
            bounds.start.store(start, Ordering::Release);
        }
    }

    /// Reads records on disk from `from` on, up to `to` at the furthest; returns them with the offset to read next.
    pub(super) fn read(
        &self,
        partition: u32,
        from: u64,
        to: u64,
        room: Room,
    ) -> Result<(Vec<Consumed>, u64), ReadError> {
        let bounds = self.bounds(partition).ok_or(ReadError::Partition(partition))?;
        let (start, end) = (from.max(bounds.start), bounds.end.min(to));
        if start >= end {
            return Ok((Vec::new(), from.max(end.min(start))));
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        for guard in self.records(partition).range(keys::records(partition, start..end)) {
            let (key, value) = guard.into_inner()?;
            let corrupt = |why| ReadError::Corrupt { partition, key: key.to_vec(), why };
            let offset = keys::offset_of(&key).ok_or_else(|| corrupt(codec::DecodeError::Short))?;
            let (epoch, record) = codec::decode(&value).map_err(corrupt)?;
            let position = Position { epoch, partition, offset };
            let consumed = Consumed { topic: Arc::clone(&self.spec.name), position, record };
            bytes += crate::gather::size_of_record(&consumed);
            let is_first = room.first && records.is_empty();
            if bytes > room.bytes && !is_first {
                return Ok((records, offset));
            }
            records.push(consumed);
            if records.len() >= room.records {
                return Ok((records, offset + 1));
            }
        }
        Ok((records, end))
    }
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no partition {0}")]
    Partition(u32),
    #[error("the database cannot be read: {0}")]
    Database(#[from] fjall::Error),
    #[error("record {key:02x?} of partition {partition} cannot be read: {why}")]
    Corrupt { partition: u32, key: Vec<u8>, why: codec::DecodeError },
}

/// Tells waiting readers that something was appended.
#[derive(Debug, Default)]
pub(super) struct Signal {
    version: Mutex<u64>,
    wake: Condvar,
    notify: tokio::sync::Notify,
}

impl Signal {
    pub(super) fn raise(&self) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
        self.notify.notify_waiters();
    }

    pub(super) fn version(&self) -> u64 {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until something was appended after `seen` was read, or until `deadline`. `false` at the deadline.
    pub(super) fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(version, left, |version| *version == seen);
        let (_version, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    pub(super) async fn changed(&self, wait: Duration) {
        // Running out of time is an answer too.
        let _ = tokio::time::timeout(wait, self.notify.notified()).await;
    }
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err(OpenError::TopicName(name.to_owned()));
    }
    Ok(())
}

/// The shape of a topic is kept beside it: another number of partitions would send keys elsewhere, and positions
/// compare only within a partition.
fn check_shape(meta: &Keyspace, spec: &TopicSpec) -> Result<(), OpenError> {
    let compacted = spec.retention_ms.is_none();
    let key = keys::topic(&spec.name);
    let Some(stored) = meta.get(&key)? else {
        let mut shape = spec.partitions.to_be_bytes().to_vec();
        shape.push(u8::from(compacted));
        meta.insert(key, shape)?;
        return Ok(());
    };
    let topic = || spec.name.to_string();
    let [a, b, c, d, was_compacted] = *stored else { return Err(OpenError::Corrupt("a topic's shape")) };
    let stored = u32::from_be_bytes([a, b, c, d]);
    if stored != spec.partitions {
        return Err(OpenError::PartitionsChanged { topic: topic(), stored, asked: spec.partitions });
    }
    if (was_compacted != 0) != compacted {
        return Err(OpenError::CompactionChanged { topic: topic(), was_compacted: was_compacted != 0 });
    }
    Ok(())
}

/// Finds the bounds of a partition: from its last record, and from what was noted when records were removed, so that an
/// emptied partition does not begin again at 0.
fn recover(records: &Keyspace, meta: &Keyspace, topic: &str, partition: u32) -> Result<Partition, OpenError> {
    let (start, floor) = match meta.get(keys::bounds(topic, partition))? {
        None => (0, 0),
        Some(bytes) => decode_bounds(&bytes).ok_or(OpenError::Corrupt("a partition's bounds"))?,
    };
    let last = records.range(keys::record(partition, 0)..=keys::record(partition, u64::MAX)).next_back();
    let after_last = match last {
        None => 0,
        Some(guard) => keys::offset_of(&guard.key()?).ok_or(OpenError::Corrupt("a record's key"))? + 1,
    };
    let end = after_last.max(floor).max(start);
    Ok(Partition { start: AtomicU64::new(start), end: AtomicU64::new(end) })
}

pub(super) fn encode_bounds(start: u64, floor: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&start.to_be_bytes());
    out[8..].copy_from_slice(&floor.to_be_bytes());
    out
}

fn decode_bounds(bytes: &[u8]) -> Option<(u64, u64)> {
    let start = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let floor = u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?);
    Some((start, floor))
}
