//! What the lanes count. Labels are subscribers' names and closed sets of words.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use service::telemetry::{Ages, TelemetryError};

/// A post: ten milliseconds to the longest wait there is.
const POST_SECONDS: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Metrics of every lane, by subscriber.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) deliveries: IntCounterVec,
    pub(crate) post_seconds: HistogramVec,
    pub(crate) oldest_pending: Ages,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) disabled: IntGaugeVec,
}

impl Metrics {
    /// Registers them. Fails if they are registered already.
    pub fn new(metrics: &service::Metrics) -> Result<Self, TelemetryError> {
        Ok(Self {
            deliveries: metrics.counters(
                "quell_notifier_deliveries_total",
                "Webhooks posted to subscribers, by what came of it.",
                &["subscriber", "outcome"],
            )?,
            post_seconds: metrics.histograms(
                "quell_notifier_post_seconds",
                "Time from a post to its answer or failure.",
                POST_SECONDS,
                &["subscriber"],
            )?,
            oldest_pending: metrics.ages(
                "quell_notifier_oldest_pending_seconds",
                "Age of the oldest delta that a subscriber has still to take, 0 if none.",
                "subscriber",
            )?,
            dead_letters: metrics.counters(
                "quell_notifier_dead_letters_total",
                "Deltas that a subscriber never took.",
                &["subscriber"],
            )?,
            disabled: metrics.gauges(
                "quell_notifier_disabled",
                "1 once the endpoint answered 410 Gone.",
                &["subscriber"],
            )?,
        })
    }
}
