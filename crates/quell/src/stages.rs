//! The normalizer, the suppressor's workers, the guard and the syncer's lanes, each on threads of their own.

use crate::{
    engine::{Engine, Member},
    follow::Followed,
    metrics::StageMetrics,
    process::{Process, Running},
    upkeep::Duty,
};
use domain::classify::UserRules;
use event_log::{Append, Limits, Observer, RunnerOptions, Session, Stage, runner::spawn_runner};
use normalizer::Normalizer;
use schemas::topics;
use std::{sync::Arc, time::Duration};
use suppressor::{Suppressor, guard::Guard, store::timed::Timed};

/// Bytes of raw webhooks in one batch of the normalizer: some thousands of events.
const RAW_BYTES_MAX: usize = 512 * 1_024;
const BYTES_MAX: usize = 8 << 20;
const WAIT: Duration = Duration::from_millis(500);

fn options(process: &Process, bytes_max: usize) -> RunnerOptions {
    let engine = &process.config.engine;
    let limits = Limits { records_max: engine.batch_records_max, bytes_max, wait: WAIT };
    let latency_target = Some(Duration::from_millis(engine.latency_target_ms));
    RunnerOptions { latency_target, ..RunnerOptions::new(limits) }
}

/// The normalizer. Raw webhooks have no order to keep, so one worker a process is enough; more processes share the topic.
pub(crate) fn normalizer<E: Engine>(
    process: &Process,
    engine: &E,
    counts: Arc<StageMetrics>,
) -> anyhow::Result<Running> {
    let session = engine.session(&Member::only(topics::NORMALIZERS, topics::RAW))?;
    // A webhook holds up to hundreds of events: smaller batches, or one commit would hold up every webhook's own.
    let options = options(process, RAW_BYTES_MAX);
    let name = "normalizer";
    let rules = UserRules::new(&process.config.classify)?;
    let stage = Normalizer::new(counts).knowing(process.config.adapters.providers).ruled_by(rules);
    spawn(process, name, session, stage, options, process.runners.of(name))
}

/// The suppressor's workers.
pub(crate) fn suppressors<E: Engine>(
    process: &Process,
    engine: &E,
    counts: &Arc<StageMetrics>,
    duty: &Duty,
) -> anyhow::Result<Vec<Running>> {
    let workers = process.config.engine.suppressor_workers;
    let partitions = Append::partitions(engine.log(), topics::EVENTS)?;
    tokio::spawn(counts.in_force().clone().keep(process.clone(), engine.store().clone(), partitions));
    let start = |worker| {
        let member = Member { worker, workers, ..Member::only(topics::SUPPRESSORS, topics::EVENTS) };
        let name = format!("suppressor-{worker}");
        let stage = Suppressor::new(process.store(engine.store().clone()), counts.clone());
        let observer = counts.in_force().observed_by(duty.observed_by(worker, process.runners.of(&name)));
        spawn(process, &name, engine.session(&member)?, stage, options(process, BYTES_MAX), observer)
    };
    (0..workers).map(start).collect()
}

/// The guard. Counts are few, so one worker a process is enough; more processes share the topic.
pub(crate) fn guard<E: Engine>(process: &Process, engine: &E, counts: &StageMetrics) -> anyhow::Result<Running> {
    let session = engine.session(&Member { from_oldest: true, ..Member::only(topics::GUARDS, topics::STATISTICS) })?;
    let name = "guard";
    let store = Timed::new(engine.store().clone(), process.store_calls.clone());
    let partitions = Append::partitions(engine.log(), topics::EVENTS)?;
    let stage = Guard::new(store, partitions, Arc::clone(counts.guard()) as _);
    spawn(process, name, session, stage, options(process, BYTES_MAX), process.runners.of(name))
}

/// Runs a stage until the process ends, or it does for good.
pub(crate) fn spawn<S: Session + 'static, T: Stage + 'static>(
    process: &Process,
    name: &str,
    session: S,
    stage: T,
    options: impl Into<RunnerOptions>,
    observer: impl Observer + 'static,
) -> anyhow::Result<Running> {
    // Workers of one stage are one stage to a trace; lanes are each their own.
    let followed = if name.starts_with(stage.name()) { stage.name() } else { name };
    let stage = Followed::new(stage, followed, process.traces.clone());
    let handle = spawn_runner(name, session, stage, options, process.shutdown.token(), Arc::new(observer))?;
    Ok((name.to_owned(), tokio::spawn(handle.ended())))
}
