//! What the suppressor tells of an erasure is what the contract with subscribers keeps (schemas/tests/contract).

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::{CanonicalEvent, EventId, Kind, Timestamp};
use event_log::{Batch, Consumed, Output, Position, Record, Stage as _};
use schemas::{
    decode, encode, topics,
    wire::{DeltaRecord, EventRecord},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use suppressor::{
    Suppressor,
    erasure::ErasureKey,
    jobs::InnerEvent,
    stage::NoMetrics,
    store::{erasing::Erasing, memory::MemoryStore},
};
use testkit::builders::event;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_768_903_200 + seconds).unwrap()
}

fn bounce() -> CanonicalEvent {
    CanonicalEvent {
        event_id: EventId::derive(&["kept", "bounce"]),
        occurred_at: at(0),
        received_at: at(2),
        message_id: None,
        receipt_id: "r1".to_owned(),
        ..event(Kind::BouncedHard, "Jane@Example.com", 0)
    }
}

fn erasure() -> CanonicalEvent {
    let event = InnerEvent {
        key: bounce().key(),
        kind: Kind::Erased,
        occurred_at: at(86_400),
        received_at: at(86_400),
        provider: "manual",
        source: "console".to_owned(),
        scope: None,
        identity: String::new(),
        metadata: BTreeMap::new(),
    };
    event.into_event()
}

async fn outputs(events: &[CanonicalEvent]) -> Vec<Output> {
    let key = ErasureKey::new(&[7; 32]).unwrap();
    let store = Erasing::new(MemoryStore::default(), Some(Arc::new(key)));
    let mut stage = Suppressor::new(store, Arc::new(NoMetrics));
    let mut outputs = Vec::new();
    for (offset, event) in (41..).zip(events) {
        let value = Some(encode(&EventRecord::from(event.clone())).unwrap());
        let (key, timestamp_ms) = (Some(event.key().to_log_key().into()), event.received_at.as_millis());
        let record = Record { key, value, headers: Vec::new(), timestamp_ms };
        let position = Position { epoch: 0, partition: 0, offset };
        let batch = Batch { records: vec![Consumed { topic: topics::EVENTS.into(), position, record }], generation: 1 };
        let found = stage.process(&batch).await.unwrap();
        stage.committed(&batch).await.unwrap();
        outputs = found.verdicts.into_iter().flat_map(|verdict| verdict.outputs).collect();
    }
    outputs
}

#[tokio::test]
async fn an_erasure_is_told_as_the_contract_says() {
    let outputs = outputs(&[bounce(), erasure()]).await;
    let of = |topic: &str| outputs.iter().find(|output| &*output.topic == topic).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();

    let delta = of(topics::DELTAS).record.value.clone().unwrap();
    let kept: Value = serde_json::from_str(include_str!("../../schemas/tests/contract/delta_erased.2.json")).unwrap();
    let hex: String = delta.iter().map(|byte| format!("{byte:02x}")).collect();
    let record: DeltaRecord = decode(&delta).unwrap();
    assert_eq!(json!(record), kept["record"], "{hex}");

    let tombstone = &of(topics::STATE).record;
    let headers: BTreeMap<&str, String> =
        tombstone.headers.iter().map(|header| (&*header.name, text(&header.value))).collect();
    let told = json!({
        "topic": "state",
        "key": text(tombstone.key.as_deref().unwrap()),
        "bytes": tombstone.value.as_deref().map(|_| "a value"),
        "headers": headers,
    });
    let kept: Value = serde_json::from_str(include_str!("../../schemas/tests/contract/state_erased.2.json")).unwrap();
    assert_eq!(told, kept);
}
