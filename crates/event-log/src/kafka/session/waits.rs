//! Waits that may last: told once when they do, and once when they are over; and how long a commit waits.

use super::CALL_MAX;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A shorter wait is nobody's business.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// Whether something is waited for, and since when.
#[derive(Debug, Default)]
pub(super) struct Wait {
    since: Option<Instant>,
    is_told: bool,
}

impl Wait {
    /// It is waited for, still. Once the wait is long: how long, and no second time.
    pub(super) fn lasts(&mut self, now: Instant) -> Option<Duration> {
        let lasted = now.duration_since(*self.since.get_or_insert(now));
        let is_news = lasted >= LONG && !self.is_told;
        self.is_told |= is_news;
        is_news.then_some(lasted)
    }

    /// It came. How long it took, where the wait was told of.
    pub(super) fn ends(&mut self, now: Instant) -> Option<Duration> {
        let Self { since, is_told } = std::mem::take(self);
        since.filter(|_| is_told).map(|since| now.duration_since(since))
    }
}

/// How long a commit waits for brokers: until its deadline, and as soon as the process is to stop for one call more.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    deadline: Instant,
    stop: CancellationToken,
    is_stopping: bool,
}

impl Patience {
    pub(super) fn new(most: Duration, stop: &CancellationToken) -> Self {
        Self { deadline: Instant::now() + most, stop: stop.clone(), is_stopping: false }
    }

    /// Until no further call is made.
    pub(super) fn left(&mut self) -> Duration {
        let now = Instant::now();
        if !self.is_stopping && self.stop.is_cancelled() {
            self.is_stopping = true;
            self.deadline = self.deadline.min(now + CALL_MAX);
        }
        self.deadline.saturating_duration_since(now)
    }

    /// Until a call under way is given up: one that was made at the deadline may take its time.
    pub(super) fn left_for_answer(&mut self) -> Duration {
        // Looks whether the process is to stop.
        let left = self.left();
        let more = (self.deadline + CALL_MAX).saturating_duration_since(Instant::now());
        if self.is_stopping { left } else { more }
    }

    /// Whether what did not work is tried again.
    pub(super) fn tries_again(&mut self) -> bool {
        !self.left().is_zero() && !self.is_stopping
    }

    /// What it was over before, for an error.
    pub(super) fn when(&self) -> &'static str {
        if self.is_stopping { "before the process had to stop" } else { "in time" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_at_its_deadline_or_a_call_after_the_stop() {
        let stop = CancellationToken::new();
        let mut patience = Patience::new(CALL_MAX * 4, &stop);
        assert!(patience.left() > CALL_MAX * 3 && patience.left_for_answer() > CALL_MAX * 4 && patience.tries_again());
        assert_eq!(patience.when(), "in time");
        stop.cancel();
        assert!(!patience.tries_again());
        assert!((Duration::from_secs(1)..=CALL_MAX).contains(&patience.left()), "{patience:?}");
        assert!(patience.left_for_answer() <= CALL_MAX && patience.when().contains("to stop"), "{patience:?}");
        let mut short = Patience::new(Duration::ZERO, &stop);
        assert_eq!((short.left(), short.left_for_answer()), (Duration::ZERO, Duration::ZERO));
        let mut over = Patience::new(Duration::ZERO, &CancellationToken::new());
        let (left, first) = (over.left(), over.left_for_answer());
        assert!(left.is_zero() && !over.tries_again() && first <= CALL_MAX);
        std::thread::sleep(Duration::from_millis(5));
        assert!(over.left_for_answer() < first, "it gets shorter");
    }

    #[test]
    fn a_long_wait_is_told_once_and_its_end_too() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut wait = Wait::default();
        assert_eq!((wait.lasts(at(0)), wait.lasts(at(9))), (None, None));
        assert_eq!(wait.ends(at(9)), None, "a short one is not worth a word");
        assert_eq!((wait.lasts(at(10)), wait.lasts(at(19))), (None, None), "the next is counted from its own begin");
        assert_eq!(wait.lasts(at(20)), Some(LONG));
        assert_eq!((wait.lasts(at(21)), wait.lasts(at(600))), (None, None), "no flood");
        assert_eq!(wait.ends(at(610)), Some(Duration::from_secs(600)));
        assert_eq!(wait.ends(at(611)), None);
    }
}
