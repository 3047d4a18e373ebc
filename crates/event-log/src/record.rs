//! Records, as they lie in the log.

use crate::Position;
use bytes::Bytes;
use std::{borrow::Cow, sync::Arc};

/// A header: a name and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, e.g. `receipt-id`.
    pub name: Cow<'static, str>,
    /// Value.
    pub value: Bytes,
}

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition (murmur2, as Java's clients do); none spreads over all.
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Carried from end to end.
    pub headers: Vec<Header>,
    /// Milliseconds since the epoch, told by whoever appends.
    pub timestamp_ms: i64,
}

impl Record {
    /// The value of its first header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name == name).map(|header| &header.value[..])
    }
}

/// A record read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its place.
    pub position: Position,
    /// What was appended.
    pub record: Record,
}

/// A topic's settings, declared once by `schemas` and handed to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name, e.g. `quell.events.v1`.
    pub name: Arc<str>,
    /// How many partitions. Never changed on a keyed topic.
    pub partitions: u32,
    /// How long records are kept; `None` where the topic is compacted instead: the newest record a key.
    pub retention_ms: Option<u64>,
}
