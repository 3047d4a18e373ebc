//! How to reach a CQL store, and how it keeps what it is given.

use serde::{Deserialize, Serialize};
use service::Secret;
use std::{path::PathBuf, time::Duration};

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store.{field}: {problem}")]
pub struct CqlConfigError {
    pub(super) field: &'static str,
    pub(super) problem: String,
}

/// A store over CQL: ScyllaDB, or Apache Cassandra.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CqlConfig {
    /// Some nodes of the cluster, as `HOST:PORT`; the others are found through them. Without a port: 9042.
    pub contact_points: Vec<String>,
    /// The keyspace that holds the tables: small letters, digits and `_`, at most 48.
    pub keyspace: String,
    /// The data centre to work in, as the cluster names it. Quorums are of this one, and no other is ever asked. Needed
    /// where the cluster has several: a quorum of one says nothing of what was written at a quorum of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_center: Option<String>,
    /// How `quell store migrate` creates the keyspace; one that exists is left as it is.
    pub replication: Replication,
    /// How many replicas answer a read or a write. Below a quorum, what was written may not be read (R4).
    pub consistency: Consistency,
    /// The same for the conditional inserts of tokens.
    pub serial_consistency: SerialConsistency,
    /// TLS; without, plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<CqlTls>,
    /// Name to log in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password, as a reference: `env:NAME` or `file:PATH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How long a connection may take to be made, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a request may take with all its tries, in milliseconds.
    pub request_timeout_ms: u64,
    /// How many requests of this process are under way at once.
    pub concurrency: usize,
    /// Rows in one page of an answer.
    pub page_rows: u32,
    /// Days for which events that are no evidence are remembered, to tell a repetition.
    pub seen_days: u32,
    /// Days for which the timelines of messages are kept.
    pub message_days: u32,
    /// Days for which a receipt that was given by a spool is found.
    pub receipt_days: u32,
    /// How many offsets of a partition may be committed within the time in which the store's nodes, all at once, may lose
    /// what they answered for (`commitlog_sync_period`, 10 s by default). So many are applied again whenever a partition
    /// is taken over. 0 is right only where the commit log is synced before the answer (`commitlog_sync: batch` or
    /// `group`).
    pub sync_window: u64,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "quell".to_owned(),
            data_center: None,
            replication: Replication::default(),
            consistency: Consistency::LocalQuorum,
            serial_consistency: SerialConsistency::LocalSerial,
            tls: None,
            username: None,
            password: None,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 5_000,
            concurrency: 256,
            page_rows: 1_000,
            seen_days: 30,
            message_days: 90,
            receipt_days: 30,
            sync_window: 2_000,
        }
    }
}

/// How a new keyspace is replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// `NetworkTopologyStrategy`, or for one node `SimpleStrategy`.
    pub class: ReplicationClass,
    /// Replicas, in `data_center` where the class knows data centres.
    pub factor: u32,
    /// ScyllaDB only: whether the keyspace has tablets; without, the server decides. Conditional inserts (`token`) need a
    /// version that has them on tablets, or `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tablets: Option<bool>,
}

impl Default for Replication {
    fn default() -> Self {
        Self { class: ReplicationClass::NetworkTopologyStrategy, factor: 3, tablets: None }
    }
}

/// The server's class of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicationClass {
    /// So many replicas in a data centre.
    NetworkTopologyStrategy,
    /// So many replicas anywhere: for one node.
    SimpleStrategy,
}

/// How many replicas answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Most replicas of the data centre.
    LocalQuorum,
    /// Most replicas of all data centres.
    Quorum,
    /// Most replicas of each data centre, for writes; reads ask a quorum of this one.
    EachQuorum,
    /// Every replica.
    All,
}

/// Among which replicas a conditional insert is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SerialConsistency {
    /// Those of the data centre.
    LocalSerial,
    /// Those of all.
    Serial,
}

/// PEM files. Nodes are known by their addresses: their certificates name them as IP address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CqlTls {
    /// Certificates of those who may vouch for a node.
    pub ca: PathBuf,
    /// Our own certificate with its chain, where the cluster asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

const CONTACT_POINTS_MAX: usize = 100;
const KEYSPACE_BYTES_MAX: usize = 48;
const DAYS_MAX: u32 = 3_650;
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 10..=300_000;
/// A page of rows of a kilobyte each is a few megabytes.
const PAGE_ROWS: std::ops::RangeInclusive<u32> = 10..=10_000;
const CONCURRENCY: std::ops::RangeInclusive<usize> = 1..=10_000;

impl CqlConfig {
    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), CqlConfigError> {
        let check = |field, holds: bool, problem: &str| match holds {
            true => Ok(()),
            false => Err(CqlConfigError { field, problem: problem.to_owned() }),
        };
        check(
            "contact_points",
            (1..=CONTACT_POINTS_MAX).contains(&self.contact_points.len())
                && self.contact_points.iter().all(|node| !node.trim().is_empty()),
            "name 1 to 100 nodes, as HOST:PORT",
        )?;
        check("keyspace", is_name(&self.keyspace), "use a letter, then small letters, digits and _, at most 48")?;
        // It stands in a statement that creates the keyspace.
        let plain = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        check("data_center", self.data_center.as_ref().is_none_or(plain), "use letters, digits and . _ -")?;
        check("replication.factor", (1..=9).contains(&self.replication.factor), "use 1 to 9")?;
        check(
            "username",
            self.username.is_some() == self.password.is_some(),
            "give both username and password, or neither",
        )?;
        check(
            "tls",
            self.tls.as_ref().is_none_or(|tls| tls.certificate.is_some() == tls.key.is_some()),
            "give both certificate and key, or neither",
        )?;
        check("connect_timeout_ms", TIMEOUT_MS.contains(&self.connect_timeout_ms), "use 10 to 300000")?;
        check("request_timeout_ms", TIMEOUT_MS.contains(&self.request_timeout_ms), "use 10 to 300000")?;
        check("concurrency", CONCURRENCY.contains(&self.concurrency), "use 1 to 10000")?;
        check("page_rows", PAGE_ROWS.contains(&self.page_rows), "use 10 to 10000")?;
        let days =
            [("seen_days", self.seen_days), ("message_days", self.message_days), ("receipt_days", self.receipt_days)];
        for (field, days) in days {
            check(field, (1..=DAYS_MAX).contains(&days), "use 1 to 3650 days")?;
        }
        Ok(())
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= KEYSPACE_BYTES_MAX
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Seconds, as CQL counts a time to live.
pub(super) fn ttl_seconds(days: u32) -> i32 {
    i32::try_from(days.min(DAYS_MAX)).unwrap_or(0) * 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut CqlConfig), expected: Option<&str>) {
        let mut config = CqlConfig::default();
        change(&mut config);
        assert_eq!(config.validate().err().map(|error| error.field), expected);
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        check(|_| {}, None);
        check(|config| config.contact_points.clear(), Some("contact_points"));
        check(|config| config.contact_points.push(" ".into()), Some("contact_points"));
        check(|config| config.keyspace = "Quell".into(), Some("keyspace"));
        check(|config| config.keyspace = "a; DROP".into(), Some("keyspace"));
        check(|config| config.keyspace = "a".repeat(49), Some("keyspace"));
        check(|config| config.data_center = Some("eu-west.1".into()), None);
        check(|config| config.data_center = Some("dc1'".into()), Some("data_center"));
        check(|config| config.replication.factor = 0, Some("replication.factor"));
        check(|config| config.username = Some("quell".into()), Some("username"));
        check(|config| config.password = Some(Secret::new("x")), Some("username"));
        check(
            |config| {
                config.tls = Some(CqlTls { ca: "ca.pem".into(), certificate: Some("c.pem".into()), key: None });
            },
            Some("tls"),
        );
        check(|config| config.request_timeout_ms = 1, Some("request_timeout_ms"));
        check(|config| config.concurrency = 0, Some("concurrency"));
        check(|config| config.page_rows = 0, Some("page_rows"));
        check(|config| config.seen_days = 0, Some("seen_days"));
        check(|config| config.message_days = 4_000, Some("message_days"));
        check(|config| config.receipt_days = 0, Some("receipt_days"));
    }

    #[test]
    fn reads_what_an_operator_writes_and_shows_no_password() {
        let file = "contact_points = ['a', 'b:9043']\nconsistency = 'quorum'\nusername = 'quell'\n\
                    password = 'env:CARGO_PKG_NAME'\n[replication]\nclass = 'SimpleStrategy'\nfactor = 1\n";
        let config: CqlConfig = toml::from_str(file).unwrap();
        config.validate().unwrap();
        assert_eq!(config.consistency, Consistency::Quorum);
        assert_eq!(config.replication.class, ReplicationClass::SimpleStrategy);
        assert!(!format!("{config:?}").contains("suppressor"), "the password");
        let unknown = toml::from_str::<CqlConfig>("keyspaces = 'x'").unwrap_err();
        assert!(unknown.to_string().contains("unknown field"), "{unknown}");
    }
}
