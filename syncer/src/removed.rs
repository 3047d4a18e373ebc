//! Recipients that a lane took off a list lately.

use domain::RecipientKey;
use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

/// Some minutes of removals at the usual pace: longer than an event is under way to us.
const KEPT_MAX: usize = 16_384;

/// A bounded memory, oldest out first. Recipients are kept as hashes under a key of this process: a few hundred kilobytes
/// when full, where the addresses themselves would be ten megabytes for each lane.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    hashed: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Removed {
    pub(crate) fn insert(&mut self, key: &RecipientKey) {
        let hash = self.hashed.hash_one(key);
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        if self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, key: &RecipientKey) -> bool {
        self.known.contains(&self.hashed.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_what_is_kept_is_bounded() {
        let key = |who: usize| testkit::builders::recipient_key(&format!("user{who}@example.com"));
        let mut removed = Removed::default();
        assert!(!removed.contains(&key(0)));
        for who in 0..KEPT_MAX + 100 {
            removed.insert(&key(who));
            removed.insert(&key(who));
        }
        assert_eq!((removed.known.len(), removed.order.len()), (KEPT_MAX, KEPT_MAX));
        assert!(!removed.contains(&key(99)) && removed.contains(&key(100)) && removed.contains(&key(KEPT_MAX + 99)));
    }
}
