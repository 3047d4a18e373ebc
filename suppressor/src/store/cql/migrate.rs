//! Versions of the tables: CQL files in order, each applied once, with what was applied noted beside them.

use super::{
    ConnectError, CqlConfig, ReplicationClass,
    session::{connect, failed, told, unreadable},
};
use crate::StoreError;
use scylla::{
    client::session::Session,
    value::{CqlValue, Row},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// One version of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: i32,
    /// The file's name.
    pub name: &'static str,
    text: &'static str,
}

/// Every version, oldest first. A file that was ever released is never changed: a new one follows it.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "001_tables", text: include_str!("migrations/001_tables.cql") },
    Migration { version: 2, name: "002_incidents", text: include_str!("migrations/002_incidents.cql") },
    Migration { version: 3, name: "003_erasures", text: include_str!("migrations/003_erasures.cql") },
];

/// How long one who applies a version has before another may take it over.
const LEASE_SECONDS: i32 = 120;
const POLL: Duration = Duration::from_millis(200);

/// What a keyspace lacks, or has that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Not applied.
    Missing(Migration),
    /// Applied, but from another text.
    Changed(Migration),
    /// Applied by a newer program.
    Unknown(i32),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(migration) => write!(f, "{} is not applied", migration.name),
            Self::Changed(migration) => write!(f, "{} was applied from another text", migration.name),
            Self::Unknown(version) => write!(f, "version {version} was applied by a newer program"),
        }
    }
}

/// How a keyspace stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaReport {
    /// Which.
    pub keyspace: String,
    /// The newest version applied; 0 where there is none.
    pub version: i32,
    /// The version this program works with.
    pub wanted: i32,
    /// What differs; empty where nothing is to be done.
    pub findings: Vec<Finding>,
}

impl Migration {
    fn checksum(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its statements, for a keyspace.
    fn statements(&self, keyspace: &str) -> Vec<String> {
        let code: Vec<&str> = self.text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let statements = code.join("\n").replace("{keyspace}", keyspace);
        statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
    }
}

/// Compares a keyspace with this program; changes nothing.
pub async fn check(config: &CqlConfig) -> Result<SchemaReport, ConnectError> {
    let session = connect(config).await?;
    Ok(report(&session, &config.keyspace).await?)
}

/// Creates the keyspace if there is none, and applies what is missing. Several at once are harmless: one applies a
/// version, the others wait for it. Returns what it applied itself.
pub async fn migrate(config: &CqlConfig) -> Result<Vec<Migration>, ConnectError> {
    let session = connect(config).await?;
    run(&session, &create_keyspace(config)).await?;
    run(&session, &create_versions(&config.keyspace)).await?;
    let found = report(&session, &config.keyspace).await?;
    if let Some(finding) = found.findings.iter().find(|finding| !matches!(finding, Finding::Missing(_))) {
        return Err(ConnectError::Schema(format!("keyspace {}: {finding}; nothing was changed", config.keyspace)));
    }
    let mut applied = Vec::new();
    for finding in found.findings {
        if let Finding::Missing(migration) = finding
            && apply(&session, &config.keyspace, migration).await?
        {
            applied.push(migration);
        }
    }
    Ok(applied)
}

/// Refuses to work on tables of another version.
pub(super) async fn refuse_others(session: &Session, keyspace: &str) -> Result<(), ConnectError> {
    let report = report(session, keyspace).await?;
    let Some(finding) = report.findings.first() else { return Ok(()) };
    let way_out = match finding {
        Finding::Missing(_) => "run `quell store migrate`",
        Finding::Changed(_) => "run `quell store check` with the program that applied it",
        Finding::Unknown(_) => "start the newer program, which `quell store migrate` was run with",
    };
    Err(ConnectError::Schema(format!(
        "the store's keyspace {keyspace} is of version {}, this program works with {}: {finding}; {way_out}",
        report.version, report.wanted
    )))
}

pub(super) async fn report(session: &Session, keyspace: &str) -> Result<SchemaReport, StoreError> {
    let applied = applied(session, keyspace).await?;
    let mut findings = Vec::new();
    for migration in MIGRATIONS {
        match applied.get(&migration.version) {
            None => findings.push(Finding::Missing(*migration)),
            Some(checksum) if *checksum != migration.checksum() => findings.push(Finding::Changed(*migration)),
            Some(_) => {}
        }
    }
    let wanted = MIGRATIONS.last().map_or(0, |migration| migration.version);
    findings.extend(applied.keys().filter(|version| **version > wanted).map(|version| Finding::Unknown(*version)));
    let version = applied.keys().next_back().copied().unwrap_or(0);
    Ok(SchemaReport { keyspace: keyspace.to_owned(), version, wanted, findings })
}

/// The versions that were applied to their end, with the checksums of their texts.
async fn applied(session: &Session, keyspace: &str) -> Result<BTreeMap<i32, String>, StoreError> {
    let text = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'migration'";
    let tables = session.query_unpaged(text, (keyspace,)).await.map_err(failed)?;
    if tables.into_rows_result().map_err(unreadable)?.rows_num() == 0 {
        return Ok(BTreeMap::new());
    }
    let text = format!("SELECT version, checksum, is_done FROM {keyspace}.migration");
    let rows = session.query_unpaged(text, ()).await.map_err(failed)?.into_rows_result().map_err(unreadable)?;
    let mut applied = BTreeMap::new();
    for row in rows.rows::<(i32, Option<String>, Option<bool>)>().map_err(unreadable)? {
        let (version, checksum, is_done) = row.map_err(unreadable)?;
        if is_done == Some(true) {
            applied.insert(version, checksum.unwrap_or_default());
        }
    }
    Ok(applied)
}

/// Applies one version, unless another does at the moment: then waits for that. Returns whether it did it itself.
async fn apply(session: &Session, keyspace: &str, migration: Migration) -> Result<bool, ConnectError> {
    let (version, checksum) = (migration.version, migration.checksum());
    let holder = session.session_id().to_string();
    let take = format!(
        "INSERT INTO {keyspace}.migration (version, name, checksum, holder, is_done) VALUES (?, ?, ?, ?, false) \
         IF NOT EXISTS USING TTL {LEASE_SECONDS}"
    );
    let end = Instant::now() + Duration::from_secs(u64::from(LEASE_SECONDS.unsigned_abs()) * 2);
    while !conditional(session, &take, (version, migration.name, &checksum, &holder)).await? {
        if self::applied(session, keyspace).await?.contains_key(&version) {
            return Ok(false);
        }
        if Instant::now() > end {
            return Err(ConnectError::Schema(format!(
                "another one has been applying {} for too long: look what became of it, then run this again",
                migration.name
            )));
        }
        tokio::time::sleep(POLL).await;
    }
    for statement in migration.statements(keyspace) {
        run(session, &statement).await?;
    }
    // Every column again, without an end.
    let done = format!(
        "UPDATE {keyspace}.migration SET name = ?, checksum = ?, holder = ?, is_done = true WHERE version = ? \
         IF holder = ?"
    );
    let values = (migration.name, &checksum, &holder, version, &holder);
    if conditional(session, &done, values).await? {
        return Ok(true);
    }
    Err(ConnectError::Schema(format!("{} took too long and was taken over: run this again", migration.name)))
}

/// Runs a statement and waits until every node knows of it.
async fn run(session: &Session, statement: &str) -> Result<(), StoreError> {
    session.query_unpaged(statement, ()).await.map_err(failed)?;
    session.await_schema_agreement().await.map(drop).map_err(|error| StoreError::Unavailable(told(&error)))
}

/// Runs a conditional statement; returns whether it was applied.
async fn conditional(
    session: &Session,
    statement: &str,
    values: impl scylla::serialize::row::SerializeRow,
) -> Result<bool, StoreError> {
    let rows =
        session.query_unpaged(statement, values).await.map_err(failed)?.into_rows_result().map_err(unreadable)?;
    let row: Row = rows.single_row().map_err(unreadable)?;
    Ok(row.columns.first() == Some(&Some(CqlValue::Boolean(true))))
}

fn create_keyspace(config: &CqlConfig) -> String {
    let (keyspace, factor) = (&config.keyspace, config.replication.factor);
    let replication = match (config.replication.class, &config.data_center) {
        (ReplicationClass::SimpleStrategy, _) => {
            format!("{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
        }
        (ReplicationClass::NetworkTopologyStrategy, Some(data_center)) => {
            format!("{{'class': 'NetworkTopologyStrategy', '{data_center}': {factor}}}")
        }
        (ReplicationClass::NetworkTopologyStrategy, None) => {
            format!("{{'class': 'NetworkTopologyStrategy', 'replication_factor': {factor}}}")
        }
    };
    let tablets = config
        .replication
        .tablets
        .map(|tablets| format!(" AND tablets = {{'enabled': {tablets}}}"))
        .unwrap_or_default();
    format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}{tablets}")
}

fn create_versions(keyspace: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.migration \
         (version int PRIMARY KEY, name text, checksum text, holder text, is_done boolean)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_one_and_say_if_not_exists() {
        for (at, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, at);
            assert!(migration.name.starts_with(&format!("{at:03}_")));
            for statement in migration.statements("ks") {
                assert!(statement.contains("IF NOT EXISTS ks."), "{statement}");
                assert!(!statement.contains('{') || statement.contains("'class'"), "{statement}");
            }
        }
        assert_eq!(MIGRATIONS[0].statements("ks").len(), 12);
    }

    #[test]
    fn keyspaces_are_replicated_as_configured() {
        let mut config = CqlConfig::default();
        let text = |config: &CqlConfig| create_keyspace(config);
        assert!(text(&config).ends_with("{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}"));
        config.data_center = Some("eu".into());
        assert!(text(&config).ends_with("{'class': 'NetworkTopologyStrategy', 'eu': 3}"));
        config.replication.tablets = Some(false);
        assert!(text(&config).ends_with(" AND tablets = {'enabled': false}"));
        config.replication =
            crate::store::cql::Replication { class: ReplicationClass::SimpleStrategy, factor: 1, tablets: None };
        assert!(text(&config).ends_with("{'class': 'SimpleStrategy', 'replication_factor': 1}"));
    }
}
