//! The syncer's lanes in this process: each runs by itself, so that a provider that is down delays nobody.

use crate::{
    engine::{Engine, Member},
    metrics::LaneObserver,
    process::{Process, Running},
    stages::spawn,
};
use schemas::topics;
use service::{
    Shutdown,
    http_client::{HttpClient, HttpClientOptions},
};
use std::sync::Arc;
use syncer::{Account, HttpApi, Lane, LaneStatus};

/// Starts a lane for each account.
pub(crate) fn start<E: Engine>(process: &Process, engine: &E) -> anyhow::Result<Vec<Running>> {
    let counts = syncer::Metrics::new(&process.metrics)?;
    let mut running = Vec::new();
    for account in &process.config.accounts {
        let options = HttpClientOptions { allow_private: account.allow_private, ..HttpClientOptions::default() };
        let api = Arc::new(HttpApi::new(HttpClient::new(&options)?));
        let browse = Arc::new(engine.log().clone());
        let lane = Lane::new(Account::new(account.to_lane())?, api, browse, process.clock.clone(), counts.clone())
            .traced(process.traces.clone(), account.traceparent);
        tokio::spawn(stop_with(lane.status(), process.shutdown.clone()));
        let group = lane.account().group();
        // What is no longer kept is made up for from `state`.
        let member = Member { from_oldest: true, ..Member::only(&group, topics::DELTAS) };
        let session = engine.session(&member)?;
        let observer = LaneObserver { runner: process.runners.of(&group), waiting: lane.waiting() };
        running.push(spawn(process, &group, session, lane, syncer::lane::LIMITS, observer)?);
    }
    Ok(running)
}

/// A lane's waits end with the process's.
async fn stop_with(status: LaneStatus, shutdown: Shutdown) {
    shutdown.requested().await;
    status.stop();
}
