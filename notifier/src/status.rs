//! How a lane fares, and why it stands still.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Why a lane stands still. Nothing is lost: its positions wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The endpoint takes nothing, or asks to wait.
    #[error("{0}")]
    Away(String),
    /// The endpoint said 410: it wants no webhook any more.
    #[error("the endpoint answered 410 Gone: it is disabled until a restart; mend its url, or take the subscriber out")]
    Gone,
    /// The lane was told to stop.
    #[error("stopping")]
    Stopped,
}

/// How a lane fares, and the way to stop it. Clones speak of the same lane.
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

    /// Ends the lane's waits, so that a shutdown does not sit them out. Posts in flight are finished.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        if stop.wait_for(|stop| *stop).await.is_err() {
            // The sender is part of `self`: it cannot be gone.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn set(&self, trouble: Option<Halt>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
