//! Posts the deltas of a batch: in order for each recipient, several recipients at once, again and again while there is
//! hope.
//!
//! An endpoint that does not take one delta may be down, or may only dislike this one. Nobody can tell from the answer, so
//! the courier finds out: after a failure it posts one delta at a time, another one each time where there is another, and
//! waits in between, longer and longer. As soon as one is taken, all go on. A delta that is refused again and again while
//! others are taken is given up; one that is offered for longer than the subscriber's schedule is, too.

use crate::{
    Judged, Message, Metrics, Post, PostError, Receiver, Subscriber, backoff,
    calls::{LaneCalls, Traced},
    judge,
    post::Answer,
    schedule::{FAILURES_MIN, REFUSALS_MAX},
    status::{Halt, LaneStatus},
};
use domain::{Delta, EventId};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use service::{Clock, traces::OpenCall};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// A message of several deltas that failed so often is taken apart: one of them may be at fault.
const TOGETHER_MAX: u32 = 2;
/// So many different deltas must fail before it is the endpoint that is down.
const SEVERAL: usize = 3;
/// A longer wait is left to the runner, which looks for new records meanwhile.
const WAIT_MS_MAX: i64 = 5_000;
/// A failure is told in the log once so many came in a row, and when it is over.
const TOLD_AFTER: u32 = 3;

/// One delta to be posted.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) delta: Delta,
    /// When it came into the log, in milliseconds since the epoch.
    pub(crate) made_ms: i64,
    /// Which recipient of those offered.
    pub(crate) who: usize,
    /// It lies behind the batch: posted while something in the batch waits, and never given up.
    pub(crate) is_ahead: bool,
    /// The trace that it came with.
    pub(crate) traced: Option<Traced>,
}

/// How a delta ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Taken,
    /// Offered for longer than the schedule says.
    TooOld,
    /// Refused while others were taken.
    Refused,
}

/// What is known of a delta since its partition is ours.
#[derive(Debug, Default)]
pub(crate) struct Track {
    pub(crate) attempts: u32,
    pub(crate) why: String,
    pub(crate) end: Option<End>,
    last_failed_ms: i64,
    /// Failures between which another delta was taken.
    refusals: u32,
    due_ms: i64,
}

/// The endpoint did not take the last that was posted.
#[derive(Debug)]
struct Down {
    since_ms: i64,
    failures: u32,
    next_ms: i64,
    /// Some of the deltas that failed since another was taken.
    ids: HashSet<EventId>,
}

/// What to do next.
enum Next {
    /// Post these, as one message.
    Post(Vec<usize>),
    /// Nothing before this time.
    Wait(i64),
    /// Nothing before something that is under way has landed, or at all.
    Nothing,
}

/// A post that came to its end.
struct Landed {
    indices: Vec<usize>,
    sent_ms: i64,
    seconds: f64,
    sent: Result<Answer, PostError>,
    call: Option<OpenCall>,
}

#[derive(Debug)]
pub(crate) struct Courier {
    subscriber: Arc<Subscriber>,
    receiver: Arc<dyn Receiver>,
    pub(crate) calls: LaneCalls,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    status: LaneStatus,
    tracks: HashMap<EventId, Track>,
    down: Option<Down>,
    held_until_ms: i64,
    /// When the newest post that was taken went out.
    taken_ms: i64,
    is_gone: bool,
}

impl Courier {
    pub(crate) fn new(
        subscriber: Arc<Subscriber>,
        receiver: Arc<dyn Receiver>,
        calls: LaneCalls,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        status: LaneStatus,
    ) -> Self {
        Self {
            subscriber,
            receiver,
            calls,
            clock,
            metrics,
            status,
            tracks: HashMap::new(),
            down: None,
            held_until_ms: 0,
            taken_ms: i64::MIN,
            is_gone: false,
        }
    }

    pub(crate) fn track(&self, id: &EventId) -> Option<&Track> {
        self.tracks.get(id)
    }

    pub(crate) fn forget(&mut self, ids: &[EventId]) {
        for id in ids {
            self.tracks.remove(id);
        }
    }

    /// Another owner may have posted meanwhile.
    pub(crate) fn forget_all(&mut self) {
        self.tracks.clear();
    }

    /// Posts until every offer of the batch has its end: `false` where the time is over before. Posts in flight are always
    /// finished.
    pub(crate) async fn deliver(&mut self, offers: &[Offer], until_ms: i64) -> Result<bool, Halt> {
        self.calls.batch(offers);
        let mut flights: FuturesUnordered<BoxFuture<'static, Landed>> = FuturesUnordered::new();
        let mut flying: HashSet<usize> = HashSet::new();
        loop {
            let now_ms = self.clock.now_millis();
            self.give_up(offers, &flying, now_ms);
            let is_over = self.status.is_stopped() || now_ms > until_ms || self.is_done(offers);
            let next = if is_over { Next::Nothing } else { self.next(offers, &flying, flights.len(), now_ms) };
            if let Next::Post(indices) = next {
                flying.extend(&indices);
                flights.push(self.flight(offers, indices, now_ms));
                continue;
            }
            if let Some(landed) = flights.next().await {
                for index in &landed.indices {
                    flying.remove(index);
                }
                self.land(offers, landed);
                continue;
            }
            if self.is_done(offers) {
                return Ok(true);
            }
            if self.is_gone {
                return Err(self.halt(Halt::Gone));
            }
            if self.status.is_stopped() {
                return Err(Halt::Stopped);
            }
            match next {
                Next::Wait(at_ms) if at_ms.saturating_sub(now_ms) <= WAIT_MS_MAX => {
                    self.wait(at_ms.saturating_sub(now_ms)).await?
                }
                Next::Wait(at_ms) => return Err(self.halt(self.away(offers, at_ms.saturating_sub(now_ms)))),
                Next::Post(_) | Next::Nothing => return Ok(false),
            }
        }
    }

    fn is_done(&self, offers: &[Offer]) -> bool {
        offers.iter().all(|offer| offer.is_ahead || self.end(offer).is_some())
    }

    fn end(&self, offer: &Offer) -> Option<End> {
        self.tracks.get(&offer.delta.delta_id)?.end
    }

    /// Ends what is offered for too long, or refused too often.
    fn give_up(&mut self, offers: &[Offer], flying: &HashSet<usize>, now_ms: i64) {
        let retry_ms = i64::try_from(self.subscriber.retry_for.as_millis()).unwrap_or(i64::MAX);
        // One that is refused alone says nothing about those that wait for it.
        let is_down = |down: &Down| down.failures >= FAILURES_MIN && down.ids.len() >= SEVERAL;
        let is_down = self.down.as_ref().is_some_and(is_down);
        for (index, offer) in offers.iter().enumerate() {
            if offer.is_ahead || flying.contains(&index) || self.end(offer).is_some() {
                continue;
            }
            let known = self.tracks.get(&offer.delta.delta_id);
            let is_old = now_ms.saturating_sub(offer.made_ms) >= retry_ms;
            let was_tried = known.is_some_and(|track| track.attempts >= FAILURES_MIN);
            let end = if is_old && (is_down || was_tried) {
                End::TooOld
            } else if known.is_some_and(|track| track.refusals >= REFUSALS_MAX) {
                End::Refused
            } else {
                continue;
            };
            let track = self.tracks.entry(offer.delta.delta_id).or_default();
            track.end = Some(end);
            if track.why.is_empty() {
                track.why = "the endpoint takes nothing".to_owned();
            }
        }
    }

    /// The next message that may go out. A recipient's deltas go one after the other, in order.
    fn next(&self, offers: &[Offer], flying: &HashSet<usize>, n_flights: usize, now_ms: i64) -> Next {
        if self.is_gone {
            return Next::Nothing;
        }
        let in_flight_max = if self.down.is_some() { 1 } else { self.subscriber.in_flight_max };
        if n_flights >= in_flight_max {
            return Next::Nothing;
        }
        let down_until_ms = self.down.as_ref().map_or(i64::MIN, |down| down.next_ms);
        let not_before_ms = self.held_until_ms.max(down_until_ms);
        if not_before_ms > now_ms {
            return Next::Wait(not_before_ms);
        }
        let mut blocked = vec![false; offers.len()];
        let (mut best, mut earliest_ms): (Option<(u32, usize)>, Option<i64>) = (None, None);
        for (index, offer) in offers.iter().enumerate() {
            let (track, who) = (self.tracks.get(&offer.delta.delta_id), offer.who);
            if track.is_some_and(|track| track.end.is_some()) || blocked[who] {
                continue;
            }
            blocked[who] = true;
            if flying.contains(&index) {
                continue;
            }
            let (attempts, due_ms) = track.map_or((0, i64::MIN), |track| (track.attempts, track.due_ms));
            if due_ms > now_ms {
                earliest_ms = Some(earliest_ms.map_or(due_ms, |earliest| earliest.min(due_ms)));
            } else if self.down.is_none() {
                best = Some((attempts, index));
                break;
            } else if best.is_none_or(|best| (attempts, index) < best) {
                best = Some((attempts, index));
            }
        }
        match (best, earliest_ms) {
            (Some((attempts, _)), _) if attempts < TOGETHER_MAX && self.subscriber.batch_max > 1 => {
                Next::Post(self.gather(offers, now_ms))
            }
            (Some((_, index)), _) => Next::Post(vec![index]),
            (None, Some(at_ms)) => Next::Wait(at_ms),
            (None, None) => Next::Nothing,
        }
    }

    /// The next deltas that may go together. Only where nothing is in flight.
    fn gather(&self, offers: &[Offer], now_ms: i64) -> Vec<usize> {
        let mut blocked = vec![false; offers.len()];
        let mut gathered = Vec::new();
        for (index, offer) in offers.iter().enumerate() {
            let track = self.tracks.get(&offer.delta.delta_id);
            if gathered.len() >= self.subscriber.batch_max {
                break;
            }
            if blocked[offer.who] || track.is_some_and(|track| track.end.is_some()) {
                continue;
            }
            if track.is_some_and(|track| track.due_ms > now_ms || track.attempts >= TOGETHER_MAX) {
                blocked[offer.who] = true;
            } else {
                gathered.push(index);
            }
        }
        gathered
    }

    fn flight(&mut self, offers: &[Offer], indices: Vec<usize>, now_ms: i64) -> BoxFuture<'static, Landed> {
        let deltas: Vec<&Delta> = indices.iter().map(|index| &offers[*index].delta).collect();
        let message = match deltas.as_slice() {
            [delta] if self.subscriber.batch_max == 1 => Message::of_delta(delta),
            deltas => Message::of_batch(deltas),
        };
        let headers = self.subscriber.signer.headers(&message.id, now_ms / 1_000, &message.body).to_vec();
        let mut post = Post { url: self.subscriber.url.clone(), headers, body: message.body };
        let ids: Vec<EventId> = deltas.iter().map(|delta| delta.delta_id).collect();
        let call = self.calls.begin(&self.subscriber, &ids, &mut post);
        let (receiver, timeout) = (Arc::clone(&self.receiver), self.subscriber.timeout);
        async move {
            let began = tokio::time::Instant::now();
            let sent = match tokio::time::timeout(timeout, receiver.post(&post)).await {
                Ok(sent) => sent,
                Err(_) => Err(PostError::NoAnswer("no answer in time".to_owned())),
            };
            Landed { indices, sent_ms: now_ms, seconds: began.elapsed().as_secs_f64(), sent, call }
        }
        .boxed()
    }

    fn land(&mut self, offers: &[Offer], landed: Landed) {
        let now_ms = self.clock.now_millis();
        let judged = judge(&landed.sent, now_ms / 1_000);
        LaneCalls::end(landed.call, &landed.sent, &judged);
        let name = self.subscriber.name.as_str();
        self.metrics.deliveries.with_label_values(&[name, judged.outcome()]).inc();
        self.metrics.post_seconds.with_label_values(&[name]).observe(landed.seconds);
        match judged {
            Judged::Taken => {
                for index in &landed.indices {
                    let track = self.tracks.entry(offers[*index].delta.delta_id).or_default();
                    (track.end, track.attempts) = (Some(End::Taken), track.attempts.saturating_add(1));
                }
                self.taken(landed.sent_ms);
            }
            Judged::Gone => {
                self.is_gone = true;
                self.metrics.disabled.with_label_values(&[name]).set(1);
                tracing::error!(subscriber = name, "the endpoint answered 410 Gone: it is disabled until a restart");
            }
            Judged::Failed { why, after, .. } => {
                if let Some(after) = after {
                    self.held_until_ms = self.held_until_ms.max(plus(now_ms, after));
                }
                for index in &landed.indices {
                    self.failed(offers[*index].delta.delta_id, &why, now_ms);
                }
                let seed = landed.indices.first().map(|index| offers[*index].delta.delta_id);
                self.went_down(landed.sent_ms, now_ms, seed, &why);
            }
        }
    }

    fn taken(&mut self, sent_ms: i64) {
        self.taken_ms = self.taken_ms.max(sent_ms);
        if self.down.take().is_some_and(|down| down.failures >= TOLD_AFTER) {
            tracing::info!(subscriber = self.subscriber.name, "the endpoint takes webhooks again");
        }
        self.status.set(None);
    }

    fn failed(&mut self, id: EventId, why: &str, now_ms: i64) {
        let taken_ms = self.taken_ms;
        let track = self.tracks.entry(id).or_default();
        if track.attempts > 0 && taken_ms > track.last_failed_ms {
            track.refusals = track.refusals.saturating_add(1);
        }
        track.attempts = track.attempts.saturating_add(1);
        track.last_failed_ms = now_ms;
        track.due_ms = plus(now_ms, backoff(track.attempts, id));
        why.clone_into(&mut track.why);
    }

    /// Of several in flight that fail together the first counts.
    fn went_down(&mut self, sent_ms: i64, now_ms: i64, seed: Option<EventId>, why: &str) {
        if self.down.as_ref().is_some_and(|down| sent_ms < down.since_ms) {
            return;
        }
        let (before, mut ids) = self.down.take().map_or((0, HashSet::new()), |down| (down.failures, down.ids));
        let failures = before.saturating_add(1);
        let wait = seed.map_or(Duration::ZERO, |seed| backoff(failures, seed));
        if ids.len() < SEVERAL {
            ids.extend(seed);
        }
        self.down = Some(Down { since_ms: now_ms, failures, next_ms: plus(now_ms, wait), ids });
        if failures == TOLD_AFTER {
            tracing::warn!(subscriber = self.subscriber.name, why, "the endpoint takes no webhook; trying again");
        }
    }

    fn away(&self, offers: &[Offer], wait_ms: i64) -> Halt {
        let why = offers.iter().filter_map(|offer| self.tracks.get(&offer.delta.delta_id));
        let why = why.filter(|track| track.end.is_none()).map(|track| track.why.as_str()).find(|why| !why.is_empty());
        let (why, seconds) = (why.unwrap_or("the endpoint takes nothing"), wait_ms / 1_000);
        Halt::Away(format!("{why}; next try in {seconds} s"))
    }

    fn halt(&self, halt: Halt) -> Halt {
        self.status.set(Some(halt.clone()));
        halt
    }

    async fn wait(&self, wait_ms: i64) -> Result<(), Halt> {
        // A sleep shorter than the timer's grain would spin.
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0).max(1));
        tokio::select! {
            () = self.status.stopped() => Err(Halt::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

fn plus(now_ms: i64, wait: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
