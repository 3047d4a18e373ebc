//! When a webhook that was not taken goes out again, and when no more. Pure.

use domain::EventId;
use std::time::Duration;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// Times that a delta may be refused after another was taken in between: some ten minutes.
pub(crate) const REFUSALS_MAX: u32 = 10;
/// What is too old is given up only once it was tried this often, or the endpoint failed this often in a row with
/// different deltas: after a restart, and behind one that is refused, each gets its chance.
pub(crate) const FAILURES_MIN: u32 = 5;

/// The wait after a failed attempt (counted from 1): doubled each time up to five minutes, of which a half to the whole is
/// waited. Which part is derived from the id, so that a run can be repeated and receivers are not hit in step.
pub fn backoff(attempt: u32, seed: EventId) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    let bytes = seed.as_bytes();
    let place = usize::try_from(attempt).unwrap_or(0) % bytes.len();
    full.mul_f64((1.0 + f64::from(bytes[place]) / 255.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_within_its_bounds_and_is_the_same_again() {
        let seed = EventId::derive(&["a delta"]);
        for attempt in 1..20_u32 {
            let full = BACKOFF_FIRST.saturating_mul(1 << (attempt - 1).min(10)).min(BACKOFF_MAX);
            let wait = backoff(attempt, seed);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
            assert_eq!(wait, backoff(attempt, seed));
        }
        assert_ne!(backoff(4, EventId::derive(&["another"])), backoff(4, seed));
    }
}
