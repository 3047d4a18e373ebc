//! Stores to try, and what is written to them.

use domain::{Cause, Decision, EventId, Kind, Reason, Recipient, RecipientKey, Scope, Tenant, Timestamp};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use suppressor::{
    Evidence, History, Store,
    store::{
        InForce, Write,
        cql::{CqlConfig, CqlStore, Replication, ReplicationClass, migrate},
        embedded::EmbeddedStore,
        memory::MemoryStore,
    },
};

/// A store to try, with what must outlive it.
pub(crate) struct Tried {
    pub(crate) name: &'static str,
    pub(crate) store: Box<dyn Store>,
    _dir: Option<tempfile::TempDir>,
}

pub(crate) async fn every_store() -> Vec<Tried> {
    let dir = tempfile::tempdir().unwrap();
    let db = fjall::Database::builder(dir.path()).open().unwrap();
    vec![
        Tried { name: "memory", store: Box::new(MemoryStore::default()), _dir: None },
        Tried { name: "embedded", store: Box::new(EmbeddedStore::open(db).unwrap()), _dir: Some(dir) },
        Tried { name: "cql", store: Box::new(cql_store().await.0), _dir: None },
    ]
}

/// A keyspace that nobody else uses, on the server that all tests share.
pub(crate) async fn cql_config() -> CqlConfig {
    let found = tokio::task::spawn_blocking(testkit::servers::cql).await.unwrap();
    own_keyspace(found.unwrap().address())
}

pub(crate) fn own_keyspace(address: &str) -> CqlConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    CqlConfig {
        contact_points: vec![address.to_owned()],
        keyspace: format!(
            "store_{}_{}_{}",
            std::process::id(),
            since.as_millis() % 1_000_000_000,
            NEXT.fetch_add(1, Ordering::Relaxed)
        ),
        replication: Replication { class: ReplicationClass::SimpleStrategy, factor: 1, ..Replication::default() },
        // One machine runs server and tests.
        request_timeout_ms: 30_000,
        connect_timeout_ms: 30_000,
        ..CqlConfig::default()
    }
}

pub(crate) async fn cql_store() -> (CqlStore, CqlConfig) {
    let config = cql_config().await;
    migrate(&config).await.unwrap();
    (CqlStore::connect(&config).await.unwrap(), config)
}

/// A plain session of the driver, for looking at rows.
pub(crate) async fn raw(config: &CqlConfig) -> scylla::client::session::Session {
    let builder = scylla::client::session_builder::SessionBuilder::new().known_nodes(&config.contact_points);
    builder.use_keyspace(&config.keyspace, false).build().await.unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

pub(crate) fn key(name: &str) -> RecipientKey {
    RecipientKey { tenant: Tenant::default(), recipient: Recipient::email(&format!("{name}@example.com")).unwrap() }
}

pub(crate) fn row(id: &str, seconds: i64, position: u64) -> Evidence {
    Evidence {
        event_id: EventId::derive(&[id]),
        occurred_at: at(seconds),
        received_at: at(seconds),
        rules: 1,
        position,
        policy: 0,
        kind: Kind::Complaint,
        provider: "drip".into(),
        source: "default".into(),
        message_id: None,
        scope: Some(Scope::category("news")),
        failure: None,
        receipt_id: "r".into(),
        limit: None,
        new_policy: None,
        actor: None,
        note: None,
        marks: Vec::new(),
    }
}

pub(crate) fn in_force(position: u64, policy: u32) -> InForce {
    let cause = Cause {
        scope: Scope::All,
        reason: Reason::Manual,
        since: at(1),
        until: None,
        rule: "manual".into(),
        event_id: EventId::derive(&["x"]),
        provider: "manual".into(),
        source: "me".into(),
        providers: vec!["manual".into()],
        incident: None,
    };
    InForce { position, policy, address: "A@example.com".into(), decision: Decision::new(vec![cause]) }
}

pub(crate) fn write(key: RecipientKey, rows: Vec<Evidence>) -> Write {
    let mut history = History { address: "A@example.com".into(), ..History::default() };
    for row in &rows {
        history.insert(row.clone());
    }
    Write {
        key,
        rows,
        trimmed: Vec::new(),
        history,
        in_force: None,
        seen: Vec::new(),
        messages: Vec::new(),
        due: Vec::new(),
        audit: Vec::new(),
        forget: None,
    }
}
