//! Figures of the incident guard.

use domain::Ruling;
use prometheus::{IntCounterVec, IntGauge};
use service::telemetry::{Metrics, TelemetryError};
use suppressor::{guard::GuardMetrics, jobs::incidents::Swept};

/// What was found and ruled, and how many bounces are held.
#[derive(Debug)]
pub(crate) struct GuardCounts {
    open: IntGauge,
    incidents: IntCounterVec,
    pub(super) held: IntCounterVec,
}

impl GuardCounts {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, TelemetryError> {
        let counts = Self {
            open: metrics.gauge("quell_guard_incidents_open", "Incidents that go on, and whose bounces are held.")?,
            incidents: metrics.counters(
                "quell_guard_incidents_total",
                "Incidents by what was said of them: opened and released by the guard, confirmed and undone by hand.",
                &["verdict"],
            )?,
            held: metrics.counters(
                "quell_guard_held_total",
                "Hard bounces that came in an incident and are held as provisional.",
                &["mailbox"],
            )?,
        };
        for verdict in ["opened", "released", Ruling::Confirmed.as_str(), Ruling::Undone.as_str()] {
            counts.incidents.with_label_values(&[verdict]);
        }
        Ok(counts)
    }

    /// What a step of the sweeps found and did.
    pub(crate) fn swept(&self, swept: &Swept) {
        self.open.set(i64::try_from(swept.open).unwrap_or(i64::MAX));
        if let Some(ruling) = swept.ruled {
            self.incidents.with_label_values(&[ruling.as_str()]).inc();
        }
    }

    /// The jobs are another process's.
    pub(crate) fn idle(&self) {
        self.open.set(0);
    }
}

impl GuardMetrics for GuardCounts {
    fn opened(&self) {
        self.incidents.with_label_values(&["opened"]).inc();
    }

    fn released(&self) {
        self.incidents.with_label_values(&["released"]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_said_of_incidents() {
        let metrics = Metrics::new().unwrap();
        let counts = GuardCounts::new(&metrics).unwrap();
        counts.opened();
        counts.swept(&Swept { open: 2, ruled: Some(Ruling::Undone), ..Swept::default() });
        let text = metrics.render();
        for line in [
            "quell_guard_incidents_open 2\n",
            "quell_guard_incidents_total{verdict=\"opened\"} 1\n",
            "quell_guard_incidents_total{verdict=\"undone\"} 1\n",
            "quell_guard_incidents_total{verdict=\"confirmed\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        counts.idle();
        assert!(metrics.render().contains("quell_guard_incidents_open 0\n"));
    }
}
