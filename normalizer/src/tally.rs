//! What a batch brought, for the metrics. It is told once the batch is committed: a batch that is rewound is processed again,
//! and would be counted twice.

use domain::{CanonicalEvent, Kind};
use std::sync::Arc;

/// Counts of what the stage did, for its metrics. Providers are names of [`providers::Providers`], or `unknown`.
pub trait NormalizerMetrics: Send + Sync + std::fmt::Debug {
    /// A canonical event was emitted; its webhook came so many milliseconds after the event's own time (below 0 where the
    /// provider's clock runs ahead).
    fn event(&self, provider: &'static str, kind: Kind, delay_ms: i64);
    /// An element concerned nobody.
    fn ignored(&self, provider: &'static str, reason: &'static str);
    /// An element, or a whole webhook, went to dead-letter; the reason is a stable tag.
    fn dead(&self, provider: &'static str, reason: &str);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl NormalizerMetrics for Nobody {
    fn event(&self, _provider: &'static str, _kind: Kind, _delay_ms: i64) {}
    fn ignored(&self, _provider: &'static str, _reason: &'static str) {}
    fn dead(&self, _provider: &'static str, _reason: &str) {}
}

#[derive(Debug)]
enum Count {
    Event(&'static str, Kind, i64),
    Ignored(&'static str, &'static str),
    Dead(&'static str, String),
}

/// The counts of the batch that is open.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Arc<dyn NormalizerMetrics>,
    open: Vec<Count>,
}

impl Tally {
    pub(crate) const fn new(metrics: Arc<dyn NormalizerMetrics>) -> Self {
        Self { metrics, open: Vec::new() }
    }

    /// A batch begins; one that was never committed is forgotten.
    pub(crate) fn begin(&mut self) {
        self.open.clear();
    }

    pub(crate) fn event(&mut self, provider: &'static str, event: &CanonicalEvent) {
        let delay_ms = event.received_at.as_millis().saturating_sub(event.occurred_at.as_millis());
        self.open.push(Count::Event(provider, event.kind, delay_ms));
    }

    pub(crate) fn ignored(&mut self, provider: &'static str, reason: &'static str) {
        self.open.push(Count::Ignored(provider, reason));
    }

    /// `reason` as a parser words it: a stable tag, and often details after a colon.
    pub(crate) fn dead(&mut self, provider: &'static str, reason: &str) {
        self.open.push(Count::Dead(provider, tag(reason).to_owned()));
    }

    /// The batch is committed.
    pub(crate) fn committed(&mut self) {
        for count in self.open.drain(..) {
            match count {
                Count::Event(provider, kind, delay_ms) => self.metrics.event(provider, kind, delay_ms),
                Count::Ignored(provider, reason) => self.metrics.ignored(provider, reason),
                Count::Dead(provider, reason) => self.metrics.dead(provider, &reason),
            }
        }
    }
}

/// The stable tag that a parser's reason begins with.
fn tag(reason: &str) -> &str {
    let end = reason.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(reason.len());
    if end == 0 { "other" } else { &reason[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl NormalizerMetrics for Heard {
        fn event(&self, provider: &'static str, kind: Kind, delay_ms: i64) {
            self.0.lock().unwrap().push(format!("{provider} {kind} {delay_ms}"));
        }
        fn ignored(&self, provider: &'static str, reason: &'static str) {
            self.0.lock().unwrap().push(format!("{provider} ignored {reason}"));
        }
        fn dead(&self, provider: &'static str, reason: &str) {
            self.0.lock().unwrap().push(format!("{provider} dead {reason}"));
        }
    }

    #[test]
    fn a_batch_counts_once_it_is_committed_and_no_other_time() {
        let heard = Arc::new(Heard::default());
        let mut tally = Tally::new(heard.clone());
        tally.ignored("drip", "sent");
        // It was rewound.
        tally.begin();
        tally.dead("drip", "missing_event: the element has no `event`");
        tally.ignored("drip", "sent");
        assert!(heard.0.lock().unwrap().is_empty());
        tally.committed();
        tally.committed();
        assert_eq!(*heard.0.lock().unwrap(), ["drip dead missing_event", "drip ignored sent"]);
    }

    #[test]
    fn a_tag_is_what_stands_before_the_details() {
        let cases = [("empty_body", "empty_body"), ("malformed_json: at 1", "malformed_json"), ("", "other")];
        for (reason, expected) in cases {
            assert_eq!(tag(reason), expected);
        }
        assert_eq!(tag("missing_message in `Message`"), "missing_message");
        assert_eq!(tag("Jane@example.com"), "other");
    }
}
