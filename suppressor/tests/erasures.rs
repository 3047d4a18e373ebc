//! Erasures of a process that ends at any step, gone on with by another.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::{Kind, Recipient, RecipientKey, Tenant, Timestamp};
use event_log::{Batch, Consumed, Position, Record, Stage as _};
use schemas::{encode, topics, wire::EventRecord};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use suppressor::{
    Store, StoreError, Suppressor,
    erasure::ErasureKey,
    jobs::InnerEvent,
    stage::NoMetrics,
    store::{
        erasing::Erasing,
        memory::{Calm, MemoryStore, Weather},
    },
};

/// Lets so many steps pass, and none after.
#[derive(Debug)]
struct EndsAt(AtomicUsize);

impl Weather for EndsAt {
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        Box::pin(async move { left.map(drop).map_err(|_| StoreError::Unavailable("killed".to_owned())) })
    }
}

fn key(name: &str) -> RecipientKey {
    RecipientKey { tenant: Tenant::default(), recipient: Recipient::email(&format!("{name}@example.com")).unwrap() }
}

/// Their erasures, from an offset on.
fn erasures(names: &[&str], offset: u64) -> Batch {
    let at = Timestamp::from_seconds(1_768_903_200).unwrap();
    let records = (offset..).zip(names).map(|(offset, name)| {
        let event = InnerEvent {
            key: key(name),
            kind: Kind::Erased,
            occurred_at: at,
            received_at: at,
            provider: "manual",
            source: "console".to_owned(),
            scope: None,
            identity: String::new(),
            metadata: BTreeMap::new(),
        };
        let event = event.into_event();
        let value = Some(encode(&EventRecord::from(event.clone())).unwrap());
        let (key, timestamp_ms) = (Some(event.key().to_log_key().into()), event.received_at.as_millis());
        let record = Record { key, value, headers: Vec::new(), timestamp_ms };
        Consumed { topic: topics::EVENTS.into(), position: Position { epoch: 0, partition: 0, offset }, record }
    });
    Batch { records: records.collect(), generation: 1 }
}

fn process(store: &MemoryStore, weather: Arc<dyn Weather>) -> Erasing<MemoryStore> {
    Erasing::new(store.under(weather), Some(Arc::new(ErasureKey::new(&[7; 32]).unwrap())))
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_anywhere_is_told_of_in_the_end() {
    let (first, second) = (erasures(&["a"], 41), erasures(&["b", "c"], 42));
    let up_to = second.records.last().unwrap().position.number();
    let (mut steps, mut was_cut_off) = (0, true);
    while was_cut_off {
        let store = MemoryStore::default();
        let stage = |store| Suppressor::new(store, Arc::new(NoMetrics));
        stage(process(&store, Arc::new(Calm))).process(&first).await.unwrap();
        let killed = process(&store, Arc::new(EndsAt(AtomicUsize::new(steps))));
        was_cut_off = stage(killed).process(&second).await.is_err();

        // Another learns of what there is, and has the batch again.
        let next = process(&store, Arc::new(Calm));
        next.load(&[key("a"), key("b"), key("c")]).await.unwrap();
        stage(next.clone()).process(&second).await.unwrap();
        assert_eq!(next.erased_up_to().await.unwrap(), [(0, up_to)], "cut off after {steps} steps");
        // Whoever comes then finds them all.
        let other = process(&store, Arc::new(Calm));
        for name in ["a", "b", "c"] {
            assert!(other.erasure_of(&key(name)).await.unwrap().is_some(), "{name}, cut off after {steps} steps");
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps}");
}
