//! Shutting down in order: one request to stop, seen by every part; what was begun is finished.

use crate::admin::Readiness;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// A request to stop that all parts share. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Not requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every part to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub fn requested(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// The token, for what takes one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Requests the stop at SIGTERM or SIGINT, after readiness went to 503. A second signal ends the process at once
    /// with status 130, for whoever does not want to wait for the drain.
    pub fn on_signals(&self, readiness: Readiness) -> std::io::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let token = self.token.clone();
        tokio::spawn(async move {
            let name = tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
            tracing::info!(signal = name, "stopping: finishing what was begun");
            readiness.shut_down();
            token.cancel();
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(130);
        });
        Ok(())
    }
}
