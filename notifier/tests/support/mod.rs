//! What the tests of lanes share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use async_trait::async_trait;
use domain::{Delta, Kind, Reason, Scope};
use event_log::{
    Browse as _, Consumed, Limits, Record, TopicSpec,
    memory::MemoryLog,
    runner::{PhaseName, Runner, RunnerOptions},
};
use notifier::{Answer, Lane, Metrics, Post, PostError, Receiver, Subscriber, SubscriberConfig, Way};
use schemas::{decode, encode, topics, wire::DeadLetter, wire::DeltaRecord};
use serde_json::Value;
use service::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const OTHER_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
/// What the clock says at the beginning of each test, in seconds since the epoch.
pub(crate) const BEGIN: i64 = 1_700_000_000;

/// Tokio's clock, also where it is paused.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl Default for TokioClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now_micros(&self) -> i64 {
        BEGIN * 1_000_000 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

type Script = dyn FnMut(&Seen) -> Result<Answer, PostError> + Send;

/// A post as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) at: Duration,
}

impl Seen {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The address of its delta.
    pub(crate) fn address(&self) -> &str {
        self.body["data"]["address"].as_str().unwrap_or_default()
    }
}

/// A receiver without a socket, so that a test can pause time. It answers as its script says.
#[derive(Clone)]
pub(crate) struct Scripted {
    seen: Arc<Mutex<Vec<Seen>>>,
    taken: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Box<Script>>>,
    begun: Instant,
    in_flight: Arc<Mutex<(usize, usize)>>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    pub(crate) fn new(script: impl FnMut(&Seen) -> Result<Answer, PostError> + Send + 'static) -> Self {
        Self {
            seen: Arc::default(),
            taken: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
            begun: Instant::now(),
            in_flight: Arc::default(),
        }
    }

    /// Takes everything.
    pub(crate) fn willing() -> Self {
        Self::new(|_| status(204))
    }

    /// Another script from now on.
    pub(crate) fn now(&self, script: impl FnMut(&Seen) -> Result<Answer, PostError> + Send + 'static) {
        *lock(&self.script) = Box::new(script);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// What it answered 2xx.
    pub(crate) fn taken(&self) -> Vec<Seen> {
        lock(&self.taken).clone()
    }

    /// Most posts at once.
    pub(crate) fn in_flight_max(&self) -> usize {
        lock(&self.in_flight).1
    }
}

#[async_trait]
impl Receiver for Scripted {
    async fn post(&self, post: &Post) -> Result<Answer, PostError> {
        {
            let (now, max) = &mut *lock(&self.in_flight);
            *now += 1;
            *max = (*max).max(*now);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let id = post.headers.iter().find(|(name, _)| *name == "webhook-id").map(|(_, id)| id.clone()).unwrap();
        let (body, headers) = (serde_json::from_slice(&post.body).unwrap(), post.headers.clone());
        let seen = Seen { id, body, headers, at: self.begun.elapsed() };
        lock(&self.seen).push(seen.clone());
        let answer = (lock(&self.script))(&seen);
        if answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status)) {
            lock(&self.taken).push(seen);
        }
        lock(&self.in_flight).0 -= 1;
        answer
    }
}

pub(crate) fn status(status: u16) -> Result<Answer, PostError> {
    Ok(Answer { status, retry_after: None })
}

pub(crate) fn config(name: &str) -> SubscriberConfig {
    SubscriberConfig {
        name: name.to_owned(),
        url: "https://crm.example.com/hooks".to_owned(),
        secrets: vec![SECRET.to_owned()],
        tenant: None,
        reasons: Vec::new(),
        since: None,
        batch_max: 1,
        in_flight_max: 8,
        timeout_ms: 5_000,
        retry_hours: 72,
        traceparent: false,
        allow_private: true,
    }
}

pub(crate) fn log() -> MemoryLog {
    let spec = |topic: topics::Topic| TopicSpec {
        name: Arc::from(topic.name),
        partitions: 2,
        retention_ms: topic.retention_ms,
    };
    MemoryLog::new(&topics::all().into_iter().map(spec).collect::<Vec<_>>())
}

pub(crate) fn on(address: &str, position: u64) -> Delta {
    testkit::builders::delta(
        address,
        &Scope::All,
        &[(Scope::All, Reason::HardBounce)],
        ("drip", Kind::BouncedHard),
        position,
    )
}

pub(crate) fn off(address: &str, position: u64) -> Delta {
    testkit::builders::delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

/// Appends deltas that are made now.
pub(crate) fn append(log: &MemoryLog, deltas: &[Delta]) {
    append_with(log, deltas, &[]);
}

/// The same, with these headers more.
pub(crate) fn append_with(log: &MemoryLog, deltas: &[Delta], more: &[(&'static str, &'static str)]) {
    let more = || more.iter().map(|(name, value)| event_log::Header { name: (*name).into(), value: (*value).into() });
    for delta in deltas {
        let record = Record {
            key: Some(delta.key.to_log_key().into_bytes().into()),
            value: Some(encode(&DeltaRecord::from(delta.clone())).unwrap()),
            headers: more().chain([event_log::Header { name: "receipt-id".into(), value: "r1".into() }]).collect(),
            timestamp_ms: BEGIN * 1_000,
        };
        log.append_now(topics::DELTAS, None, record).unwrap();
    }
}

/// A subscriber's lane over the log.
pub(crate) struct Bed {
    pub(crate) log: MemoryLog,
    pub(crate) clock: Arc<TokioClock>,
    pub(crate) metrics: Metrics,
    pub(crate) registry: service::Metrics,
}

impl Bed {
    pub(crate) fn new(deltas: &[Delta]) -> Self {
        let registry = service::Metrics::new().unwrap();
        let metrics = Metrics::new(&registry).unwrap();
        let bed = Self { log: log(), clock: Arc::default(), metrics, registry };
        append(&bed.log, deltas);
        bed
    }

    pub(crate) fn lane(&self, config: SubscriberConfig, way: Way, receiver: impl Receiver + 'static) -> Lane {
        let subscriber = Arc::new(Subscriber::new(config).unwrap());
        let browse = Arc::new(self.log.clone());
        Lane::new(subscriber, way, Arc::new(receiver), browse, self.clock.clone(), self.metrics.clone())
    }

    pub(crate) fn deltas(&self, name: &str, receiver: impl Receiver + 'static) -> Lane {
        self.lane(config(name), Way::Deltas, receiver)
    }

    /// Runs until the lane has committed all there is, or `stop` says so; whether it came to the end.
    pub(crate) async fn run(&self, lane: Lane, way: Way, mut stop: impl FnMut(PhaseName) -> bool) -> bool {
        let group = lane.subscriber().group(way);
        let session = self.log.join(&group, way.topic()).unwrap();
        let limits = Limits { records_max: 256, bytes_max: 1 << 20, wait: Duration::ZERO };
        let mut runner = Runner::new(session, lane, RunnerOptions::new(limits));
        for _ in 0..200_000 {
            if self.is_done(&group, way) {
                return true;
            }
            if stop(runner.phase()) || runner.step().await.is_err() {
                let (session, _lane) = runner.into_parts();
                self.log.expel(session.crash());
                return false;
            }
            if runner.phase() == PhaseName::Wait {
                // The memory session does not wait.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        panic!("the lane does not come to an end");
    }

    fn is_done(&self, group: &str, way: Way) -> bool {
        (0..2).all(|partition| {
            let committed = self.log.committed_offset(group, way.topic(), partition).unwrap_or(0);
            self.log.read_now(way.topic(), partition, committed, 1).unwrap().is_empty()
        })
    }

    /// Runs until all is committed.
    pub(crate) async fn finish(&self, lane: Lane) {
        assert!(self.run(lane, Way::Deltas, |_| false).await);
    }

    pub(crate) fn dead_letters(&self) -> Vec<(Consumed, DeadLetter)> {
        let records = (0..2).flat_map(|partition| self.log.records(topics::DEAD_LETTER, partition));
        records.map(|consumed| (consumed.clone(), decode(consumed.record.value.as_ref().unwrap()).unwrap())).collect()
    }

    /// A metric's value in the text that Prometheus reads.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.registry.render();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.and_then(|value| value.trim().parse().ok())
    }

    /// Where the group stands, over all partitions.
    pub(crate) async fn committed(&self, group: &str) -> u64 {
        let mut sum = 0;
        for partition in 0..2 {
            sum += self.log.committed(group, topics::DELTAS, partition).await.unwrap().unwrap_or(0);
        }
        sum
    }
}

/// Ids by recipient, in the order in which they were taken, repetitions left out.
pub(crate) fn orders(taken: &[Seen]) -> BTreeMap<String, Vec<String>> {
    let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in taken {
        let order = orders.entry(seen.address().to_owned()).or_default();
        if !order.contains(&seen.id) {
            order.push(seen.id.clone());
        }
    }
    orders
}

/// The same, as it must be.
pub(crate) fn expected(deltas: &[Delta]) -> BTreeMap<String, Vec<String>> {
    let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delta in deltas {
        orders.entry(delta.address.clone()).or_default().push(delta.delta_id.to_string());
    }
    orders
}
