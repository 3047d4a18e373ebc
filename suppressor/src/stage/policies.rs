//! Which policy holds where: a cache of what the store has (R8, R9).

use crate::policy::{BUILT_IN_VERSION, Ends, Policy};
use domain::Kind;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The policies that hold, by version, and since which position each partition has which.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub(super) by_version: HashMap<u32, Arc<Policy>>,
    pub(super) since: HashMap<u32, BTreeMap<u64, u32>>,
}

impl Policies {
    /// The version in force in a partition at a position.
    pub(super) fn at(&self, partition: u32, position: u64) -> u32 {
        let since = self.since.get(&partition);
        since.and_then(|since| since.range(..position).next_back()).map_or(BUILT_IN_VERSION, |(_, version)| *version)
    }

    pub(super) fn get(&self, version: u32) -> Option<Arc<Policy>> {
        self.by_version.get(&version).map(Arc::clone)
    }

    /// Whether a delivery heals soft failures under every policy known here, so that healed ones may be trimmed.
    pub(super) fn heal(&self) -> bool {
        let mut rules = self.by_version.values().flat_map(|policy| &policy.rules);
        rules.all(|rule| rule.kind != Kind::BouncedSoft || rule.ends == Ends::Window)
    }

    pub(super) fn add(&mut self, partition: u32, position: u64, policy: Arc<Policy>) {
        self.since.entry(partition).or_default().insert(position, policy.version);
        self.by_version.insert(policy.version, policy);
    }
}
