//! The process's own metrics at one moment, as far as alarms rest on them. Pure.

use prometheus::proto::{MetricFamily, MetricType};
use std::collections::BTreeMap;

/// A value with its labels.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// Counters and gauges by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    samples: BTreeMap<String, Vec<Sample>>,
}

/// Values by some of their labels, summed over the rest.
pub(super) type By<const N: usize> = BTreeMap<[String; N], f64>;

impl Figures {
    /// Those of these names.
    pub(super) fn read(families: &[MetricFamily], names: &[&str]) -> Self {
        let mut figures = Self::default();
        for family in families.iter().filter(|family| names.contains(&family.name())) {
            let kind = family.get_field_type();
            for metric in family.get_metric() {
                let value = match kind {
                    MetricType::COUNTER => metric.get_counter().get_value(),
                    MetricType::GAUGE => metric.get_gauge().get_value(),
                    _ => continue,
                };
                let labels = metric.get_label().iter();
                let labels = labels.map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
                figures.samples.entry(family.name().to_owned()).or_default().push(Sample { labels, value });
            }
        }
        figures
    }

    /// Sums by the values of these labels, of what the filter takes: it is asked for a label's value by name.
    pub(super) fn by<const N: usize>(
        &self,
        name: &str,
        labels: [&str; N],
        takes: impl Fn(&dyn Fn(&str) -> String) -> bool,
    ) -> By<N> {
        let mut sums = By::new();
        for sample in self.samples.get(name).into_iter().flatten() {
            if takes(&|label: &str| sample.label(label).to_owned()) {
                *sums.entry(labels.map(|label| sample.label(label).to_owned())).or_default() += sample.value;
            }
        }
        sums
    }

    /// Sets a value, for tests.
    #[cfg(test)]
    pub(super) fn set(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let labels: Vec<_> = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let samples = self.samples.entry(name.to_owned()).or_default();
        match samples.iter_mut().find(|sample| sample.labels == labels) {
            Some(sample) => sample.value = value,
            None => samples.push(Sample { labels, value }),
        }
        self
    }
}
