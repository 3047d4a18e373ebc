//! A topic as it is open: where its records lie, how far readers may see, whom to wake.

use super::{
    OpenError, codec, keys,
    segments::{Damage, Reader, SegmentError, SegmentOptions, Segments},
    signal::Signal,
};
use crate::{Consumed, Position, TopicSpec, gather::Room, partition::partition_of};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::FilterPolicy};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// Of all the partitions of a topic together, while each gets at least a useful share.
const MEMTABLES_BYTES_MAX: u64 = 32 * 1024 * 1024;
const MEMTABLE_BYTES_MIN: u64 = 2 * 1024 * 1024;
/// Keyspace names are at most 255 bytes; ours add a prefix.
const TOPIC_NAME_BYTES_MAX: usize = 200;
/// In a topic's shape.
const IN_SEGMENTS: u8 = 1;

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
    /// Where records lie from some offset of each partition on. Those before it came before there were segments.
    pub(super) segments: Option<Segments>,
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
    pub(super) fn open(
        db: &Database,
        meta: &Keyspace,
        spec: &TopicSpec,
        segments: Option<&SegmentOptions>,
    ) -> Result<Self, OpenError> {
        check_name(&spec.name)?;
        if spec.partitions == 0 {
            return Err(OpenError::NoPartitions(spec.name.to_string()));
        }
        let was_in_segments = check_shape(meta, spec)?;
        let options = segments.filter(|options| options.topics.iter().any(|name| **name == *spec.name));
        if was_in_segments && options.is_none() {
            return Err(OpenError::InSegments(spec.name.to_string()));
        }
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
        let segments = match options {
            None => None,
            Some(_) if compacted.is_some() => return Err(OpenError::CompactedInSegments(spec.name.to_string())),
            Some(options) => Some(open_segments(options, meta, spec, was_in_segments, &partitions)?),
        };
        let topic = Self {
            spec: spec.clone(),
            records,
            segments,
            compacted,
            appended: Signal::default(),
            partitions,
            turn: AtomicU32::new(0),
        };
        topic.delete_old_segments();
        Ok(topic)
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

    /// Deletes segments of which nothing is left.
    pub(super) fn delete_old_segments(&self) {
        let start = |partition| self.bounds(partition).map_or(0, |bounds| bounds.start);
        self.segments.iter().for_each(|segments| segments.delete_below(start));
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
        let mut taken = Taken { room, records: Vec::new(), bytes: 0 };
        // What came before there were segments lies in the database.
        let first = self.segments.as_ref().map_or(u64::MAX, |segments| segments.first(partition));
        let in_database = (start < first).then(|| keys::records(partition, start..end.min(first)));
        for guard in in_database.into_iter().flat_map(|range| self.records(partition).range(range)) {
            let (key, value) = guard.into_inner()?;
            let corrupt = |why| ReadError::Corrupt { partition, key: key.to_vec(), why };
            let offset = keys::offset_of(&key).ok_or_else(|| corrupt(codec::DecodeError::Short))?;
            let consumed = self.consumed(partition, offset, Bytes::copy_from_slice(&value)).map_err(corrupt)?;
            if let Err(next) = taken.take(consumed) {
                return Ok((taken.records, next));
            }
        }
        let Some(segments) = self.segments.as_ref().filter(|_| end > first) else { return Ok((taken.records, end)) };
        let mut reader = Reader::new(segments, partition, start.max(first), end);
        while let Some((offset, encoded)) = reader.read()? {
            let corrupt = |why| ReadError::Corrupt { partition, key: offset.to_be_bytes().to_vec(), why };
            let consumed = self.consumed(partition, offset, encoded).map_err(corrupt)?;
            if let Err(next) = taken.take(consumed) {
                return Ok((taken.records, next));
            }
        }
        Ok((taken.records, reader.next()))
    }

    fn consumed(&self, partition: u32, offset: u64, encoded: Bytes) -> Result<Consumed, codec::DecodeError> {
        let (epoch, record) = codec::decode(encoded)?;
        let position = Position { epoch, partition, offset };
        Ok(Consumed { topic: Arc::clone(&self.spec.name), position, record })
    }

    /// The oldest records of a partition that are older than `limit_ms`, up to `n_max`, up to the first that is not: those
    /// that lie in the database, and the offset after the last; `None` where the oldest is young enough.
    pub(super) fn expired(
        &self,
        partition: u32,
        limit_ms: i64,
        n_max: usize,
    ) -> Result<Option<(Vec<u64>, u64)>, ReadError> {
        let Some(bounds) = self.bounds(partition) else { return Ok(None) };
        let (mut in_database, mut to) = (Vec::new(), None);
        let corrupt = |key: &[u8], why| ReadError::Corrupt { partition, key: key.to_vec(), why };
        for guard in self.records(partition).range(keys::records(partition, bounds.clone())).take(n_max) {
            let (key, value) = guard.into_inner()?;
            if codec::timestamp_ms(&value).map_err(|why| corrupt(&key, why))? >= limit_ms {
                return Ok(to.map(|to| (in_database, to)));
            }
            let offset = keys::offset_of(&key).ok_or_else(|| corrupt(&key, codec::DecodeError::Short))?;
            in_database.push(offset);
            to = Some(offset + 1);
        }
        let Some(segments) = &self.segments else { return Ok(to.map(|to| (in_database, to))) };
        let from = to.unwrap_or(bounds.start).max(segments.first(partition));
        let n_left = n_max.saturating_sub(in_database.len()) as u64;
        let mut reader = Reader::new(segments, partition, from, bounds.end.min(from.saturating_add(n_left)));
        while let Some((offset, encoded)) = reader.read()? {
            let timestamp_ms = codec::timestamp_ms(&encoded).map_err(|why| corrupt(&offset.to_be_bytes(), why))?;
            if timestamp_ms >= limit_ms {
                break;
            }
            to = Some(offset + 1);
        }
        Ok(to.map(|to| (in_database, to)))
    }
}

/// What a read has gathered.
struct Taken {
    room: Room,
    records: Vec<Consumed>,
    bytes: usize,
}

impl Taken {
    /// Takes a record; once there is no more room, the offset to read next is the error.
    fn take(&mut self, consumed: Consumed) -> Result<(), u64> {
        let offset = consumed.position.offset;
        self.bytes += crate::gather::size_of_record(&consumed);
        let is_first = self.room.first && self.records.is_empty();
        if self.bytes > self.room.bytes && !is_first {
            return Err(offset);
        }
        self.records.push(consumed);
        if self.records.len() >= self.room.records { Err(offset + 1) } else { Ok(()) }
    }
}

/// Opens the segments of a topic and sets the ends of its partitions. Of a topic that lay in the database until now, each
/// partition goes on in the segments where it ends there.
fn open_segments(
    options: &SegmentOptions,
    meta: &Keyspace,
    spec: &TopicSpec,
    was_in_segments: bool,
    partitions: &[Partition],
) -> Result<Segments, OpenError> {
    let directory = options.directory.join(&*spec.name);
    let begin: Vec<u64> = partitions.iter().map(|partition| partition.end.load(Ordering::Acquire)).collect();
    let segments = Segments::open(&directory, options.segment_bytes, &begin, was_in_segments)?;
    for (partition, bounds) in (0..).zip(partitions.iter()) {
        let (first, end) = (segments.first(partition), segments.end(partition));
        let start = bounds.start.load(Ordering::Acquire);
        let in_database = bounds.end.load(Ordering::Acquire).max(start);
        // Each record lies in the database or in a segment, and was taken from there only below the start.
        if start > end || (in_database < first && start < first) {
            return Err(SegmentError::Damaged(directory, Damage::Missing).into());
        }
        bounds.end.store(end, Ordering::Release);
    }
    if !was_in_segments {
        meta.insert(keys::topic(&spec.name), shape(spec, true))?;
    }
    Ok(segments)
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no partition {0}")]
    Partition(u32),
    #[error("the database cannot be read: {0}")]
    Database(#[from] fjall::Error),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error("record {key:02x?} of partition {partition} cannot be read: {why}")]
    Corrupt { partition: u32, key: Vec<u8>, why: codec::DecodeError },
}

fn check_name(name: &str) -> Result<(), OpenError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err(OpenError::TopicName(name.to_owned()));
    }
    Ok(())
}

/// The shape of a topic is kept beside it: another number of partitions would send keys elsewhere, and positions
/// compare only within a partition. Whether it lies in segments.
fn check_shape(meta: &Keyspace, spec: &TopicSpec) -> Result<bool, OpenError> {
    let compacted = spec.retention_ms.is_none();
    let key = keys::topic(&spec.name);
    let Some(stored) = meta.get(&key)? else {
        meta.insert(key, shape(spec, false))?;
        return Ok(false);
    };
    let topic = || spec.name.to_string();
    let (&[a, b, c, d, was_compacted], in_segments) = match stored.split_first_chunk::<5>() {
        Some((shape, [])) => (shape, false),
        Some((shape, [IN_SEGMENTS])) => (shape, true),
        _ => return Err(OpenError::Corrupt("a topic's shape")),
    };
    let stored = u32::from_be_bytes([a, b, c, d]);
    if stored != spec.partitions {
        return Err(OpenError::PartitionsChanged { topic: topic(), stored, asked: spec.partitions });
    }
    if (was_compacted != 0) != compacted {
        return Err(OpenError::CompactionChanged { topic: topic(), was_compacted: was_compacted != 0 });
    }
    Ok(in_segments)
}

/// With a byte more where the topic lies in segments: a release that knows none does not open it, instead of giving
/// offsets a second time.
fn shape(spec: &TopicSpec, in_segments: bool) -> Vec<u8> {
    let mut shape = spec.partitions.to_be_bytes().to_vec();
    shape.push(u8::from(spec.retention_ms.is_none()));
    shape.extend(in_segments.then_some(IN_SEGMENTS));
    shape
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
