//! Which traces are recorded. Pure but for a lock.

use super::context::{TraceContext, TraceId};
use std::sync::{Mutex, PoisonError};

/// Decides once, where a trace enters; everybody behind goes by the flag.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Of 2^56: what a trace's own id is compared with.
    threshold: u64,
    callers: Mutex<Bucket>,
}

/// Lets so many through in a second, and as many at once.
#[derive(Debug)]
struct Bucket {
    per_s: u32,
    /// In thousandths.
    tokens: u64,
    last_ms: i64,
}

impl Sampler {
    /// A share of all webhooks, and so many a second of those whose caller asks.
    pub(super) fn new(share: f64, callers_per_s: u32) -> Self {
        let threshold = (share.clamp(0.0, 1.0) * (1_u64 << 56) as f64) as u64;
        let callers = Bucket { per_s: callers_per_s, tokens: u64::from(callers_per_s) * 1_000, last_ms: i64::MIN };
        Self { threshold, callers: Mutex::new(callers) }
    }

    /// Whether a trace is recorded. `own` is an id that no caller chooses: going by the caller's, one could pick ids that
    /// always fall into the share. Who says that its trace is not recorded is believed.
    pub(super) fn decide(&self, own: TraceId, caller: Option<&TraceContext>, now_ms: i64) -> bool {
        match caller {
            Some(caller) if !caller.is_sampled => false,
            Some(_) => self.callers.lock().unwrap_or_else(PoisonError::into_inner).take(now_ms) || self.in_share(own),
            None => self.in_share(own),
        }
    }

    fn in_share(&self, own: TraceId) -> bool {
        own.low_56() < self.threshold
    }
}

impl Bucket {
    fn take(&mut self, now_ms: i64) -> bool {
        let full = u64::from(self.per_s) * 1_000;
        let passed = u64::try_from(now_ms.saturating_sub(self.last_ms)).unwrap_or(0);
        self.tokens = self.tokens.saturating_add(passed.saturating_mul(u64::from(self.per_s))).min(full);
        self.last_ms = self.last_ms.max(now_ms);
        let has_one = self.tokens >= 1_000;
        self.tokens -= if has_one { 1_000 } else { 0 };
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u32) -> impl Iterator<Item = TraceId> {
        (0..n).map(|n| TraceId::derive(&[&n.to_be_bytes()]))
    }

    #[test]
    fn a_share_of_all_is_taken() {
        let taken = |share: f64| {
            let sampler = Sampler::new(share, 0);
            ids(10_000).filter(|id| sampler.decide(*id, None, 0)).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((800..1_200).contains(&taken(0.1)), "{}", taken(0.1));
        assert_eq!((taken(-1.0), taken(f64::NAN), taken(7.0)), (0, 0, 10_000));
    }

    #[test]
    fn a_caller_is_followed_within_a_bound() {
        let caller = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let silent = TraceContext { is_sampled: false, ..caller };
        let own = TraceId::derive(&[b"any"]);
        let sampler = Sampler::new(0.0, 5);
        let taken = |now_ms: i64| (0..1_000).filter(|_| sampler.decide(own, Some(&caller), now_ms)).count();
        assert_eq!((taken(10_000), taken(10_000), taken(10_200), taken(9_000), taken(12_000)), (5, 0, 1, 0, 5));
        let all = Sampler::new(1.0, 5);
        assert!(!all.decide(own, Some(&silent), 0) && all.decide(own, None, 0));
        assert!((0..100).all(|_| all.decide(own, Some(&caller), 0)));
    }
}
