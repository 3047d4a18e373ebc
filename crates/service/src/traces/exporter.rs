//! The way out: a bounded queue, batches, a few tries. What does not get out is counted and forgotten: no work ever waits
//! for a trace.

use super::{TraceSettings, otlp, span::Span};
use crate::{
    http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError},
    telemetry::{Metrics, TelemetryError},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use prometheus::{IntCounter, IntCounterVec};
use std::time::Duration;
use tokio::{
    sync::mpsc::{self, Receiver, error::TrySendError},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Spans that wait to be sent: some megabytes.
pub(super) const QUEUE_MAX: usize = 4_096;
/// Spans of one request, and how long it waits for more of them.
const BATCH_MAX: usize = 512;
const GATHER: Duration = Duration::from_secs(1);
/// Tries of one request, and the waits between them.
const ATTEMPTS_MAX: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a shutdown waits for what is queued.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    sent: IntCounter,
    dropped: IntCounterVec,
}

impl Counts {
    pub(super) fn register(metrics: &Metrics) -> Result<Self, TelemetryError> {
        let sent = metrics.counter("quell_traces_spans_total", "Spans that the receiver of traces took.")?;
        let dropped = metrics.counters(
            "quell_traces_dropped_total",
            "Spans that never reached the receiver of traces, by reason.",
            &["reason"],
        )?;
        Ok(Self { sent, dropped })
    }

    fn drop(&self, reason: &str, n_spans: usize) {
        if n_spans > 0 {
            self.dropped.with_label_values(&[reason]).inc_by(n_spans as u64);
        }
    }
}

/// The near end of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Span>,
    counts: Counts,
}

impl Queue {
    pub(super) fn new(counts: Counts) -> (Self, Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { sender, counts }, receiver)
    }

    /// Puts a span, or counts that there was no room.
    pub(super) fn put(&self, span: Span) {
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.counts.drop("queue_full", 1),
            Err(TrySendError::Closed(_)) => self.counts.drop("shutdown", 1),
        }
    }
}

/// The far end.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) client: HttpClient,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) resource: serde_json::Value,
    pub(super) counts: Counts,
    pub(super) stop: CancellationToken,
}

/// Why a request was not taken.
enum Failed {
    /// Trying again may help, after so long where the receiver says so.
    Away(String, Option<Duration>),
    Refused(String),
}

impl Exporter {
    /// Sends until it is told to stop, and then what is queued, for a while.
    pub(super) async fn run(self, mut queue: Receiver<Span>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let too_late = async {
            self.stop.cancelled().await;
            sleep(FLUSH_MAX).await;
        };
        tokio::select! {
            () = self.send_all(&mut queue, &mut batch) => {}
            () = too_late => tracing::warn!("the receiver of traces is too slow: the last spans are not sent"),
        }
        // The last batch may be counted as dropped although it arrived: nobody answered in time.
        self.counts.drop("shutdown", batch.len() + queue.len());
    }

    async fn send_all(&self, queue: &mut Receiver<Span>, batch: &mut Vec<Span>) {
        while self.gather(queue, batch).await {
            self.send(batch).await;
        }
        queue.close();
        loop {
            self.send(batch).await;
            if queue.recv_many(batch, BATCH_MAX).await == 0 {
                return;
            }
        }
    }

    /// Fills a batch, or as much of it as comes in a while. `false` once it is time to stop.
    async fn gather(&self, queue: &mut Receiver<Span>, batch: &mut Vec<Span>) -> bool {
        tokio::select! {
            n_spans = queue.recv_many(batch, BATCH_MAX) => if n_spans == 0 { return false },
            () = self.stop.cancelled() => return false,
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            let room = BATCH_MAX - batch.len();
            tokio::select! {
                n_spans = queue.recv_many(batch, room) => if n_spans == 0 { break },
                () = sleep_until(until) => break,
                () = self.stop.cancelled() => return false,
            }
        }
        true
    }

    /// Sends a batch, with some patience; afterwards it is empty.
    async fn send(&self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            return;
        }
        let body = bytes::Bytes::from(otlp::request(&self.resource, batch));
        for attempt in 1.. {
            let (reason, why, after) = match self.post(body.clone()).await {
                Ok(n_rejected) => {
                    let n_rejected = usize::try_from(n_rejected).unwrap_or(usize::MAX).min(batch.len());
                    self.counts.drop("refused", n_rejected);
                    self.counts.sent.inc_by((batch.len() - n_rejected) as u64);
                    break;
                }
                Err(Failed::Refused(why)) => ("refused", why, None),
                Err(Failed::Away(why, after)) => ("unavailable", why, Some(after)),
            };
            if let Some(after) = after.filter(|_| attempt < ATTEMPTS_MAX && !self.stop.is_cancelled()) {
                let doubled = BACKOFF_FIRST.saturating_mul(1 << (attempt - 1));
                tokio::select! {
                    () = sleep(after.unwrap_or(doubled).clamp(doubled, BACKOFF_MAX)) => {}
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            tracing::warn!(why, spans = batch.len(), "spans are lost: the receiver of traces does not take them");
            self.counts.drop(reason, batch.len());
            break;
        }
        batch.clear();
    }

    async fn post(&self, body: bytes::Bytes) -> Result<u64, Failed> {
        let call = HttpCall { method: Method::POST, url: self.url.clone(), headers: self.headers.clone(), body };
        let answer = self.client.call(call).await.map_err(|error| match error {
            HttpError::Invalid(_) | HttpError::Inner(_) => Failed::Refused(error.to_string()),
            error => Failed::Away(error.to_string(), None),
        })?;
        match answer.status {
            status if status.is_success() => Ok(otlp::rejected(&answer.body)),
            // What OTLP calls retryable.
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => {
                let after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Err(Failed::Away(status.to_string(), after.map(Duration::from_secs)))
            }
            status => Err(Failed::Refused(status.to_string())),
        }
    }
}

/// Sends a request without spans, which a receiver is to take like any other, and gives back what it answered. Source:
/// <https://opentelemetry.io/docs/specs/otlp/#full-success-1>.
pub async fn probe(settings: TraceSettings, timeout: Duration) -> Result<StatusCode, HttpError> {
    let options =
        HttpClientOptions { allow_private: true, timeout, connect_timeout: timeout, ..HttpClientOptions::default() };
    let body = bytes::Bytes::from_static(br#"{"resourceSpans":[]}"#);
    let call = HttpCall { method: Method::POST, url: settings.url, headers: headers(settings.headers), body };
    // Whatever else it says, the status tells.
    HttpClient::new(&options)?.open(call).await.map(|stream| stream.status)
}

/// The headers of every request, these among them.
pub(super) fn headers(more: impl IntoIterator<Item = (http::HeaderName, HeaderValue)>) -> HeaderMap {
    let mut headers: HeaderMap = more.into_iter().collect();
    headers.values_mut().for_each(|value| value.set_sensitive(true));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
