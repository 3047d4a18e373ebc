//! The connections of a listener, so that those at rest can give way when there are too many.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// When there are too many, this part of them is asked to go at once, so that a flood does not look for one each time.
const PART: usize = 64;

/// Every connection there is.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    members: Mutex<HashMap<u64, Arc<Pulse>>>,
    next: AtomicU64,
}

/// A connection's place in the crowd; given back when dropped.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Crowd>,
    id: u64,
    pub(super) pulse: Arc<Pulse>,
}

impl Crowd {
    pub(super) fn enter(self: &Arc<Self>) -> Member {
        let (id, pulse) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Pulse::new(Instant::now())));
        self.lock().insert(id, pulse.clone());
        Member { crowd: self.clone(), id, pulse }
    }

    /// Asks those that have rested longest to go, whether they ever said something or not; so who comes and speaks is
    /// never the first to go. How many were asked.
    pub(super) fn thin(&self) -> usize {
        let members = self.lock();
        let wanted = members.len().div_ceil(PART);
        let mut resting: Vec<(Instant, &Arc<Pulse>)> =
            members.values().filter(|pulse| !pulse.is_told()).filter_map(|p| Some((p.idle_since()?, p))).collect();
        if resting.len() > wanted {
            resting.select_nth_unstable_by_key(wanted, |(since, _)| *since);
            resting.truncate(wanted);
        }
        resting.iter().for_each(|(_, pulse)| pulse.tell());
        resting.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Pulse>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.lock().remove(&self.id);
    }
}

/// How many requests a connection has at work, and since when it has none.
#[derive(Debug)]
pub(super) struct Pulse {
    accepted: Instant,
    at_work: AtomicUsize,
    begun: AtomicU64,
    /// Milliseconds from `accepted` to the end of the last answer.
    ended_ms: AtomicU64,
    told: AtomicBool,
    leave: Notify,
    malformed: AtomicBool,
}

impl Pulse {
    fn new(accepted: Instant) -> Self {
        let (begun, ended_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        let (told, leave, malformed) = (AtomicBool::new(false), Notify::new(), AtomicBool::new(false));
        Self { accepted, at_work: AtomicUsize::new(0), begun, ended_ms, told, leave, malformed }
    }

    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    pub(super) fn began(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.at_work.load(Ordering::Acquire) == 0;
        idle.then(|| self.accepted + Duration::from_millis(self.ended_ms.load(Ordering::Relaxed)))
    }

    /// Ends once this connection is asked to go; it is asked once.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// What came on it cannot be told apart from what follows; the connection ends with the answer to it.
    pub(super) fn found_malformed(&self) {
        self.malformed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.load(Ordering::Relaxed)
    }

    fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    fn tell(&self) {
        self.told.store(true, Ordering::Relaxed);
        self.leave.notify_one();
    }

    /// Takes back the asking: a request came in between.
    pub(super) fn stay(&self) {
        self.told.store(false, Ordering::Relaxed);
    }
}

/// One request at work, from its head to the end of its answer's body.
#[derive(Debug)]
pub(super) struct Beat(Arc<Pulse>);

impl Beat {
    pub(super) fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.begun.fetch_add(1, Ordering::Relaxed);
        pulse.at_work.fetch_add(1, Ordering::AcqRel);
        Self(pulse.clone())
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let elapsed = self.0.accepted.elapsed().as_millis();
        self.0.ended_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_rested_longest_go_and_the_busy_stay() {
        let crowd = Arc::new(Crowd::default());
        let mut members = Vec::new();
        for _ in 0..130 {
            members.push(crowd.enter());
            tokio::time::advance(Duration::from_millis(5)).await;
        }
        // The two oldest: one is at work, one just was.
        let _at_work = Beat::begin(&members[0].pulse);
        drop(Beat::begin(&members[1].pulse));
        assert_eq!(crowd.thin(), 3);
        let told = |members: &[Member]| -> Vec<usize> {
            members.iter().enumerate().filter(|(_, member)| member.pulse.is_told()).map(|(at, _)| at).collect()
        };
        assert_eq!(told(&members), [2, 3, 4]);
        members[2].pulse.asked_to_leave().await;
        // Nobody is asked twice.
        assert_eq!(crowd.thin(), 3);
        assert_eq!(told(&members), [2, 3, 4, 5, 6, 7]);
        members[2].pulse.stay();
        members.truncate(4);
        let count = || crowd.lock().len();
        assert_eq!((count(), crowd.thin(), told(&members)), (4, 1, vec![2, 3]));
        members.clear();
        assert_eq!((count(), crowd.thin()), (0, 0));
    }
}
