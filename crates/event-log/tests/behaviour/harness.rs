//! What the cases need of a log, and small builders.

use bytes::Bytes;
use event_log::{
    Append, AppendError, Batch, Browse, Consumed, Fate, Header, Limits, Output, Outputs, Polled, Position, Record,
    Session, TopicSpec, Verdict,
    embedded::{self, EmbeddedLog, EmbeddedSession, OpenError, SegmentOptions, open_database},
    memory::{MemoryLog, MemorySession},
};
use std::{path::Path, time::Duration};

pub(crate) const GROUP: &str = "group";
pub(crate) const RETENTION_MS: u64 = 1_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// `events` is kept by time, over 4 partitions; `single` too, in 1; `state` is compacted, over 4; `tiny` compacted, in 1.
pub(crate) fn topics() -> Vec<TopicSpec> {
    let spec = |name: &str, partitions, retention_ms| TopicSpec { name: name.into(), partitions, retention_ms };
    vec![
        spec("events", 4, Some(RETENTION_MS)),
        spec("single", 1, Some(RETENTION_MS)),
        spec("state", 4, None),
        spec("tiny", 1, None),
    ]
}

/// A log under test.
pub(crate) trait Log: Append + Browse + Clone + 'static {
    type Session: Session + 'static;
    /// The only member of [`GROUP`] in a topic: it has all partitions.
    fn session(&self, topic: &str) -> Self::Session;
    fn enforce_retention(&self, now_ms: i64) -> Result<u64, AppendError>;
    fn raise_epoch(&self) -> Result<u16, AppendError>;
    /// Timestamps at the edge of what the log takes.
    fn odd_timestamps(&self) -> [i64; 2] {
        [-7, i64::MAX]
    }
}

impl Log for MemoryLog {
    type Session = MemorySession;

    fn session(&self, topic: &str) -> MemorySession {
        self.join(GROUP, topic).unwrap()
    }

    fn enforce_retention(&self, now_ms: i64) -> Result<u64, AppendError> {
        self.enforce_retention(now_ms)
    }

    fn raise_epoch(&self) -> Result<u16, AppendError> {
        self.raise_epoch()
    }
}

impl Log for EmbeddedLog {
    type Session = EmbeddedSession;

    fn session(&self, topic: &str) -> EmbeddedSession {
        let partitions: Vec<u32> = (0..Append::partitions(self, topic).unwrap()).collect();
        self.session(GROUP, topic, &partitions).unwrap()
    }

    fn enforce_retention(&self, now_ms: i64) -> Result<u64, AppendError> {
        self.enforce_retention(now_ms)
    }

    fn raise_epoch(&self) -> Result<u16, AppendError> {
        self.raise_epoch()
    }
}

pub(crate) fn open_embedded(directory: &Path) -> EmbeddedLog {
    open_embedded_with(directory, embedded::Limits::default())
}

pub(crate) fn open_embedded_with(directory: &Path, limits: embedded::Limits) -> EmbeddedLog {
    EmbeddedLog::open(open_database(directory, 1 << 20).unwrap(), &topics(), limits).unwrap()
}

/// Small files, so that whatever is done crosses borders between them.
pub(crate) const SEGMENT_BYTES: u64 = 300;

pub(crate) fn segment_options(directory: &Path, topics: &[&str]) -> SegmentOptions {
    SegmentOptions { segment_bytes: SEGMENT_BYTES, ..SegmentOptions::new(directory.join("segments"), topics) }
}

/// A log with some topics in segments.
pub(crate) fn open_segmented(directory: &Path, in_segments: &[&str]) -> EmbeddedLog {
    try_segmented(directory, &segment_options(directory, in_segments)).unwrap()
}

pub(crate) fn try_segmented(directory: &Path, options: &SegmentOptions) -> Result<EmbeddedLog, OpenError> {
    let db = open_database(directory, 1 << 20).unwrap();
    EmbeddedLog::open_with_segments(db, &topics(), embedded::Limits::default(), options)
}

pub(crate) const LIMITS: Limits = Limits { records_max: 100, bytes_max: 1 << 20, wait: Duration::ZERO };

pub(crate) fn limits(records_max: usize, bytes_max: usize) -> Limits {
    Limits { records_max, bytes_max, wait: Duration::ZERO }
}

pub(crate) fn record(key: &str, value: &str) -> Record {
    at(0, key, value)
}

/// A record with a timestamp; an empty key is none.
pub(crate) fn at(timestamp_ms: i64, key: &str, value: &str) -> Record {
    let text = |text: &str| Bytes::from(text.to_owned());
    let key = Some(text(key)).filter(|key| !key.is_empty());
    Record { key, value: Some(text(value)), headers: vec![], timestamp_ms }
}

pub(crate) fn tombstone(timestamp_ms: i64, key: &str) -> Record {
    Record { value: None, ..at(timestamp_ms, key, "") }
}

pub(crate) fn header(name: &'static str, value: &'static str) -> Header {
    Header { name: name.into(), value: Bytes::from_static(value.as_bytes()) }
}

pub(crate) async fn append(log: &impl Append, topic: &str, record: Record) -> Position {
    log.append(topic, None, record).await.unwrap()
}

/// Every kept record of a partition as offset and value; `-` for a tombstone.
pub(crate) async fn kept(log: &impl Browse, topic: &str, partition: u32) -> Vec<(u64, String)> {
    let (mut out, mut offset) = (Vec::new(), 0);
    loop {
        let read = log.read(topic, partition, offset, 3).await.unwrap();
        let Some(last) = read.last() else { return out };
        offset = last.position.offset + 1;
        out.extend(read.iter().map(|consumed| (consumed.position.offset, value(consumed))));
    }
}

pub(crate) fn value(consumed: &Consumed) -> String {
    let bytes = consumed.record.value.as_ref().map_or(&b"-"[..], |value| value);
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn values(batch: &Batch) -> Vec<String> {
    batch.records.iter().map(value).collect()
}

/// Polls until there is a batch; `None` when there is nothing.
pub(crate) fn poll(session: &mut impl Session, limits: &Limits) -> Option<Batch> {
    loop {
        match session.poll(limits).unwrap() {
            Polled::Batch(batch) => return Some(batch),
            Polled::Nothing => return None,
            Polled::Assigned(_) | Polled::Revoked(_) => {}
        }
    }
}

/// One verdict a record, each with one output of the same record.
pub(crate) fn copy_to(topic: &str, batch: &Batch) -> Outputs {
    let verdict = |consumed: &Consumed| {
        let output = Output { topic: topic.into(), partition: None, record: consumed.record.clone() };
        Verdict { fate: Fate::Emitted, outputs: vec![output] }
    };
    Outputs { verdicts: batch.records.iter().map(verdict).collect() }
}

pub(crate) fn nothing_for(batch: &Batch) -> Outputs {
    let verdict = Verdict { fate: Fate::Ignored("test"), outputs: vec![] };
    Outputs { verdicts: vec![verdict; batch.records.len()] }
}
