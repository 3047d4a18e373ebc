//! A group's reader of some partitions, whose outputs and positions go into the log as one batch.

use super::{EmbeddedLog, GROUP_NAME_BYTES_MAX, JoinError, Shared, keys, lock, queue::Request, topic::Topic};
use crate::{
    Batch, CommitError, Consumed, Limits, NextOffset, Outputs, Polled, Session, SessionError,
    gather::{Cursor, Room, gather},
    session::Assigned,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// The assignment never changes, so there is one generation.
const GENERATION: u64 = 1;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One member of a group, with the partitions it was opened for. Nothing is buffered: a poll reads from the database.
#[derive(Debug)]
pub struct EmbeddedSession {
    log: EmbeddedLog,
    group: String,
    topic: usize,
    cursors: Vec<Cursor>,
    /// Which partition comes first in the next poll.
    turn: usize,
    is_announced: bool,
}

impl EmbeddedSession {
    pub(super) fn join(log: EmbeddedLog, group: &str, name: &str, partitions: &[u32]) -> Result<Self, JoinError> {
        if group.is_empty() || group.len() > GROUP_NAME_BYTES_MAX {
            return Err(JoinError::GroupName);
        }
        let unknown = |partition| JoinError::Unknown { topic: name.to_owned(), partition };
        let (topic, open) = log.shared().topic(name).ok_or_else(|| unknown(None))?;
        if let Some(partition) = partitions.iter().find(|partition| **partition >= open.spec.partitions) {
            return Err(unknown(Some(*partition)));
        }
        let mut session =
            Self { log: log.clone(), group: group.to_owned(), topic, cursors: vec![], turn: 0, is_announced: false };
        let mut taken = lock(&log.shared().taken);
        for partition in partitions {
            if !taken.insert((group.to_owned(), topic, *partition)) {
                // What was taken so far is given back when the session is dropped.
                drop(taken);
                let (group, topic) = (group.to_owned(), name.to_owned());
                return Err(JoinError::Taken { group, topic, partition: *partition });
            }
            session.cursors.push(Cursor { partition: *partition, next: 0 });
        }
        drop(taken);
        Ok(session)
    }

    fn shared(&self) -> &Arc<Shared> {
        self.log.shared()
    }

    fn open(&self) -> &Topic {
        &self.log.shared().topics[self.topic]
    }

    fn committed(&self, partition: u32) -> Result<Option<NextOffset>, SessionError> {
        let committed = self.shared().committed(&self.group, &self.open().spec.name, partition);
        committed.map_err(|error| SessionError(error.to_string()))
    }

    /// Sets every cursor to its committed position.
    fn seek(&mut self) -> Result<Vec<Assigned>, SessionError> {
        let topic = Arc::clone(&self.open().spec.name);
        let epoch = self.shared().epoch.load(Ordering::Acquire);
        let mut assigned = Vec::with_capacity(self.cursors.len());
        for index in 0..self.cursors.len() {
            let partition = self.cursors[index].partition;
            let committed = self.committed(partition)?;
            let next = committed.unwrap_or(NextOffset::START).offset();
            let (oldest, end) = self.open().bounds(partition).map_or((0, 0), |bounds| (bounds.start, bounds.end));
            if next > end {
                return Err(SessionError(format!(
                    "group {} stands at {next} of partition {partition} of {topic}, which ends at {end}: the log is older \
                     than its positions; restore both from one backup",
                    self.group
                )));
            }
            self.cursors[index].next = next;
            assigned.push(Assigned { topic: Arc::clone(&topic), partition, committed, epoch, oldest });
        }
        Ok(assigned)
    }

    fn announce(&mut self) -> Result<Polled, SessionError> {
        let assigned = self.seek()?;
        self.is_announced = true;
        Ok(Polled::Assigned(assigned))
    }

    fn gather(&mut self, limits: &Limits) -> Result<Vec<Consumed>, SessionError> {
        let Self { log, cursors, turn, topic, .. } = self;
        let open = &log.shared().topics[*topic];
        gather(cursors, turn, limits, |cursor, room| {
            let read = open.read(cursor.partition, cursor.next, u64::MAX, room);
            let (records, next) = read.map_err(|error| SessionError(error.to_string()))?;
            cursor.next = next;
            Ok(records)
        })
    }
}

impl Session for EmbeddedSession {
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError> {
        if !self.is_announced {
            return self.announce();
        }
        let deadline = Instant::now() + limits.wait.min(WAIT_MAX);
        loop {
            let seen = self.open().appended.version();
            let records = self.gather(limits)?;
            if !records.is_empty() {
                return Ok(Polled::Batch(Batch { records, generation: GENERATION }));
            }
            if !self.open().appended.wait(seen, deadline) {
                return Ok(Polled::Nothing);
            }
        }
    }

    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        let fatal = |why: String| Err(CommitError::Fatal(why));
        let topic = Arc::clone(&self.open().spec.name);
        let mut offsets = Vec::new();
        for (of, partition, next) in batch.next_offsets() {
            if of != topic || !self.cursors.iter().any(|cursor| cursor.partition == partition) {
                return fatal(format!("partition {partition} of {of} does not belong to this session"));
            }
            offsets.push((keys::group(&self.group, &topic, partition), next.offset()));
        }
        // Neither a wrong topic nor a record beyond the limits gets better by trying again.
        let puts = match self.shared().puts(outputs.records()) {
            Ok(puts) => puts,
            Err(error) => return fatal(format!("an output cannot be appended: {error}")),
        };
        if offsets.is_empty() && puts.is_empty() {
            return Ok(());
        }
        let committed = self.shared().ask(|answer| Request::Commit { puts, offsets, answer });
        committed.map_err(|error| CommitError::Fatal(error.to_string()))
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        self.seek().map(drop)
    }

    fn look(&mut self) -> Result<Option<Polled>, SessionError> {
        if self.is_announced { Ok(None) } else { self.announce().map(Some) }
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SessionError> {
        std::thread::sleep(wait);
        Ok(())
    }

    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError> {
        let is_ours = self.cursors.iter().any(|cursor| cursor.partition == partition);
        if topic != &*self.open().spec.name || !is_ours {
            return Err(SessionError(format!("partition {partition} of {topic} does not belong to this session")));
        }
        let to = to.min(self.committed(partition)?.unwrap_or(NextOffset::START).offset());
        let room = Room { records: usize::MAX, bytes: usize::MAX, first: true };
        let (records, _) =
            self.open().read(partition, from, to, room).map_err(|error| SessionError(error.to_string()))?;
        Ok(records)
    }

    fn lag(&self) -> Option<u64> {
        let behind = |cursor: &Cursor| {
            let bounds = self.open().bounds(cursor.partition)?;
            Some(bounds.end.saturating_sub(cursor.next.max(bounds.start)))
        };
        self.cursors.iter().map(behind).sum()
    }
}

impl Drop for EmbeddedSession {
    fn drop(&mut self) {
        let mut taken = lock(&self.log.shared().taken);
        for cursor in &self.cursors {
            taken.remove(&(self.group.clone(), self.topic, cursor.partition));
        }
    }
}
