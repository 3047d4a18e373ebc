//! What the lanes count. Labels are accounts' names and closed sets of words.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Metrics of every lane, by account.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) outcomes: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) call_seconds: HistogramVec,
    pub(crate) budget_left: IntGaugeVec,
    pub(crate) blocked: IntGaugeVec,
}

impl Metrics {
    /// Registers them. Fails if they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            outcomes: IntCounterVec::new(
                Opts::new("quell_syncer_outcomes_total", "Deltas by what became of them at the provider."),
                &["account", "action", "result"],
            )?,
            retries: IntCounterVec::new(
                Opts::new("quell_syncer_retries_total", "Provider calls that had to be made again, by cause."),
                &["account", "cause"],
            )?,
            call_seconds: HistogramVec::new(
                HistogramOpts::new("quell_syncer_call_seconds", "Time from a provider call to its answer or failure.")
                    .buckets(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
                &["account"],
            )?,
            budget_left: IntGaugeVec::new(
                Opts::new("quell_syncer_budget_left", "Calls left in the provider's rate limit, as it last told."),
                &["account"],
            )?,
            blocked: IntGaugeVec::new(
                Opts::new("quell_syncer_account_blocked", "1 while the provider refuses the account as configured."),
                &["account"],
            )?,
        };
        registry.register(Box::new(metrics.outcomes.clone()))?;
        registry.register(Box::new(metrics.retries.clone()))?;
        registry.register(Box::new(metrics.call_seconds.clone()))?;
        registry.register(Box::new(metrics.budget_left.clone()))?;
        registry.register(Box::new(metrics.blocked.clone()))?;
        Ok(metrics)
    }
}
