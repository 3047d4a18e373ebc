//! When to ask the log at all: a state machine without a clock.

use std::time::Duration;

/// How long the log is left alone after it failed, before one call tries it again.
const OPEN_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The log answers.
    Closed,
    /// It failed; nobody asks it until then.
    Open { until: Duration },
    /// One call tries it. Should nobody hear of that call's end, another may try from then on.
    Probing { until: Duration },
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Ask the log.
    Call,
    /// Ask it, as the one who finds out whether it is back.
    Probe,
    /// Do not ask before then.
    Skip { until: Duration },
}

/// Skips the wait for a log that is away. Times are since any one moment.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// How long a call waits at most.
    wait: Duration,
}

impl Breaker {
    /// Closed. A call waits `wait` at most.
    pub(super) const fn new(wait: Duration) -> Self {
        Self { state: State::Closed, wait }
    }

    /// Whether to ask the log now. Where a probe is due, only who `may_probe` gets it.
    pub(super) fn ask(&mut self, now: Duration, may_probe: bool) -> Leave {
        match self.state {
            State::Closed => Leave::Call,
            State::Open { until } | State::Probing { until } if now < until || !may_probe => Leave::Skip { until },
            State::Open { .. } | State::Probing { .. } => {
                // A probe ends within its wait, unless whoever sent it went away.
                self.state = State::Probing { until: now + self.wait + OPEN_FOR };
                Leave::Probe
            }
        }
    }

    /// A delivery report came.
    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed;
    }

    /// No delivery report came, or the log said that it cannot be written. A call that began earlier never shortens what
    /// a later one began.
    pub(super) fn failed(&mut self, now: Duration) {
        self.state = State::Open { until: now + OPEN_FOR };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(500);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn closed_lets_everybody_ask() {
        let mut breaker = Breaker::new(WAIT);
        assert_eq!(breaker.ask(at(0), false), Leave::Call);
        assert_eq!(breaker.ask(at(0), true), Leave::Call);
        assert!(breaker.is_closed());
    }

    #[test]
    fn open_lets_nobody_ask_until_one_probe_is_due() {
        let mut breaker = Breaker::new(WAIT);
        breaker.failed(at(100));
        let skip = Leave::Skip { until: at(1_100) };
        assert_eq!(breaker.ask(at(100), true), skip);
        assert_eq!(breaker.ask(at(1_099), true), skip);
        assert_eq!(breaker.ask(at(1_100), false), skip, "who may not probe does not");
        assert_eq!(breaker.ask(at(1_100), true), Leave::Probe);
        assert_eq!(breaker.ask(at(1_100), true), Leave::Skip { until: at(2_600) }, "one at a time");
        assert!(!breaker.is_closed());
    }

    #[test]
    fn a_probe_that_succeeds_closes_and_one_that_fails_opens() {
        let mut breaker = Breaker::new(WAIT);
        breaker.failed(at(0));
        assert_eq!(breaker.ask(at(1_000), true), Leave::Probe);
        breaker.failed(at(1_500));
        assert_eq!(breaker.ask(at(2_499), true), Leave::Skip { until: at(2_500) });
        assert_eq!(breaker.ask(at(2_500), true), Leave::Probe);
        breaker.succeeded();
        assert_eq!(breaker.ask(at(2_500), false), Leave::Call);
    }

    #[test]
    fn a_probe_nobody_hears_of_is_followed_by_another() {
        let mut breaker = Breaker::new(WAIT);
        breaker.failed(at(0));
        assert_eq!(breaker.ask(at(1_000), true), Leave::Probe);
        assert_eq!(breaker.ask(at(2_499), true), Leave::Skip { until: at(2_500) });
        assert_eq!(breaker.ask(at(2_500), true), Leave::Probe);
    }

    #[test]
    fn a_late_report_of_an_earlier_call_closes_too() {
        let mut breaker = Breaker::new(WAIT);
        breaker.failed(at(0));
        breaker.succeeded();
        assert!(breaker.is_closed());
    }
}
