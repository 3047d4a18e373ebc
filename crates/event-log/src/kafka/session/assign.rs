//! Changes of assignment: answered by the session, inside its polls.
//!
//! A partition that was given to us is begun as soon as somebody tells where: until then it waits, and the others work.

use super::{
    super::said,
    KafkaSession,
    buffers::Buffer,
    context::Change,
    has, list, lock, place,
    starts::{Start, Waiting},
};
use crate::{NextOffset, Polled, SessionError, gather::Cursor, session::Assigned};
use rdkafka::{Offset, consumer::Consumer, error::KafkaError};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// After so long is asked again where waiting partitions begin.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// While others are at work they have so many times as long as the question took, up to a limit.
const ASK_REST: u32 = 4;
const ASK_REST_MAX: Duration = Duration::from_secs(3);

impl KafkaSession {
    /// Answers all changes, and begins what can begin.
    pub(super) fn answer_changes(&mut self) -> Result<(), SessionError> {
        loop {
            let Some(change) = lock(&self.told.changes).front().cloned() else { break };
            match &change {
                Change::Revoke(partitions) => self.revoke(partitions)?,
                Change::Assign(partitions) => self.assign(partitions)?,
            }
            self.generation += 1;
            self.metadata = None;
            lock(&self.told.changes).pop_front();
        }
        let is_time = self.ask_starts_at.is_none_or(|at| Instant::now() >= at);
        // Taking a partition would tell librdkafka that nothing is lost.
        if self.unbegun.is_empty() || !is_time || self.consumer.assignment_lost() {
            return Ok(());
        }
        if self.begin(false)? {
            self.generation += 1;
            self.metadata = None;
        }
        Ok(())
    }

    /// Whatever librdkafka is waiting for, and no more: the session ends.
    pub(super) fn acknowledge(&self, change: &Change) {
        let (Change::Assign(partitions) | Change::Revoke(partitions)) = change;
        let answered = self.listed(partitions).and_then(|list| match change {
            Change::Assign(_) => self.consumer.incremental_assign(&list),
            Change::Revoke(_) => self.consumer.incremental_unassign(&list),
        });
        if let Err(error) = answered {
            tracing::debug!(error = said(&error), "a change of assignment while leaving");
        }
    }

    fn listed(&self, partitions: &[u32]) -> Result<rdkafka::TopicPartitionList, KafkaError> {
        list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)))
    }

    fn revoke(&mut self, partitions: &[u32]) -> Result<(), SessionError> {
        for partition in partitions {
            self.buffers.remove(*partition);
            self.unbegun.remove(partition);
            lock(&self.told.seen).remove(partition);
        }
        let ours: Vec<u32> = partitions.iter().copied().filter(|partition| has(&self.cursors, *partition)).collect();
        self.cursors.retain(|cursor| !partitions.contains(&cursor.partition));
        // librdkafka takes back only what it was given, and waits for the call even where that is nothing.
        if let Err(error) = self.listed(&ours).and_then(|list| self.consumer.incremental_unassign(&list)) {
            return Err(self.end(format!("partitions cannot be given back: {}", said(&error))));
        }
        if !ours.is_empty() {
            self.untold.push_back(Polled::Revoked(ours));
        }
        Ok(())
    }

    fn assign(&mut self, partitions: &[u32]) -> Result<(), SessionError> {
        for partition in partitions.iter().filter(|partition| !has(&self.cursors, **partition)) {
            self.unbegun.entry(*partition).or_default();
        }
        // librdkafka waits for the answer, be it that none can begin yet.
        self.begin(true).map(drop)
    }

    /// Finds out where the waiting partitions begin, and begins those of which that is told. Whether there were any.
    fn begin(&mut self, is_answer: bool) -> Result<bool, SessionError> {
        let began = Instant::now();
        let (starts, waiting) = self.find_starts()?;
        let rest = if self.cursors.is_empty() { Duration::ZERO } else { began.elapsed() * ASK_REST };
        self.ask_starts_at = Some(Instant::now() + rest.clamp(ASK_AGAIN, ASK_REST_MAX));
        self.tell_of(&waiting);
        if starts.is_empty() && !is_answer {
            return Ok(false);
        }
        let begin = list(&self.topic, starts.iter().map(|start| (start.partition, place(start.offset()))));
        if let Err(error) = begin.and_then(|begin| self.consumer.incremental_assign(&begin)) {
            return Err(self.end(format!("partitions cannot be taken: {}", said(&error))));
        }
        let assigned: Vec<Assigned> = starts.iter().map(|start| self.take_over(start)).collect();
        if assigned.is_empty() {
            return Ok(false);
        }
        // Partitions that come while paused come unpaused.
        if std::mem::take(&mut self.is_paused) {
            self.set_paused(true)?;
        }
        self.untold.push_back(Polled::Assigned(assigned));
        Ok(true)
    }

    fn take_over(&mut self, start: &Start) -> Assigned {
        let (partition, offset) = (start.partition, start.offset());
        self.unbegun.remove(&partition);
        let buffer = Buffer::new(offset, start.committed, start.end, self.pace.first());
        self.buffers.insert(partition, buffer);
        self.cursors.push(Cursor { partition, next: offset });
        let committed = start.committed.map(|_| NextOffset::from_stored(offset));
        let (topic, epoch) = (Arc::clone(&self.topic), self.log.epoch());
        Assigned { topic, partition, committed, epoch, oldest: start.oldest }
    }

    fn tell_of(&mut self, waiting: &Waiting) {
        let (group, topic, now) = (&self.group, &*self.topic, Instant::now());
        if waiting.is_empty() {
            if let Some(waited) = self.waits_for_starts.ends(now) {
                tracing::info!(group, topic, ?waited, "every partition of ours could begin");
            }
            return;
        }
        tracing::debug!(group, topic, ?waiting, "partitions cannot begin yet");
        if let Some(waited) = self.waits_for_starts.lasts(now) {
            tracing::warn!(group, topic, ?waiting, ?waited, "partitions of ours cannot begin, and are tried again");
        }
    }
}
