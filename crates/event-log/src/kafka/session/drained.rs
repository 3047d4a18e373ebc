//! Partitions in which nothing is left to read: the group is moved on to their end.
//!
//! The end of a transaction is a marker in the log, which takes an offset and is no record. So the position after the last
//! record lies below the end, and once retention has taken away what is before the end, below all that is kept: a position
//! that can only be refused, though nothing is missing. Therefore a position that stood still for a while is moved to the
//! end, if nothing but markers lies between.
//!
//! The end is fixed first (the last stable offset: everything before it is decided), then the piece before it is read, then
//! the end is committed, as offsets alone, under the rules of any batch. What is appended meanwhile comes at or after that
//! end, and is read after it. While a stage goes back again and again nothing is moved: it may be about to find out that
//! the group's positions are wrong.

use super::{super::reader::Ended, KafkaSession, SLICE, lock};
use crate::{CommitError, Outputs, SessionError, kafka::said};
use rdkafka::{Offset, consumer::Consumer};
use std::time::{Duration, Instant};

/// The first look comes so long after a partition was taken or something went wrong.
const FIRST: Duration = Duration::from_secs(60);
/// The next so long after the position last moved, or was found to be where it should be.
const AGAIN: Duration = Duration::from_secs(3_600);
/// A look at what lies before the end takes at most so long.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// When partitions are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    first: Duration,
    again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { first: FIRST, again: AGAIN }
    }
}

impl Pace {
    pub(super) fn first(self) -> Instant {
        Instant::now() + self.first
    }

    pub(super) fn again(self) -> Instant {
        Instant::now() + self.again
    }
}

impl KafkaSession {
    /// Looks at partitions in which nothing is left to read as soon and as often as said, rather than a minute after they
    /// were taken and an hour after their positions last moved. For tests.
    #[must_use]
    pub fn looking_at_drained(mut self, first: Duration, again: Duration) -> Self {
        self.pace = Pace { first, again };
        self
    }

    /// One partition at a time, so that a poll takes little longer for it. That it cannot be done now is no harm.
    pub(super) fn commit_drained(&mut self) -> Result<(), SessionError> {
        let Some(partition) = self.to_look_at() else { return Ok(()) };
        let done = match self.drained_until(partition) {
            Ok(Some(end)) => self.commit_end(partition, end),
            Ok(None) => Ok(()),
            Err(why) => Err(CommitError::Aborted(why)),
        };
        match done {
            Ok(()) => {
                let again = self.pace.again();
                self.buffers.get_mut(partition).into_iter().for_each(|buffer| buffer.look_at = again);
                Ok(())
            }
            Err(CommitError::Aborted(why)) => {
                tracing::debug!(
                    group = self.group,
                    topic = &*self.topic,
                    partition,
                    why,
                    "the end is not committed yet"
                );
                self.look_later();
                Ok(())
            }
            Err(CommitError::Fatal(why)) => Err(SessionError(why)),
        }
    }

    /// No look at any partition for a while.
    pub(super) fn look_later(&mut self) {
        let first = self.pace.first();
        self.buffers.all_mut().for_each(|buffer| buffer.look_at = buffer.look_at.max(first));
    }

    /// The partition whose turn it is, if nothing of it is buffered or out in a batch.
    fn to_look_at(&self) -> Option<u32> {
        if !lock(&self.told.changes).is_empty() {
            return None;
        }
        let now = Instant::now();
        let due = self.cursors.iter().filter_map(|cursor| {
            let buffer = self.buffers.get(cursor.partition)?;
            let is_done = buffer.is_empty() && cursor.next == buffer.start;
            (is_done && buffer.look_at <= now).then_some((buffer.look_at, cursor.partition))
        });
        due.min().map(|(_, partition)| partition)
    }

    /// The end, if the group does not stand there and nothing but markers lies before it.
    fn drained_until(&self, partition: u32) -> Result<Option<u64>, String> {
        let Some(buffer) = self.buffers.get(partition) else { return Ok(None) };
        let (start, committed) = (buffer.start, buffer.committed);
        let told = self.log.shared.offsets_each(&self.topic, &[partition], Offset::End, SLICE);
        let end = told.and_then(|mut told| told.pop().unwrap_or(Ok(0))).map_err(|error| said(&error))?;
        if end == 0 || end < start || committed == Some(end) {
            return Ok(None);
        }
        if start == end {
            return Ok(Some(end));
        }
        match self.read_piece(partition, (start, end), 1, LOOK_MAX)? {
            (records, Ended::AtEnd) if records.is_empty() => Ok(Some(end)),
            (_, Ended::AtEnd | Ended::Full) => Ok(None),
            (_, Ended::Late) => Err("no broker told in time what lies before the end".to_owned()),
        }
    }

    fn commit_end(&mut self, partition: u32, end: u64) -> Result<(), CommitError> {
        let Some(metadata) = self.consumer.group_metadata() else {
            return Err(CommitError::Aborted("not in the group at the moment".to_owned()));
        };
        // In this order: where the metadata was already emptied, the loss is already told.
        if self.consumer.assignment_lost() || !lock(&self.told.changes).is_empty() {
            return Err(CommitError::Aborted("the assignment is changing".to_owned()));
        }
        self.in_transaction(&[(partition, end)], &Outputs::default(), &[], metadata)?;
        tracing::debug!(group = self.group, topic = &*self.topic, partition, end, "nothing is left: moved to the end");
        let again = self.pace.again();
        self.buffers.get_mut(partition).into_iter().for_each(|buffer| buffer.commit_drained(end, again));
        let cursors = self.cursors.iter_mut().filter(|cursor| cursor.partition == partition);
        cursors.for_each(|cursor| cursor.next = end);
        Ok(())
    }
}
