//! The loop around every stage: poll, process, commit, rewind and wait.
//!
//! [`Runner::step`] takes one step of one visible phase, so that a simulator can interleave the steps of many workers
//! and end them between any two. [`spawn_runner`] is the thread that calls it for ever. There is one way back from
//! everything that did not work, rewind: the stage drops its caches, the session goes back to what is committed, and
//! the runner waits a little longer each time.

mod fatal;
mod observer;
mod prepare;
mod size;
mod spawn;

pub use fatal::Fatal;
pub use observer::{BatchReport, Observer};
pub use spawn::{RunnerHandle, spawn_runner};

use crate::{Batch, CommitError, Limits, Outputs, Polled, Session, Stage, StageError};
use prepare::Pending;
use size::BatchSize;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The runner's own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerOptions {
    /// Bounds of a poll.
    pub limits: Limits,
    /// How long a record that is polled may wait until its commit: batches are cut so that the one before it and its own
    /// are likely to be done in it. Without, every batch is as large as the limits allow.
    pub latency_target: Option<Duration>,
    /// The wait after the first rewind; each further one in a row doubles it.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Offsets read at once when records are to be applied again.
    pub read_back_max: u64,
}

impl RunnerOptions {
    /// The usual bounds around `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            latency_target: None,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            read_back_max: 1_000,
        }
    }
}

impl From<Limits> for RunnerOptions {
    fn from(limits: Limits) -> Self {
        Self::new(limits)
    }
}

/// A wait is taken in slices of at most this, so that a shutdown is noticed.
const IDLE_SLICE: Duration = Duration::from_millis(250);
/// So many rewinds in a row halve the batch each time; then it stays at 1/2^10.
const HALVINGS_MAX: u32 = 10;

/// Where a runner stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Poll,
    Process(Batch),
    Commit(Batch, Outputs),
    Rewind(Rewind),
    Wait(Duration),
    Ended,
}

/// The phases by name, for metrics and simulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PhaseName {
    /// Nothing is open: the next step polls, or goes on preparing a new partition.
    Poll,
    /// A batch is held, nothing is done yet.
    Process,
    /// Outputs are there; the store may be written; the log knows nothing of it.
    Commit,
    /// Going back to the committed positions.
    Rewind,
    /// Waiting after a rewind; nothing is open.
    Wait,
    /// A fatal error was returned: no further step.
    Ended,
}

impl PhaseName {
    /// A stable tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Process => "process",
            Self::Commit => "commit",
            Self::Rewind => "rewind",
            Self::Wait => "wait",
            Self::Ended => "ended",
        }
    }
}

/// Why the runner goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    /// A stable tag: `assign_unavailable`, `process_unavailable` or `commit_aborted`.
    pub reason: &'static str,
    /// What was said.
    pub why: String,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEvent {
    /// The poll brought nothing.
    Nothing,
    /// The poll brought so many records.
    Polled(usize),
    /// Partitions were given to us; they are prepared one after another in the next steps.
    Assigned(Vec<u32>),
    /// A partition could not be prepared, or the assignment changed; a look at the assignment found it unchanged.
    Unchanged,
    /// So many records of a new partition were applied again.
    Reapplied {
        /// The partition.
        partition: u32,
        /// How many.
        n_records: usize,
    },
    /// The stage did a slice of what it has to do before the records of a new partition, and is not done.
    Prepared(u32),
    /// A new partition is ready.
    Ready(u32),
    /// Partitions were taken from us.
    Revoked(Vec<u32>),
    /// The stage gave its verdicts.
    Processed,
    /// The batch is committed.
    Committed(BatchReport),
    /// Something did not work: the next step goes back.
    Failed(Rewind),
    /// We went back, and wait.
    Rewound {
        /// How many times in a row.
        n_in_row: u32,
        /// How long.
        wait: Duration,
    },
    /// A part of the wait is over.
    Waited,
}

/// One stage over one session, step by step.
#[derive(Debug)]
pub struct Runner<S, T> {
    session: S,
    stage: T,
    options: RunnerOptions,
    phase: Phase,
    pending: VecDeque<Pending>,
    /// Partitions that are ours: the stage is told of all of them at a rewind.
    ours: Vec<u32>,
    size: BatchSize,
    /// See [`Observer::oldest`].
    oldest_ms: Option<i64>,
    /// When the batch that is open was polled.
    polled_at: Option<Instant>,
    /// Rewinds since the last commit.
    n_rewinds: u32,
    /// A partition could not be prepared: before it is tried again, look whether it is still ours.
    is_unsure: bool,
}

impl<S: Session, T: Stage> Runner<S, T> {
    /// A runner that has not polled yet.
    pub fn new(session: S, stage: T, options: RunnerOptions) -> Self {
        Self {
            session,
            stage,
            options,
            phase: Phase::Poll,
            pending: VecDeque::new(),
            ours: Vec::new(),
            size: BatchSize::new(options.latency_target, options.limits.records_max),
            oldest_ms: None,
            polled_at: None,
            n_rewinds: 0,
            is_unsure: false,
        }
    }

    /// The phase of the next step.
    pub const fn phase(&self) -> PhaseName {
        match self.phase {
            Phase::Poll => PhaseName::Poll,
            Phase::Process(_) => PhaseName::Process,
            Phase::Commit(..) => PhaseName::Commit,
            Phase::Rewind(_) => PhaseName::Rewind,
            Phase::Wait(_) => PhaseName::Wait,
            Phase::Ended => PhaseName::Ended,
        }
    }

    /// Whether a batch is begun and not finished. A shutdown waits until none is.
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Process(_) | Phase::Commit(..))
    }

    /// The stage, to look at.
    pub const fn stage(&self) -> &T {
        &self.stage
    }

    /// The session, to look at.
    pub const fn session(&self) -> &S {
        &self.session
    }

    /// Takes the runner apart, as for a simulated crash.
    pub fn into_parts(self) -> (S, T) {
        (self.session, self.stage)
    }

    /// Records of our partitions that were not polled yet, where the session knows.
    pub fn lag(&self) -> Option<u64> {
        self.session.lag()
    }

    /// The timestamp of the oldest record that is not processed yet: see [`Observer::oldest`].
    pub const fn oldest_ms(&self) -> Option<i64> {
        self.oldest_ms
    }

    /// Takes one step. The session's calls block, so it belongs on a thread of its own. After an error the runner has
    /// ended: the process must end too, and the next owner reads the truth from the log.
    pub async fn step(&mut self) -> Result<RunnerEvent, Fatal> {
        let (phase, event) = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Poll if std::mem::take(&mut self.is_unsure) => self.look()?,
            Phase::Poll => match self.pending.pop_front() {
                Some(pending) => self.prepare(pending).await?,
                None => self.poll()?,
            },
            Phase::Process(batch) => self.process(batch).await?,
            Phase::Commit(batch, outputs) => self.commit(batch, outputs).await?,
            Phase::Rewind(_) => self.rewind()?,
            Phase::Wait(left) => {
                let slice = left.min(IDLE_SLICE);
                self.session.idle(slice)?;
                let left = left.saturating_sub(slice);
                (if left.is_zero() { Phase::Poll } else { Phase::Wait(left) }, RunnerEvent::Waited)
            }
            Phase::Ended => return Err(Fatal::Ended),
        };
        self.phase = phase;
        Ok(event)
    }

    fn poll(&mut self) -> Result<(Phase, RunnerEvent), Fatal> {
        // A batch that fails for its size, or one of its records, gets through once it is small.
        let mut limits = self.options.limits;
        limits.records_max = (self.size.records() >> self.n_rewinds.min(HALVINGS_MAX)).max(1);
        Ok(match self.session.poll(&limits)? {
            Polled::Batch(batch) => {
                let n_records = batch.records.len();
                self.polled_at = Some(Instant::now());
                self.oldest_ms = batch.records.iter().map(|consumed| consumed.record.timestamp_ms).min();
                (Phase::Process(batch), RunnerEvent::Polled(n_records))
            }
            change => (Phase::Poll, self.change(change)),
        })
    }

    fn change(&mut self, change: Polled) -> RunnerEvent {
        match change {
            Polled::Assigned(assigned) => {
                let partitions: Vec<u32> = assigned.iter().map(|assigned| assigned.partition).collect();
                self.ours.extend(&partitions);
                self.pending.extend(assigned.into_iter().map(Pending::new));
                RunnerEvent::Assigned(partitions)
            }
            Polled::Revoked(partitions) => {
                self.ours.retain(|partition| !partitions.contains(partition));
                self.pending.retain(|pending| !partitions.contains(&pending.partition()));
                self.stage.revoked(&partitions);
                self.oldest_ms = self.oldest_ms.filter(|_| !self.ours.is_empty());
                RunnerEvent::Revoked(partitions)
            }
            Polled::Batch(_) | Polled::Nothing => {
                self.oldest_ms = self.oldest_ms.filter(|_| self.session.lag() != Some(0));
                RunnerEvent::Nothing
            }
        }
    }

    /// Looks for a change of assignment: without it, a partition that was taken from us while it could not be prepared would
    /// be tried for ever.
    fn look(&mut self) -> Result<(Phase, RunnerEvent), Fatal> {
        let Some(change) = self.session.look()? else { return Ok((Phase::Poll, RunnerEvent::Unchanged)) };
        // There may be more to learn.
        self.is_unsure = true;
        Ok((Phase::Poll, self.change(change)))
    }

    async fn process(&mut self, batch: Batch) -> Result<(Phase, RunnerEvent), Fatal> {
        match self.stage.process(&batch).await {
            Ok(outputs) => {
                let (records, verdicts) = (batch.records.len(), outputs.verdicts.len());
                if records != verdicts {
                    return Err(Fatal::Verdicts { records, verdicts });
                }
                Ok((Phase::Commit(batch, outputs), RunnerEvent::Processed))
            }
            Err(StageError::Unavailable(why)) => Ok(failed("process_unavailable", why)),
            Err(StageError::Broken(why)) => Err(Fatal::Stage(why)),
        }
    }

    async fn commit(&mut self, batch: Batch, outputs: Outputs) -> Result<(Phase, RunnerEvent), Fatal> {
        match self.session.commit(&batch, &outputs) {
            Ok(()) => {}
            Err(CommitError::Aborted(why)) => return Ok(failed("commit_aborted", why)),
            Err(CommitError::Fatal(why)) => return Err(Fatal::Commit(why)),
        }
        self.n_rewinds = 0;
        if let Some(polled_at) = self.polled_at.take() {
            self.size.took(batch.records.len(), polled_at.elapsed());
        }
        let mut report = BatchReport::of(&batch, &outputs);
        self.oldest_ms = report.newest_ms.filter(|_| self.session.lag() != Some(0));
        match self.stage.committed(&batch).await {
            Ok(()) => {}
            // The batch is done and is never seen again: what the stage wanted to tidy up is left lying, not lost.
            Err(StageError::Unavailable(why)) => report.after_commit = Some(why),
            Err(StageError::Broken(why)) => return Err(Fatal::Stage(why)),
        }
        Ok((Phase::Poll, RunnerEvent::Committed(report)))
    }

    fn rewind(&mut self) -> Result<(Phase, RunnerEvent), Fatal> {
        self.stage.revoked(&self.ours);
        self.session.rewind()?;
        let doubled = self.options.backoff_first.saturating_mul(1 << self.n_rewinds.min(20));
        let wait = doubled.min(self.options.backoff_max);
        self.n_rewinds = self.n_rewinds.saturating_add(1);
        Ok((Phase::Wait(wait), RunnerEvent::Rewound { n_in_row: self.n_rewinds, wait }))
    }
}

fn failed(reason: &'static str, why: String) -> (Phase, RunnerEvent) {
    let rewind = Rewind { reason, why };
    (Phase::Rewind(rewind.clone()), RunnerEvent::Failed(rewind))
}
