//! The CQL store: whether it answers, its tables, its replicas, its clock.

use super::{Findings, Health, clocks, clocks::Ahead};
use crate::commands::{moment, store};
use suppressor::store::cql::{self, CqlConfig, StoreNow};

/// Looks at the store.
pub(super) async fn check(config: &CqlConfig, findings: &mut Findings) {
    let before = moment::now();
    let now = match cql::look(config).await {
        Ok(now) => now,
        Err(error) => return findings.fail("store", store::next(config, &error)),
    };
    let (health, detail) = tables(&now);
    findings.add("store", health, detail);
    let (health, detail) = replicas(&now, config.data_center.as_deref());
    findings.add("store replicas", health, detail);
    if let (Ok(before), Ok(after)) = (before, moment::now()) {
        clocks::compare("the store", Ahead::between(before, now.clock, after), findings);
    }
}

fn tables(now: &StoreNow) -> (Health, String) {
    let schema = &now.schema;
    if schema.findings.is_empty() {
        let detail = format!("release {}, keyspace {} is of version {}", now.release, schema.keyspace, schema.version);
        return (Health::Ok, detail);
    }
    let found: Vec<String> = schema.findings.iter().map(ToString::to_string).collect();
    let next = if store::is_behind(schema) { "run `quell store migrate`" } else { "use the program that applied it" };
    (Health::Fail, format!("keyspace {}: {}: {next}", schema.keyspace, found.join(", ")))
}

/// Whether a quorum of the replicas can be reached, and may lose a node.
fn replicas(now: &StoreNow, data_center: Option<&str>) -> (Health, String) {
    let nodes = format!("{} of {} nodes are reached", now.connected, now.nodes);
    let Some(replicas) = now.replicas(data_center) else {
        return (Health::Warn, format!("{nodes}; there is no keyspace yet"));
    };
    let quorum = replicas / 2 + 1;
    let down = now.nodes.saturating_sub(now.connected);
    if replicas == 0 {
        let detail =
            "the keyspace has no replica in store.data_center: ALTER KEYSPACE to give it some there, then repair";
        return (Health::Fail, detail.to_owned());
    }
    if quorum > now.connected {
        let detail = format!(
            "{nodes}, and a quorum of {replicas} replicas needs {quorum}: start the others, or ALTER KEYSPACE to fewer replicas"
        );
        return (Health::Fail, detail);
    }
    if down > 0 {
        return (
            Health::Warn,
            format!("{nodes}: start the others; rows of which {replicas} replicas are there may lack a quorum"),
        );
    }
    if replicas < 3 {
        let detail = format!(
            "{nodes}, {replicas} replicas of each row: when one node is down, some rows can be neither read nor written; use \
             three nodes and 3 replicas"
        );
        return (Health::Warn, detail);
    }
    (Health::Ok, format!("{nodes}, {replicas} replicas of each row"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use std::collections::BTreeMap;
    use suppressor::store::cql::{Finding, SchemaReport};

    fn now(nodes: usize, connected: usize, factor: Option<&str>) -> StoreNow {
        let replication = |factor: &str| BTreeMap::from([("dc1".to_owned(), factor.to_owned())]);
        StoreNow {
            schema: SchemaReport { keyspace: "ks".to_owned(), version: 1, wanted: 1, findings: Vec::new() },
            release: "5.0.9".to_owned(),
            nodes,
            connected,
            replication: factor.map(replication),
            clock: Timestamp::EPOCH,
        }
    }

    #[test]
    fn replicas_are_judged() {
        let check = |nodes, connected, factor, health, part: &str| {
            let judged = replicas(&now(nodes, connected, factor), Some("dc1"));
            assert!(judged.0 == health && judged.1.contains(part), "{judged:?}");
        };
        check(3, 3, Some("3"), Health::Ok, "3 replicas");
        check(5, 4, Some("3"), Health::Warn, "4 of 5 nodes");
        check(3, 1, Some("3"), Health::Fail, "needs 2");
        check(1, 1, Some("3"), Health::Fail, "needs 2");
        check(1, 1, Some("1"), Health::Warn, "three nodes");
        check(3, 3, Some("0"), Health::Fail, "no replica");
        check(3, 3, None, Health::Warn, "no keyspace yet");
    }

    #[test]
    fn tables_are_judged() {
        let mut well = now(3, 3, Some("3"));
        assert_eq!(tables(&well).0, Health::Ok);
        well.schema.findings = vec![Finding::Unknown(2)];
        let (health, detail) = tables(&well);
        assert!(health == Health::Fail && detail.contains("use the program"), "{detail}");
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_told() {
        let config = CqlConfig {
            contact_points: vec!["127.0.0.1:1".to_owned()],
            connect_timeout_ms: 500,
            request_timeout_ms: 500,
            ..CqlConfig::default()
        };
        let mut findings = Findings::default();
        check(&config, &mut findings).await;
        assert_eq!((findings.0.len(), findings.0[0].health), (1, Health::Fail), "{findings:?}");
        assert!(findings.0[0].detail.contains("store.contact_points"), "{findings:?}");
    }
}
