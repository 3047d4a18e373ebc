//! Gauges of ages: they grow by themselves, so what is kept is the moment since when.

use crate::{Clock, SystemClock};
use prometheus::{
    core::{Collector, Desc},
    proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

/// No moment: the age is 0.
const NEVER: i64 = i64::MIN;

/// A gauge with one label whose values are seconds since a moment, worked out when somebody asks: what stands still grows
/// old, though nobody says so. Clones are one gauge.
#[derive(Debug, Clone)]
pub struct Ages {
    desc: Desc,
    ages: Arc<Mutex<BTreeMap<String, Age>>>,
    clock: Arc<dyn Clock>,
}

/// One of its values.
#[derive(Debug, Clone)]
pub struct Age(Arc<AtomicI64>);

impl Ages {
    pub(super) fn new(name: &str, help: &str, label: &str) -> prometheus::Result<Self> {
        let desc = Desc::new(name.to_owned(), help.to_owned(), vec![label.to_owned()], HashMap::new())?;
        Ok(Self { desc, ages: Arc::default(), clock: Arc::new(SystemClock) })
    }

    /// The value with this label; 0 until it is told since when.
    pub fn with(&self, label: &str) -> Age {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        ages.entry(label.to_owned()).or_insert_with(|| Age(Arc::new(AtomicI64::new(NEVER)))).clone()
    }
}

impl Age {
    /// Since when, in milliseconds since the epoch; `None` is an age of 0.
    pub fn since(&self, at_ms: Option<i64>) {
        self.0.store(at_ms.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// The moment told last.
    pub fn at_ms(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at_ms| *at_ms != NEVER)
    }

    fn seconds(&self, now_ms: i64) -> f64 {
        self.at_ms().map_or(0.0, |at_ms| now_ms.saturating_sub(at_ms).max(0) as f64 / 1_000.0)
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now_ms = self.clock.now_millis();
        let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let label_name = self.desc.variable_labels.first().cloned().unwrap_or_default();
        let metric = |(label, age): (&String, &Age)| {
            let (mut gauge, mut pair) = (Gauge::default(), LabelPair::default());
            gauge.set_value(age.seconds(now_ms));
            pair.set_name(label_name.clone());
            pair.set_value(label.clone());
            let mut metric = Metric::from_gauge(gauge);
            metric.set_label(vec![pair]);
            metric
        };
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(ages.iter().map(metric).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn an_age_grows_by_itself_and_is_nothing_without_a_moment() {
        let clock = Arc::new(ManualClock::at_micros(10_000_000));
        let mut ages = Ages::new("quell_test_seconds", "A test.", "lane").unwrap();
        ages.clock = clock.clone();
        let shown = || -> Vec<(String, f64)> {
            let families = ages.collect();
            let metrics = families[0].get_metric().iter();
            metrics.map(|m| (m.get_label()[0].value().to_owned(), m.get_gauge().get_value())).collect()
        };
        assert_eq!(shown(), []);
        ages.with("a").since(Some(4_000));
        // Ahead of us.
        ages.with("b").since(Some(11_000));
        assert_eq!(shown(), [("a".to_owned(), 6.0), ("b".to_owned(), 0.0)]);
        clock.advance_micros(5_500_000);
        assert_eq!(shown(), [("a".to_owned(), 11.5), ("b".to_owned(), 4.5)]);
        ages.with("a").since(None);
        assert_eq!((shown()[0].1, ages.with("a").at_ms(), ages.with("b").at_ms()), (0.0, None, Some(11_000)));
    }
}
