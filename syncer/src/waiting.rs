//! What waits in a lane: the deltas it has read and not settled, and those it has not read yet.
//!
//! A batch that fails is polled again, smaller each time; what was read of it once stays known until it is committed, so
//! that a provider's outage does not make a lane forget that no opt-out waits.

use domain::{Change, Delta, Reason, RecipientKey};
use event_log::{Batch, Consumed};
use prometheus::IntGauge;
use service::telemetry::Age;
use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

/// So many deltas are remembered; beyond, those read count as not read. Batches are far smaller.
const KNOWN_MAX: usize = 65_536;

/// A delta that the provider has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    recipient: u64,
    /// When it became known, in milliseconds since the epoch.
    at_ms: i64,
    is_optout: bool,
}

/// What is known of what waits.
#[derive(Debug, Default)]
struct Known {
    /// Deltas that were read and are not committed, by partition and offset; `None` is nothing to tell.
    read: BTreeMap<(u32, u64), Option<Told>>,
    /// Records of the batch that is open: they are not in the lag.
    n_open: u64,
    /// Recipients of it that are settled.
    n_settled: u64,
    /// Records that the session has not polled, or goes back to.
    n_behind: u64,
    /// What the runner says of the oldest record that is not processed.
    oldest_ms: Option<i64>,
}

impl Known {
    /// Deltas that were never read.
    fn n_unread(&self) -> u64 {
        (self.n_behind + self.n_open).saturating_sub(self.read.len() as u64)
    }

    fn pending(&self) -> u64 {
        let told: HashSet<u64> = self.read.values().flatten().map(|told| told.recipient).collect();
        (told.len() as u64).saturating_sub(self.n_settled) + self.n_unread()
    }

    fn oldest(&self, is_counted: impl Fn(&Told) -> bool) -> Option<i64> {
        let known = self.read.values().flatten().filter(|told| is_counted(told)).map(|told| told.at_ms).min();
        known.or_else(|| self.oldest_ms.filter(|_| self.n_unread() > 0))
    }
}

/// A handle on what waits in a lane, for the lane and for who watches its runner. Clones are one.
#[derive(Debug, Clone)]
pub struct Waiting {
    known: Arc<Mutex<Known>>,
    pending: IntGauge,
    oldest: Age,
    optout: Age,
}

impl Waiting {
    pub(crate) fn new(pending: IntGauge, oldest: Age, optout: Age) -> Self {
        Self { known: Arc::default(), pending, oldest, optout }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.pending.set(i64::try_from(known.pending()).unwrap_or(i64::MAX));
        self.oldest.since(known.oldest(|_| true));
        self.optout.since(known.oldest(|told| told.is_optout));
    }

    /// The runner: so many records are not polled yet.
    pub fn behind(&self, n_records: u64) {
        self.change(|known| known.n_behind = n_records);
    }

    /// The runner: the time of the oldest record that is not processed.
    pub fn oldest(&self, at_ms: Option<i64>) {
        self.change(|known| known.oldest_ms = at_ms);
    }

    /// Partitions are not ours any more.
    pub fn revoked(&self, partitions: &[u32]) {
        self.change(|known| known.read.retain(|(partition, _), _| !partitions.contains(partition)));
    }

    /// A batch was read: each record with its delta, if the provider has to be told of it.
    pub(crate) fn read<'a>(&self, records: impl ExactSizeIterator<Item = (&'a Consumed, Option<&'a Delta>)>) {
        self.change(|known| {
            (known.n_open, known.n_settled) = (records.len() as u64, 0);
            for (consumed, delta) in records {
                let told = delta.map(|delta| Told {
                    recipient: hash(&delta.key),
                    at_ms: delta.decided_at.as_millis(),
                    is_optout: is_optout(delta),
                });
                known.read.insert(place(consumed), told);
            }
            while known.read.len() > KNOWN_MAX {
                known.read.pop_last();
            }
        });
    }

    /// So many recipients of the batch are settled by now.
    pub(crate) fn settled(&self, n_recipients: usize) {
        self.change(|known| known.n_settled = n_recipients as u64);
    }

    /// The batch goes back to the log.
    pub(crate) fn failed(&self) {
        self.change(|known| (known.n_open, known.n_settled) = (0, 0));
    }

    /// The batch is committed.
    pub(crate) fn committed(&self, batch: &Batch) {
        self.change(|known| {
            (known.n_open, known.n_settled) = (0, 0);
            for consumed in &batch.records {
                known.read.remove(&place(consumed));
            }
        });
    }
}

fn place(consumed: &Consumed) -> (u32, u64) {
    (consumed.position.partition, consumed.position.offset)
}

fn hash(key: &RecipientKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// A recipient's own wish not to be written to.
fn is_optout(delta: &Delta) -> bool {
    let reason = delta.now.as_ref().map(|now| now.reason);
    delta.change != Change::Released && matches!(reason, Some(Reason::Unsubscribe | Reason::SpamComplaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(recipient: u64, at_ms: i64, is_optout: bool) -> Option<Told> {
        Some(Told { recipient, at_ms, is_optout })
    }

    fn ages(known: &Known) -> (u64, Option<i64>, Option<i64>) {
        (known.pending(), known.oldest(|_| true), known.oldest(|told| told.is_optout))
    }

    #[test]
    fn nothing_waits_in_a_lane_that_caught_up() {
        assert_eq!(ages(&Known::default()), (0, None, None));
    }

    #[test]
    fn what_was_not_read_counts_and_could_be_an_opt_out() {
        let known = Known { n_behind: 7, oldest_ms: Some(50), ..Known::default() };
        assert_eq!(ages(&known), (7, Some(50), Some(50)));
    }

    #[test]
    fn of_what_was_read_only_what_is_to_be_told_counts() {
        let read =
            [((0, 1), told(1, 40, false)), ((0, 2), None), ((1, 9), told(1, 30, false)), ((1, 10), told(2, 60, true))];
        let mut known = Known { read: read.into(), n_open: 4, oldest_ms: Some(10), ..Known::default() };
        assert_eq!(ages(&known), (2, Some(30), Some(60)));
        known.n_settled = 1;
        assert_eq!(known.pending(), 1);
        // The batch goes back: the lag has it again, and it is still known.
        (known.n_open, known.n_settled, known.n_behind) = (0, 0, 4);
        assert_eq!(ages(&known), (2, Some(30), Some(60)));
        // A smaller one is polled of it, and something new lies behind.
        (known.n_open, known.n_behind) = (1, 5);
        assert_eq!(ages(&known), (4, Some(30), Some(60)));
    }

    #[test]
    fn an_outage_with_bounces_alone_is_no_late_opt_out() {
        let mut known =
            Known { read: [((0, 1), told(1, 40, false))].into(), n_behind: 1, oldest_ms: Some(40), ..Known::default() };
        assert_eq!(ages(&known), (1, Some(40), None));
        known.n_behind = 2;
        assert_eq!(ages(&known), (2, Some(40), Some(40)));
    }
}
