//! `quell up`: every part in one process, on the embedded log and store.

use crate::{
    alarms,
    config::{Config, own_key},
    engine::{Embedded, Engine as _, SEEN_DAYS},
    keeping, lanes, lookup_deps,
    metrics::StageMetrics,
    notify, policy,
    process::{Process, Running, STAGES_CHECK},
    stages,
    upkeep::{self, Duty},
};
use domain::Timestamp;
use ingest_gateway::{EmbeddedTokens, Gateway, GatewayDeps, GatewayService, HttpFetch, Way};
use service::{Shutdown, serve::Server};
use std::{sync::Arc, time::Duration};
use suppressor::store::embedded::{Retention, Sweep};

/// The check that the gateway fails for a while when the log cannot be written.
const LOG_CHECK: &str = "log";

/// Runs until SIGTERM or SIGINT, or until a part fails for good.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    config.check_embedded()?;
    let mut process = Process::begin(config, &[LOG_CHECK, STAGES_CHECK])?;
    let config = process.config.clone();
    let engine = Embedded::open(&config)?;
    process.erasure = Some(own_key(config.erasure.as_ref(), &config.data_dir)?);
    policy::check(&process, &engine).await?;
    let alarms = alarms::start(&process)?;

    let gateway = gateway(&process, &engine)?;
    let gateway_server =
        Server::bind("gateway", config.gateway.listen, config.gateway.tls.as_ref(), config.gateway.server.clone())
            .await?;
    let lookup_server =
        Server::bind("lookup", config.lookup.listen, config.lookup.tls.as_ref(), config.lookup.server.clone()).await?;
    let kept = Arc::new(keeping::of_embedded(&config));
    let lookup = suppressor::lookup::router(lookup_deps::make(&process, &engine, kept, None));

    let running = start_stages(&process, &engine)?;
    let retention = tokio::spawn(retain(process.clone(), engine.clone()));
    process.readiness.set(LOG_CHECK, true);
    process.readiness.set(STAGES_CHECK, true);
    let (webhooks, lookups) = (gateway_server.local_addr()?, lookup_server.local_addr()?);

    // The gateway drains first, then the stages finish their batches; the admin port answers until the end.
    let stop = process.shutdown.token();
    let (lookup_server, gateway_server) =
        (lookup_server.counted(process.served.clone()), gateway_server.counted(process.served.clone()).short_answers());
    let lookup_task = tokio::spawn(lookup_server.run(lookup, stop.clone()));
    let gateway_task = tokio::spawn(gateway_server.run(gateway, stop.clone()));
    let admin = process.admin().await?;
    tracing::info!(
        %webhooks,
        %lookups,
        admin = %admin.address,
        sources = config.sources.len(),
        accounts = config.accounts.len(),
        subscribers = config.subscribers.len(),
        "quell is up"
    );
    let ended = process.watch(running.stages).await;
    gateway_task.await?;
    lookup_task.await?;
    running.upkeep.await?;
    retention.await?;
    for task in alarms {
        task.await?;
    }
    process.traces.close().await;
    admin.close().await?;
    ended
}

fn gateway(process: &Process, engine: &Embedded) -> anyhow::Result<GatewayService> {
    let tokens = EmbeddedTokens::open(engine.log())?;
    tokio::spawn(tokens.clone().sweep(process.clock.clone(), process.shutdown.token()));
    let gateway = Gateway::new(GatewayDeps {
        append: Way::Log(Arc::new(engine.log().clone())),
        clock: process.clock.clone(),
        sources: process.config.gateway_sources()?,
        tokens: Arc::new(tokens),
        fetch: Arc::new(HttpFetch::default()),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        traces: process.traces.clone(),
        limits: process.config.gateway.limits.clone(),
    })?;
    Ok(gateway.service())
}

struct Started {
    stages: Vec<Running>,
    upkeep: tokio::task::JoinHandle<()>,
}

fn start_stages(process: &Process, engine: &Embedded) -> anyhow::Result<Started> {
    let counts = Arc::new(StageMetrics::new(process)?);
    let duty = Duty::default();
    let mut stages = vec![stages::normalizer(process, engine, counts.clone())?];
    stages.extend(stages::suppressors(process, engine, &counts, &duty)?);
    stages.push(stages::guard(process, engine, &counts)?);
    stages.extend(lanes::start(process, engine)?);
    stages.extend(notify::start(process, engine)?);
    Ok(Started {
        stages,
        upkeep: tokio::spawn(upkeep::run(process.clone(), engine.clone(), duty, counts.guard().clone())),
    })
}

const STORE_EVERY: Duration = Duration::from_secs(1);
const LOG_EVERY: u64 = 60;
/// Rows of the store looked at in a step: a few milliseconds.
const STORE_ROWS_MAX: usize = 5_000;

/// What is kept long enough goes, a little every second.
async fn retain(process: Process, engine: Embedded) {
    let shutdown: &Shutdown = &process.shutdown;
    let kept = Retention { seen_days: SEEN_DAYS, messages_days: process.config.engine.messages_days };
    let mut sweep = Sweep::default();
    let mut steps = 0_u64;
    while !shutdown.is_requested() {
        if let Err(error) = retain_step(&process, &engine, &mut sweep, kept, steps.is_multiple_of(LOG_EVERY)).await {
            tracing::warn!(%error, "what is kept long enough could not be removed; trying again");
        }
        steps += 1;
        tokio::select! {
            () = tokio::time::sleep(STORE_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

async fn retain_step(
    process: &Process,
    engine: &Embedded,
    sweep: &mut Sweep,
    kept: Retention,
    with_log: bool,
) -> anyhow::Result<()> {
    let now = Timestamp::from_micros(process.clock.now_micros())?;
    engine.store().retain(sweep, kept, now, STORE_ROWS_MAX)?;
    if with_log {
        let log = engine.log().clone();
        tokio::task::spawn_blocking(move || log.enforce_retention(now.as_millis())).await??;
    }
    Ok(())
}
