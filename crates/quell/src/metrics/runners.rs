//! What every runner tells.

use event_log::runner::{Fatal, Observer, PhaseName, RunnerEvent};
use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};
use service::telemetry::{Age, Ages, COUNTS, LATENCY_SECONDS, Metrics, TelemetryError};
use std::time::Duration;

/// Figures of all runners, by their names.
#[derive(Debug, Clone)]
pub(crate) struct RunnerMetrics {
    records: IntCounterVec,
    batch_records: HistogramVec,
    phase_seconds: HistogramVec,
    rewinds: IntCounterVec,
    lag: IntGaugeVec,
    lag_seconds: Ages,
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
            lag_seconds: metrics.ages(
                "quell_stage_lag_seconds",
                "Age of the oldest record that is not processed, by its own time; 0 when caught up.",
                "stage",
            )?,
            down: metrics.gauges("quell_stage_down", "1 once a stage has ended for good.", &["stage"])?,
        })
    }

    /// An observer for one runner, under a name of its own where several run the same stage. Its series begin here.
    pub(crate) fn of(&self, name: &str) -> Named {
        let phase = |phase: PhaseName| self.phase_seconds.with_label_values(&[name, phase.tag()]);
        let down = self.down.with_label_values(&[name]);
        down.set(0);
        Named {
            name: name.to_owned(),
            batch_records: self.batch_records.with_label_values(&[name]),
            process_seconds: phase(PhaseName::Process),
            commit_seconds: phase(PhaseName::Commit),
            lag: self.lag.with_label_values(&[name]),
            lag_seconds: self.lag_seconds.with(name),
            down,
            metrics: self.clone(),
        }
    }
}

/// The observer of one runner.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    name: String,
    batch_records: Histogram,
    process_seconds: Histogram,
    commit_seconds: Histogram,
    lag: IntGauge,
    lag_seconds: Age,
    down: IntGauge,
    metrics: RunnerMetrics,
}

impl Observer for Named {
    fn stepped(&self, _stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        let name = self.name.as_str();
        match phase {
            PhaseName::Process => self.process_seconds.observe(took.as_secs_f64()),
            PhaseName::Commit => self.commit_seconds.observe(took.as_secs_f64()),
            _ => {}
        }
        match event {
            RunnerEvent::Committed(report) => {
                self.batch_records.observe(report.n_records as f64);
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
        self.lag.set(i64::try_from(n_records).unwrap_or(i64::MAX));
    }

    fn oldest(&self, _stage: &'static str, at_ms: Option<i64>) {
        self.lag_seconds.since(at_ms);
    }

    fn ended(&self, _stage: &'static str, result: Result<(), &Fatal>) {
        self.down.set(i64::from(result.is_err()));
    }
}

/// The observer of a lane's runner: what the log holds for the lane is part of what waits in it.
#[derive(Debug)]
pub(crate) struct LaneObserver {
    pub(crate) runner: Named,
    pub(crate) waiting: syncer::Waiting,
}

impl Observer for LaneObserver {
    fn stepped(&self, stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        if let RunnerEvent::Revoked(partitions) = event {
            self.waiting.revoked(partitions);
        }
        self.runner.stepped(stage, phase, event, took);
    }

    fn lag(&self, stage: &'static str, n_records: u64) {
        self.waiting.behind(n_records);
        self.runner.lag(stage, n_records);
    }

    fn oldest(&self, stage: &'static str, at_ms: Option<i64>) {
        self.waiting.oldest(at_ms);
        self.runner.oldest(stage, at_ms);
    }

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        self.runner.ended(stage, result);
    }
}
