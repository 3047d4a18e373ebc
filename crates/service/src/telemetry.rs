//! Logs and metrics: one subscriber, one registry.

mod ages;
mod metrics;
mod process;

pub use ages::{Age, Ages};
pub use metrics::{Family, Metrics};
pub use process::{cpu_seconds, resident_bytes};

use serde::{Deserialize, Serialize};

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A filter that cannot be read.
    #[error("cannot read the log filter {filter:?}: {detail}; write e.g. `info` or `info,ingest_gateway=debug`")]
    Filter {
        /// What stood there.
        filter: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Set up twice.
    #[error("logging is set up already: {0}")]
    Twice(String),
    /// A metric that the registry refuses.
    #[error("cannot register the metric {name}: {detail}")]
    Metric {
        /// Its name.
        name: String,
        /// What the registry said.
        detail: String,
    },
}

/// Buckets for answers over HTTP, in seconds: a half millisecond to ten seconds.
pub const LATENCY_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets for what may take long, in seconds: ten milliseconds to an hour.
pub const WORK_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];
/// Buckets for how late news come, in seconds: one second to three days.
pub const DELAY_SECONDS: &[f64] =
    &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0];
/// Buckets for counts and batch sizes: one to ten thousand.
pub const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0];
