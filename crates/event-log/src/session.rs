//! The seam for stages: a member of a consumer group whose outputs and positions are committed as one.

use crate::{Consumed, NextOffset, Outputs, Position};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Bounds of one poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most so many records.
    pub records_max: usize,
    /// At most so many bytes of keys and values, but always at least one record.
    pub bytes_max: usize,
    /// Wait at most so long for the first record.
    pub wait: Duration,
}

/// The input of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In order within each partition.
    pub records: Vec<Consumed>,
    /// The assignment it was polled under; a commit under a later one is refused.
    pub generation: u64,
}

impl Batch {
    /// The next offset of every partition in the batch.
    pub fn next_offsets(&self) -> Vec<(Arc<str>, u32, NextOffset)> {
        let mut next: Vec<(Arc<str>, u32, NextOffset)> = Vec::new();
        for consumed in &self.records {
            let Position { partition, .. } = consumed.position;
            let offset = consumed.position.next();
            match next.iter_mut().find(|(topic, p, _)| *topic == consumed.topic && *p == partition) {
                Some((_, _, seen)) => *seen = (*seen).max(offset),
                None => next.push((Arc::clone(&consumed.topic), partition, offset)),
            }
        }
        next
    }
}

/// What a poll brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Records to process.
    Batch(Batch),
    /// Nothing within the wait.
    Nothing,
    /// Partitions are ours from now on. `committed` is where the group stands; `None` where it never committed.
    Assigned(Vec<Assigned>),
    /// Partitions are no longer ours.
    Revoked(Vec<u32>),
}

/// A partition that was given to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: u32,
    /// Where the group stands.
    pub committed: Option<NextOffset>,
    /// The log's epoch.
    pub epoch: u16,
    /// All below this offset was taken away for its age. It need not be that of a record.
    pub oldest: u64,
}

/// A session that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log session ended: {0}")]
pub struct SessionError(pub String);

/// Why a commit did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it is visible: rewind and process again.
    #[error("commit aborted: {0}")]
    Aborted(String),
    /// Whether it happened cannot be told, or we are fenced: end the process, the next owner reads the truth.
    #[error("commit failed for good: {0}")]
    Fatal(String),
}

/// One member of a group. Its calls block; it lives on a thread of its own. Assignments change only inside `poll`.
///
/// A batch is committed, or the session rewound, before the next is polled: positions move past whatever was polled. Once a
/// poll has told of new partitions, the next follows only when all of them are prepared; until then the runner looks.
pub trait Session: Send {
    /// Gathers a batch, or tells of a change of assignment.
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError>;

    /// Appends every output and moves the group's positions past the batch: all of it, or nothing.
    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError>;

    /// Goes back to the committed positions; what was buffered is dropped.
    fn rewind(&mut self) -> Result<(), SessionError>;

    /// Tells of a change of assignment without taking records, staying in the group. No position moves.
    fn look(&mut self) -> Result<Option<Polled>, SessionError> {
        match self.poll(&Limits { records_max: 1, bytes_max: 1, wait: Duration::ZERO })? {
            Polled::Batch(_) => self.rewind().map(|()| None),
            Polled::Nothing => Ok(None),
            change => Ok(Some(change)),
        }
    }

    /// Waits without taking records, staying in the group.
    fn idle(&mut self, wait: Duration) -> Result<(), SessionError>;

    /// Reads records of an assigned partition below its committed position, for re-application (R4).
    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError>;

    /// Hands over what is cancelled when the process is to stop. A commit that waits for somebody then gives up soon, be it
    /// unclear: the next owner reads the truth.
    fn stop_with(&mut self, _stop: CancellationToken) {}

    /// How many records of the assigned partitions were not polled yet, where that is known without asking anyone.
    fn lag(&self) -> Option<u64> {
        None
    }
}
