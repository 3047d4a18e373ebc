//! Waits that may last: told once when they do, and once when they are over.

use std::time::{Duration, Instant};

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

#[cfg(test)]
mod tests {
    use super::*;

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
