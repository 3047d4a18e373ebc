//! The notifier's lanes in this process: two a subscriber, each by itself, so that an endpoint that is down delays nobody.

use crate::{
    engine::{Engine, Member},
    process::{Process, Running},
    stages::spawn,
};
use notifier::{HttpReceiver, Lane, LaneStatus, Subscriber, Way};
use service::{
    Shutdown,
    http_client::{HttpClient, HttpClientOptions},
};
use std::{sync::Arc, time::Duration};

/// Starts the lanes of each subscriber.
pub(crate) fn start<E: Engine>(process: &Process, engine: &E) -> anyhow::Result<Vec<Running>> {
    let counts = notifier::Metrics::new(&process.metrics)?;
    let mut running = Vec::new();
    for config in &process.config.subscribers {
        let subscriber = Arc::new(Subscriber::new(config.to_lane())?);
        let options = HttpClientOptions {
            allow_private: config.allow_private,
            timeout: Duration::from_millis(config.timeout_ms),
            idle_per_host_max: config.in_flight_max,
            ..HttpClientOptions::default()
        };
        for way in [Way::Deltas, Way::Redeliveries] {
            // Each lane has a runtime of its own, and so a client.
            let receiver = Arc::new(HttpReceiver::new(HttpClient::new(&options)?));
            let (browse, clock) = (Arc::new(engine.log().clone()), process.clock.clone());
            let lane = Lane::new(Arc::clone(&subscriber), way, receiver, browse, clock, counts.clone())
                .traced(process.traces.clone());
            tokio::spawn(stop_with(lane.status(), process.shutdown.clone()));
            let group = subscriber.group(way);
            // Who was away for longer than deltas are kept goes on with the oldest: the log of the process says so.
            let member = Member { from_oldest: true, ..Member::only(&group, way.topic()) };
            let session = engine.session(&member)?;
            let observer = process.runners.of(&group);
            running.push(spawn(process, &group, session, lane, notifier::LIMITS, observer)?);
        }
    }
    Ok(running)
}

/// A lane's waits end with the process's.
async fn stop_with(status: LaneStatus, shutdown: Shutdown) {
    shutdown.requested().await;
    status.stop();
}
