//! How fast the suppressor's stage is over a CQL store, and how fast the store itself is beside it.
//!
//! `QUELL_TEST_CQL=HOST:PORT cargo run --release -p suppressor --example cql_rate [EVENTS]` works in a keyspace of its
//! own, with one replica. Without the variable it finds or starts a server as the tests do.

#![expect(clippy::unwrap_used, reason = "a measurement: what fails ends it")]

use domain::{CanonicalEvent, Kind};
use event_log::{Batch, Consumed, Position, Record, Stage};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemas::{encode, topics, wire::EventRecord};
use scylla::client::session_builder::SessionBuilder;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use suppressor::{
    Suppressor,
    stage::NoMetrics,
    store::cql::{CqlConfig, CqlStore, Replication, ReplicationClass, migrate},
};

const BATCH: usize = 500;
const ROW_BYTES: usize = 250;

/// The kind of the event at a place.
type KindOf = fn(usize) -> Kind;

#[tokio::main]
async fn main() {
    let n_events: usize = std::env::args().nth(1).map_or(20_000, |text| text.parse().unwrap());
    let found = tokio::task::spawn_blocking(testkit::servers::cql).await.unwrap().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let config = CqlConfig {
        contact_points: vec![found.address().to_owned()],
        keyspace: format!("rate_{}", now.as_millis()),
        replication: Replication { class: ReplicationClass::SimpleStrategy, factor: 1, tablets: None },
        request_timeout_ms: 30_000,
        ..CqlConfig::default()
    };
    migrate(&config).await.unwrap();
    let began = Instant::now();
    ceiling(&config, n_events).await;
    let per_second = rate(n_events, began.elapsed());
    println!("bare inserts of {ROW_BYTES} bytes, {} at once: {per_second:.0} a second", config.concurrency);

    let store = CqlStore::connect(&config).await.unwrap();
    let mixes: [(&str, KindOf); 4] = [
        ("accepted", |_| Kind::Accepted),
        ("delivered", |_| Kind::Delivered),
        ("hard bounces", |_| Kind::BouncedHard),
        ("campaign: 47 % accepted, 47 % delivered, 6 % hard bounces", |n| match n % 100 {
            0..47 => Kind::Accepted,
            47..94 => Kind::Delivered,
            _ => Kind::BouncedHard,
        }),
    ];
    let mut stage = Suppressor::new(store.clone(), Arc::new(NoMetrics));
    let mut offset = 0;
    for (at, (name, kind)) in mixes.into_iter().enumerate() {
        let events = (0..n_events).map(|n| event(kind(n), &format!("r{at}-{n}@example.com"), n));
        let batches: Vec<Batch> = batches(events, &mut offset);
        let (counts, began) = (store.counts(), Instant::now());
        for batch in &batches {
            stage.process(batch).await.unwrap();
        }
        let (took, sent) = (began.elapsed(), store.counts());
        let each = |n: u64| n as f64 / n_events as f64;
        println!(
            "{name}: {:.0} events a second; {:.2} reads and {:.2} writes an event, {:.0} requests a second",
            rate(n_events, took),
            each(sent.reads - counts.reads),
            each(sent.writes - counts.writes),
            rate(n_events, took) * each(sent.reads + sent.writes - counts.reads - counts.writes),
        );
    }
    let session = SessionBuilder::new().known_nodes(&config.contact_points).build().await.unwrap();
    session.query_unpaged(format!("DROP KEYSPACE {}", config.keyspace), ()).await.unwrap();
}

fn rate(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

/// What the store takes when nothing is decided: as many inserts at once as the stage may send.
async fn ceiling(config: &CqlConfig, n: usize) {
    let session = SessionBuilder::new().known_nodes(&config.contact_points).build().await.unwrap();
    let text = format!("INSERT INTO {}.suppression (recipient, row) VALUES (?, ?) USING TIMESTAMP ?", config.keyspace);
    let insert = session.prepare(text).await.unwrap();
    let (session, insert) = (&session, &insert);
    let inserts = (0..n).map(|n| async move {
        let stamp = i64::try_from(n).unwrap();
        session
            .execute_unpaged(insert, (format!("default/email/bare{n}@example.com"), vec![7_u8; ROW_BYTES], stamp))
            .await
    });
    stream::iter(inserts).buffer_unordered(config.concurrency).try_for_each(|_| async { Ok(()) }).await.unwrap();
}

fn event(kind: Kind, address: &str, n: usize) -> CanonicalEvent {
    let mut event = testkit::builders::event(kind, address, i64::try_from(n).unwrap());
    event.message_id = Some(format!("message-{address}"));
    testkit::builders::identified(event)
}

fn batches(events: impl Iterator<Item = CanonicalEvent>, offset: &mut u64) -> Vec<Batch> {
    let records: Vec<Consumed> = events
        .map(|event| {
            let key = event.key().to_log_key();
            let value = encode(&EventRecord::from(event)).unwrap();
            let position = Position { epoch: 0, partition: 0, offset: *offset };
            *offset += 1;
            let record = Record { key: Some(key.into()), value: Some(value), headers: Vec::new(), timestamp_ms: 0 };
            Consumed { topic: topics::EVENTS.into(), position, record }
        })
        .collect();
    records.chunks(BATCH).map(|records| Batch { records: records.to_vec(), generation: 0 }).collect()
}
