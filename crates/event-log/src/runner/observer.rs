//! What a runner tells those who watch: metrics and logs.

use super::{Fatal, PhaseName, RunnerEvent};
use crate::{Batch, Fate, Outputs, gather::size_of_record};
use std::{collections::BTreeMap, time::Duration};

/// Watches a runner. Counted per batch, never per record.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// A step was taken, in that phase, and took so long.
    fn stepped(&self, _stage: &'static str, _phase: PhaseName, _event: &RunnerEvent, _took: Duration) {}

    /// Records not polled yet, told after a commit, when there is nothing to poll, and while the stage stands still.
    fn lag(&self, _stage: &'static str, _n_records: u64) {}

    /// The timestamp of the oldest record that is not processed yet, told whenever it may have changed: of the batch that is
    /// open, exactly; between two batches while more is there, the newest of the batch before, which what follows is not
    /// older than (within its partition). `None` once nothing is known to wait.
    fn oldest(&self, _stage: &'static str, _at_ms: Option<i64>) {}

    /// The runner ended: by a shutdown, or for good. Called once, whatever happened, a panic too.
    fn ended(&self, _stage: &'static str, _result: Result<(), &Fatal>) {}
}

/// Watches nothing.
impl Observer for () {}

/// A committed batch in numbers: in = emitted + ignored + dead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchReport {
    /// Records in.
    pub n_records: u64,
    /// Bytes of keys and values in.
    pub n_bytes: u64,
    /// Records appended.
    pub n_outputs: u64,
    /// Records that had their effect.
    pub n_emitted: u64,
    /// Records that concern nobody, by reason.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Records in the dead-letter topic, by reason.
    pub dead: BTreeMap<&'static str, u64>,
    /// The newest timestamp in, in milliseconds since the epoch.
    pub newest_ms: Option<i64>,
    /// What the stage could not do after the commit. Nothing of the batch is lost by it.
    pub after_commit: Option<String>,
}

impl BatchReport {
    pub(super) fn of(batch: &Batch, outputs: &Outputs) -> Self {
        let mut report = Self {
            n_records: batch.records.len() as u64,
            n_bytes: batch.records.iter().map(size_of_record).sum::<usize>() as u64,
            n_outputs: outputs.records().count() as u64,
            newest_ms: batch.records.iter().map(|consumed| consumed.record.timestamp_ms).max(),
            ..Self::default()
        };
        for verdict in &outputs.verdicts {
            match verdict.fate {
                Fate::Emitted => report.n_emitted += 1,
                Fate::Ignored(reason) => *report.ignored.entry(reason).or_default() += 1,
                Fate::Dead(reason) => *report.dead.entry(reason).or_default() += 1,
            }
        }
        report
    }
}
