//! What the lanes count. Labels are accounts' names and closed sets of words.

use crate::waiting::Waiting;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use service::telemetry::{self, Ages, TelemetryError, WORK_SECONDS};

/// Buckets of calls to providers, in seconds.
const CALL_SECONDS: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Metrics of every lane, by account.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) outcomes: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) call_seconds: HistogramVec,
    pub(crate) delta_delay: HistogramVec,
    pub(crate) provider_delay: HistogramVec,
    pub(crate) budget_left: IntGaugeVec,
    pub(crate) blocked: IntGaugeVec,
    pending: IntGaugeVec,
    oldest_pending: Ages,
    oldest_optout: Ages,
}

impl Metrics {
    /// Registers them. Fails if they are registered already.
    pub fn new(metrics: &telemetry::Metrics) -> Result<Self, TelemetryError> {
        Ok(Self {
            outcomes: metrics.counters(
                "quell_syncer_outcomes_total",
                "Deltas by what became of them at the provider.",
                &["account", "action", "result"],
            )?,
            retries: metrics.counters(
                "quell_syncer_retries_total",
                "Provider calls that had to be made again, by cause.",
                &["account", "cause"],
            )?,
            call_seconds: metrics.histograms(
                "quell_syncer_call_seconds",
                "Time from a provider call to its answer or failure.",
                CALL_SECONDS,
                &["account"],
            )?,
            delta_delay: metrics.histograms(
                "quell_syncer_delta_delay_seconds",
                "Time from the receipt of what brought a delta about to the provider's taking it.",
                WORK_SECONDS,
                &["account"],
            )?,
            provider_delay: metrics.histograms(
                "quell_syncer_provider_delay_seconds",
                "Time from a delta's record in the log to the provider's taking it.",
                WORK_SECONDS,
                &["account"],
            )?,
            budget_left: metrics.gauges(
                "quell_syncer_budget_left",
                "Calls left in the provider's rate limit, as it last told.",
                &["account"],
            )?,
            blocked: metrics.gauges(
                "quell_syncer_account_blocked",
                "1 while the provider refuses the account as configured.",
                &["account"],
            )?,
            pending: metrics.gauges(
                "quell_syncer_pending",
                "Recipients that the lane has still to tell: those it has read of, and every delta it has not read yet.",
                &["account"],
            )?,
            oldest_pending: metrics.ages(
                "quell_syncer_oldest_pending_seconds",
                "Age of the oldest delta that is not settled at the provider, since its receipt; 0 if there is none.",
                "account",
            )?,
            oldest_optout: metrics.ages(
                "quell_syncer_oldest_optout_seconds",
                "The same of unsubscribes and complaints; while the lane has not read all, what it has not read counts as one.",
                "account",
            )?,
        })
    }

    /// What waits in an account's lane. The account's series begin here, at 0.
    pub(crate) fn waiting(&self, account: &str) -> Waiting {
        self.blocked.with_label_values(&[account]).set(0);
        let pending = self.pending.with_label_values(&[account]);
        Waiting::new(pending, self.oldest_pending.with(account), self.oldest_optout.with(account))
    }
}
