//! The normalizer, the suppressor's workers and the syncer's lanes, each on threads of their own.

use crate::{
    engine::{Engine, Member},
    metrics::StageMetrics,
    process::{Process, Running},
    upkeep::Duty,
};
use domain::classify::UserRules;
use event_log::{Limits, Observer, RunnerOptions, Session, Stage, runner::spawn_runner};
use normalizer::Normalizer;
use schemas::topics;
use std::{sync::Arc, time::Duration};
use suppressor::Suppressor;

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
    let start = |worker| {
        let member = Member { worker, workers, ..Member::only(topics::SUPPRESSORS, topics::EVENTS) };
        let name = format!("suppressor-{worker}");
        let stage = Suppressor::new(engine.store().clone(), counts.clone());
        let observer = duty.observed_by(worker, process.runners.of(&name));
        spawn(process, &name, engine.session(&member)?, stage, options(process, BYTES_MAX), observer)
    };
    (0..workers).map(start).collect()
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
    let handle = spawn_runner(name, session, stage, options, process.shutdown.token(), Arc::new(observer))?;
    Ok((name.to_owned(), tokio::spawn(handle.ended())))
}
