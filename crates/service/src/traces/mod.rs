//! Traces: what became of one webhook, from stage to stage, for whoever collects them by OTLP.
//!
//! A trace begins at the gateway, which decides whether it is recorded; everybody behind goes by the flag in the record's
//! `traceparent`. Spans are made whole, once their work is over, with ids that are derived and not drawn, so that a stage
//! stays a function of its records. Off, or not sampled, nothing is made and nothing is changed.

mod calls;
mod context;
mod environment;
mod exporter;
mod otlp;
mod sampler;
mod span;
mod state;

pub use calls::{Calls, OpenCall};
pub use context::{SpanId, TraceContext, TraceId};
pub use environment::Environment;
pub use exporter::probe;
pub use span::{Kind, Span, Value};
pub use state::{Carried, TraceState};

use crate::{
    Clock, SystemClock,
    http_client::{HttpClient, HttpClientOptions, HttpError},
    telemetry::{Metrics, TelemetryError},
};
use exporter::{Counts, Exporter, Queue};
use http::{HeaderName, HeaderValue};
use sampler::Sampler;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Spans that wait for their end and are linked with a call meanwhile; links of one of them.
const LINKED_MAX: usize = 4_096;
const LINKS_MAX: usize = 8;

/// How traces are made and where they go.
#[derive(Clone)]
pub struct TraceSettings {
    /// Where spans are posted: `http` or `https`, whole.
    pub url: String,
    /// The share of webhooks that is recorded, 0 to 1.
    pub sample: f64,
    /// How many a second are recorded beyond that, of those whose caller asks.
    pub callers_per_s: u32,
    /// Sent along; secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who we are: `service.name` and others.
    pub resource: Vec<(String, String)>,
}

impl std::fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceSettings").field("url", &self.url).field("sample", &self.sample).finish_non_exhaustive()
    }
}

/// Why traces cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// Their metrics are registered already.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// No way to call the receiver.
    #[error("no way to the receiver of traces: {0}")]
    Client(#[from] HttpError),
}

/// Makes traces, or none. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    sampler: Sampler,
    queue: Queue,
    clock: Arc<dyn Clock>,
    system: OnceLock<&'static str>,
    links: Mutex<HashMap<SpanId, Vec<TraceContext>>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Makes none.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts to make and to send them, or makes none without settings. Its metrics stand either way. To be called on a
    /// runtime that lives until [`Self::close`].
    pub fn start(settings: Option<TraceSettings>, metrics: &Metrics) -> Result<Self, TracesError> {
        let counts = Counts::register(metrics)?;
        let Some(settings) = settings else { return Ok(Self(None)) };
        // A collector usually is a neighbour, and the operator alone says where it stands.
        let options = HttpClientOptions { allow_private: true, timeout: TIMEOUT, ..HttpClientOptions::default() };
        let (queue, receiver) = Queue::new(counts.clone());
        let stop = CancellationToken::new();
        let resource = settings.resource.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let exporter = Exporter {
            client: HttpClient::new(&options)?,
            url: settings.url,
            headers: exporter::headers(settings.headers),
            resource: otlp::resource(resource),
            counts,
            stop: stop.clone(),
        };
        let task = tokio::spawn(exporter.run(receiver));
        Ok(Self(Some(Arc::new(On {
            sampler: Sampler::new(settings.sample, settings.callers_per_s),
            queue,
            clock: Arc::new(SystemClock),
            system: OnceLock::new(),
            links: Mutex::default(),
            stop,
            task: Mutex::new(Some(task)),
        }))))
    }

    /// Whether any are made.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `messaging.system` of the log: `quell` for the embedded one, unless another was named.
    pub fn system(&self) -> &'static str {
        self.0.as_ref().and_then(|on| on.system.get()).unwrap_or(&"quell")
    }

    /// Names the system that the log is; the first time counts.
    pub fn over(&self, system: &'static str) {
        if let Some(on) = &self.0 {
            on.system.get_or_init(|| system);
        }
    }

    /// The time of spans, in microseconds since the epoch; 0 where none are made.
    pub fn now_micros(&self) -> i64 {
        self.0.as_ref().map_or(0, |on| on.clock.now_micros())
    }

    /// Whether a new trace is recorded. `own` is derived from something that no caller chooses.
    pub fn samples(&self, own: TraceId, caller: Option<&TraceContext>) -> bool {
        self.0.as_ref().is_some_and(|on| on.sampler.decide(own, caller, on.clock.now_millis()))
    }

    /// Sends a span that is over. Never waits: where there is no room, it is counted and dropped.
    pub fn record(&self, span: Span) {
        if let Some(on) = &self.0 {
            on.queue.put(span);
        }
    }

    /// A call belongs to this span too, which is not over yet.
    pub fn link(&self, span: SpanId, call: TraceContext) {
        let Some(on) = &self.0 else { return };
        let mut links = lock(&on.links);
        if links.len() >= LINKED_MAX && !links.contains_key(&span) {
            // Only what was begun here and ended elsewhere stays: of that there is little, and nobody will ask.
            links.clear();
        }
        let of_span = links.entry(span).or_default();
        if of_span.len() < LINKS_MAX {
            of_span.push(call);
        }
    }

    /// The calls that belong to a span; asked once, when it is over.
    pub fn links(&self, span: SpanId) -> Vec<TraceContext> {
        self.0.as_ref().and_then(|on| lock(&on.links).remove(&span)).unwrap_or_default()
    }

    /// Sends what is queued, for a few seconds at most, and ends. Spans made afterwards are dropped.
    pub async fn close(&self) {
        let Some(on) = &self.0 else { return };
        on.stop.cancel();
        let task = lock(&on.task).take();
        if let Some(Err(error)) = match task {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::warn!(%error, "the last spans are not sent");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
