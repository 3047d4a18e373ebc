//! What is done beside the stages, a step every second: the policy that lookups explain by, ends that pass, sweeps, the
//! unengaged run. What fails is tried again at the next step.

use crate::{
    engine::Engine,
    metrics::{self, GuardCounts},
    process::Process,
};
use domain::Timestamp;
use event_log::{
    Append,
    runner::{Fatal, Observer, PhaseName, RunnerEvent},
};
use schemas::topics;
use service::admin::Heartbeat;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use suppressor::{
    Store,
    jobs::{erasure::Erasures, expiry::Expiry, incidents::Sweeps, reconsider, unengaged},
};

const TICK: Duration = Duration::from_secs(1);
/// Pages of a long job in one step: seconds at most, so that ends and policies do not wait for it.
const PAGES_MAX: usize = 8;
/// Between two pages of ends: about what it takes to apply one.
const ENDS_PAUSE: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(120);
/// Whose owner does the jobs.
const DUTY_PARTITION: u32 = 0;

const NOBODY: u32 = u32::MAX;

/// Whether this process does the jobs: the one that owns the first partition of the events does. Two that think so for a
/// moment append the same events, with the same ids. Holds which worker owns it: a worker may hear that it lost the
/// partition only after another of the process has it.
#[derive(Debug, Clone)]
pub(crate) struct Duty(Arc<AtomicU32>);

impl Default for Duty {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(NOBODY)))
    }
}

impl Duty {
    fn is_ours(&self) -> bool {
        self.0.load(Ordering::Acquire) != NOBODY
    }

    /// An observer of a suppressor's worker that also minds the duty.
    pub(crate) fn observed_by<O: Observer>(&self, worker: u32, inner: O) -> DutyObserver<O> {
        DutyObserver { inner, worker, duty: self.clone() }
    }

    fn taken(&self, worker: u32) {
        self.0.store(worker, Ordering::Release);
    }

    fn lost(&self, worker: u32) {
        // Where this fails, another worker has it already.
        let _is_nobodys = self.0.compare_exchange(worker, NOBODY, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[derive(Debug)]
pub(crate) struct DutyObserver<O> {
    inner: O,
    worker: u32,
    duty: Duty,
}

impl<O: Observer> Observer for DutyObserver<O> {
    fn stepped(&self, stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        match event {
            RunnerEvent::Ready(DUTY_PARTITION) => self.duty.taken(self.worker),
            RunnerEvent::Revoked(partitions) if partitions.contains(&DUTY_PARTITION) => self.duty.lost(self.worker),
            _ => {}
        }
        self.inner.stepped(stage, phase, event, took);
    }

    fn lag(&self, stage: &'static str, n_records: u64) {
        self.inner.lag(stage, n_records);
    }

    fn oldest(&self, stage: &'static str, at_ms: Option<i64>) {
        self.inner.oldest(stage, at_ms);
    }

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        self.inner.ended(stage, result);
    }
}

/// Runs until the process ends.
pub(crate) async fn run<E: Engine>(process: Process, engine: E, duty: Duty, guard: Arc<GuardCounts>) {
    let heartbeat: Heartbeat = process.liveness.heartbeat("jobs", HEARTBEAT);
    let mut jobs = Jobs { expiry: Expiry::default(), erasures: Erasures::default(), sweeps: Sweeps::default(), guard };
    if let Err(error) = metrics::show_policy(&process) {
        tracing::warn!(%error, "the policy's version is not shown");
    }
    while !process.shutdown.is_requested() {
        heartbeat.beat();
        let is_over = tick(&process, &engine, &duty, &mut jobs).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a job could not go on; trying again");
            true
        });
        if is_over {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = process.shutdown.requested() => {}
            }
        }
    }
    heartbeat.retire();
}

/// What jobs keep between steps.
struct Jobs {
    expiry: Expiry,
    erasures: Erasures,
    sweeps: Sweeps,
    guard: Arc<GuardCounts>,
}

/// A step of everything; of sweeps and unengaged run a few pages. Says whether nothing is left to do now.
async fn tick<E: Engine>(process: &Process, engine: &E, duty: &Duty, jobs: &mut Jobs) -> anyhow::Result<bool> {
    let (store, log): (&dyn Store, &dyn Append) = (engine.store(), engine.log());
    process.policy.refresh(store, log.partitions(topics::EVENTS)?).await?;
    if !duty.is_ours() {
        (jobs.expiry, jobs.erasures, jobs.sweeps) = (Expiry::default(), Erasures::default(), Sweeps::default());
        jobs.guard.idle();
        return Ok(true);
    }
    let now = Timestamp::from_micros(process.clock.now_micros())?;
    for _ in 0..PAGES_MAX {
        jobs.expiry.run(store, log, now).await?;
        if !jobs.expiry.is_behind() || process.shutdown.is_requested() {
            break;
        }
        tokio::time::sleep(ENDS_PAUSE).await;
    }
    jobs.erasures.step(store, log, engine.log(), now).await?;
    let mut is_over = !jobs.expiry.is_behind();
    for _ in 0..PAGES_MAX {
        let is_swept = reconsider::sweep(store, log, now).await?.1;
        is_over &= is_swept;
        if is_swept || process.shutdown.is_requested() {
            break;
        }
    }
    for _ in 0..PAGES_MAX {
        let swept = jobs.sweeps.step(store, log, now).await?;
        jobs.guard.swept(&swept);
        is_over &= swept.over;
        if swept.over || process.shutdown.is_requested() {
            break;
        }
    }
    let config = &process.config.unengaged;
    if config.scheduled {
        let every = i64::from(config.every_hours) * 3_600;
        match unengaged::last_run(store).await? {
            None => unengaged::schedule_first(store, now).await?,
            Some(run) if run.over && run.began_at.plus_seconds(every) <= now => unengaged::begin(store, now).await?,
            Some(_) => {}
        }
    }
    let after_days = process.policy.get().newest().unengaged_after_days;
    for _ in 0..PAGES_MAX {
        let is_done = unengaged::step(store, log, after_days).await?.over;
        if is_done || process.shutdown.is_requested() {
            return Ok(is_over);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_hears_late_takes_the_duty_from_nobody() {
        let duty = Duty::default();
        assert!(!duty.is_ours());
        let tell = |worker, event| duty.observed_by(worker, ()).stepped("s", PhaseName::Poll, &event, TICK);
        tell(0, RunnerEvent::Ready(DUTY_PARTITION));
        tell(1, RunnerEvent::Ready(DUTY_PARTITION));
        tell(0, RunnerEvent::Revoked(vec![DUTY_PARTITION]));
        assert!(duty.is_ours());
        tell(1, RunnerEvent::Revoked(vec![7]));
        assert!(duty.is_ours());
        tell(1, RunnerEvent::Revoked(vec![DUTY_PARTITION]));
        assert!(!duty.is_ours());
    }
}
