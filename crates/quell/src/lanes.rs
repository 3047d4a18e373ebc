//! The syncer's lanes in this process: each begins by itself, so that a provider that is down delays nobody's start.

use crate::{
    engine::{Engine, Member},
    process::{Process, Running},
};
use event_log::{Fatal, runner::spawn_runner};
use schemas::topics;
use service::{
    Shutdown,
    http_client::{HttpClient, HttpClientOptions},
};
use std::{sync::Arc, time::Duration};
use syncer::{Account, Bootstrap, HttpApi, Lane, LaneStatus};

const BOOTSTRAP_RETRY: Duration = Duration::from_secs(15);

/// Starts a lane for each account.
pub(crate) fn start<E: Engine>(process: &Process, engine: &E) -> anyhow::Result<Vec<Running>> {
    let counts = syncer::Metrics::new(process.metrics.registry())?;
    let mut running = Vec::new();
    for account in &process.config.accounts {
        let options = HttpClientOptions { allow_private: account.allow_private, ..HttpClientOptions::default() };
        let api = Arc::new(HttpApi::new(HttpClient::new(&options)?));
        let lane = Lane::new(Account::new(account.to_lane())?, api, process.clock.clone(), counts.clone());
        tokio::spawn(stop_with(lane.status(), process.shutdown.clone()));
        let name = lane.account().group();
        running.push((name, tokio::spawn(run(lane, process.clone(), engine.clone()))));
    }
    Ok(running)
}

/// A lane's waits end with the process's.
async fn stop_with(status: LaneStatus, shutdown: Shutdown) {
    shutdown.requested().await;
    status.stop();
}

async fn run<E: Engine>(mut lane: Lane, process: Process, engine: E) -> Result<(), Fatal> {
    let group = lane.account().group();
    let mut bootstrap = Bootstrap::default();
    loop {
        let begun = match Bootstrap::is_needed(&lane, engine.log()).await {
            Ok(true) => bootstrap.run(&mut lane, engine.log()).await.map(|told| {
                tracing::info!(lane = group, told, "told a new account what is in force");
            }),
            other => other.map(|_| ()),
        };
        match begun {
            Ok(()) => break,
            Err(_) if process.shutdown.is_requested() => return Ok(()),
            Err(error) => {
                tracing::warn!(lane = group, %error, "cannot tell a new account what is in force; trying again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BOOTSTRAP_RETRY) => {}
            () = process.shutdown.requested() => return Ok(()),
        }
    }
    let start = |error: String| Fatal::Start(error);
    let member = Member { from_oldest: true, ..Member::only(&group, topics::DELTAS) };
    let session = engine.session(&member).map_err(|error| start(error.to_string()))?;
    let observer = Arc::new(process.runners.of(&group));
    let handle = spawn_runner(&group, session, lane, syncer::lane::LIMITS, process.shutdown.token(), observer)
        .map_err(|error| start(error.to_string()))?;
    handle.ended().await
}
