//! Keys of the log's keyspaces. Numbers are big-endian, so that byte order is their order.

use std::ops::Range;

/// Group positions: group, topic, partition → next offset.
pub(super) const GROUPS: &str = "log.groups";
/// What the log knows about itself.
pub(super) const META: &str = "log.meta";
/// The epoch, in [`META`].
pub(super) const EPOCH: &[u8] = b"epoch";

/// The keyspace of a partition's records: partition, offset → record.
pub(super) fn records_keyspace(topic: &str, partition: u32) -> String {
    format!("log.records.{topic}.{partition}")
}

/// The keyspace of a compacted topic's newest records: partition, key → [`super::topic::Newest`].
pub(super) fn newest_keyspace(topic: &str) -> String {
    format!("log.newest.{topic}")
}

/// The keyspace of a compacted topic's tombstones by age: timestamp, partition, offset → key.
pub(super) fn tombstones_keyspace(topic: &str) -> String {
    format!("log.tombstones.{topic}")
}

pub(super) fn record(partition: u32, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The keys of a partition's records in a range of offsets.
pub(super) fn records(partition: u32, offsets: Range<u64>) -> Range<[u8; 12]> {
    record(partition, offsets.start)..record(partition, offsets.end)
}

pub(super) fn offset_of(record_key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(record_key.get(4..12)?.try_into().ok()?))
}

pub(super) fn newest(partition: u32, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + key.len());
    out.extend_from_slice(&partition.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// Flipping the sign bit puts negative timestamps before positive ones.
pub(super) fn tombstone(timestamp_ms: i64, partition: u32, offset: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..8].copy_from_slice(&((timestamp_ms as u64) ^ (1 << 63)).to_be_bytes());
    key[8..12].copy_from_slice(&partition.to_be_bytes());
    key[12..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The way back from [`tombstone`].
pub(super) fn tombstone_parts(key: &[u8]) -> Option<(i64, u32, u64)> {
    let timestamp = u64::from_be_bytes(key.get(..8)?.try_into().ok()?) ^ (1 << 63);
    let partition = u32::from_be_bytes(key.get(8..12)?.try_into().ok()?);
    let offset = u64::from_be_bytes(key.get(12..20)?.try_into().ok()?);
    Some((timestamp as i64, partition, offset))
}

/// Names are at most 255 bytes (see [`super::EmbeddedLog::open`]), so their lengths fit.
pub(super) fn group(group: &str, topic: &str, partition: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + topic.len() + 8);
    for name in [group, topic] {
        key.extend_from_slice(&(name.len() as u16).to_be_bytes());
        key.extend_from_slice(name.as_bytes());
    }
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// A topic's shape, in [`META`].
pub(super) fn topic(topic: &str) -> Vec<u8> {
    [b"topic/", topic.as_bytes()].concat()
}

/// A partition's bounds, in [`META`].
pub(super) fn bounds(topic: &str, partition: u32) -> Vec<u8> {
    [b"bounds/".as_slice(), topic.as_bytes(), b"/", &partition.to_be_bytes()].concat()
}
