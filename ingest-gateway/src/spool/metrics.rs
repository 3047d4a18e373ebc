//! What the spool counts.

use super::queue::{Depth, Queue};
use prometheus::{IntCounter, IntCounterVec, IntGauge};
use service::{Clock, Metrics, telemetry::TelemetryError};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct SpoolMetrics {
    /// By why the log did not take it.
    pub(super) spooled: IntCounterVec,
    pub(super) drained: IntCounter,
    /// 1 while the log is not asked.
    pub(super) breaker_open: IntGauge,
    /// Records in files of their own.
    pub(super) refused: IntGauge,
    pub(super) untold: IntCounter,
}

impl SpoolMetrics {
    pub(super) fn register(
        metrics: &Metrics,
        queue: Option<&Arc<Queue>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, TelemetryError> {
        if let Some(queue) = queue {
            depth_gauge(metrics, queue, "quell_gateway_spool_records", "Webhooks in the spool.", |depth| {
                depth.records as f64
            })?;
            let help = "Bytes of the spool's files on disk.";
            depth_gauge(metrics, queue, "quell_gateway_spool_bytes", help, |depth| depth.bytes as f64)?;
            let bytes_max = queue.bytes_max();
            let help = "The most that the spool's files may take on disk; beyond it webhooks are refused.";
            metrics.pulled("quell_gateway_spool_limit_bytes", help, move || bytes_max as f64)?;
            let clock = Arc::clone(clock);
            let help = "Age of the oldest webhook in the spool; 0 where there is none.";
            depth_gauge(metrics, queue, "quell_gateway_spool_oldest_seconds", help, move |depth| {
                depth.oldest_ms.map_or(0.0, |oldest| clock.now_millis().saturating_sub(oldest).max(0) as f64 / 1_000.0)
            })?;
        }
        Ok(Self {
            spooled: metrics.counters(
                "quell_gateway_spooled_total",
                "Webhooks taken into the spool, by why the log did not take them.",
                &["cause"],
            )?,
            drained: metrics.counter("quell_gateway_drained_total", "Webhooks appended to the log from the spool.")?,
            breaker_open: metrics
                .gauge("quell_gateway_log_breaker_open", "1 while the log is left alone until a probe succeeds.")?,
            refused: metrics.gauge(
                "quell_gateway_spool_refused_records",
                "Webhooks that are larger than the log takes, kept in the spool's directory.",
            )?,
            untold: metrics.counter(
                "quell_gateway_spool_receipts_untold_total",
                "Spooled webhooks that are in the log, but whose first receipt will not be resolved.",
            )?,
        })
    }
}

fn depth_gauge(
    metrics: &Metrics,
    queue: &Arc<Queue>,
    name: &str,
    help: &str,
    read: impl Fn(Depth) -> f64 + Send + Sync + 'static,
) -> Result<(), TelemetryError> {
    let queue = Arc::downgrade(queue);
    metrics.pulled(name, help, move || read(queue.upgrade().map(|queue| queue.depth()).unwrap_or_default()))
}
