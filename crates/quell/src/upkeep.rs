//! What is done beside the stages, a step every second: the policy that lookups explain by, ends that pass, sweeps, the
//! unengaged run. What fails is tried again at the next step.

use crate::{engine::Engine, process::Process};
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
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use suppressor::{
    Store,
    jobs::{expiry::Expiry, reconsider, unengaged},
};

const TICK: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(120);
/// Whose owner does the jobs.
const DUTY_PARTITION: u32 = 0;

/// Whether this process does the jobs: the one that owns the first partition of the events does. Two that think so for a
/// moment append the same events, with the same ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Duty(Arc<AtomicBool>);

impl Duty {
    fn is_ours(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// An observer of a suppressor's runner that also minds the duty.
    pub(crate) fn observed_by<O: Observer>(&self, inner: O) -> DutyObserver<O> {
        DutyObserver { inner, duty: self.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct DutyObserver<O> {
    inner: O,
    duty: Duty,
}

impl<O: Observer> Observer for DutyObserver<O> {
    fn stepped(&self, stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        let set = |ours| self.duty.0.store(ours, Ordering::Release);
        match event {
            RunnerEvent::Ready(DUTY_PARTITION) => set(true),
            RunnerEvent::Revoked(partitions) if partitions.contains(&DUTY_PARTITION) => set(false),
            _ => {}
        }
        self.inner.stepped(stage, phase, event, took);
    }

    fn lag(&self, stage: &'static str, n_records: u64) {
        self.inner.lag(stage, n_records);
    }

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        self.inner.ended(stage, result);
    }
}

/// Runs until the process ends.
pub(crate) async fn run<E: Engine>(process: Process, engine: E, duty: Duty) {
    let heartbeat: Heartbeat = process.liveness.heartbeat("jobs", HEARTBEAT);
    let mut expiry = Expiry::default();
    while !process.shutdown.is_requested() {
        heartbeat.beat();
        if let Err(error) = tick(&process, &engine, &duty, &mut expiry).await {
            tracing::warn!(%error, "a job could not go on; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = process.shutdown.requested() => {}
        }
    }
    heartbeat.retire();
}

async fn tick<E: Engine>(process: &Process, engine: &E, duty: &Duty, expiry: &mut Expiry) -> anyhow::Result<()> {
    let (store, log): (&dyn Store, &dyn Append) = (engine.store(), engine.log());
    process.policy.refresh(store, log.partitions(topics::EVENTS)?).await?;
    if !duty.is_ours() {
        *expiry = Expiry::default();
        return Ok(());
    }
    let stopped = || process.shutdown.is_requested() || !duty.is_ours();
    let now = Timestamp::from_micros(process.clock.now_micros())?;
    expiry.run(store, log, now).await?;
    while !reconsider::sweep(store, log, now).await?.1 && !stopped() {}
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
    while !unengaged::step(store, log, after_days).await?.over && !stopped() {}
    Ok(())
}
