//! Logs and metrics: one subscriber, one registry.

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

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

/// Starts logging to standard error: a filter like `info,ingest_gateway=debug`; colours only on a terminal.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    use std::io::IsTerminal as _;
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), detail: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    outcome.map_err(|error| TelemetryError::Twice(error.to_string()))
}

/// Buckets for answers over HTTP, in seconds: a half millisecond to ten seconds.
pub const LATENCY_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets for what may take long, in seconds: ten milliseconds to an hour.
pub const WORK_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0];
/// Buckets for counts and batch sizes: one to ten thousand.
pub const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0];

/// The process's metrics. Clones share one registry. Names begin with `quell_`; labels are bounded sets, never an
/// address.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    process: Arc<Mutex<Process>>,
}

impl Metrics {
    /// A registry that holds the process's own figures.
    pub fn new() -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let process = Process::register(&registry)?;
        Ok(Self { registry, process: Arc::new(Mutex::new(process)) })
    }

    /// The registry itself.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, TelemetryError> {
        register(&self.registry, name, IntCounter::new(name, help))
    }

    /// A counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, TelemetryError> {
        register(&self.registry, name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, TelemetryError> {
        register(&self.registry, name, IntGauge::new(name, help))
    }

    /// A gauge with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, TelemetryError> {
        register(&self.registry, name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram, e.g. over [`LATENCY_SECONDS`].
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, TelemetryError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        register(&self.registry, name, Histogram::with_opts(opts))
    }

    /// A histogram with labels.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, TelemetryError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        register(&self.registry, name, HistogramVec::new(opts, labels))
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).refresh();
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "cannot write the metrics");
        }
        text
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    name: &str,
    made: prometheus::Result<C>,
) -> Result<C, TelemetryError> {
    let fail = |error: prometheus::Error| TelemetryError::Metric { name: name.to_owned(), detail: error.to_string() };
    let metric = made.map_err(fail)?;
    registry.register(Box::new(metric.clone())).map_err(fail)?;
    Ok(metric)
}

/// Figures of this process under Prometheus' conventional names, read from `/proc/self` when somebody asks.
#[derive(Debug)]
struct Process {
    resident: Gauge,
    cpu: Counter,
    fds: Gauge,
}

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux ABI.
const TICKS_A_SECOND: f64 = 100.0;

impl Process {
    fn register(registry: &Registry) -> Result<Self, TelemetryError> {
        let gauge = |name: &str, help| register(registry, name, Gauge::new(name, help));
        Ok(Self {
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            cpu: {
                let name = "process_cpu_seconds_total";
                register(registry, name, Counter::new(name, "User and system CPU time spent, in seconds."))?
            },
        })
    }

    fn refresh(&mut self) {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes as f64);
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // The listing's own descriptor is among them.
            self.fds.set(entries.count().saturating_sub(1) as f64);
        }
    }
}

/// Resident memory of this process in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// User and system CPU time of this process in seconds, where the system tells.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in brackets and may hold spaces; utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted_and_the_process_itself() {
        let metrics = Metrics::new().unwrap();
        let counters = metrics.counters("quell_test_total", "A test.", &["cause"]).unwrap();
        counters.with_label_values(&["stale"]).inc_by(3);
        metrics.histogram("quell_test_seconds", "A test.", LATENCY_SECONDS).unwrap().observe(0.002);
        let text = metrics.render();
        assert!(text.contains("quell_test_total{cause=\"stale\"} 3"), "{text}");
        assert!(text.contains("quell_test_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        let figure = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(figure("process_resident_memory_bytes ") > 500_000.0);
        assert!(figure("process_open_fds ") >= 3.0);
        assert!(figure("process_cpu_seconds_total ") >= 0.0);
    }

    #[test]
    fn a_name_taken_twice_is_an_error_that_says_so() {
        let metrics = Metrics::new().unwrap();
        metrics.counter("quell_test_total", "A test.").unwrap();
        let error = metrics.counter("quell_test_total", "A test.").unwrap_err();
        assert!(error.to_string().contains("quell_test_total"), "{error}");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_says_how_to_write_one() {
        let error = init_logs(LogFormat::Text, "a=b=c").unwrap_err();
        assert!(error.to_string().contains("write e.g."), "{error}");
    }
}
