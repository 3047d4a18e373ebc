//! What the gateway counts. Labels are configured sources, statuses and causes: bounded sets.

use crate::{admission::Admission, sources::Configured};
use prometheus::{HistogramVec, IntCounterVec};
use service::{
    Metrics,
    telemetry::{LATENCY_SECONDS, TelemetryError},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const UNKNOWN: &str = "unknown";

#[derive(Debug)]
pub(crate) struct GatewayMetrics {
    webhooks: IntCounterVec,
    seconds: HistogramVec,
    body_bytes: IntCounterVec,
    shadow_failures: IntCounterVec,
    outside_calls: IntCounterVec,
}

impl GatewayMetrics {
    pub(crate) fn register(metrics: &Metrics, admission: &Arc<Admission>) -> Result<Self, TelemetryError> {
        let gauge = |name: &str, help: &str, read: fn(&Admission) -> usize| {
            let admission = admission.clone();
            metrics.pulled(name, help, move || read(&admission) as f64)
        };
        gauge("quell_gateway_in_flight_requests", "Webhooks at work.", Admission::requests)?;
        gauge("quell_gateway_in_flight_bytes", "Bytes of bodies held, as sent and decoded.", Admission::bytes)?;
        Ok(Self {
            webhooks: metrics.counters(
                "quell_gateway_webhooks_total",
                "Webhooks by what was answered and why.",
                &["provider", "source", "status", "cause"],
            )?,
            seconds: metrics.histograms(
                "quell_gateway_webhook_seconds",
                "From a webhook's head to its answer.",
                LATENCY_SECONDS,
                &["provider", "outcome"],
            )?,
            body_bytes: metrics.counters(
                "quell_gateway_body_bytes_total",
                "Bytes of decoded bodies read.",
                &["provider", "source"],
            )?,
            shadow_failures: metrics.counters(
                "quell_gateway_shadow_failures_total",
                "Webhooks that failed authentication and were taken, as their source only reports.",
                &["provider", "source", "reason"],
            )?,
            outside_calls: metrics.counters(
                "quell_gateway_outside_calls_total",
                "Calls to providers for signing certificates and confirmations.",
                &["call", "outcome"],
            )?,
        })
    }

    pub(crate) fn outside_calls(&self) -> IntCounterVec {
        self.outside_calls.clone()
    }

    pub(crate) fn begin<'a>(&'a self, configured: Option<&'a Configured>) -> Tally<'a> {
        let (provider, source) = match configured {
            Some(configured) => (configured.source.provider, configured.source.name.as_str()),
            None => (UNKNOWN, UNKNOWN),
        };
        Tally { metrics: self, provider, source, started: Instant::now(), done: false }
    }
}

/// One request's entry. Dropped without an answer, it counts what happened instead.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    metrics: &'a GatewayMetrics,
    provider: &'a str,
    source: &'a str,
    started: Instant,
    done: bool,
}

impl Tally<'_> {
    pub(crate) fn body(&self, bytes: usize) {
        self.metrics.body_bytes.with_label_values(&[self.provider, self.source]).inc_by(bytes as u64);
    }

    pub(crate) fn shadow_failure(&self, reason: &str) {
        self.metrics.shadow_failures.with_label_values(&[self.provider, self.source, reason]).inc();
    }

    /// Since the request's head.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn finish(mut self, status: http::StatusCode, cause: &str) {
        self.count(status.as_str(), cause, if status.is_success() { "taken" } else { "refused" });
        self.done = true;
    }

    fn count(&self, status: &str, cause: &str, outcome: &str) {
        self.metrics.webhooks.with_label_values(&[self.provider, self.source, status, cause]).inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.metrics.seconds.with_label_values(&[self.provider, outcome]).observe(seconds);
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if self.done {
        } else if std::thread::panicking() {
            self.count("500", "panic", "refused");
        } else {
            self.count("none", "client_gone", "refused");
        }
    }
}
