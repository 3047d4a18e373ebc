//! How a lane fares, and why it stands still.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Why a lane stands still. Nothing is lost: its positions wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The provider cannot be reached, fails, or asks to wait.
    #[error("{0}")]
    Away(String),
    /// The provider refuses the account as configured.
    #[error("the provider refuses this account: {0}; check its credential, domain and stream")]
    Blocked(String),
    /// The lane was told to stop.
    #[error("stopping")]
    Stopped,
}

/// How a lane fares, for readiness and for stopping it. Clones speak of the same lane.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    trouble: Arc<Mutex<Option<Halt>>>,
    stop: watch::Sender<bool>,
}

impl LaneStatus {
    pub(crate) fn new() -> Self {
        Self { trouble: Arc::default(), stop: watch::Sender::new(false) }
    }

    /// Why the lane stands still; `None` while it runs.
    pub fn trouble(&self) -> Option<Halt> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the lane's waits, so that a shutdown does not sit them out. A call in flight is finished.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // The sender is part of `self`: it cannot be gone.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn set_running(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn set_trouble(&self, halt: &Halt) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(halt.clone());
    }
}
