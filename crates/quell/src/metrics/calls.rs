//! Calls to the store, and to the lookup API.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use service::telemetry::{LATENCY_SECONDS, Metrics, TelemetryError};
use std::time::Duration;
use suppressor::{
    lookup::{Checked, LookupMetrics},
    store::timed::{Operation, StoreWatch},
};

/// Calls of the suppressor and of lookups to the store.
#[derive(Debug)]
pub(crate) struct StoreCalls(Vec<(Operation, Histogram, IntCounter)>);

impl StoreCalls {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, TelemetryError> {
        let seconds = metrics.histograms(
            "quell_store_seconds",
            "Time of a call of the suppressor or a lookup to the store; a call may be for many recipients.",
            LATENCY_SECONDS,
            &["operation"],
        )?;
        let errors = metrics.counters("quell_store_errors_total", "Calls to the store that failed.", &["operation"])?;
        let of = |operation: Operation| {
            let labels = [operation.as_str()];
            (operation, seconds.with_label_values(&labels), errors.with_label_values(&labels))
        };
        Ok(Self(Operation::ALL.map(of).into()))
    }
}

impl StoreWatch for StoreCalls {
    fn called(&self, operation: Operation, took: Duration, is_error: bool) {
        // In declaration order, so the first look finds it.
        let found = self.0.get(operation as usize).filter(|(known, _, _)| *known == operation);
        let Some((_, seconds, errors)) = found else { return };
        seconds.observe(took.as_secs_f64());
        if is_error {
            errors.inc();
        }
    }
}

/// Calls to the lookup API.
#[derive(Debug)]
pub(crate) struct LookupCalls {
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Free, stopped, unreadable.
    checked: [IntCounter; 3],
}

impl LookupCalls {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, TelemetryError> {
        let checked = metrics.counters(
            "quell_lookup_checked_total",
            "Recipients of checks by the answer: free to be sent to, stopped, or unreadable.",
            &["answer"],
        )?;
        Ok(Self {
            checked: ["free", "stopped", "unreadable"].map(|answer| checked.with_label_values(&[answer])),
            requests: metrics.counters(
                "quell_lookup_requests_total",
                "Calls to the lookup API by the pattern of their path and their status.",
                &["route", "status"],
            )?,
            seconds: metrics.histograms(
                "quell_lookup_seconds",
                "Time from a call to the head of its answer.",
                LATENCY_SECONDS,
                &["route"],
            )?,
        })
    }
}

impl LookupMetrics for LookupCalls {
    fn answered(&self, route: &'static str, status: u16, took: Duration) {
        // No allocation for three digits.
        let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + (digit % 10) as u8);
        let status = std::str::from_utf8(&digits).unwrap_or_default();
        self.requests.with_label_values(&[route, status]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    fn checked(&self, Checked { free, stopped, unreadable }: Checked) {
        for (counter, n) in self.checked.iter().zip([free, stopped, unreadable]) {
            counter.inc_by(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_place() {
        let metrics = Metrics::new().unwrap();
        let calls = StoreCalls::new(&metrics).unwrap();
        for operation in Operation::ALL {
            calls.called(operation, Duration::from_millis(3), operation == Operation::Apply);
        }
        let text = metrics.render();
        assert_eq!(text.matches("quell_store_seconds_count{").count(), Operation::ALL.len());
        for operation in Operation::ALL.map(Operation::as_str) {
            assert!(text.contains(&format!("quell_store_seconds_count{{operation=\"{operation}\"}} 1\n")), "{text}");
        }
        assert!(text.contains("quell_store_errors_total{operation=\"apply\"} 1\n"), "{text}");
        assert!(text.contains("quell_store_errors_total{operation=\"load\"} 0\n"), "{text}");
    }

    #[test]
    fn a_lookup_is_counted_by_its_pattern_and_status() {
        let metrics = Metrics::new().unwrap();
        let calls = LookupCalls::new(&metrics).unwrap();
        calls.answered("/v1/check", 200, Duration::from_millis(3));
        calls.answered("/v1/check", 404, Duration::from_millis(3));
        calls.checked(Checked { free: 5, stopped: 2, unreadable: 0 });
        calls.checked(Checked { free: 1, stopped: 0, unreadable: 0 });
        let text = metrics.render();
        for (answer, n) in [("free", 6), ("stopped", 2), ("unreadable", 0)] {
            assert!(text.contains(&format!("quell_lookup_checked_total{{answer=\"{answer}\"}} {n}\n")), "{text}");
        }
        assert!(text.contains("quell_lookup_requests_total{route=\"/v1/check\",status=\"404\"} 1\n"), "{text}");
        assert!(text.contains("quell_lookup_seconds_count{route=\"/v1/check\"} 2\n"), "{text}");
    }
}
