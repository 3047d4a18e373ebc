//! Waking readers.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Tells waiting readers that something was appended.
#[derive(Debug, Default)]
pub(super) struct Signal {
    version: Mutex<u64>,
    wake: Condvar,
    notify: tokio::sync::Notify,
}

impl Signal {
    pub(super) fn raise(&self) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.wake.notify_all();
        self.notify.notify_waiters();
    }

    pub(super) fn version(&self) -> u64 {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until something was appended after `seen` was read, or until `deadline`. `false` at the deadline.
    pub(super) fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(version, left, |version| *version == seen);
        let (_version, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    pub(super) async fn changed(&self, wait: Duration) {
        // Running out of time is an answer too.
        let _ = tokio::time::timeout(wait, self.notify.notified()).await;
    }
}
