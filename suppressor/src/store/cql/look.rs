//! A store as it is now: its nodes, how the keyspace is replicated, its clock, and the version of the tables.

use super::{
    ConnectError, CqlConfig, SchemaReport, migrate,
    session::{connect, failed, unreadable},
};
use crate::StoreError;
use domain::Timestamp;
use scylla::{client::session::Session, value::CqlTimestamp};
use std::collections::BTreeMap;

/// A store as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreNow {
    /// The version of the tables.
    pub schema: SchemaReport,
    /// What the node that answered says of itself: Cassandra's release, or the one that ScyllaDB stands in for.
    pub release: String,
    /// Nodes that work is given to: those of the data centre, where one is named.
    pub nodes: usize,
    /// Of these, the ones we are connected to.
    pub connected: usize,
    /// How the keyspace is replicated, if there is one: `class` and, by data centre or as `replication_factor`, numbers.
    pub replication: Option<BTreeMap<String, String>>,
    /// The clock of the node that answered.
    pub clock: Timestamp,
}

impl StoreNow {
    /// Replicas of each row among those that a quorum is made of: the data centre's, or all. `None` without a keyspace.
    pub fn replicas(&self, data_center: Option<&str>) -> Option<usize> {
        let replication = self.replication.as_ref()?;
        let number = |text: &String| text.split('/').next().and_then(|n| n.parse::<usize>().ok());
        if let Some(all) = replication.get("replication_factor") {
            return number(all);
        }
        match data_center {
            Some(name) => Some(replication.get(name).and_then(number).unwrap_or(0)),
            None => Some(replication.iter().filter(|(name, _)| *name != "class").filter_map(|(_, n)| number(n)).sum()),
        }
    }
}

/// Looks at a store; changes nothing.
pub async fn look(config: &CqlConfig) -> Result<StoreNow, ConnectError> {
    let session = connect(config).await?;
    let schema = migrate::report(&session, &config.keyspace).await?;
    let (release, clock) = node(&session).await?;
    let replication = replication(&session, &config.keyspace).await?;
    let state = session.get_cluster_state();
    let is_ours = |found: Option<&str>| config.data_center.is_none() || found == config.data_center.as_deref();
    let ours: Vec<_> = state.get_nodes_info().iter().filter(|node| is_ours(node.datacenter.as_deref())).collect();
    let connected = ours.iter().filter(|node| node.is_connected()).count();
    Ok(StoreNow { schema, release, nodes: ours.len(), connected, replication, clock })
}

/// The answering node's release and clock.
async fn node(session: &Session) -> Result<(String, Timestamp), StoreError> {
    let text = "SELECT release_version, totimestamp(now()) FROM system.local";
    let rows = session.query_unpaged(text, ()).await.map_err(failed)?.into_rows_result().map_err(unreadable)?;
    let (release, clock) = rows.first_row::<(Option<String>, CqlTimestamp)>().map_err(unreadable)?;
    let clock = Timestamp::from_millis(clock.0).map_err(|_| StoreError::Corrupt("a node's clock".to_owned()))?;
    Ok((release.unwrap_or_default(), clock))
}

async fn replication(session: &Session, keyspace: &str) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let rows = session.query_unpaged(text, (keyspace,)).await.map_err(failed)?;
    let rows = rows.into_rows_result().map_err(unreadable)?;
    let found = rows.maybe_first_row::<(BTreeMap<String, String>,)>().map_err(unreadable)?;
    Ok(found.map(|(replication,)| replication))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_counted_where_the_quorum_is() {
        let now = |pairs: &[(&str, &str)]| StoreNow {
            schema: SchemaReport { keyspace: "ks".to_owned(), version: 1, wanted: 1, findings: Vec::new() },
            release: "5.0.9".to_owned(),
            nodes: 3,
            connected: 3,
            replication: Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
            clock: Timestamp::EPOCH,
        };
        let network =
            now(&[("class", "org.apache.cassandra.locator.NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "2")]);
        assert_eq!(network.replicas(Some("dc1")), Some(3));
        assert_eq!(network.replicas(Some("dc3")), Some(0));
        assert_eq!(network.replicas(None), Some(5));
        // Cassandra writes transient replicas behind a stroke.
        assert_eq!(now(&[("class", "SimpleStrategy"), ("replication_factor", "3/1")]).replicas(None), Some(3));
        assert_eq!(StoreNow { replication: None, ..network }.replicas(None), None);
    }
}
