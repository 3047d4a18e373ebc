//! The HTTP server that gateway, lookup API and admin port share: HTTP/1.1 and HTTP/2, TLS if configured, every wait and
//! every buffer bounded, and a drain that finishes what was begun.

mod body;
mod connection;
mod crowd;
mod io;
mod metrics;
mod tls;

pub use body::{PacedBody, Slow, is_slow};
pub use metrics::ServerMetrics;
pub use tls::{TlsError, TlsFiles, install_crypto};

use axum::{body::Body, response::Response};
use connection::Served;
use crowd::Crowd;
use http::Request;
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tls::Tls;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait before accepting again after the system refused (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for those that were asked to go, before others are asked.
const THIN_PAUSE: Duration = Duration::from_millis(50);

/// What one listener allows. All are bounds; none can be switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimits {
    /// Connections at a time. For a further one those that have lain longest without a request are closed; where all are at
    /// work it waits.
    pub connections_max: usize,
    /// From accepting (with TLS: before the handshake) to the end of the first request's head.
    pub head_timeout_ms: u64,
    /// How long a connection may lie without a request. Set it above a load balancer's own, or that one meets closed
    /// connections.
    pub idle_timeout_ms: u64,
    /// A request's head, in bytes.
    pub head_bytes_max: usize,
    /// A body may pause this long, and lag this far behind [`Self::body_bytes_per_s_min`].
    pub body_grace_ms: u64,
    /// A body must come at least this fast, in bytes a second.
    pub body_bytes_per_s_min: u64,
    /// How long a client may leave an answer lying without reading on.
    pub write_timeout_ms: u64,
    /// How long to finish what was begun at shutdown; what is not finished then is cut.
    pub drain_timeout_ms: u64,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams_max: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            head_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            head_bytes_max: 32 * 1_024,
            body_grace_ms: 10_000,
            body_bytes_per_s_min: 1_024,
            write_timeout_ms: 30_000,
            drain_timeout_ms: 25_000,
            streams_max: 128,
        }
    }
}

/// Why a listener cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for {name}: {error}")]
    Bind {
        /// What listens, e.g. `gateway`.
        name: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What answers requests: an axum router, or any service like one.
pub trait Answers:
    tower::Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: tower::Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still at work when the time was up, and were cut.
    pub cut: usize,
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    tls: Option<Tls>,
    limits: ServerLimits,
    metrics: Option<ServerMetrics>,
    short_answers: bool,
}

impl Server {
    /// Binds; nothing is accepted before [`Self::run`].
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        tls: Option<&TlsFiles>,
        limits: ServerLimits,
    ) -> Result<Self, ServeError> {
        let tls = tls.map(tls::acceptor).transpose()?;
        let bind = |error| ServeError::Bind { name, address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        Ok(Self { name, listener, tls, limits, metrics: None, short_answers: false })
    }

    /// Counts its connections.
    #[must_use]
    pub fn counted(self, metrics: ServerMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Copies each answer behind its head and writes them in one piece, which costs less than to have the system gather
    /// them. For answers of some kilobytes: a connection keeps a buffer as large as its largest.
    #[must_use]
    pub fn short_answers(self) -> Self {
        Self { short_answers: true, ..self }
    }

    /// Where it listens; the port chosen by the system where 0 was asked for.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; then accepts no more, finishes the requests that were begun, and cuts what takes longer than
    /// the drain timeout. A panic in a handler is that request's 500.
    pub async fn run(self, answers: impl Answers, stop: CancellationToken) -> Drained {
        let Self { name, listener, tls, limits, metrics, short_answers } = self;
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let permits = Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        let crowd = Arc::new(Crowd::default());
        let served =
            Arc::new(Served { name, answers, tls, limits, short_answers, stop: stop.clone(), cut: cut.clone() });
        while let Some(stream) = next(name, &listener, &stop).await {
            let Some(permit) = place(&permits, &crowd, &stop).await else { break };
            let (served, member, metrics) = (served.clone(), crowd.enter(), metrics.clone());
            tasks.spawn(async move {
                let open = metrics.as_ref().map(|metrics| metrics.open(name));
                open.iter().for_each(IntGauge::inc);
                let end = served.connection(stream, &member).await;
                open.iter().for_each(IntGauge::dec);
                metrics.iter().for_each(|metrics| metrics.ended(name, end).inc());
                drop((member, permit));
            });
        }
        drop(listener);
        tasks.close();
        let grace = Duration::from_millis(served.limits.drain_timeout_ms);
        if tokio::time::timeout(grace, tasks.wait()).await.is_ok() {
            return Drained { cut: 0 };
        }
        let left = tasks.len();
        tracing::warn!(listener = name, connections = left, "cut what was not finished in time");
        cut.cancel();
        tasks.wait().await;
        Drained { cut: left }
    }
}

/// The next connection; `None` once stopping. Errors of accepting never end the loop.
async fn next(name: &str, listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                tracing::warn!(listener = name, %error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A place for one more connection, made by closing what lies idle where there is none; `None` once stopping.
async fn place(permits: &Arc<Semaphore>, crowd: &Crowd, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = permits.clone().try_acquire_owned() {
        return Some(permit);
    }
    loop {
        crowd.thin();
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            permit = permits.clone().acquire_owned() => return permit.ok(),
            () = tokio::time::sleep(THIN_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests;
