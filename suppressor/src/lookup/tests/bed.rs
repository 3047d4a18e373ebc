//! The parts the tests run against.

use crate::{
    StoreError, Suppressor,
    erasure::ErasureKey,
    jobs::erasure::Erasures,
    lookup::{ApiToken, CurrentPolicy, Kept, LookupDeps, LookupLimits, Place, Reparse, Role, router},
    stage::NoMetrics,
    store::{
        erasing::Erasing,
        memory::{MemoryStore, Weather},
    },
};
use axum::{Router, body::Body};
use domain::{Attribution, CanonicalEvent, EventId, Failure, FailureClass, Kind, Recipient, Scope, Tenant, Timestamp};
use event_log::{
    Limits, Polled, Record, Session as _, Stage as _, TopicSpec,
    memory::{MemoryLog, MemorySession},
};
use http_body_util::BodyExt as _;
use schemas::{
    ReceiptId, encode, topics,
    wire::{EventRecord, RawWebhook},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tower::ServiceExt as _;

pub(super) const START: i64 = 1_700_000_000;
pub(super) const DAY: i64 = 86_400;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds).unwrap()
}

pub(super) fn key() -> Arc<ErasureKey> {
    Arc::new(ErasureKey::new(b"an erasure key of tests").unwrap())
}

/// A topic that is kept for a week, and a store that is kept for ever.
fn kept() -> Vec<Kept> {
    let row = |what: &str, place, keeps_seconds| Kept {
        what: what.to_owned(),
        place,
        keeps_seconds,
        adds_seconds: 3_600,
        how: "in time",
        told_by: "configuration",
    };
    vec![row(topics::RAW, Place::Topic, Some(604_800)), row("an attic", Place::Store, None)]
}

/// Shows the body as the one event.
struct Mirror;

impl Reparse for Mirror {
    fn events(&self, raw: &RawWebhook, receipt_id: &str) -> serde_json::Value {
        serde_json::json!([{ "receipt_id": receipt_id, "bytes": raw.body.len() }])
    }
}

/// The webhook of inner id "abc" was spooled, and then appended as the first of partition 1; of "lost", the table says
/// something wrong, and of "away" nothing.
struct Drained;

#[async_trait::async_trait]
impl crate::lookup::SpooledReceipts for Drained {
    async fn find(&self, inner: &str) -> Result<Option<ReceiptId>, StoreError> {
        match inner {
            "abc" => Ok(Some(ReceiptId::of("abc", 0, 1, 0))),
            "lost" => Ok(Some(ReceiptId::of("other", 0, 1, 0))),
            "away" => Err(StoreError::Unavailable("planted".to_owned())),
            _ => Ok(None),
        }
    }
}

/// Everything, on one clock that tests set.
pub(super) struct Bed {
    pub(super) store: MemoryStore,
    pub(super) log: MemoryLog,
    pub(super) clock: Arc<AtomicI64>,
    worker: Mutex<Option<(Suppressor<Erasing<MemoryStore>>, MemorySession)>>,
    router: Router,
}

/// An answer, read whole; `broken` if its body was cut off.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) broken: bool,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The document; null where it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(super) fn token(name: &str, role: Role, tenant: Option<&str>) -> ApiToken {
    let tenant = tenant.map(|name| Tenant::new(name).unwrap());
    ApiToken { name: name.to_owned(), secret: format!("secret-of-{name}"), role, tenant }
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(MemoryStore::default(), LookupLimits::default())
    }

    pub(super) fn with(store: MemoryStore, limits: LookupLimits) -> Self {
        let specs: Vec<TopicSpec> = topics::all()
            .iter()
            .map(|topic| TopicSpec { name: topic.name.into(), partitions: 2, retention_ms: topic.retention_ms })
            .collect();
        let log = MemoryLog::new(&specs);
        let clock = Arc::new(AtomicI64::new(START));
        let tokens = vec![
            token("reader", Role::Read, None),
            token("writer", Role::Write, None),
            token("acme", Role::Write, Some("acme")),
        ];
        let router = router(Self::deps(&store, &log, &clock, tokens, false, limits));
        let session = log.join(topics::SUPPRESSORS, topics::EVENTS).unwrap();
        let worker =
            Mutex::new(Some((Suppressor::new(Erasing::new(store.clone(), Some(key())), Arc::new(NoMetrics)), session)));
        Self { store, log, clock, worker, router }
    }

    pub(super) fn deps(
        store: &MemoryStore,
        log: &MemoryLog,
        clock: &Arc<AtomicI64>,
        tokens: Vec<ApiToken>,
        open: bool,
        limits: LookupLimits,
    ) -> LookupDeps {
        let clock = Arc::clone(clock);
        LookupDeps {
            store: Arc::new(Erasing::new(store.clone(), Some(key()))),
            append: Arc::new(log.clone()),
            browse: Arc::new(log.clone()),
            clock: Arc::new(move || Timestamp::from_seconds(clock.load(Ordering::SeqCst)).unwrap()),
            policy: Arc::new(CurrentPolicy::new()),
            tokens,
            open,
            keeping: Arc::new(kept()),
            reparse: Some(Arc::new(Mirror)),
            spooled: Some(Arc::new(Drained)),
            metrics: None,
            limits,
        }
    }

    /// The same log, clock and store, under another weather.
    pub(super) fn under(&self, weather: Arc<dyn Weather>, limits: LookupLimits) -> Router {
        let store = self.store.under(weather);
        router(Self::deps(&store, &self.log, &self.clock, vec![token("reader", Role::Read, None)], false, limits))
    }

    pub(super) fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Puts an event into the log.
    pub(super) fn tell(&self, event: CanonicalEvent) {
        let key = event.key().to_log_key();
        let timestamp_ms = event.received_at.as_millis();
        let value = encode(&EventRecord::from(event)).unwrap();
        let record = Record { key: Some(key.into()), value: Some(value), headers: Vec::new(), timestamp_ms };
        self.log.append_now(topics::EVENTS, None, record).unwrap();
    }

    /// Lets the stage work through all there is.
    pub(super) async fn settle(&self) {
        let (mut stage, mut session) = self.worker.lock().unwrap().take().unwrap();
        let limits = Limits { records_max: 100, bytes_max: 1 << 20, wait: Duration::ZERO };
        loop {
            match session.poll(&limits).unwrap() {
                Polled::Nothing => break,
                Polled::Assigned(assigned) => {
                    for assigned in assigned {
                        stage.assigned(&assigned).await.unwrap();
                    }
                }
                Polled::Revoked(_) => {}
                Polled::Batch(batch) => {
                    let outputs = stage.process(&batch).await.unwrap();
                    session.commit(&batch, &outputs).unwrap();
                }
            }
        }
        *self.worker.lock().unwrap() = Some((stage, session));
    }

    /// Lets the job that forgets erased recipients look once; says how many it told to be forgotten.
    pub(super) async fn forget(&self) -> usize {
        // This store may lose its newest writes, so the job waits a while.
        let now = Timestamp::from_seconds(self.clock.load(Ordering::SeqCst) + 120).unwrap();
        let told = Erasures::default().step(&self.store, &self.log, &self.log, now).await.unwrap();
        self.settle().await;
        told
    }

    pub(super) async fn call(&self, method: &str, uri: &str, content_type: Option<&str>, body: &str) -> Answer {
        self.call_as("reader", method, uri, content_type, &[], Body::from(body.to_owned())).await
    }

    pub(super) async fn get(&self, uri: &str) -> Answer {
        self.call("GET", uri, None, "").await
    }

    pub(super) async fn call_as(
        &self,
        who: &str,
        method: &str,
        uri: &str,
        content_type: Option<&str>,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let mut request = http::Request::builder()
            .method(method.to_ascii_uppercase().as_str())
            .uri(uri)
            .header("authorization", format!("Bearer secret-of-{who}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(self.router.clone(), request.body(body).unwrap()).await
    }
}

pub(super) async fn send(router: Router, request: http::Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let (mut whole, mut broken) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => whole.extend_from_slice(frame.data_ref().unwrap()),
            Err(_) => broken = true,
        }
    }
    let content_type = parts.headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
    Answer {
        status: parts.status.as_u16(),
        content_type: content_type.unwrap_or_default(),
        headers: parts.headers,
        body: whole,
        broken,
    }
}

/// An event of jane@example.com, received a second after it occurred.
pub(super) fn event(kind: Kind, seconds: i64) -> CanonicalEvent {
    event_of("jane@example.com", kind, seconds)
}

pub(super) fn event_of(address: &str, kind: Kind, seconds: i64) -> CanonicalEvent {
    let recipient = Recipient::guess(address).unwrap();
    CanonicalEvent {
        event_id: EventId::derive(&[address, kind.as_str(), &seconds.to_string()]),
        tenant: Tenant::default(),
        channel: recipient.channel(),
        recipient,
        address: address.to_owned(),
        kind,
        provider_kind: kind.as_str().to_owned(),
        occurred_at: at(seconds),
        received_at: at(seconds + 1),
        rules: 1,
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        message_id: Some("m/1 <x>".to_owned()),
        campaign: None,
        categories: Vec::new(),
        failure: None,
        scope: None,
        machine: false,
        echo: false,
        metadata: BTreeMap::new(),
        receipt_id: "r0.0.0.abc".to_owned(),
    }
}

pub(super) fn failed(address: &str, kind: Kind, seconds: i64, attribution: Attribution) -> CanonicalEvent {
    let class = match kind {
        Kind::BouncedHard => FailureClass::UnknownRecipient,
        _ => FailureClass::MailboxFull,
    };
    let failure = Failure {
        attribution,
        class,
        smtp_code: Some(550),
        enhanced_status: Some("5.1.1".to_owned()),
        provider_code: None,
        attempt: None,
        diagnostic: Some("no such user".to_owned()),
        rule: "enhanced.5.1.1".to_owned(),
    };
    CanonicalEvent { failure: Some(failure), ..event_of(address, kind, seconds) }
}

pub(super) fn hard(address: &str, seconds: i64) -> CanonicalEvent {
    failed(address, Kind::BouncedHard, seconds, Attribution::Recipient)
}

pub(super) fn soft(address: &str, seconds: i64) -> CanonicalEvent {
    failed(address, Kind::BouncedSoft, seconds, Attribution::Recipient)
}

pub(super) fn unsubscribed(address: &str, seconds: i64, scope: Scope) -> CanonicalEvent {
    CanonicalEvent { scope: Some(scope), ..event_of(address, Kind::Unsubscribed, seconds) }
}
