//! `quell up`: every stage in one process, on the embedded log and store.

use crate::{
    config::Config,
    lanes::{self, Running},
    lookup_deps,
    metrics::{RunnerMetrics, StageMetrics},
};
use anyhow::{Context as _, bail};
use domain::Timestamp;
use event_log::{
    Append, Limits as PollLimits, TopicSpec,
    embedded::{EmbeddedLog, Limits as LogLimits, open_database},
    runner::{Fatal, spawn_runner},
};
use ingest_gateway::{EmbeddedTokens, Gateway, GatewayDeps};
use normalizer::Normalizer;
use schemas::topics;
use service::{
    Clock, Metrics, Shutdown, SystemClock,
    admin::{self, Admin, Liveness, Readiness},
    serve::Server,
};
use std::{sync::Arc, time::Duration};
use suppressor::{
    Policy, Store, Suppressor,
    jobs::{expiry::Expiry, reconsider, unengaged},
    lookup::CurrentPolicy,
    store::embedded::{EmbeddedStore, Retention, Sweep},
};

/// What the parts share.
struct Engine {
    log: EmbeddedLog,
    store: Arc<EmbeddedStore>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
    policy: Arc<CurrentPolicy>,
}

/// Runs until SIGTERM or SIGINT, or until a part fails for good.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let readiness = Readiness::requiring(&["log", "stages"]);
    let shutdown = Shutdown::new();
    shutdown.on_signals(readiness.clone())?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make data_dir {}", config.data_dir.display()))?;
    let db = open_database(&config.data_dir, config.engine.cache_mib << 20).with_context(|| {
        format!("cannot open data_dir {}: is another quell running on it?", config.data_dir.display())
    })?;
    let log = EmbeddedLog::open(db.clone(), &topic_specs(&config), LogLimits::default())?;
    let engine = Engine {
        log,
        store: Arc::new(EmbeddedStore::open(db.clone())?),
        clock: Arc::new(SystemClock),
        metrics,
        readiness,
        shutdown,
        policy: Arc::new(CurrentPolicy::new()),
    };
    check_policy(&config, &engine).await?;

    let gateway = gateway(&config, &engine, &db)?;
    let gateway_server =
        Server::bind("gateway", config.gateway.listen, config.gateway.tls.as_ref(), config.gateway.server.clone())
            .await?;
    let lookup_server =
        Server::bind("lookup", config.lookup.listen, config.lookup.tls.as_ref(), config.lookup.server.clone()).await?;
    let admin_server =
        Server::bind("admin", config.admin.listen, None, service::serve::ServerLimits::default()).await?;
    let liveness = Liveness::default();
    let admin = admin::router(Admin {
        metrics: engine.metrics.clone(),
        readiness: engine.readiness.clone(),
        liveness: liveness.clone(),
    });
    let lookup = suppressor::lookup::router(lookup_deps::make(
        &config,
        lookup_deps::Parts {
            store: engine.store.clone(),
            log: Arc::new(engine.log.clone()),
            clock: engine.clock.clone(),
            policy: engine.policy.clone(),
        },
    )?);

    let stages = start_stages(&config, &engine)?;
    let jobs = tokio::spawn(jobs(config.clone(), engine.jobs(), liveness.heartbeat("jobs", Duration::from_secs(120))));
    engine.readiness.set("log", true);
    engine.readiness.set("stages", true);
    tracing::info!(
        webhooks = %gateway_server.local_addr()?,
        lookups = %lookup_server.local_addr()?,
        admin = %admin_server.local_addr()?,
        sources = config.sources.len(),
        accounts = config.accounts.len(),
        "quell is up"
    );

    // The gateway drains first, then the stages finish their batches; the admin port answers until the end.
    let stop = engine.shutdown.token();
    let admin_stop = tokio_util::sync::CancellationToken::new();
    let admin_task = tokio::spawn(admin_server.run(admin, admin_stop.clone()));
    let lookup_task = tokio::spawn(lookup_server.run(lookup, stop.clone()));
    let gateway_task = tokio::spawn(gateway_server.run(gateway, stop.clone()));
    let ended = watch_stages(stages, &engine).await;
    gateway_task.await?;
    lookup_task.await?;
    jobs.await?;
    admin_stop.cancel();
    admin_task.await?;
    ended
}

fn topic_specs(config: &Config) -> Vec<TopicSpec> {
    const DAY_MS: u64 = 86_400_000;
    let spec = |topic: topics::Topic| {
        let days = match topic.name {
            topics::RAW => config.engine.raw_days,
            topics::EVENTS => config.engine.events_days,
            _ => config.engine.deltas_days,
        };
        TopicSpec {
            name: topic.name.into(),
            partitions: config.engine.partitions,
            retention_ms: topic.retention_ms.map(|_| days.saturating_mul(DAY_MS)),
        }
    };
    topics::all().into_iter().map(spec).collect()
}

/// R9: the policy in the log is the one that holds. A file is applied by itself only where nothing was ever decided.
async fn check_policy(config: &Config, engine: &Engine) -> anyhow::Result<()> {
    let store: &dyn Store = &*engine.store;
    if let Some(file) = &config.policy.file {
        let document = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Policy::parse(1, &document)?;
        match reconsider::newest(store).await? {
            Some(row) if row.document == document => {}
            None if store.scan(None, 1).await?.items.is_empty() => {
                let now = Timestamp::from_micros(engine.clock.now_micros())?;
                let version = reconsider::apply(store, &engine.log, &document, now, "first start").await?;
                tracing::info!(version, "applied the policy file");
            }
            _ => bail!(
                "{} is not the policy in force. Start with the file that was applied last (or without policy.file), then \
                 run `quell policy apply {}`",
                file.display(),
                file.display()
            ),
        }
    }
    Ok(engine.policy.refresh(store, config.engine.partitions).await?)
}

fn gateway(config: &Config, engine: &Engine, db: &fjall::Database) -> anyhow::Result<axum::Router> {
    let tokens = EmbeddedTokens::open(db)?;
    tokio::spawn(tokens.clone().sweep(engine.clock.clone(), engine.shutdown.token()));
    let gateway = Gateway::new(GatewayDeps {
        append: Arc::new(engine.log.clone()),
        clock: engine.clock.clone(),
        sources: config.gateway_sources()?,
        tokens: Arc::new(tokens),
        readiness: engine.readiness.clone(),
        metrics: engine.metrics.clone(),
        limits: config.gateway.limits.clone(),
    })?;
    Ok(gateway.router())
}

fn start_stages(config: &Config, engine: &Engine) -> anyhow::Result<Vec<Running>> {
    let counts = Arc::new(StageMetrics::new(&engine.metrics)?);
    let runners = RunnerMetrics::new(&engine.metrics)?;
    let limits = PollLimits {
        records_max: config.engine.batch_records_max,
        bytes_max: 8 << 20,
        wait: Duration::from_millis(500),
    };
    let token = engine.shutdown.token();
    let partitions: Vec<u32> = (0..config.engine.partitions).collect();
    let mut running = Vec::new();

    let session = engine.log.session("normalizer", topics::RAW, &partitions)?;
    let observer = Arc::new(runners.of("normalizer"));
    let stage = Normalizer::new(counts.clone());
    // A webhook holds up to hundreds of events: smaller batches, or one commit would hold up every webhook's own.
    let raw_limits = PollLimits { bytes_max: RAW_BYTES_MAX, ..limits };
    let handle = spawn_runner("normalizer", session, stage, raw_limits, token.clone(), observer)?;
    running.push(("normalizer".to_owned(), tokio::spawn(handle.ended())));

    for worker in 0..config.engine.suppressor_workers {
        let own: Vec<u32> =
            partitions.iter().copied().filter(|p| p % config.engine.suppressor_workers == worker).collect();
        let session = engine.log.session("suppressor", topics::EVENTS, &own)?;
        let name = format!("suppressor-{worker}");
        let stage = Suppressor::new(engine.store.as_ref().clone(), counts.clone());
        let handle = spawn_runner(&name, session, stage, limits, token.clone(), Arc::new(runners.of(&name)))?;
        running.push((name, tokio::spawn(handle.ended())));
    }

    let parts = lanes::Parts {
        log: engine.log.clone(),
        clock: engine.clock.clone(),
        shutdown: engine.shutdown.clone(),
        runners,
    };
    running.extend(lanes::start(config, &engine.metrics, parts)?);
    Ok(running)
}

/// Waits until every stage has ended. The first that ends for good takes the rest down: the supervisor restarts us.
async fn watch_stages(stages: Vec<Running>, engine: &Engine) -> anyhow::Result<()> {
    let mut ends = tokio::task::JoinSet::new();
    for (name, handle) in stages {
        ends.spawn(async move { (name, handle.await) });
    }
    let mut failed: Option<(String, Fatal)> = None;
    while let Some(end) = ends.join_next().await {
        let (name, result) = end?;
        if let Err(error) = result? {
            engine.readiness.set("stages", false);
            engine.shutdown.request();
            failed.get_or_insert((name, error));
        }
    }
    match failed {
        Some((name, error)) => Err(anyhow::Error::new(error).context(format!("{name} ended for good"))),
        None => Ok(()),
    }
}

/// What the jobs need.
struct Jobs {
    log: EmbeddedLog,
    store: Arc<EmbeddedStore>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    policy: Arc<CurrentPolicy>,
}

impl Engine {
    fn jobs(&self) -> Jobs {
        Jobs {
            log: self.log.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            shutdown: self.shutdown.clone(),
            policy: self.policy.clone(),
        }
    }
}

/// Bytes of raw webhooks in one batch of the normalizer: some thousands of events.
const RAW_BYTES_MAX: usize = 512 * 1_024;
const TICK: Duration = Duration::from_secs(1);
const RETENTION_EVERY: u64 = 60;
/// Longer than any provider goes on repeating a webhook.
const SEEN_DAYS: u32 = 30;
/// Rows of the store looked at in a tick: a few milliseconds.
const RETAIN_ROWS_MAX: usize = 5_000;

/// Ends, sweeps, the unengaged run, retention: a step of each every second. What fails is tried again at the next.
async fn jobs(config: Config, jobs: Jobs, heartbeat: service::admin::Heartbeat) {
    let mut expiry = Expiry::default();
    let mut sweep = Sweep::default();
    let mut ticks = 0_u64;
    while !jobs.shutdown.is_requested() {
        heartbeat.beat();
        if let Err(error) = tick(&config, &jobs, &mut expiry, &mut sweep, ticks).await {
            tracing::warn!(%error, "a job could not go on; trying again");
        }
        ticks += 1;
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = jobs.shutdown.requested() => {}
        }
    }
    heartbeat.retire();
}

async fn tick(config: &Config, jobs: &Jobs, expiry: &mut Expiry, sweep: &mut Sweep, ticks: u64) -> anyhow::Result<()> {
    let (store, log): (&dyn Store, &dyn Append) = (&*jobs.store, &jobs.log);
    let now = Timestamp::from_micros(jobs.clock.now_micros())?;
    expiry.run(store, log, now).await?;
    while !reconsider::sweep(store, log, now).await?.1 && !jobs.shutdown.is_requested() {}
    jobs.policy.refresh(store, config.engine.partitions).await?;
    if config.unengaged.scheduled {
        let every = i64::from(config.unengaged.every_hours) * 3_600;
        match unengaged::last_run(store).await? {
            None => unengaged::schedule_first(store, now).await?,
            Some(run) if run.over && run.began_at.plus_seconds(every) <= now => unengaged::begin(store, now).await?,
            Some(_) => {}
        }
    }
    let after_days = jobs.policy.get().newest().unengaged_after_days;
    while !unengaged::step(store, log, after_days).await?.over && !jobs.shutdown.is_requested() {}
    let kept = Retention { seen_days: SEEN_DAYS, messages_days: config.engine.messages_days };
    jobs.store.retain(sweep, kept, now, RETAIN_ROWS_MAX)?;
    if ticks.is_multiple_of(RETENTION_EVERY) {
        let log = jobs.log.clone();
        let now_ms = now.as_millis();
        tokio::task::spawn_blocking(move || log.enforce_retention(now_ms)).await??;
    }
    Ok(())
}
