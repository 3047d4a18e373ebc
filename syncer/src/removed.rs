//! Recipients that a lane took off a list lately.

use domain::RecipientKey;
use std::collections::{HashSet, VecDeque};

/// Some minutes of removals at the usual pace: longer than an event is under way to us.
const KEPT_MAX: usize = 16_384;

/// A bounded memory, oldest out first.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    keys: HashSet<RecipientKey>,
    order: VecDeque<RecipientKey>,
}

impl Removed {
    pub(crate) fn insert(&mut self, key: &RecipientKey) {
        if self.keys.insert(key.clone()) {
            self.order.push_back(key.clone());
        }
        if self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, key: &RecipientKey) -> bool {
        self.keys.contains(key)
    }
}
