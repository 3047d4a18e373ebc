//! The process's registry.

use super::{Ages, TelemetryError, process::Process};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, PullingGauge,
    Registry, TextEncoder,
    core::Collector,
    proto::{MetricFamily, MetricType},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The process's metrics. Clones share one registry. Names begin with `quell_`; labels are bounded sets, never an
/// address.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    families: Arc<Mutex<Vec<Family>>>,
    process: Arc<Mutex<Option<Process>>>,
}

/// A metric that was registered, whether or not it has values yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in their order.
    pub labels: Vec<String>,
    /// What it is.
    pub help: String,
}

impl Metrics {
    /// A registry that holds the process's own figures.
    pub fn new() -> Result<Self, TelemetryError> {
        let metrics = Self { registry: Registry::new(), families: Arc::default(), process: Arc::default() };
        let process = Process::register(&metrics)?;
        *lock(&metrics.process) = Some(process);
        Ok(metrics)
    }

    /// Everything registered so far.
    pub fn families(&self) -> Vec<Family> {
        lock(&self.families).clone()
    }

    /// The values of this moment, for who judges them.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// A counter.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, TelemetryError> {
        self.add(name, IntCounter::new(name, help))
    }

    /// A counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, TelemetryError> {
        self.add(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, TelemetryError> {
        self.add(name, IntGauge::new(name, help))
    }

    /// A gauge with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, TelemetryError> {
        self.add(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge that is read when somebody asks for it.
    pub fn pulled(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), TelemetryError> {
        self.add(name, PullingGauge::new(name, help, Box::new(read))).map(drop)
    }

    /// A gauge of ages with one label.
    pub fn ages(&self, name: &str, help: &str, label: &str) -> Result<Ages, TelemetryError> {
        self.add(name, Ages::new(name, help, label))
    }

    /// A histogram, e.g. over [`super::LATENCY_SECONDS`].
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, TelemetryError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(name, Histogram::with_opts(opts))
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
        self.add(name, HistogramVec::new(opts, labels))
    }

    /// Registers a collector of any sort.
    pub fn add<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C, TelemetryError> {
        let fail =
            |error: prometheus::Error| TelemetryError::Metric { name: name.to_owned(), detail: error.to_string() };
        let metric = made.map_err(fail)?;
        self.registry.register(Box::new(metric.clone())).map_err(fail)?;
        let kinds = metric.collect();
        let of = |(desc, family): (&&prometheus::core::Desc, &MetricFamily)| Family {
            name: desc.fq_name.clone(),
            kind: kind(family.get_field_type()),
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        };
        lock(&self.families).extend(metric.desc().iter().zip(&kinds).map(of));
        Ok(metric)
    }

    /// All metrics in Prometheus' text format. Those without values yet are told by name and kind, so that who reads it sees
    /// what there is.
    pub fn render(&self) -> String {
        if let Some(process) = &*lock(&self.process) {
            process.refresh();
        }
        let mut text = String::with_capacity(64 * 1024);
        let gathered = self.registry.gather();
        if let Err(error) = TextEncoder::new().encode_utf8(&gathered, &mut text) {
            tracing::warn!(%error, "cannot write the metrics");
        }
        for family in lock(&self.families).iter() {
            if !gathered.iter().any(|known| known.name() == family.name) {
                let Family { name, kind, help, .. } = family;
                text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            }
        }
        text
    }
}

const fn kind(of: MetricType) -> &'static str {
    match of {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::LATENCY_SECONDS, *};

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
        assert!(figure("process_threads ") >= 1.0);
    }

    #[test]
    fn a_name_taken_twice_is_an_error_that_says_so() {
        let metrics = Metrics::new().unwrap();
        metrics.counter("quell_test_total", "A test.").unwrap();
        let error = metrics.counter("quell_test_total", "A test.").unwrap_err();
        assert!(error.to_string().contains("quell_test_total"), "{error}");
    }

    #[test]
    fn what_has_no_values_yet_is_told_by_name() {
        let metrics = Metrics::new().unwrap();
        let ages = metrics.ages("quell_test_age_seconds", "An age.", "lane").unwrap();
        metrics.histograms("quell_test_seconds", "A test.", LATENCY_SECONDS, &["a", "b"]).unwrap();
        metrics.pulled("quell_test_pulled", "A figure.", || 4.5).unwrap();
        let text = metrics.render();
        assert!(text.contains("# HELP quell_test_seconds A test.\n# TYPE quell_test_seconds histogram\n"), "{text}");
        assert!(text.contains("# TYPE quell_test_age_seconds gauge\n"), "{text}");
        assert!(text.contains("quell_test_pulled 4.5\n"), "{text}");
        ages.with("a").since(Some(0));
        let text = metrics.render();
        assert_eq!(text.matches("# TYPE quell_test_age_seconds").count(), 1, "{text}");
        assert!(text.contains("quell_test_age_seconds{lane=\"a\"} "), "{text}");
        let families = metrics.families();
        let found = families.iter().find(|family| family.name == "quell_test_seconds").unwrap();
        assert_eq!((found.kind, found.labels.join(",")), ("histogram", "a,b".to_owned()));
    }
}
