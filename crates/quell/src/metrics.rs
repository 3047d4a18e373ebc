//! Metrics of the stages, registered once for the process. Labels come from closed sets: kinds, reasons, providers.

use domain::{CanonicalEvent, Delta};
use event_log::runner::{Fatal, Observer, PhaseName, RunnerEvent};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use providers::Providers;
use service::{
    Metrics,
    telemetry::{COUNTS, LATENCY_SECONDS, TelemetryError},
};
use std::time::Duration;

/// What normalizer and suppressor count.
#[derive(Debug, Clone)]
pub(crate) struct StageMetrics {
    providers: Providers,
    events: IntCounterVec,
    ignored: IntCounterVec,
    dead: IntCounterVec,
    duplicates: IntCounterVec,
    clamped: IntCounterVec,
    deltas: IntCounterVec,
}

impl StageMetrics {
    /// Registers them; a provider's word is a label if it is one of these.
    pub(crate) fn new(metrics: &Metrics, providers: Providers) -> Result<Self, TelemetryError> {
        Ok(Self {
            providers,
            events: metrics.counters(
                "quell_normalizer_events_total",
                "Canonical events emitted.",
                &["provider", "kind"],
            )?,
            ignored: metrics.counters(
                "quell_normalizer_ignored_total",
                "Elements of webhooks that concern nobody, by reason.",
                &["provider", "reason"],
            )?,
            dead: metrics.counters(
                "quell_normalizer_dead_letters_total",
                "Elements of webhooks, or whole ones, that went to dead-letter.",
                &["provider"],
            )?,
            duplicates: metrics.counters(
                "quell_suppressor_duplicates_total",
                "Events that were known already and dropped.",
                &["provider"],
            )?,
            clamped: metrics.counters(
                "quell_suppressor_clamped_total",
                "Events whose time was later than their receipt.",
                &["provider"],
            )?,
            deltas: metrics.counters(
                "quell_suppressor_deltas_total",
                "Deltas emitted, by change, reason and scope.",
                &["change", "reason", "scope"],
            )?,
        })
    }
}

impl StageMetrics {
    /// A provider's word, if it is one; anything else would let labels grow.
    fn known(&self, provider: &str) -> &'static str {
        match provider {
            "manual" => "manual",
            "quell" => "quell",
            other => self.providers.by_name(other).map_or("unknown", |provider| provider.name()),
        }
    }
}

impl normalizer::NormalizerMetrics for StageMetrics {
    fn event(&self, event: &CanonicalEvent) {
        self.events.with_label_values(&[self.known(&event.provider), event.kind.as_str()]).inc();
    }

    fn ignored(&self, provider: &str, reason: &'static str) {
        self.ignored.with_label_values(&[self.known(provider), reason]).inc();
    }

    fn dead(&self, provider: &str) {
        self.dead.with_label_values(&[self.known(provider)]).inc();
    }
}

impl suppressor::SuppressorMetrics for StageMetrics {
    fn duplicate(&self, provider: &str) {
        self.duplicates.with_label_values(&[self.known(provider)]).inc();
    }

    fn clamped(&self, provider: &str) {
        self.clamped.with_label_values(&[self.known(provider)]).inc();
    }

    fn delta(&self, delta: &Delta) {
        let standing = delta.now.as_ref().or(delta.before.as_ref());
        let reason = standing.map_or("none", |standing| standing.reason.as_str());
        // Categories and senders have names without number: their label is the sort of scope.
        let scope = match &delta.scope {
            domain::Scope::All => "all",
            domain::Scope::NonCritical => "non_critical",
            domain::Scope::Marketing => "marketing",
            domain::Scope::Category(_) => "category",
            domain::Scope::Sender(_) => "sender",
        };
        self.deltas.with_label_values(&[delta.change.as_str(), reason, scope]).inc();
    }
}

/// What every runner tells.
#[derive(Debug, Clone)]
pub(crate) struct RunnerMetrics {
    records: IntCounterVec,
    batch_records: HistogramVec,
    phase_seconds: HistogramVec,
    rewinds: IntCounterVec,
    lag: IntGaugeVec,
    down: IntGaugeVec,
}

impl RunnerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, TelemetryError> {
        Ok(Self {
            records: metrics.counters(
                "quell_stage_records_total",
                "Records by where they ended: in = emitted + ignored + dead.",
                &["stage", "fate", "reason"],
            )?,
            batch_records: metrics.histograms(
                "quell_stage_batch_records",
                "Records in a batch.",
                COUNTS,
                &["stage"],
            )?,
            phase_seconds: metrics.histograms(
                "quell_stage_phase_seconds",
                "Time a batch spent being processed and committed.",
                LATENCY_SECONDS,
                &["stage", "phase"],
            )?,
            rewinds: metrics.counters(
                "quell_stage_rewinds_total",
                "Times a stage went back to its committed positions.",
                &["stage", "reason"],
            )?,
            lag: metrics.gauges("quell_stage_lag_records", "Records not polled yet.", &["stage"])?,
            down: metrics.gauges("quell_stage_down", "1 once a stage has ended for good.", &["stage"])?,
        })
    }

    /// An observer for one runner, under a name of its own where several run the same stage.
    pub(crate) fn of(&self, name: &str) -> Named {
        Named { name: name.to_owned(), metrics: self.clone() }
    }
}

/// The observer of one runner.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    name: String,
    metrics: RunnerMetrics,
}

impl Observer for Named {
    fn stepped(&self, _stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        let name = self.name.as_str();
        if matches!(phase, PhaseName::Process | PhaseName::Commit) {
            let seconds = self.metrics.phase_seconds.with_label_values(&[name, phase.tag()]);
            seconds.observe(took.as_secs_f64());
        }
        match event {
            RunnerEvent::Committed(report) => {
                self.metrics.batch_records.with_label_values(&[name]).observe(report.n_records as f64);
                let records = |fate: &str, reason: &str| self.metrics.records.with_label_values(&[name, fate, reason]);
                records("emitted", "").inc_by(report.n_emitted);
                for (reason, count) in &report.ignored {
                    records("ignored", reason).inc_by(*count);
                }
                for (reason, count) in &report.dead {
                    records("dead", reason).inc_by(*count);
                }
            }
            RunnerEvent::Failed(rewind) => self.metrics.rewinds.with_label_values(&[name, rewind.reason]).inc(),
            _ => {}
        }
    }

    fn lag(&self, _stage: &'static str, n_records: u64) {
        self.metrics.lag.with_label_values(&[&self.name]).set(i64::try_from(n_records).unwrap_or(i64::MAX));
    }

    fn ended(&self, _stage: &'static str, result: Result<(), &Fatal>) {
        self.metrics.down.with_label_values(&[&self.name]).set(i64::from(result.is_err()));
    }
}
