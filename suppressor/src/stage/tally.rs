//! What a batch did, for the metrics. It is told once the batch is committed: what is rewound, or applied again without
//! emitting, is processed twice and would be counted twice.

use crate::History;
use domain::{CanonicalEvent, Change, Kind, Reason, Scope, Standing};
use std::sync::Arc;

/// Hears what committed batches did.
pub trait SuppressorMetrics: Send + Sync + std::fmt::Debug {
    /// These events were processed, in their order, and their batch is committed.
    fn committed(&self, events: &[Counted]);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoMetrics;

impl SuppressorMetrics for NoMetrics {
    fn committed(&self, _events: &[Counted]) {}
}

/// One event that was processed.
#[derive(Debug)]
pub struct Counted {
    /// The event.
    pub event: Box<CanonicalEvent>,
    /// The partition it came from.
    pub partition: u32,
    /// Number of its position.
    pub position: u64,
    /// What the stage found.
    pub found: Found,
}

/// What the stage found about an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// It was known already and dropped.
    pub is_duplicate: bool,
    /// It is evidence, and its time was later than its receipt.
    pub is_clamped: bool,
    /// It is a hard bounce that is held as provisional.
    pub is_held: bool,
    /// Evidence of the recipient with a newer time had come before.
    pub is_out_of_order: bool,
    /// What it changed.
    pub deltas: Vec<DeltaCount>,
}

/// A delta, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaCount {
    /// What it does.
    pub change: Change,
    /// Why the recipient was suppressed before.
    pub before: Option<Reason>,
    /// Why it is now.
    pub now: Option<Reason>,
    /// The sort of scope: categories and senders have names without number.
    pub scope: &'static str,
}

/// The sort of a scope, as a label: one of five words.
pub const fn scope_sort(scope: &Scope) -> &'static str {
    match scope {
        Scope::All => "all",
        Scope::NonCritical => "non_critical",
        Scope::Marketing => "marketing",
        Scope::Category(_) => "category",
        Scope::Sender(_) => "sender",
    }
}

/// Whether an event of this kind comes from inside, and not from a provider.
pub const fn is_inner(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::SuppressedManually
            | Kind::ReleasedManually
            | Kind::Unengaged
            | Kind::Expired
            | Kind::Reconsidered
            | Kind::Erased
    )
}

/// What the batch that is open did so far.
#[derive(Debug)]
pub(super) struct Tally {
    metrics: Arc<dyn SuppressorMetrics>,
    events: Vec<Counted>,
    /// Of the event that is being processed.
    pub(super) found: Found,
}

impl Tally {
    pub(super) fn new(metrics: Arc<dyn SuppressorMetrics>) -> Self {
        Self { metrics, events: Vec::new(), found: Found::default() }
    }

    /// Forgets what was not committed.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.found = Found::default();
    }

    /// Looks whether newer evidence than this event came before it, at a position below.
    pub(super) fn note_order(&mut self, event: &CanonicalEvent, position: u64, history: &History) {
        let mut known = history.rows.iter().rev().filter(|row| row.position < position && !is_inner(row.kind));
        self.found.is_out_of_order =
            !is_inner(event.kind) && known.next().is_some_and(|newest| event.occurred_at < newest.occurred_at);
    }

    pub(super) fn delta(&mut self, scope: &Scope, change: Change, before: Option<&Standing>, now: Option<&Standing>) {
        let reason = |standing: Option<&Standing>| standing.map(|standing| standing.reason);
        let count = DeltaCount { change, before: reason(before), now: reason(now), scope: scope_sort(scope) };
        self.found.deltas.push(count);
    }

    /// The event is processed.
    pub(super) fn processed(&mut self, event: Box<CanonicalEvent>, partition: u32, position: u64) {
        let found = std::mem::take(&mut self.found);
        self.events.push(Counted { event, partition, position, found });
    }

    /// The batch is committed.
    pub(super) fn committed(&mut self) {
        self.metrics.committed(&self.events);
        self.clear();
    }
}
