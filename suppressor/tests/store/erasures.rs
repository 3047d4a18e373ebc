//! Who was erased is found by whoever has the key, and by nobody else; who is forgotten is gone.

use crate::bed::{at, cql_store, in_force, key, raw, row, write};
use domain::{EventId, Kind, Scope};
use scylla::value::{CqlValue, Row};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use suppressor::{
    Store, StoreError,
    erasure::{Erased, ErasureKey},
    store::{
        Due, Forget, MessageEntry, Write, cql::CqlConfig, embedded::EmbeddedStore, erasing::Erasing,
        memory::MemoryStore,
    },
};

fn secret(byte: u8) -> Option<Arc<ErasureKey>> {
    Some(Arc::new(ErasureKey::new(&[byte; 32]).unwrap()))
}

fn erased<S: Store>(store: &Erasing<S>, name: &str, position: u64) -> Erased {
    let mut kept = row(name, 5, position);
    (kept.kind, kept.event_id) = (Kind::Erased, EventId::derive(&["kept", name]));
    Erased {
        pseudonym: store.pseudonym(&key(name)).unwrap(),
        recipient: Some(key(name)),
        erased_at: at(50),
        by: Some("jo".to_owned()),
        rows: vec![kept],
        in_force: in_force(position, 3),
    }
}

fn forget(name: &str, position: u64, below: u64, left: Vec<suppressor::Evidence>) -> Write {
    let ends = vec![Due { at: at(90), key: key(name), scope: Scope::All }];
    let mut written = write(key(name), left);
    written.rows.clear();
    written.history.address.clear();
    written.forget = Some(Forget { position, below, ends, places: Vec::new() });
    written
}

/// Evidence, a suppression, its end, its delta and a message.
async fn known<S: Store>(store: &Erasing<S>, name: &str, position: u64) {
    let mut suppressed = write(key(name), vec![row(name, 5, position)]);
    suppressed.in_force = Some(in_force(position, 3));
    suppressed.due = vec![Due { at: at(90), key: key(name), scope: Scope::All }];
    suppressed.audit = vec![(position, Scope::All, vec![1])];
    suppressed.messages = vec![MessageEntry {
        key: key(name),
        provider: "drip".into(),
        message_id: format!("m-{name}"),
        event_id: EventId::derive(&["message", name]),
        occurred_at: at(5),
        received_at: at(5),
        kind: Kind::Complaint,
        provider_kind: "complaint".into(),
        machine: false,
        failure: None,
        campaign: None,
        receipt_id: "r".into(),
        position,
    }];
    store.apply(vec![suppressed], &[(0, position)]).await.unwrap();
}

#[tokio::test]
async fn an_erased_recipient_stays_suppressed_and_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedStore::open(fjall::Database::builder(dir.path()).open().unwrap()).unwrap();
    stays_and_is_forgotten("memory", MemoryStore::default()).await;
    stays_and_is_forgotten("embedded", embedded).await;
    stays_and_is_forgotten("cql", cql_store().await.0).await;
}

async fn stays_and_is_forgotten<S: Store + Clone>(name: &str, store: S) {
    let (here, there) = (Erasing::new(store.clone(), secret(1)), Erasing::new(store.clone(), secret(1)));
    for (recipient, position) in [("a", 7), ("b", 8)] {
        known(&here, recipient, position).await;
    }
    let row = erased(&here, "a", 10);
    here.put_erased(0, 10, row.clone()).await.unwrap();
    here.put_erased(0, 10, row.clone()).await.unwrap();
    // Another process learns of it.
    let history = &there.load(&[key("a")]).await.unwrap()[0];
    assert_eq!((history.rows.len(), history.kept.as_slice()), (1, row.rows.as_slice()), "{name}");
    assert_eq!(there.erasure_of(&key("a")).await.unwrap(), Some(row.clone()), "{name}");
    assert_eq!(store.erased_up_to().await.unwrap(), [(0, 10)], "{name}");
    assert_eq!(store.erased(0, None, 9).await.unwrap(), [(10, row.clone())], "{name}");
    assert_eq!(store.erased(0, Some(10), 9).await.unwrap(), [], "{name}");
    assert_eq!(store.erased(1, None, 9).await.unwrap(), [], "{name}");

    for _ in 0..2 {
        here.apply(vec![forget("a", 12, 10, Vec::new())], &[(0, 12)]).await.unwrap();
        let nameless = Erased { recipient: None, ..row.clone() };
        assert_eq!(there.erasure_of(&key("a")).await.unwrap(), Some(nameless), "{name}");
        assert_eq!(there.in_force(&[key("a")]).await.unwrap(), [Some(in_force(10, 3))], "{name}");
        assert_eq!(there.load(&[key("a")]).await.unwrap()[0].kept, row.rows, "{name}");
        // Without the key nothing is there.
        assert_eq!(store.in_force(&[key("a")]).await.unwrap(), [None], "{name}");
        assert_eq!(store.load(&[key("a")]).await.unwrap(), [suppressor::History::default()], "{name}");
        assert_eq!(store.audit(&key("a"), 9).await.unwrap(), [], "{name}");
        let scanned = store.scan(None, 9).await.unwrap().items;
        assert_eq!(scanned.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key("b")], "{name}");
        let due = store.due(None, at(99), 9).await.unwrap();
        assert_eq!(due.iter().map(|due| due.key.clone()).collect::<Vec<_>>(), [key("b")], "{name}");
    }
    // Nobody else lost anything.
    assert_eq!(there.in_force(&[key("b")]).await.unwrap(), [Some(in_force(8, 3))], "{name}");
    assert_eq!(store.audit(&key("b"), 9).await.unwrap().len(), 1, "{name}");
}

/// Every value of every row of each table, as bytes.
async fn dump(config: &CqlConfig) -> BTreeMap<String, Vec<u8>> {
    fn bytes(value: &CqlValue, out: &mut Vec<u8>) {
        match value {
            CqlValue::Blob(blob) => out.extend_from_slice(blob),
            CqlValue::Text(text) | CqlValue::Ascii(text) => out.extend_from_slice(text.as_bytes()),
            other => out.extend_from_slice(format!("{other:?}").as_bytes()),
        }
        out.push(0);
    }
    let session = raw(config).await;
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let tables = session.query_unpaged(tables, (&config.keyspace,)).await.unwrap().into_rows_result().unwrap();
    let tables: Vec<(String,)> = tables.rows().unwrap().collect::<Result<_, _>>().unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    let mut dumps = BTreeMap::new();
    for (table,) in tables {
        let mut out = Vec::new();
        let query = format!("SELECT * FROM {}.\"{table}\"", config.keyspace);
        let rows = session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
        for row in rows.rows::<Row>().unwrap() {
            row.unwrap().columns.iter().flatten().for_each(|value| bytes(value, &mut out));
        }
        dumps.insert(table, out);
    }
    dumps
}

/// The tables that name somebody.
async fn named(config: &CqlConfig, name: &str) -> Vec<String> {
    let names = |dump: &[u8]| dump.windows(name.len()).any(|part| part == name.as_bytes());
    dump(config).await.into_iter().filter(|(_, dump)| names(dump)).map(|(table, _)| table).collect()
}

/// Ends the time of all entries of timelines now: their rows are written again as they are, for a second instead of days.
async fn end_timelines(config: &CqlConfig) {
    let session = raw(config).await;
    let query = "SELECT tenant, message_id, occurred_at, event_id, position, entry, TTL(entry) FROM message";
    let rows = session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    for row in rows.rows::<(String, String, CqlValue, Vec<u8>, i64, Vec<u8>, Option<i32>)>().unwrap() {
        let (tenant, message_id, occurred_at, event_id, position, entry, left) = row.unwrap();
        let most = i32::try_from(config.message_days).unwrap() * 86_400;
        assert!(left.is_some_and(|left| left <= most), "{message_id} stays: {left:?}");
        let again = "INSERT INTO message (tenant, message_id, occurred_at, event_id, position, entry) \
                     VALUES (?, ?, ?, ?, ?, ?) USING TTL 1";
        let values = (tenant, message_id, occurred_at, event_id, position, entry);
        session.query_unpaged(again, values).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[tokio::test]
async fn no_table_names_whoever_is_forgotten() {
    let (store, config) = cql_store().await;
    let here = Erasing::new(store, secret(1));
    known(&here, "forget.me", 7).await;
    known(&here, "keep.me", 8).await;
    here.put_erased(0, 10, erased(&here, "forget.me", 10)).await.unwrap();
    let before = named(&config, "forget.me").await;
    for table in ["audit", "due", "erased", "evidence", "message", "suppression"] {
        assert!(before.iter().any(|name| name == table), "what is looked for can be found in {table}: {before:?}");
    }
    here.apply(vec![forget("forget.me", 12, 10, Vec::new())], &[(0, 12)]).await.unwrap();
    assert_eq!(named(&config, "forget.me").await, ["message"], "timelines go by their time");
    end_timelines(&config).await;
    assert_eq!(named(&config, "forget.me").await, [""; 0]);
    let left = named(&config, "keep.me").await;
    assert!(left.iter().any(|name| name == "evidence") && left.iter().any(|name| name == "suppression"), "{left:?}");
    assert_eq!(here.in_force(&[key("forget.me")]).await.unwrap(), [Some(in_force(10, 3))]);
}

#[tokio::test]
async fn what_came_after_the_erasure_stays() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedStore::open(fjall::Database::builder(dir.path()).open().unwrap()).unwrap();
    later_stays("memory", MemoryStore::default()).await;
    later_stays("embedded", embedded).await;
    later_stays("cql", cql_store().await.0).await;
}

async fn later_stays<S: Store + Clone>(name: &str, store: S) {
    let here = Erasing::new(store.clone(), secret(1));
    known(&here, "a", 7).await;
    here.put_erased(0, 10, erased(&here, "a", 10)).await.unwrap();
    // A later event, decided with what was kept; and what held ended by it.
    let mut later = write(key("a"), vec![row("a", 5, 7), row("new", 60, 11)]);
    later.rows.remove(0);
    later.history.kept = here.load(&[key("a")]).await.unwrap()[0].kept.clone();
    let nothing = suppressor::store::InForce { decision: domain::Decision::default(), ..in_force(11, 3) };
    later.in_force = Some(nothing.clone());
    later.audit = vec![(11, Scope::All, vec![2])];
    here.apply(vec![later], &[(0, 11)]).await.unwrap();
    assert_eq!(here.in_force(&[key("a")]).await.unwrap(), [Some(nothing.clone())], "{name}: not what was kept");

    here.apply(vec![forget("a", 12, 10, vec![row("new", 60, 11)])], &[(0, 12)]).await.unwrap();
    let left = &store.load(&[key("a")]).await.unwrap()[0];
    assert_eq!(left.rows.iter().map(|row| row.position).collect::<Vec<_>>(), [11], "{name}");
    assert_eq!(here.in_force(&[key("a")]).await.unwrap(), [Some(nothing)], "{name}");
    assert_eq!(store.audit(&key("a"), 9).await.unwrap(), [(11, Scope::All, vec![2])], "{name}");

    // One that was moved here from other partitions stays where it is, or nobody would find that partition's newest.
    here.put_erased(3, 9, erased(&here, "a", 9)).await.unwrap();
    // Erased again, the later erasure takes the place of the earlier.
    here.put_erased(0, 14, erased(&here, "a", 14)).await.unwrap();
    here.apply(vec![forget("a", 15, 14, Vec::new())], &[(0, 15)]).await.unwrap();
    let positions: Vec<u64> = store.erased(0, None, 9).await.unwrap().iter().map(|(at, _)| *at).collect();
    assert_eq!(positions, [14], "{name}");
    for store in [here, Erasing::new(store.clone(), secret(1))] {
        assert_eq!(store.in_force(&[key("a")]).await.unwrap(), [Some(in_force(14, 3))], "{name}");
    }
}

#[tokio::test]
async fn without_the_key_of_its_erasures_a_store_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = EmbeddedStore::open(fjall::Database::builder(dir.path()).open().unwrap()).unwrap();
    wants_its_key("memory", MemoryStore::default()).await;
    wants_its_key("embedded", embedded).await;
    wants_its_key("cql", cql_store().await.0).await;
}

async fn wants_its_key<S: Store + Clone>(name: &str, store: S) {
    let here = Erasing::new(store.clone(), secret(1));
    let none = Erasing::new(store.clone(), None);
    assert_eq!(none.in_force(&[key("a")]).await.unwrap(), [None], "{name}");
    here.put_erased(0, 10, erased(&here, "a", 10)).await.unwrap();
    for other in [none, Erasing::new(store.clone(), secret(2))] {
        let told = other.in_force(&[key("a")]).await;
        assert!(matches!(told, Err(StoreError::Unavailable(why)) if why.contains("[erasure] key")), "{name}");
        assert!(other.load(&[key("a")]).await.is_err(), "{name}");
    }
    let other = Erasing::new(store.clone(), secret(2));
    assert!(other.put_erased(0, 11, erased(&other, "b", 11)).await.is_err(), "{name}");
}
