//! Taking away what is too old, at a cost of what is taken away, not of what is there.

use super::{
    EmbeddedLog, Shared, keys, lock,
    queue::{Removal, Request},
    topic::Topic,
};
use crate::AppendError;

/// So many are taken away in one write, so that appends do not wait behind a long one.
const CHUNK: usize = 1_000;
/// A segment file holds at most this part of what a topic keeps.
const SEGMENTS_OF_RETENTION: u64 = 8;

/// How much longer than its topic keeps it a record may lie in a segment file, in milliseconds: until the youngest of its file is
/// too old as well.
pub const fn segment_span_ms(retention_ms: u64) -> u64 {
    retention_ms / SEGMENTS_OF_RETENTION
}

impl EmbeddedLog {
    /// Takes away records older than their topic keeps, and tombstones of compacted topics older than
    /// [`super::Limits::tombstone_keep_ms`], at most [`super::Limits::retention_records_max`] in all; returns how many.
    /// Call it now and again, more often while it returns the most it may. Blocks for some milliseconds a thousand.
    ///
    /// Only time decides, as in any log: records that a group has not read yet go too, so alarm on lag well before the
    /// retention. Records go from the oldest offset on, and a younger record stops it: what was appended after a record
    /// with a time in the future stays until that one's time has come.
    pub fn enforce_retention(&self, now_ms: i64) -> Result<u64, AppendError> {
        let shared = self.shared();
        let _one_at_a_time = lock(&shared.retention);
        let mut room = shared.limits.retention_records_max;
        let mut n_removed = 0u64;
        for (index, topic) in shared.topics.iter().enumerate() {
            close_old_segment(shared, topic, index, now_ms)?;
            while room > 0 {
                let removals = match topic.spec.retention_ms {
                    Some(keep_ms) => expired(topic, index, before(now_ms, keep_ms), room)?,
                    None => old_tombstones(topic, index, before(now_ms, shared.limits.tombstone_keep_ms), room)?,
                };
                if removals.is_empty() {
                    break;
                }
                for (removal, n_records) in removals {
                    shared.ask(|answer| Request::Remove { removal, answer })?;
                    room = room.saturating_sub(n_records.max(1));
                    n_removed += n_records as u64;
                }
            }
        }
        Ok(n_removed)
    }
}

/// A file is deleted once all in it is too old. Of a topic with little traffic it is closed in time, so that no record
/// stays on disk much longer than it is kept.
fn close_old_segment(shared: &Shared, topic: &Topic, index: usize, now_ms: i64) -> Result<(), AppendError> {
    let (Some(segments), Some(keep_ms)) = (&topic.segments, topic.spec.retention_ms) else { return Ok(()) };
    if segments.is_older_than(before(now_ms, segment_span_ms(keep_ms))) {
        let removal = Removal::Close { topic: index };
        shared.ask(|answer| Request::Remove { removal, answer })?;
    }
    Ok(())
}

fn before(now_ms: i64, keep_ms: u64) -> i64 {
    now_ms.saturating_sub(i64::try_from(keep_ms).unwrap_or(i64::MAX))
}

fn unreadable(error: impl std::fmt::Display) -> AppendError {
    AppendError::Unavailable(error.to_string())
}

/// The next chunk of each partition's expired records.
fn expired(topic: &Topic, index: usize, limit_ms: i64, mut room: usize) -> Result<Vec<(Removal, usize)>, AppendError> {
    let mut removals = Vec::new();
    for partition in 0..topic.spec.partitions {
        let start = topic.bounds(partition).map_or(0, |bounds| bounds.start);
        let expired = topic.expired(partition, limit_ms, room.min(CHUNK)).map_err(unreadable)?;
        let Some((offsets, to)) = expired else { continue };
        // Those in segments have no gaps.
        let n_in_segments = to.saturating_sub(offsets.last().map_or(start, |last| last + 1));
        let n_records = offsets.len() + usize::try_from(n_in_segments).unwrap_or(usize::MAX);
        room = room.saturating_sub(n_records);
        removals.push((Removal::Expired { topic: index, partition, offsets, to }, n_records));
    }
    Ok(removals)
}

/// The next chunk of tombstones that were kept long enough.
fn old_tombstones(
    topic: &Topic,
    index: usize,
    limit_ms: i64,
    room: usize,
) -> Result<Vec<(Removal, usize)>, AppendError> {
    let Some(compacted) = &topic.compacted else { return Ok(Vec::new()) };
    let mut tombstones = Vec::new();
    for guard in compacted.tombstones.range(..keys::tombstone(limit_ms, 0, 0)).take(room.min(CHUNK)) {
        let (key, of) = guard.into_inner().map_err(unreadable)?;
        let (timestamp, partition, offset) =
            keys::tombstone_parts(&key).ok_or_else(|| unreadable("a tombstone's key is damaged"))?;
        tombstones.push((timestamp, partition, offset, of.to_vec()));
    }
    let n_records = tombstones.len();
    let removal = Removal::Tombstones { topic: index, tombstones };
    Ok(if n_records == 0 { Vec::new() } else { vec![(removal, n_records)] })
}
