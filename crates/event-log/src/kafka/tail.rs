//! Noticing that something was appended.
//!
//! While anybody waits for a topic, one task asks for the ends of its partitions ten times a second: one small request a
//! broker, however many wait. A client that fetches would be told sooner, and would be sent every record for it.

use super::{KafkaLog, Shared, lock};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

const EVERY: Duration = Duration::from_millis(100);
/// Nobody waited for so long: stop asking.
const UNWANTED_MAX: Duration = Duration::from_secs(5);

struct Tail {
    changed: Notify,
    n_waiting: AtomicUsize,
    wanted: Mutex<Instant>,
}

/// Somebody who waits.
struct Waiting(Arc<Tail>);

impl Waiting {
    fn new(tail: &Arc<Tail>) -> Self {
        tail.n_waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tail))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *lock(&self.0.wanted) = Instant::now();
        self.0.n_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<String, Arc<Tail>>>);

impl KafkaLog {
    pub(super) async fn wait_for_change(&self, topic: &str, wait: Duration) {
        let waiting = self.wait_at(topic);
        // Running out of time is an answer too.
        let _ = tokio::time::timeout(wait, waiting.0.changed.notified()).await;
    }

    fn wait_at(&self, topic: &str) -> Waiting {
        let mut tails = lock(&self.shared.tails.0);
        if let Some(tail) = tails.get(topic) {
            return Waiting::new(tail);
        }
        let (changed, n_waiting, wanted) = (Notify::new(), AtomicUsize::new(0), Mutex::new(Instant::now()));
        let tail = Arc::new(Tail { changed, n_waiting, wanted });
        tails.insert(topic.to_owned(), Arc::clone(&tail));
        tokio::spawn(watch(Arc::downgrade(&self.shared), topic.to_owned(), Arc::clone(&tail)));
        Waiting::new(&tail)
    }
}

async fn watch(shared: Weak<Shared>, topic: String, tail: Arc<Tail>) {
    let mut before = None;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        {
            let mut tails = lock(&shared.tails.0);
            if tail.n_waiting.load(Ordering::Relaxed) == 0 && lock(&tail.wanted).elapsed() > UNWANTED_MAX {
                tails.remove(&topic);
                return;
            }
        }
        let name = topic.clone();
        let ends = tokio::task::spawn_blocking(move || {
            let partitions: Vec<u32> = (0..shared.topic(&name).ok()?.partitions).collect();
            shared.ends(&name, &partitions).ok()
        });
        // Without an answer nothing is known to have changed.
        if let Some(ends) = ends.await.ok().flatten() {
            if before.as_ref().is_some_and(|before| *before != ends) {
                tail.changed.notify_waiters();
            }
            before = Some(ends);
        }
        tokio::time::sleep(EVERY).await;
    }
}
