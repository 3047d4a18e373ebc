//! A member of a group in memory.

use super::{
    CommitFault, MemoryLog,
    state::{Group, MemberId, State},
};
use crate::{
    Batch, CommitError, Consumed, Limits, NextOffset, Outputs, Polled, Session, SessionError,
    gather::{Cursor, Room, gather},
    session::Assigned,
};
use std::{sync::Arc, time::Duration};

/// One member. It learns of a change of assignment at its next poll; until then it is a zombie for what it lost, and
/// its commits are refused. Dropped, it leaves the group; [`Self::crash`] lets it die without a word.
#[derive(Debug)]
pub struct MemorySession {
    log: MemoryLog,
    id: MemberId,
    group: (String, usize),
    /// What it was told.
    cursors: Vec<Cursor>,
    /// Per cursor, the generation since which the partition is its own.
    since: Vec<u64>,
    generation: u64,
    turn: usize,
    /// A commit ended without an answer: nothing works any more.
    is_dead: bool,
    is_crashed: bool,
}

impl MemorySession {
    pub(super) fn new(log: MemoryLog, id: MemberId, group: (String, usize)) -> Self {
        let (cursors, since) = (Vec::new(), Vec::new());
        Self { log, id, group, cursors, since, generation: 0, turn: 0, is_dead: false, is_crashed: false }
    }

    /// Its id, to expel it by.
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// The partitions it believes to be its own.
    pub fn partitions(&self) -> Vec<u32> {
        self.cursors.iter().map(|cursor| cursor.partition).collect()
    }

    /// Dies without a word: its partitions stay with it until [`MemoryLog::expel`].
    pub fn crash(mut self) -> MemberId {
        self.is_crashed = true;
        self.id
    }

    fn alive(&self) -> Result<(), SessionError> {
        if self.is_dead { Err(SessionError("a commit ended without an answer".to_owned())) } else { Ok(()) }
    }

    /// The change of assignment it has not heard of, if any.
    fn change(&mut self, state: &mut State) -> Option<Polled> {
        let topic = self.group.1;
        let (name, n_partitions) = (Arc::clone(&state.topics[topic].spec.name), state.topics[topic].spec.partitions);
        let epoch = state.epoch;
        let group = state.groups.entry(self.group.clone()).or_default();
        if !group.members.contains(&self.id) {
            if !self.cursors.is_empty() {
                return Some(self.forget(|_, _| true));
            }
            group.join(self.id, n_partitions);
        }
        if self.generation == group.generation {
            return None;
        }
        let owned = group.owned(self.id);
        let is_lost = |partition, since| !owned.contains(&(partition, since));
        if self.cursors.iter().zip(&self.since).any(|(cursor, since)| is_lost(cursor.partition, *since)) {
            return Some(self.forget(is_lost));
        }
        self.generation = group.generation;
        let is_new = |partition: u32| !self.cursors.iter().any(|cursor| cursor.partition == partition);
        let new: Vec<(u32, u64)> = owned.into_iter().filter(|(partition, _)| is_new(*partition)).collect();
        let mut assigned = Vec::with_capacity(new.len());
        for (partition, since) in new {
            let committed = group.committed.get(&partition).copied().map(NextOffset::from_stored);
            self.cursors.push(Cursor { partition, next: committed.unwrap_or_default().offset() });
            self.since.push(since);
            let oldest = state.topics[topic].partitions[partition as usize].start;
            assigned.push(Assigned { topic: Arc::clone(&name), partition, committed, epoch, oldest });
        }
        (!assigned.is_empty()).then_some(Polled::Assigned(assigned))
    }

    fn forget(&mut self, is_lost: impl Fn(u32, u64) -> bool) -> Polled {
        let (cursors, since) = (std::mem::take(&mut self.cursors), std::mem::take(&mut self.since));
        let mut revoked = Vec::new();
        for (cursor, since) in cursors.into_iter().zip(since) {
            if is_lost(cursor.partition, since) {
                revoked.push(cursor.partition);
            } else {
                self.cursors.push(cursor);
                self.since.push(since);
            }
        }
        Polled::Revoked(revoked)
    }

    /// Why a commit of this batch is refused, if it is.
    fn refusal(&self, group: &Group, batch: &Batch) -> Option<CommitError> {
        if !group.members.contains(&self.id) {
            return Some(CommitError::Aborted("no longer a member of the group".to_owned()));
        }
        if batch.generation != group.generation {
            let (ours, now) = (batch.generation, group.generation);
            return Some(CommitError::Aborted(format!("batch of generation {ours}, the group is at {now}")));
        }
        let owned = group.owned(self.id);
        let foreign = batch.next_offsets().into_iter().find(|(_, p, _)| !owned.iter().any(|(own, _)| own == p));
        foreign.map(|(topic, p, _)| {
            CommitError::Fatal(format!("partition {p} of {topic} does not belong to this session"))
        })
    }
}

impl Session for MemorySession {
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError> {
        self.alive()?;
        let log = self.log.clone();
        let mut state = log.lock();
        if let Some(change) = self.change(&mut state) {
            return Ok(change);
        }
        if state.faults.poll_finds_nothing() {
            return Ok(Polled::Nothing);
        }
        let records_max = state.faults.cut(limits.records_max.max(1)).clamp(1, limits.records_max.max(1));
        let topic = &state.topics[self.group.1];
        let limits = Limits { records_max, ..*limits };
        let gathered = gather(&mut self.cursors, &mut self.turn, &limits, |cursor, room| {
            let (records, next) = topic.read(cursor.partition, cursor.next, u64::MAX, room);
            cursor.next = next;
            Ok::<_, SessionError>(records)
        });
        let records = gathered?;
        if records.is_empty() {
            return Ok(Polled::Nothing);
        }
        Ok(Polled::Batch(Batch { records, generation: self.generation }))
    }

    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        self.alive().map_err(|error| CommitError::Fatal(error.0))?;
        let log = self.log.clone();
        let mut state = log.lock();
        let outputs: Vec<_> = outputs.records().collect();
        let places = state.places(&outputs);
        let places = places.map_err(|error| CommitError::Fatal(format!("an output cannot be appended: {error}")))?;
        let group = state.groups.entry(self.group.clone()).or_default();
        if let Some(refusal) = self.refusal(group, batch) {
            return Err(refusal);
        }
        let fault = match state.next_commits.pop_front() {
            Some(fault) => fault,
            None => state.faults.commit(),
        };
        let happens = matches!(fault, CommitFault::None | CommitFault::HappenedUntold);
        let marker = state.faults.marker();
        for (output, place) in outputs.iter().zip(&places) {
            if happens {
                state.push(*place, output.record.clone());
            } else {
                // What was aborted keeps its offsets; no reader sees it.
                state.topics[place.0].partitions[place.1 as usize].end += 1;
            }
        }
        let mut touched = places;
        touched.sort_unstable();
        touched.dedup();
        for (topic, partition) in touched {
            state.topics[topic].partitions[partition as usize].end += marker;
        }
        if happens {
            let group = state.groups.entry(self.group.clone()).or_default();
            group.committed.extend(batch.next_offsets().into_iter().map(|(_, p, next)| (p, next.offset())));
            log.changed.notify_waiters();
        }
        match fault {
            CommitFault::None => Ok(()),
            CommitFault::Aborted => Err(CommitError::Aborted("by the fault plan".to_owned())),
            CommitFault::HappenedUntold | CommitFault::FailedUntold => {
                self.is_dead = true;
                Err(CommitError::Fatal("no answer".to_owned()))
            }
        }
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        self.alive()?;
        let mut state = self.log.lock();
        let group = state.groups.entry(self.group.clone()).or_default();
        for cursor in &mut self.cursors {
            cursor.next = group.committed.get(&cursor.partition).copied().unwrap_or_default();
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Option<Polled>, SessionError> {
        self.alive()?;
        let log = self.log.clone();
        let mut state = log.lock();
        Ok(self.change(&mut state))
    }

    fn idle(&mut self, _wait: Duration) -> Result<(), SessionError> {
        self.alive()
    }

    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError> {
        self.alive()?;
        let mut state = self.log.lock();
        if state.faults.read_back_fails() {
            return Err(SessionError("by the fault plan".to_owned()));
        }
        let is_ours = self.cursors.iter().any(|cursor| cursor.partition == partition);
        if state.topics[self.group.1].spec.name.as_ref() != topic || !is_ours {
            return Err(SessionError(format!("partition {partition} of {topic} does not belong to this session")));
        }
        let group = state.groups.get(&self.group);
        let committed = group.and_then(|group| group.committed.get(&partition).copied()).unwrap_or_default();
        let room = Room { records: usize::MAX, bytes: usize::MAX, first: true };
        Ok(state.topics[self.group.1].read(partition, from, to.min(committed), room).0)
    }

    fn lag(&self) -> Option<u64> {
        let state = self.log.lock();
        let partitions = &state.topics[self.group.1].partitions;
        let behind = |cursor: &Cursor| {
            let open = &partitions[cursor.partition as usize];
            open.end.saturating_sub(cursor.next.max(open.start))
        };
        Some(self.cursors.iter().map(behind).sum())
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        if !self.is_crashed {
            self.log.expel(self.id);
        }
    }
}
