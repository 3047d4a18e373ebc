//! The policies in force, as lookups see them.

use crate::{Policy, Store, StoreError, policy::BUILT_IN_VERSION};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// Every policy that was ever applied, by version; the highest is the one in force. The built-in one is always there.
#[derive(Debug, Clone)]
pub struct Policies {
    by_version: BTreeMap<u32, Arc<Policy>>,
    newest: Arc<Policy>,
}

impl Policies {
    /// The policy in force: how far each scope reaches is asked of it.
    pub fn newest(&self) -> &Arc<Policy> {
        &self.newest
    }

    /// A version, if it is known here.
    pub fn version(&self, version: u32) -> Option<&Arc<Policy>> {
        self.by_version.get(&version)
    }
}

/// A handle on the policies, read by every lookup and refreshed from the store at intervals.
#[derive(Debug)]
pub struct CurrentPolicy(RwLock<Arc<Policies>>);

impl Default for CurrentPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl CurrentPolicy {
    /// With the built-in policy alone.
    pub fn new() -> Self {
        let built_in = Arc::new(Policy::built_in());
        let by_version = BTreeMap::from([(BUILT_IN_VERSION, Arc::clone(&built_in))]);
        Self(RwLock::new(Arc::new(Policies { by_version, newest: built_in })))
    }

    /// What holds now. Cheap; a caller keeps one for the whole of its answer.
    pub fn get(&self) -> Arc<Policies> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a policy, and puts it in force if its version is the highest.
    pub fn add(&self, policy: Arc<Policy>) {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut policies = Policies::clone(&guard);
        if policy.version >= policies.newest.version {
            policies.newest = Arc::clone(&policy);
        }
        policies.by_version.insert(policy.version, policy);
        *guard = Arc::new(policies);
    }

    /// Reads what was applied in partitions `0..partitions` since. What fails leaves the handle as it was.
    pub async fn refresh(&self, store: &dyn Store, partitions: u32) -> Result<(), StoreError> {
        let known = self.get();
        let mut found = BTreeMap::new();
        for partition in 0..partitions {
            for (_, row) in store.policies(partition).await? {
                if known.version(row.version).is_none() && !found.contains_key(&row.version) {
                    let policy = Policy::parse(row.version, &row.document);
                    let policy = policy.map_err(|error| StoreError::Corrupt(error.to_string()))?;
                    found.insert(row.version, policy);
                }
            }
        }
        for policy in found.into_values() {
            self.add(Arc::new(policy));
        }
        Ok(())
    }
}
