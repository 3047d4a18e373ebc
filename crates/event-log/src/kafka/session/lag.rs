//! How far the session is behind.

use super::{KafkaSession, SLICE, lock};
use crate::{gather::Cursor, kafka::said};
use rdkafka::Offset;
use std::time::{Duration, Instant};

/// While nothing is fetched, nobody tells where the partitions end: they are asked about so often.
const ASK_EVERY: Duration = Duration::from_secs(5);

impl KafkaSession {
    /// Asks where the partitions end, from time to time.
    pub(super) fn ask_ends(&mut self) {
        if self.cursors.is_empty() || self.ends_asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        self.ends_asked = Some(Instant::now());
        let partitions = self.partitions();
        let told = match self.log.shared.offsets_each(&self.topic, &partitions, Offset::End, SLICE) {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(group = self.group, error = said(&error), "no broker tells where the partitions end");
                return;
            }
        };
        for (partition, end) in partitions.into_iter().zip(told) {
            if let (Some(buffer), Ok(end)) = (self.buffers.get_mut(partition), end) {
                buffer.end = buffer.end.max(end);
            }
        }
    }

    /// `None` while a partition that was given to us could not begin: nobody knows what lies in it.
    pub(super) fn records_behind(&self) -> Option<u64> {
        if !self.unbegun.is_empty() {
            return None;
        }
        let seen = lock(&self.told.seen);
        let behind = |cursor: &Cursor| {
            let buffer = self.buffers.get(cursor.partition)?;
            let seen = seen.get(&cursor.partition);
            // At the very end nothing but markers may be left, which are no records.
            let is_drained = seen.is_some_and(|seen| seen.is_drained && seen.end >= buffer.end);
            if is_drained && buffer.is_empty() && !buffer.is_behind {
                return Some(0);
            }
            Some(seen.map_or(buffer.end, |seen| seen.end.max(buffer.end)).saturating_sub(cursor.next))
        };
        self.cursors.iter().map(behind).sum()
    }
}
