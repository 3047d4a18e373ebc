//! The syncer's lanes in this process: each begins by itself, so that a provider that is down delays nobody's start.

use crate::{config::Config, metrics::RunnerMetrics};
use event_log::{
    embedded::EmbeddedLog,
    runner::{Fatal, spawn_runner},
};
use schemas::topics;
use service::{
    Clock, Metrics, Shutdown,
    http_client::{HttpClient, HttpClientOptions},
};
use std::{sync::Arc, time::Duration};
use syncer::{Account, Bootstrap, HttpApi, Lane, LaneStatus};

const BOOTSTRAP_RETRY: Duration = Duration::from_secs(15);

/// What every lane needs.
pub(crate) struct Parts {
    pub(crate) log: EmbeddedLog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shutdown: Shutdown,
    pub(crate) runners: RunnerMetrics,
}

/// A lane that runs: its name, and its end.
pub(crate) type Running = (String, tokio::task::JoinHandle<Result<(), Fatal>>);

/// Starts a lane for each account.
pub(crate) fn start(config: &Config, metrics: &Metrics, parts: Parts) -> anyhow::Result<Vec<Running>> {
    let counts = syncer::Metrics::new(metrics.registry())?;
    let parts = Arc::new(parts);
    let partitions: Vec<u32> = (0..config.engine.partitions).collect();
    let mut running = Vec::new();
    for account in &config.accounts {
        let options = HttpClientOptions { allow_private: account.allow_private, ..HttpClientOptions::default() };
        let api = Arc::new(HttpApi::new(HttpClient::new(&options)?));
        let lane = Lane::new(Account::new(account.to_lane())?, api, parts.clock.clone(), counts.clone());
        tokio::spawn(stop_with(lane.status(), parts.shutdown.clone()));
        let name = lane.account().group();
        running.push((name, tokio::spawn(run(lane, partitions.clone(), parts.clone()))));
    }
    Ok(running)
}

/// A lane's waits end with the process's.
async fn stop_with(status: LaneStatus, shutdown: Shutdown) {
    shutdown.requested().await;
    status.stop();
}

async fn run(mut lane: Lane, partitions: Vec<u32>, parts: Arc<Parts>) -> Result<(), Fatal> {
    let group = lane.account().group();
    let mut bootstrap = Bootstrap::default();
    loop {
        let begun = match Bootstrap::is_needed(&lane, &parts.log).await {
            Ok(true) => bootstrap.run(&mut lane, &parts.log).await.map(|told| {
                tracing::info!(lane = group, told, "told a new account what is in force");
            }),
            other => other.map(|_| ()),
        };
        match begun {
            Ok(()) => break,
            Err(_) if parts.shutdown.is_requested() => return Ok(()),
            Err(error) => {
                tracing::warn!(lane = group, %error, "cannot tell a new account what is in force; trying again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BOOTSTRAP_RETRY) => {}
            () = parts.shutdown.requested() => return Ok(()),
        }
    }
    let start = |error: String| Fatal::Start(error);
    let session = parts.log.session(&group, topics::DELTAS, &partitions).map_err(|error| start(error.to_string()))?;
    let observer = Arc::new(parts.runners.of(&group));
    let handle = spawn_runner(&group, session, lane, syncer::lane::LIMITS, parts.shutdown.token(), observer)
        .map_err(|error| start(error.to_string()))?;
    handle.ended().await
}
