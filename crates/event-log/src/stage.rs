//! The seam for logic: a batch in, one verdict for each record out.

use crate::{Batch, Consumed, Record, session::Assigned};
use async_trait::async_trait;
use std::sync::Arc;

/// A record to append within the batch's transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Topic.
    pub topic: Arc<str>,
    /// A partition, where the key does not decide it.
    pub partition: Option<u32>,
    /// The record.
    pub record: Record,
}

/// Where a record ended. Every record ends somewhere: in = emitted + ignored + dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It had its effect.
    Emitted,
    /// It concerns nobody; the reason is a stable tag.
    Ignored(&'static str),
    /// It lies in the dead-letter topic; the reason is a stable tag.
    Dead(&'static str),
}

/// What became of one record, with everything to append because of it (dead letters too).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where it ended.
    pub fate: Fate,
    /// What it brought.
    pub outputs: Vec<Output>,
}

/// One verdict for each record of the batch, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// As many as the batch has records.
    pub verdicts: Vec<Verdict>,
}

impl Outputs {
    /// Every record to append, in order.
    pub fn records(&self) -> impl Iterator<Item = &Output> {
        self.verdicts.iter().flat_map(|verdict| &verdict.outputs)
    }
}

/// Why a batch could not be processed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// Something it needs is away: rewind, wait, try again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Going on would corrupt data: end the process.
    #[error("broken: {0}")]
    Broken(String),
}

/// The logic of a stage. Deterministic: the same records in, the same bytes out; time comes from the records.
#[async_trait]
pub trait Stage: Send {
    /// Its name in metrics and logs, e.g. `normalizer`.
    fn name(&self) -> &'static str;

    /// Processes a batch.
    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError>;

    /// The batch's outputs and positions are committed.
    async fn committed(&mut self, _batch: &Batch) -> Result<(), StageError> {
        Ok(())
    }

    /// A partition is ours: drop caches (R8), check that the store and the group agree (R4). Returns the offset from
    /// which records below the committed position are to be applied again, if any.
    async fn assigned(&mut self, _assigned: &Assigned) -> Result<Option<u64>, StageError> {
        Ok(None)
    }

    /// Records below the committed position, to be applied again without emitting (R4).
    async fn reapply(&mut self, _records: &[Consumed]) -> Result<(), StageError> {
        Ok(())
    }

    /// A slice of the work that must be done before the first record of a new partition is processed. Called again and again
    /// until it says that it is done, with a look at the assignment before each slice: a partition that was taken from us is
    /// not asked for any more, and its next owner gets it only after that look. Keep a slice as short as a batch. After
    /// `Unavailable` it goes on, with no other call of [`Stage::assigned`] in between.
    async fn prepare(&mut self, _assigned: &Assigned) -> Result<bool, StageError> {
        Ok(true)
    }

    /// Partitions are gone: drop what belongs to them (R8). Also called before every rewind, with all of them.
    fn revoked(&mut self, _partitions: &[u32]) {}
}
