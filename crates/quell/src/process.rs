//! What every process has, whichever parts run in it: its configuration, clock and metrics, its end, and the admin port.

use crate::{
    alarms::{self, Alarms},
    config::{Config, ErasureConfig},
    metrics::{self, LookupCalls, RunnerMetrics, StoreCalls},
};
use anyhow::Context as _;
use event_log::Fatal;
use service::{
    Clock, Metrics, Shutdown, SystemClock,
    admin::{self, Admin, Liveness, Readiness},
    serve::{Drained, Server, ServerLimits, ServerMetrics},
    traces::Traces,
};
use std::sync::Arc;
use suppressor::{
    Store,
    erasure::ErasureKey,
    lookup::CurrentPolicy,
    store::{erasing::Erasing, timed::Timed},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The check that holds while every stage of the process runs.
pub(crate) const STAGES_CHECK: &str = "stages";

/// A part that runs: its name, and its end.
pub(crate) type Running = (String, JoinHandle<Result<(), Fatal>>);

#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) served: ServerMetrics,
    pub(crate) runners: RunnerMetrics,
    pub(crate) store_calls: Arc<StoreCalls>,
    pub(crate) lookup_calls: Arc<LookupCalls>,
    pub(crate) readiness: Readiness,
    pub(crate) liveness: Liveness,
    pub(crate) shutdown: Shutdown,
    pub(crate) policy: Arc<CurrentPolicy>,
    pub(crate) alarms: Alarms,
    pub(crate) traces: Traces,
    /// The key of pseudonyms, if there is one.
    pub(crate) erasure: Option<Arc<ErasureKey>>,
}

/// The admin port, which answers until everything else has ended.
pub(crate) struct AdminPort {
    stop: CancellationToken,
    task: JoinHandle<Drained>,
    pub(crate) address: std::net::SocketAddr,
}

impl Process {
    /// Ready once all of `checks` hold. SIGTERM and SIGINT ask for its end.
    pub(crate) fn begin(config: Config, checks: &[&'static str]) -> anyhow::Result<Self> {
        let metrics = Metrics::new()?;
        metrics::show_build(&metrics)?;
        let readiness = Readiness::requiring(checks);
        let shutdown = Shutdown::new();
        shutdown.on_signals(readiness.clone())?;
        let erasure = config.erasure.as_ref().map(ErasureConfig::key).transpose()?.map(Arc::new);
        let traces = Traces::start(config.traces.settings(&config.instance().unwrap_or_default())?, &metrics)?;
        Ok(Self {
            config: Arc::new(config),
            clock: Arc::new(SystemClock),
            runners: RunnerMetrics::new(&metrics)?,
            store_calls: Arc::new(StoreCalls::new(&metrics)?),
            lookup_calls: Arc::new(LookupCalls::new(&metrics)?),
            served: ServerMetrics::register(&metrics)?,
            metrics,
            readiness,
            liveness: Liveness::default(),
            shutdown,
            policy: Arc::new(CurrentPolicy::new()),
            alarms: Alarms::default(),
            traces,
            erasure,
        })
    }

    /// A store whose calls are counted, and in which erased recipients are found.
    pub(crate) fn store<S: Store>(&self, store: S) -> Erasing<Timed<S>> {
        Erasing::new(Timed::new(store, self.store_calls.clone()), self.erasure.clone())
    }

    /// Opens the admin port: first of all, so that whoever starts us sees what we wait for.
    pub(crate) async fn admin(&self) -> anyhow::Result<AdminPort> {
        let server = Server::bind("admin", self.config.admin.listen, None, ServerLimits::default()).await?;
        let address = server.local_addr()?;
        let router = admin::router(Admin {
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
            liveness: self.liveness.clone(),
        })
        .merge(alarms::router(self.alarms.clone()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.counted(self.served.clone()).run(router, stop.clone()));
        Ok(AdminPort { task, stop, address })
    }

    /// Waits until every stage has ended. The first that ends for good takes the rest down: the supervisor restarts us.
    pub(crate) async fn watch(&self, stages: Vec<Running>) -> anyhow::Result<()> {
        let mut ends = tokio::task::JoinSet::new();
        for (name, handle) in stages {
            ends.spawn(async move { (name, handle.await) });
        }
        let mut failed: Option<(String, Fatal)> = None;
        while let Some(end) = ends.join_next().await {
            let (name, result) = end?;
            if let Err(error) = result? {
                self.readiness.set(STAGES_CHECK, false);
                self.shutdown.request();
                failed.get_or_insert((name, error));
            }
        }
        match failed {
            Some((name, error)) => Err(anyhow::Error::new(error).context(format!("{name} ended for good"))),
            None => Ok(()),
        }
    }
}

impl AdminPort {
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the admin port").map(drop)
    }
}
