//! The clock seam: the pure core never asks for the time, it is told.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Microseconds since the Unix epoch, UTC.
    fn now_micros(&self) -> i64;

    /// Milliseconds since the Unix epoch, UTC.
    fn now_millis(&self) -> i64 {
        self.now_micros() / 1_000
    }
}

/// The machine's clock. It may step back, as NTP may set it: nothing here orders by it alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when told.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Stands at this many microseconds since the Unix epoch.
    pub const fn at_micros(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    /// Moves to a moment, in microseconds since the Unix epoch.
    pub fn set_micros(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    /// Moves on by some microseconds.
    pub fn advance_micros(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::at_micros(5_000);
        assert_eq!((clock.now_micros(), clock.now_millis()), (5_000, 5));
        clock.advance_micros(1_000);
        assert_eq!(clock.now_micros(), 6_000);
        clock.set_micros(1);
        assert_eq!(clock.now_micros(), 1);
    }

    #[test]
    fn the_system_clock_is_in_this_century() {
        assert!(SystemClock.now_micros() > 1_700_000_000_000_000);
    }
}
