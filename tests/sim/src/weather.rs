//! When a store step yields to others, and when it fails.

use event_log::memory::SplitMix64;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use suppressor::{StoreError, store::memory::Weather};

#[derive(Debug)]
struct Rules {
    random: SplitMix64,
    /// In a thousand steps.
    fails: u64,
    yields: u64,
}

/// Weather from a seed; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SimWeather(Arc<Mutex<Rules>>);

impl SimWeather {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Rules { random: SplitMix64::new(seed), fails: 0, yields: 0 })))
    }

    /// So many steps in a thousand fail and yield from now on.
    pub(crate) fn set(&self, fails: u64, yields: u64) {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (rules.fails, rules.yields) = (fails, yields);
    }
}

impl Weather for SimWeather {
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (fails, yields) = (rules.fails, rules.yields);
        let failed = rules.random.below(1_000) < fails;
        let yields = rules.random.below(1_000) < yields;
        drop(rules);
        Box::pin(async move {
            if yields {
                pause().await;
            }
            if failed { Err(StoreError::Unavailable("by the weather".to_owned())) } else { Ok(()) }
        })
    }
}

/// Lets the scheduler choose who goes next.
pub(crate) fn pause() -> Pause {
    Pause(false)
}

pub(crate) struct Pause(bool);

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        // Streams of futures poll only those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
