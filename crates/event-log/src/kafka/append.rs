//! Appending: one idempotent producer, an answer with the delivery report.

use super::{
    KafkaLog, OpenError, Shared,
    client::{self, Common},
    config::KafkaConfig,
    lock, message, said,
    topics::{Topic, TopicError, number},
};
use crate::{Append, AppendError, Position, Record};
use async_trait::async_trait;
use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How the appends went of late, for readiness: what counts is whether records arrive, not whether a socket is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How long ago the last record was delivered.
    pub delivered: Option<Duration>,
    /// How long ago the last delivery failed, and why. What was refused for its own sake (too large) does not count.
    pub failed: Option<(Duration, String)>,
    /// How long ago a broker answered a [`KafkaLog::probe`].
    pub answered: Option<Duration>,
    /// Records that wait to be delivered.
    pub n_waiting: usize,
}

#[derive(Debug)]
struct State {
    began: Instant,
    /// Microseconds since `began`; 0 is never.
    delivered: AtomicU64,
    answered: AtomicU64,
    failed: Mutex<Option<(Instant, String)>>,
    /// librdkafka gave the producer up: a new one is needed.
    is_broken: AtomicBool,
}

impl State {
    fn new() -> Self {
        let (delivered, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        let (failed, is_broken) = (Mutex::new(None), AtomicBool::new(false));
        Self { began: Instant::now(), delivered, answered, failed, is_broken }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn ago(&self, at: &AtomicU64) -> Option<Duration> {
        let at = at.load(Ordering::Relaxed);
        (at != 0).then(|| self.began.elapsed().saturating_sub(Duration::from_micros(at)))
    }

    fn fail(&self, why: &str) {
        *lock(&self.failed) = Some((Instant::now(), why.to_owned()));
    }
}

/// Where a delivery report goes: one allocation an append.
#[derive(Debug)]
struct Slot(Mutex<Waiting>);

#[derive(Debug)]
enum Waiting {
    Unanswered(Option<Waker>),
    Answered(Result<(u32, u64), AppendError>),
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiting::Unanswered(None))))
    }

    fn answer(&self, result: Result<(u32, u64), AppendError>) {
        let before = std::mem::replace(&mut *lock(&self.0), Waiting::Answered(result));
        if let Waiting::Unanswered(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// Waits for a delivery report. librdkafka gives one for every record it took, at the latest after the delivery timeout.
struct Report(Arc<Slot>);

impl Future for Report {
    type Output = Result<(u32, u64), AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *lock(&self.0.0) {
            Waiting::Answered(result) => Poll::Ready(result.clone()),
            Waiting::Unanswered(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

/// Hands delivery reports to those who wait.
#[derive(Debug)]
struct Reports {
    common: Common,
    state: Arc<State>,
    record_bytes_max: usize,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.common.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.state.is_broken.store(true, Ordering::Release);
        }
        self.common.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.common.generate_oauth_token(config)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Arc<Slot>) {
        slot.answer(match result {
            Ok(message) => {
                self.state.delivered.store(self.state.now(), Ordering::Relaxed);
                let (partition, offset) = (u32::try_from(message.partition()), u64::try_from(message.offset()));
                match (partition, offset) {
                    (Ok(partition), Ok(offset)) => Ok((partition, offset)),
                    // An idempotent producer that was told "already there" after a retry may not know where.
                    _ => Err(AppendError::Unavailable("delivered, but the broker did not say where".to_owned())),
                }
            }
            Err((error, message)) => {
                let bytes = message.key_len() + message.payload_len();
                Err(self.refusal(error, bytes))
            }
        });
    }
}

impl Reports {
    fn refusal(&self, error: &KafkaError, bytes: usize) -> AppendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                AppendError::TooLarge { bytes, bytes_max: self.record_bytes_max.min(bytes) }
            }
            Some(RDKafkaErrorCode::QueueFull) => AppendError::Busy,
            code => {
                if code == Some(RDKafkaErrorCode::Fatal) {
                    self.state.is_broken.store(true, Ordering::Release);
                }
                let why = said(error);
                // A record that the broker finds wrong says nothing about the broker.
                if !matches!(code, Some(RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidTimestamp)) {
                    self.state.fail(&why);
                }
                AppendError::Unavailable(why)
            }
        }
    }
}

/// The producer, and a new one where librdkafka gave the last one up.
pub(super) struct Appender {
    producer: RwLock<Arc<ThreadedProducer<Reports>>>,
    state: Arc<State>,
    linger: Duration,
}

fn make(config: &KafkaConfig, common: &Common, state: &Arc<State>) -> Result<ThreadedProducer<Reports>, OpenError> {
    let context =
        Reports { common: common.clone(), state: Arc::clone(state), record_bytes_max: config.record_bytes_max };
    Ok(ThreadedProducer::from_config_and_context(&client::appender(config)?, context)?)
}

impl Appender {
    pub(super) fn new(config: &KafkaConfig, common: &Common) -> Result<Self, OpenError> {
        let state = Arc::new(State::new());
        let producer = RwLock::new(Arc::new(make(config, common, &state)?));
        Ok(Self { producer, state, linger: Duration::from_millis(config.linger_ms) })
    }

    fn producer(&self) -> Arc<ThreadedProducer<Reports>> {
        Arc::clone(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// A producer that still works. librdkafka gives one up when it can no longer promise order without duplicates.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, AppendError> {
        let appender = &self.appender;
        if !appender.state.is_broken.load(Ordering::Acquire) {
            return Ok(appender.producer());
        }
        let mut producer = appender.producer.write().unwrap_or_else(PoisonError::into_inner);
        if appender.state.is_broken.swap(false, Ordering::AcqRel) {
            tracing::warn!("the producer was given up by librdkafka; making another");
            let made = make(&self.config, &self.common, &appender.state);
            *producer = Arc::new(made.map_err(|error| AppendError::Unavailable(error.to_string()))?);
        }
        Ok(Arc::clone(&producer))
    }

    fn enqueue(&self, topic: &Topic, partition: u32, record: &Record) -> Result<Report, AppendError> {
        let slot = Slot::new();
        let producer = self.producer()?;
        let native = BaseRecord {
            topic: &topic.name,
            partition: Some(number(partition)),
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: Some(record.timestamp_ms),
            headers: message::headers(record),
            delivery_opaque: Arc::clone(&slot),
        };
        match producer.send(native) {
            Ok(()) => Ok(Report(slot)),
            Err((error, _)) => Err(producer.context().refusal(&error, message::size_of(record))),
        }
    }

    /// The partition of a record; nothing where it cannot be told without asking.
    fn place(&self, topic: &Topic, partition: Option<u32>, record: &Record) -> Option<u32> {
        match partition {
            Some(partition) => (partition < topic.partitions).then_some(partition),
            None => Some(topic.choose(record.key.as_deref(), self.appender.linger)),
        }
    }
}

impl From<TopicError> for AppendError {
    fn from(error: TopicError) -> Self {
        Self::Unavailable(match error {
            TopicError::Missing => "no such topic: run `quell topics apply`".to_owned(),
            TopicError::Unavailable(why) => why,
        })
    }
}

impl KafkaLog {
    /// How the appends went of late.
    pub fn health(&self) -> Health {
        let state = &self.shared.appender.state;
        let failed = lock(&state.failed).as_ref().map(|(at, why)| (at.elapsed(), why.clone()));
        Health {
            delivered: state.ago(&state.delivered),
            failed,
            answered: state.ago(&state.answered),
            n_waiting: usize::try_from(self.shared.appender.producer().in_flight_count()).unwrap_or(0),
        }
    }

    /// Whether appends arrive: an error while the last thing that happened is a failed delivery. Nothing appended yet, or
    /// a broker that answered a [`Self::probe`] since, is no error.
    pub fn writable(&self) -> Result<(), AppendError> {
        let Health { delivered, failed, answered, .. } = self.health();
        match failed {
            Some((ago, why)) if delivered.is_none_or(|at| at > ago) && answered.is_none_or(|at| at > ago) => {
                Err(AppendError::Unavailable(why))
            }
            _ => Ok(()),
        }
    }

    /// Asks a broker about a topic, for a readiness that has no append to go by.
    pub async fn probe(&self, topic: &str) -> Result<(), AppendError> {
        self.look_up(topic).await?;
        let state = &self.shared.appender.state;
        state.answered.store(state.now(), Ordering::Relaxed);
        Ok(())
    }

    async fn look_up(&self, topic: &str) -> Result<Arc<Topic>, AppendError> {
        let (shared, topic) = (Arc::clone(&self.shared), topic.to_owned());
        let found = tokio::task::spawn_blocking(move || shared.look_up(&topic)).await;
        Ok(found.map_err(|error| AppendError::Unavailable(error.to_string()))??)
    }
}

/// Runs what may block for a moment on the calling thread, moving the runtime's other work away where it can be.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavor {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[async_trait]
impl Append for KafkaLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        let shared = &self.shared;
        let (bytes, bytes_max) = (message::size_of(&record), shared.config.record_bytes_max);
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let mut known = match shared.topics.get(topic) {
            Some(known) => known,
            None => self.look_up(topic).await?,
        };
        let place = match shared.place(&known, partition, &record) {
            Some(place) => place,
            // There may be more partitions by now.
            None => {
                known = self.look_up(topic).await?;
                shared
                    .place(&known, partition, &record)
                    .ok_or_else(|| AppendError::Unavailable(format!("no partition {partition:?} of topic {topic}")))?
            }
        };
        let report = shared.enqueue(&known, place, &record)?;
        drop(record);
        let (partition, offset) = report.await?;
        Ok(Position { epoch: shared.config.epoch, partition, offset })
    }

    /// Asks the cluster the first time, and blocks for it: ask at the start.
    fn partitions(&self, topic: &str) -> Result<u32, AppendError> {
        if let Some(known) = self.shared.topics.get(topic) {
            return Ok(known.partitions);
        }
        Ok(blocking(|| self.shared.topic(topic))?.partitions)
    }
}
