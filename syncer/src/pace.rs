//! When the next call may go out: spacing, rate limit, and what the provider asked for.

use crate::RateLimit;
use providers::suppression_api::Action;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A token bucket: full at first, refilled evenly.
#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(limit: RateLimit) -> Self {
        let capacity = f64::from(limit.calls);
        let per_second = capacity / f64::from(limit.seconds);
        Self { capacity, per_second, tokens: capacity, filled_at: Instant::now() }
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(self.capacity);
        self.filled_at = now;
    }

    /// How long until there is a whole token.
    fn wait(&self) -> Duration {
        Duration::try_from_secs_f64(((1.0 - self.tokens) / self.per_second).max(0.0)).unwrap_or_default()
    }
}

/// The pace of one account. Its calls go out one after the other.
#[derive(Debug)]
pub(crate) struct Pace {
    spacing: Duration,
    limits: [Option<RateLimit>; 2],
    /// One for each rate: kinds of calls with the same limit share it.
    buckets: BTreeMap<RateLimit, Bucket>,
    last: Option<Instant>,
    held_until: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(spacing: Duration, limit: impl Fn(Action) -> Option<RateLimit>) -> Self {
        let limits = [limit(Action::Remove), limit(Action::Add)];
        let buckets = limits.iter().flatten().map(|limit| (*limit, Bucket::new(*limit))).collect();
        Self { spacing, limits, buckets, last: None, held_until: None }
    }

    fn bucket(&mut self, action: Action) -> Option<&mut Bucket> {
        let limit = match action {
            Action::Remove => self.limits[0],
            Action::Add => self.limits[1],
        };
        self.buckets.get_mut(&limit?)
    }

    /// Nothing goes out before this long has passed.
    pub(crate) fn hold(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    /// How long the next call has to wait because of the rate limit, or because the provider asked for it.
    pub(crate) fn held(&mut self, action: Action) -> Duration {
        let now = Instant::now();
        let asked = self.held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let limited = self.bucket(action).map_or(Duration::ZERO, |bucket| {
            bucket.fill(now);
            bucket.wait()
        });
        asked.max(limited)
    }

    /// Waits for the next call's turn, and takes it.
    pub(crate) async fn turn(&mut self, action: Action) {
        loop {
            let now = Instant::now();
            let spaced = self.last.map_or(Duration::ZERO, |last| (last + self.spacing).saturating_duration_since(now));
            let wait = spaced.max(self.held(action));
            if wait.is_zero() {
                self.last = Some(now);
                if let Some(bucket) = self.bucket(action) {
                    bucket.tokens -= 1.0;
                }
                return;
            }
            // A sleep shorter than the timer's grain would spin.
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_keep_their_distance_and_the_rate_limit() {
        let limit = |_| Some(RateLimit { calls: 10, seconds: 10 });
        let mut pace = Pace::new(Duration::from_millis(200), limit);
        let start = Instant::now();
        let mut at = Vec::new();
        for _ in 0..20 {
            // Both kinds of calls share a limit that is the same.
            pace.turn(if at.len() % 2 == 0 { Action::Add } else { Action::Remove }).await;
            at.push(start.elapsed());
        }
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(200)), "{at:?}");
        // Ten from the full bucket, the rest at one a second, less what was refilled meanwhile.
        assert!(at[19] >= Duration::from_secs(10) && at[19] <= Duration::from_secs(11), "{at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_provider_asks_for_is_kept() {
        let mut pace = Pace::new(Duration::ZERO, |_| None);
        let start = Instant::now();
        pace.turn(Action::Add).await;
        pace.hold(Duration::from_secs(7));
        pace.hold(Duration::from_secs(3));
        pace.turn(Action::Add).await;
        assert!(start.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_of_calls_may_have_limits_of_their_own() {
        let limit = |action| match action {
            Action::Add => Some(RateLimit { calls: 1, seconds: 72 }),
            Action::Remove => Some(RateLimit { calls: 1, seconds: 1 }),
        };
        let mut pace = Pace::new(Duration::ZERO, limit);
        pace.turn(Action::Add).await;
        pace.turn(Action::Remove).await;
        assert!(pace.held(Action::Add) > Duration::from_secs(71));
        assert!(pace.held(Action::Remove) <= Duration::from_secs(1));
    }
}
