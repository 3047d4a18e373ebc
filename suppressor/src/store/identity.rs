//! Which log a store was written from (R3): positions of one numbering only ever meet in one store.
//!
//! The epoch is raised by hand whenever topics are made anew, imported or re-partitioned. A start compares what it finds
//! with what the store was last written under, and refuses what would number anew what was numbered before.

use super::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const NOTE: &str = "log.identity";

/// A log, as positions depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `kafka.epoch`.
    pub epoch: u16,
    /// The cluster's own id.
    pub cluster_id: String,
    /// Partitions of each topic whose positions the store knows.
    pub partitions: BTreeMap<String, u32>,
    /// Whether records are written with a schema registry's ids. Once they were, they lie in log and store.
    #[serde(default)]
    pub registry: bool,
}

/// Why a store and a log do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The store was written under a later epoch.
    #[error(
        "kafka.epoch is {found}, but the store was written under epoch {known}: its positions would lie above every new \
         one. Set kafka.epoch to {known}, or, if the topics were made anew since, to {}", known + 1
    )]
    Older {
        /// The store's.
        known: u16,
        /// The configuration's.
        found: u16,
    },
    /// Another cluster under the same epoch.
    #[error(
        "the store was written from cluster {known} under epoch {epoch}, and this is cluster {found}: positions of two \
         logs cannot be compared. Connect to cluster {known}, or raise kafka.epoch by one, to {}, after `quell import` \
         or whatever else brought the topics here", epoch + 1
    )]
    OtherCluster {
        /// Both's.
        epoch: u16,
        /// The store's.
        known: String,
        /// The log's.
        found: String,
    },
    /// Another number of partitions under the same epoch.
    #[error(
        "topic {topic} had {known} partitions under epoch {epoch} and has {found} now: recipients would change their \
         partitions, and positions of two partitions cannot be compared. Restore the topic, or raise kafka.epoch by one, \
         to {}, after its records were appended anew", epoch + 1
    )]
    Repartitioned {
        /// Both's.
        epoch: u16,
        /// Which topic.
        topic: String,
        /// The store's number.
        known: u32,
        /// The log's.
        found: u32,
    },
    /// Written with a registry, and here is none.
    #[error(
        "log and store hold records with the ids of a schema registry, and no registry is configured here: set url in \
         [registry] as it was before"
    )]
    NoRegistry,
    /// The store cannot tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the store was last written under; `None` for one that never was.
pub async fn identity(store: &dyn Store) -> Result<Option<Identity>, StoreError> {
    let Some(note) = store.note(NOTE).await? else { return Ok(None) };
    let read = serde_json::from_str(&note);
    read.map(Some).map_err(|error| StoreError::Corrupt(format!("the log's identity: {error}")))
}

/// Takes the store for a log, or refuses. A higher epoch, a first start and a topic not known before are recorded.
pub async fn claim(store: &dyn Store, found: &Identity) -> Result<(), IdentityError> {
    let known = identity(store).await?;
    if let Some(next) = reconcile(known.as_ref(), found)? {
        let text = serde_json::to_string(&next).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        store.put_note(NOTE, &text).await?;
    }
    Ok(())
}

/// What to record, if anything.
fn reconcile(known: Option<&Identity>, found: &Identity) -> Result<Option<Identity>, IdentityError> {
    let Some(known) = known else { return Ok(Some(found.clone())) };
    // Under a new epoch too: the store keeps what it has.
    if known.registry && !found.registry {
        return Err(IdentityError::NoRegistry);
    }
    if found.epoch < known.epoch {
        return Err(IdentityError::Older { known: known.epoch, found: found.epoch });
    }
    if found.epoch > known.epoch {
        return Ok(Some(found.clone()));
    }
    let epoch = known.epoch;
    if found.cluster_id != known.cluster_id {
        let (known, found) = (known.cluster_id.clone(), found.cluster_id.clone());
        return Err(IdentityError::OtherCluster { epoch, known, found });
    }
    let mut next = Identity { registry: found.registry, ..known.clone() };
    for (topic, found) in &found.partitions {
        match next.partitions.insert(topic.clone(), *found) {
            Some(known) if known != *found => {
                return Err(IdentityError::Repartitioned { epoch, topic: topic.clone(), known, found: *found });
            }
            _ => {}
        }
    }
    Ok(Some(next).filter(|next| next != known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn log(epoch: u16, cluster: &str, partitions: &[(&str, u32)]) -> Identity {
        let partitions = partitions.iter().map(|(topic, n)| ((*topic).to_owned(), *n)).collect();
        Identity { epoch, cluster_id: cluster.to_owned(), partitions, registry: false }
    }

    async fn check(known: &Identity, found: &Identity, error: Option<&str>, after: &Identity) {
        let store = MemoryStore::default();
        claim(&store, known).await.unwrap();
        let claimed = claim(&store, found).await;
        match error {
            None => claimed.unwrap(),
            Some(part) => {
                let text = claimed.unwrap_err().to_string();
                assert!(text.contains(part), "{text}");
            }
        }
        assert_eq!(identity(&store).await.unwrap().as_ref(), Some(after));
    }

    #[tokio::test]
    async fn a_store_is_of_one_log_and_epoch() {
        assert_eq!(identity(&MemoryStore::default()).await.unwrap(), None);
        let known = log(3, "one", &[("events", 12)]);
        check(&known, &known, None, &known).await;
        check(&known, &log(2, "one", &[("events", 12)]), Some("to 4"), &known).await;
        check(&known, &log(3, "two", &[("events", 12)]), Some("raise kafka.epoch by one, to 4"), &known).await;
        check(&known, &log(3, "one", &[("events", 24)]), Some("events had 12 partitions"), &known).await;
        let raised = log(4, "two", &[("events", 24)]);
        check(&known, &raised, None, &raised).await;
        let wider = log(3, "one", &[("events", 12), ("raw", 6)]);
        check(&known, &wider, None, &wider).await;
        // A topic that was not asked about this time stays known.
        check(&wider, &known, None, &wider).await;
    }

    #[tokio::test]
    async fn the_way_back_from_a_registry_is_closed() {
        let without = log(3, "one", &[("events", 12)]);
        let with = Identity { registry: true, ..without.clone() };
        check(&without, &with, None, &with).await;
        check(&with, &with, None, &with).await;
        check(&with, &without, Some("set url in [registry]"), &with).await;
        check(&with, &log(4, "one", &[("events", 12)]), Some("set url in [registry]"), &with).await;
        // What was noted before a registry counted.
        let store = MemoryStore::default();
        store.put_note(NOTE, r#"{"epoch":3,"cluster_id":"one","partitions":{"events":12}}"#).await.unwrap();
        assert_eq!(identity(&store).await.unwrap(), Some(without));
    }

    #[tokio::test]
    async fn a_note_that_cannot_be_read_is_no_first_start() {
        let store = MemoryStore::default();
        store.put_note(NOTE, "{").await.unwrap();
        assert!(matches!(claim(&store, &log(0, "one", &[])).await, Err(IdentityError::Store(StoreError::Corrupt(_)))));
    }
}
