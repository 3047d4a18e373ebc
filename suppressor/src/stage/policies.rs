//! Which policy holds where, and what is said of incidents: caches of what the store has (R8, R9), and how it comes there.

use super::{Suppressor, broken, unavailable};
use crate::{
    policy::{BUILT_IN_VERSION, Ends, Policy},
    store::{IncidentRow, PolicyRow, Store},
};
use domain::{Kind, Timestamp};
use event_log::StageError;
use schemas::wire::PolicyApplied;
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

impl<S: Store> Suppressor<S> {
    /// Loads the policies and incidents of a partition, unless they are here.
    pub(super) async fn load_policies(&mut self, partition: u32) -> Result<(), StageError> {
        if self.policies.since.contains_key(&partition) {
            return Ok(());
        }
        let incidents = self.store.incidents(partition).await.map_err(unavailable)?;
        self.incidents.load(partition, incidents);
        let rows = self.store.policies(partition).await.map_err(unavailable)?;
        self.policies.since.insert(partition, BTreeMap::new());
        for (position, row) in rows {
            let policy = Policy::parse(row.version, &row.document).map_err(|error| broken(&error))?;
            self.policies.add(partition, position, Arc::new(policy));
        }
        Ok(())
    }

    pub(super) async fn take_policy(
        &mut self,
        partition: u32,
        number: u64,
        policy: Arc<Policy>,
        record: &PolicyApplied,
    ) -> Result<(), StageError> {
        let row = PolicyRow {
            version: policy.version,
            decide_revision: u32::try_from(record.decide_revision).unwrap_or(0),
            document: record.document.clone(),
            applied_at: Timestamp::from_micros(record.applied_at).unwrap_or(Timestamp::EPOCH),
            applied_by: record.applied_by.clone(),
        };
        self.store.put_policy(partition, number, row).await.map_err(unavailable)?;
        self.policies.add(partition, number, policy);
        Ok(())
    }

    /// Keeps what was said of an incident; what that makes superfluous goes, below the floor.
    pub(super) async fn take_incident(
        &mut self,
        partition: u32,
        number: u64,
        row: IncidentRow,
        floor: u64,
    ) -> Result<(), StageError> {
        self.store.put_incident(partition, number, row.clone()).await.map_err(unavailable)?;
        self.incidents.add(partition, number, row);
        let spent = self.incidents.spent(partition, floor);
        if !spent.is_empty() {
            self.store.drop_incidents(partition, &spent).await.map_err(unavailable)?;
            self.incidents.drop_rows(partition, &spent);
        }
        Ok(())
    }
}
