//! `quell serve`: some parts in this process, over Kafka and a CQL store; as many processes of each as wanted.

mod late_store;

use crate::{
    alarms,
    config::Config,
    engine::{Cluster, Engine as _},
    kafka_tokens,
    keeping::OfCluster,
    lanes, lookup_deps,
    metrics::StageMetrics,
    notify, policy,
    process::{Process, Running, STAGES_CHECK},
    registry, stages,
    upkeep::{self, Duty},
};
use anyhow::Context as _;
use clap::ValueEnum;
use event_log::{AppendError, kafka::KafkaLog};
use ingest_gateway::{Gateway, GatewayDeps, HttpFetch, Spooling, SpoolingDeps, Way};
use late_store::LateStore;
use schemas::topics;
use service::serve::{Answers, Server};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use suppressor::store::identity::{self, Identity, IdentityError};
use tokio::task::JoinHandle;

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    /// Takes webhooks
    Gateway,
    /// Turns raw webhooks into canonical events
    Normalizer,
    /// Decides, and keeps state; guards against incidents
    Suppressor,
    /// Tells providers
    Syncer,
    /// Tells subscribers
    Notifier,
    /// Answers lookups
    Lookup,
}

/// Holds while the gateway has somewhere to put webhooks.
const GATEWAY_CHECK: &str = "webhooks";
/// Holds once lookups are answered.
const LOOKUP_CHECK: &str = "lookups";
/// From one look at what we wait for to the next.
const WAIT: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, or until a part fails for good.
pub(crate) async fn run(config: Config, roles: &[Role]) -> anyhow::Result<()> {
    let has = |role| roles.contains(&role);
    let checks =
        [(GATEWAY_CHECK, has(Role::Gateway)), (STAGES_CHECK, has_stages(roles)), (LOOKUP_CHECK, has(Role::Lookup))];
    let checks: Vec<&'static str> = checks.iter().filter(|(_, is_ours)| *is_ours).map(|(name, _)| *name).collect();
    config.check_cluster()?;
    let process = Process::begin(config, &checks)?;
    process.traces.over("kafka");
    let admin = process.admin().await?;
    let alarms = alarms::start(&process)?;
    tracing::info!(admin = %admin.address, instance = process.config.instance()?, ?roles, "starting");

    if let Some(registry) = &process.config.registry {
        std::fs::create_dir_all(&process.config.data_dir)
            .with_context(|| format!("cannot make data_dir {}", process.config.data_dir.display()))?;
        registry::start(registry, &process.config.data_dir, "", process.shutdown.token()).await?;
    }
    let log = KafkaLog::connect_with(process.config.kafka.clone(), kafka_tokens::of(&process.config.kafka)?)?;
    let store = LateStore::connect(process.config.store.clone(), process.shutdown.clone());

    let mut servers = Vec::new();
    if has(Role::Gateway) {
        servers.extend(gateway(&process, &log, &store).await?);
    }
    let started = if roles == [Role::Gateway] { None } else { parts(&process, log, &store, roles).await? };
    let ended = match started {
        Some(started) => {
            let ended = process.watch(started.stages).await;
            servers.extend(started.tasks);
            ended
        }
        None => Ok(()),
    };
    if ended.is_ok() {
        process.shutdown.requested().await;
    }
    for task in servers.into_iter().chain(alarms) {
        task.await?;
    }
    process.traces.close().await;
    admin.close().await?;
    ended
}

/// What runs beside the gateway.
struct Started {
    stages: Vec<Running>,
    tasks: Vec<JoinHandle<()>>,
}

/// Waits for the topics and the store, then starts the roles. None where the process ended before.
async fn parts(process: &Process, log: KafkaLog, store: &LateStore, roles: &[Role]) -> anyhow::Result<Option<Started>> {
    let has = |role| roles.contains(&role);
    if !topics_are_there(process, &log).await {
        return Ok(None);
    }
    let counts = Arc::new(StageMetrics::new(process)?);
    let Some(store) = store.wait().await? else { return Ok(None) };
    let engine = Cluster { log, store, instance: process.config.instance()? };
    let mut started = Started { stages: Vec::new(), tasks: Vec::new() };
    let (duty, guard) = (Duty::default(), counts.guard().clone());
    if has(Role::Suppressor) {
        if !claim_store(process, &engine).await? {
            return Ok(None);
        }
        policy::check(process, &engine).await?;
        started.stages.extend(stages::suppressors(process, &engine, &counts, &duty)?);
        started.stages.push(stages::guard(process, &engine, &counts)?);
    }
    if has(Role::Normalizer) {
        started.stages.push(stages::normalizer(process, &engine, counts)?);
    }
    if has(Role::Syncer) {
        started.stages.extend(lanes::start(process, &engine)?);
    }
    if has(Role::Notifier) {
        started.stages.extend(notify::start(process, &engine)?);
    }
    if has(Role::Lookup) {
        // Before the first answer: under a policy it does not know it could say "allowed".
        if !policy_is_known(process, &engine).await {
            return Ok(None);
        }
        let config = &process.config.lookup;
        let server = Server::bind("lookup", config.listen, config.tls.as_ref(), config.server.clone()).await?;
        tracing::info!(lookups = %server.local_addr()?, "answering lookups");
        let spooled = Arc::new(late_store::Receipts(engine.store.clone()));
        let kept = OfCluster::new(&process.config);
        let router = suppressor::lookup::router(lookup_deps::make(process, &engine, kept, Some(spooled)));
        started.tasks.push(spawn_server(server, router, process));
        process.readiness.set(LOOKUP_CHECK, true);
    }
    if has(Role::Suppressor) || has(Role::Lookup) {
        started.tasks.push(tokio::spawn(upkeep::run(process.clone(), engine, duty, guard)));
    }
    if has_stages(roles) {
        // Who has no account and no subscriber to tell has all it needs: nothing.
        process.readiness.set(STAGES_CHECK, true);
        tracing::info!(stages = started.stages.len(), "stages run");
    }
    Ok(Some(started))
}

/// Whether one of these roles works off a topic.
fn has_stages(roles: &[Role]) -> bool {
    roles.iter().any(|role| matches!(role, Role::Normalizer | Role::Suppressor | Role::Syncer | Role::Notifier))
}

/// Waits until every topic can be read. False where the process ended before.
async fn topics_are_there(process: &Process, log: &KafkaLog) -> bool {
    for topic in topics::all() {
        while let Err(error) = log.probe(topic.name).await {
            tracing::warn!(topic = topic.name, %error, "waiting for the log");
            if is_over_after_wait(process).await {
                return false;
            }
        }
    }
    true
}

async fn is_over_after_wait(process: &Process) -> bool {
    tokio::select! {
        () = tokio::time::sleep(WAIT) => false,
        () = process.shutdown.requested() => true,
    }
}

/// R3: refuses a store that was written under another numbering. False where the process ended before.
async fn claim_store(process: &Process, engine: &Cluster) -> anyhow::Result<bool> {
    loop {
        match identity_of(engine).await {
            Ok(found) => match identity::claim(engine.store(), &found).await {
                Ok(()) => return Ok(true),
                Err(IdentityError::Store(error)) => tracing::warn!(%error, "waiting for the store"),
                Err(error) => return Err(error.into()),
            },
            Err(error) => tracing::warn!(%error, "waiting for the log"),
        }
        if is_over_after_wait(process).await {
            return Ok(false);
        }
    }
}

/// Waits for the policy in force. False where the process ended before.
async fn policy_is_known(process: &Process, engine: &Cluster) -> bool {
    loop {
        let known = match event_log::Append::partitions(&engine.log, topics::EVENTS) {
            Ok(partitions) => {
                process.policy.refresh(engine.store(), partitions).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match known {
            Ok(()) => return true,
            Err(error) => tracing::warn!(error, "waiting for the policy in force"),
        }
        if is_over_after_wait(process).await {
            return false;
        }
    }
}

/// Which log this is.
pub(crate) async fn identity_of(engine: &Cluster) -> Result<Identity, AppendError> {
    let log = engine.log.clone();
    let cluster_id = tokio::task::spawn_blocking(move || log.cluster_id())
        .await
        .map_err(|error| AppendError::Unavailable(error.to_string()))??;
    let events = event_log::Append::partitions(&engine.log, topics::EVENTS)?;
    let partitions = BTreeMap::from([(topics::EVENTS.to_owned(), events)]);
    let registry = schemas::Ids::process().has_registry();
    Ok(Identity { epoch: engine.log.epoch(), cluster_id, partitions, registry })
}

/// The gateway, its drain and its readiness. It starts while the log and the store are away.
async fn gateway(process: &Process, log: &KafkaLog, store: &LateStore) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let config = &process.config.gateway;
    let spooling = {
        let deps = SpoolingDeps {
            append: Arc::new(log.clone()),
            receipts: Some(Arc::new(store.clone())),
            clock: process.clock.clone(),
            readiness: process.readiness.clone(),
            metrics: process.metrics.clone(),
        };
        let spool = config.spool.clone();
        tokio::task::spawn_blocking(move || Spooling::open(&spool, deps)).await??
    };
    let gateway = Gateway::new(GatewayDeps {
        append: Way::Spooling(spooling.clone()),
        clock: process.clock.clone(),
        sources: process.config.gateway_sources()?,
        tokens: Arc::new(store.clone()),
        fetch: Arc::new(HttpFetch::default()),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        traces: process.traces.clone(),
        limits: config.limits.clone(),
    })?;
    let server = Server::bind("gateway", config.listen, config.tls.as_ref(), config.server.clone()).await?;
    let server = server.short_answers();
    tracing::info!(webhooks = %server.local_addr()?, sources = process.config.sources.len(), "taking webhooks");
    let drained = spooling.clone();
    let drain_stop = process.shutdown.token();
    Ok(vec![
        spawn_server(server, gateway.service(), process),
        tokio::spawn(async move { drained.drain(drain_stop).await }),
        tokio::spawn(watch_way(process.clone(), log.clone(), spooling)),
    ])
}

/// Serves until the process ends; the server says itself how it ended.
fn spawn_server(server: Server, answers: impl Answers, process: &Process) -> JoinHandle<()> {
    let (server, stop) = (server.counted(process.served.clone()), process.shutdown.token());
    tokio::spawn(async move {
        server.run(answers, stop).await;
    })
}

/// Ready while webhooks have somewhere to go: the log, going by what was produced last or else by asking for the topic, or
/// the spool.
async fn watch_way(process: Process, log: KafkaLog, spooling: Arc<Spooling>) {
    loop {
        let is_written = match log.writable() {
            Ok(()) if log.health().delivered.is_some_and(|ago| ago < WAIT) => true,
            _ => log.probe(topics::RAW).await.is_ok() && log.writable().is_ok(),
        };
        process.readiness.set(GATEWAY_CHECK, if is_written { spooling.can_take() } else { spooling.has_room() });
        if is_over_after_wait(&process).await {
            return;
        }
    }
}
