//! How large a batch may be, so that nobody's record waits longer than an operator wants. Pure.

use std::time::Duration;

/// Where it begins: little enough for any store, and doubled with every full batch that is done in time.
const FIRST: usize = 64;

/// The largest batch that is likely to be done in half the target: a record waits for the batch before its own, and for its
/// own.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize {
    /// From a poll to the end of its commit; `None` leaves every batch as large as it may be.
    target: Option<Duration>,
    records_max: usize,
    now: usize,
}

impl BatchSize {
    /// Never above `records_max`, never below 1.
    pub(super) fn new(target: Option<Duration>, records_max: usize) -> Self {
        let records_max = records_max.max(1);
        let now = if target.is_some() { FIRST.min(records_max) } else { records_max };
        Self { target, records_max, now }
    }

    /// How many records to poll.
    pub(super) const fn records(&self) -> usize {
        self.now
    }

    /// A batch of so many records took so long, commit included.
    pub(super) fn took(&mut self, records: usize, time: Duration) {
        let Some(half) = self.target.map(|target| target / 2) else { return };
        if time > half {
            // Never to less than a half at once: one slow answer says little about the next.
            let share = half.as_secs_f64() / time.as_secs_f64();
            let fitting = (records as f64 * share) as usize;
            self.now = fitting.max(self.now / 2).clamp(1, self.records_max).min(self.now);
        } else if records >= self.now && time <= half / 2 {
            self.now = self.now.saturating_mul(2).min(self.records_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it settles for batches that take `fixed` and `each` a record (in microseconds), all of them full.
    fn settled(target_ms: u64, records_max: usize, fixed: u64, each: u64) -> (usize, u64) {
        let mut size = BatchSize::new(Some(Duration::from_millis(target_ms)), records_max);
        let cost = |records: usize| fixed + each * records as u64;
        for _ in 0..100 {
            let records = size.records();
            size.took(records, Duration::from_micros(cost(records)));
        }
        (size.records(), cost(size.records()) / 1_000)
    }

    #[test]
    fn batches_grow_to_the_most_where_the_work_is_quick() {
        assert_eq!(settled(250, 1_000, 1_000, 30).0, 1_000);
        assert_eq!(settled(250, 10, 1_000, 30).0, 10);
    }

    #[test]
    fn batches_are_cut_to_half_the_target_where_the_work_is_slow() {
        for (fixed, each) in [(5_000, 600), (20_000, 2_000), (0, 10_000)] {
            let (records, took_ms) = settled(250, 1_000, fixed, each);
            assert!(took_ms <= 125, "{records} records take {took_ms} ms");
            assert!(took_ms >= 31, "{records} records take only {took_ms} ms");
        }
    }

    #[test]
    fn a_record_that_takes_longer_than_the_target_goes_alone() {
        assert_eq!(settled(250, 1_000, 900_000, 1_000).0, 1);
    }

    #[test]
    fn one_slow_batch_halves_at_most_and_a_small_one_says_nothing() {
        let mut size = BatchSize::new(Some(Duration::from_millis(200)), 64);
        size.took(64, Duration::from_secs(60));
        assert_eq!(size.records(), 32);
        size.took(3, Duration::from_millis(1));
        assert_eq!(size.records(), 32);
        let mut size = BatchSize::new(None, 500);
        size.took(500, Duration::from_secs(60));
        assert_eq!(size.records(), 500);
    }
}
