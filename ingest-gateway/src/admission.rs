//! What may be in the gateway at a time. For what does not fit, those give way whose bodies have been coming for longest: so
//! nobody is kept out by senders that take their time. Where nobody waits for his client, what does not fit is refused soon: a
//! queue would only delay the refusal past the provider's own timeout.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How long those who were asked have to give way.
const ROOM_WITHIN: Duration = Duration::from_millis(250);
/// How long before others are asked.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// More is asked for than is wanted, this part of the bound, so that a flood does not ask for each.
const PART: usize = 32;

/// The gateway's bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A body as it is sent, in bytes.
    pub body_bytes_max: usize,
    /// A body once its content coding (gzip, deflate) is taken off, in bytes.
    pub decoded_bytes_max: usize,
    /// Requests at work at a time.
    pub in_flight_max: usize,
    /// Bytes of bodies held at a time, as sent and decoded together. A body is held about three times over while it is
    /// appended (as sent or decoded, in the record, encoded), so memory under load is about three times this.
    pub in_flight_bytes_max: usize,
    /// What `Retry-After` says when there is no room, in seconds.
    pub retry_after_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 5 * 1_024 * 1_024,
            decoded_bytes_max: 10 * 1_024 * 1_024,
            in_flight_max: 2_048,
            in_flight_bytes_max: 48 * 1_024 * 1_024,
            retry_after_s: 5,
        }
    }
}

/// Counts what is inside.
#[derive(Debug)]
pub(crate) struct Admission {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    requests_max: usize,
    bytes_max: usize,
    /// Those whose bodies are not there yet, as far as they ever had to wait for them.
    coming: Mutex<HashMap<u64, Arc<Coming>>>,
    next: AtomicU64,
    in_line: AtomicUsize,
    freed: Notify,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            requests_max: limits.in_flight_max,
            bytes_max: limits.in_flight_bytes_max,
            coming: Mutex::default(),
            next: AtomicU64::new(0),
            in_line: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    /// A place for one request: at once, or as soon as another has given way.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Place> {
        let few = self.requests_max.div_ceil(PART);
        let wanted = Wanted { requests: few, bytes: 0 };
        let is_in = self.room(|| take(&self.requests, 1, self.requests_max), wanted).await;
        is_in.then(|| Place { admission: self.clone(), bytes: 0, coming: None })
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes what there is, or what others give up for it within [`ROOM_WITHIN`].
    async fn room(&self, take: impl Fn() -> bool, wanted: Wanted) -> bool {
        if take() {
            return true;
        }
        let (_place, until) = (InLine::stand(self), Instant::now() + ROOM_WITHIN);
        self.ask(wanted);
        loop {
            // Those who stand in line are told in their order.
            let mut freed = std::pin::pin!(self.freed.notified());
            // Counted from here on, so that what is freed after the next look is not missed.
            freed.as_mut().enable();
            loop {
                if take() {
                    // There may be more than this one takes.
                    self.tell_those_in_line();
                    return true;
                }
                let now = Instant::now();
                let is_told = tokio::time::timeout_at(until.min(now + ASK_AGAIN_AFTER), freed.as_mut()).await.is_ok();
                // Others may have taken what was given up; or those who hold it had not come to waiting yet.
                if Instant::now() >= until || !(is_told || self.ask(wanted)) {
                    return take();
                }
                if is_told {
                    break;
                }
            }
        }
    }

    fn tell_those_in_line(&self) {
        if self.in_line.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Asks those to give way who wait longest for their clients, until they hold as much as is wanted; each who stands in line
    /// asks others. Whether anybody was asked, now or a moment ago.
    fn ask(&self, wanted: Wanted) -> bool {
        let coming = self.coming();
        let mut candidates: Vec<&Arc<Coming>> =
            coming.values().filter(|one| wanted.bytes == 0 || one.bytes.load(Ordering::Relaxed) > 0).collect();
        candidates.sort_unstable_by_key(|one| one.since);
        let (mut requests, mut bytes) = (0, 0);
        for one in &candidates {
            if requests >= wanted.requests && bytes >= wanted.bytes {
                break;
            }
            if !one.is_told.swap(true, Ordering::Relaxed) {
                requests += 1;
                bytes += one.bytes.load(Ordering::Relaxed);
                one.leave.notify_one();
            }
        }
        !candidates.is_empty()
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<u64, Arc<Coming>>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    requests: usize,
    bytes: usize,
}

/// One who waits for room, until dropped.
struct InLine<'a>(&'a Admission);

impl<'a> InLine<'a> {
    fn stand(admission: &'a Admission) -> Self {
        admission.in_line.fetch_add(1, Ordering::SeqCst);
        Self(admission)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.in_line.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request that waits for its client.
#[derive(Debug)]
pub(crate) struct Coming {
    since: Instant,
    bytes: AtomicUsize,
    is_told: AtomicBool,
    leave: Notify,
}

impl Coming {
    /// Ends once it is asked to give way.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}

fn take(counter: &AtomicUsize, wanted: usize, max: usize) -> bool {
    let taken = |held: usize| held.checked_add(wanted).filter(|sum| *sum <= max);
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
}

/// One request's place and the bytes it holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    bytes: usize,
    coming: Option<(u64, Arc<Coming>)>,
}

impl Place {
    /// Room for so many more bytes, or none at once.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = take(&self.admission.bytes, bytes, self.admission.bytes_max);
        if taken {
            self.hold(bytes);
        }
        taken
    }

    /// Room for so many more bytes: at once, or as soon as others have given way.
    pub(crate) async fn grow_or_wait(&mut self, bytes: usize) -> bool {
        let admission = &*self.admission;
        let wanted = Wanted { requests: 0, bytes: bytes.max(admission.bytes_max / PART) };
        let taken = admission.room(|| take(&admission.bytes, bytes, admission.bytes_max), wanted).await;
        if taken {
            self.hold(bytes);
        }
        taken
    }

    fn hold(&mut self, bytes: usize) {
        self.bytes += bytes;
        if let Some((_, coming)) = &self.coming {
            coming.bytes.store(self.bytes, Ordering::Relaxed);
        }
    }

    /// How many bytes it holds.
    pub(crate) const fn held(&self) -> usize {
        self.bytes
    }

    /// Gives back all but so many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let given = self.bytes.saturating_sub(bytes);
        self.bytes -= given;
        self.admission.bytes.fetch_sub(given, Ordering::SeqCst);
        self.admission.tell_those_in_line();
    }

    /// Its client has to be waited for: from now on it may be asked to give way.
    pub(crate) fn wait_for_client(&mut self) -> Arc<Coming> {
        if let Some((_, coming)) = &self.coming {
            return coming.clone();
        }
        let (is_told, bytes) = (AtomicBool::new(false), AtomicUsize::new(self.bytes));
        let coming = Arc::new(Coming { since: Instant::now(), bytes, is_told, leave: Notify::new() });
        let id = self.admission.next.fetch_add(1, Ordering::Relaxed);
        self.admission.coming().insert(id, coming.clone());
        self.coming = Some((id, coming.clone()));
        coming
    }

    /// All of its body is there: it gives way no more.
    pub(crate) fn is_whole(&mut self) {
        if let Some((id, _)) = self.coming.take() {
            self.admission.coming().remove(&id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_whole();
        self.admission.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.admission.requests.fetch_sub(1, Ordering::SeqCst);
        self.admission.tell_those_in_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_out_what_there_is_and_takes_it_back() {
        let limits = Limits { in_flight_max: 2, in_flight_bytes_max: 100, ..Limits::default() };
        let admission = Admission::new(&limits);
        let (mut a, mut b) = (admission.enter().await.unwrap(), admission.enter().await.unwrap());
        assert!(admission.enter().await.is_none());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40) && !a.grow(1));
        assert_eq!((admission.requests(), admission.bytes()), (2, 100));
        b.shrink(10);
        assert_eq!((b.held(), admission.bytes()), (10, 70));
        assert!(b.grow(30));
        drop(a);
        assert_eq!((admission.requests(), admission.bytes()), (1, 40));
        assert!(b.grow(60) && !b.grow(usize::MAX));
        drop(b);
        assert_eq!((admission.requests(), admission.bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_longest_for_their_clients_give_way() {
        let limits = Limits { in_flight_max: 64, in_flight_bytes_max: 640, ..Limits::default() };
        let admission = Admission::new(&limits);
        let mut places = Vec::new();
        for _ in 0..64 {
            let mut place = admission.enter().await.unwrap();
            assert!(place.grow(10));
            places.push(place);
        }
        // Nobody waits for a client: refused as soon as that is sure.
        let before = Instant::now();
        assert!(admission.enter().await.is_none() && !places[0].grow_or_wait(1).await);
        assert_eq!(before.elapsed(), 2 * ASK_AGAIN_AFTER);
        let before = Instant::now();
        let coming: Vec<_> = places[..8].iter_mut().map(|place| place.wait_for_client()).collect();
        let told = || coming.iter().filter(|one| one.is_told.load(Ordering::Relaxed)).count();
        // Nobody goes in time.
        assert!(admission.enter().await.is_none());
        assert_eq!((before.elapsed(), told()), (ROOM_WITHIN, 8));
        // They go, whose place it then is.
        let gone = places.remove(0);
        let going = async {
            coming[0].asked_to_leave().await;
            drop(gone);
        };
        let (entered, ()) = tokio::join!(admission.enter(), going);
        let mut entered = entered.unwrap();
        assert!(entered.grow(10) && !entered.grow(1));
        // What is whole stays.
        for place in &mut places[..7] {
            place.is_whole();
        }
        assert!(!entered.grow_or_wait(1).await && admission.coming().is_empty());
        let last = places.remove(0);
        drop(last);
        assert!(entered.grow_or_wait(10).await);
        assert_eq!((admission.bytes(), admission.in_line.load(Ordering::SeqCst)), (640, 0));
    }
}
