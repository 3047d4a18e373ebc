//! Providers that files declare: known, they are read like any other; unknown, nothing of theirs is lost.

use event_log::{Batch, Consumed, Fate, Position, Record, Stage as _};
use normalizer::{Nobody, Normalizer};
use providers::{Providers, declared::Adapter};
use schemas::{
    decode, encode, topics,
    wire::{DeadLetter, RawWebhook},
};
use std::{collections::BTreeMap, sync::Arc};

fn webhook() -> RawWebhook {
    let body = r#"{"events":[{"id":"evt_1","type":"complaint","at":"2026-01-20T14:32:15Z","to":{"email":"jane@example.com"}}]}"#;
    RawWebhook {
        receipt_id: "0001".to_owned(),
        provider: "larkpost".to_owned(),
        source: "default".to_owned(),
        tenant: "default".to_owned(),
        received_at: 1_768_919_545_000_000,
        method: "POST".to_owned(),
        url: "/webhooks/larkpost".to_owned(),
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: body.as_bytes().to_vec(),
        verified: "hmac-sha256".to_owned(),
        shadow: false,
    }
}

fn batch(value: Vec<u8>) -> Batch {
    let record = Record { key: None, value: Some(value.into()), headers: Vec::new(), timestamp_ms: 1 };
    let consumed = Consumed { topic: topics::RAW.into(), position: Position::from_number(0, 0), record };
    Batch { records: vec![consumed], generation: 1 }
}

#[tokio::test]
async fn an_unknown_adapter_s_webhook_is_a_dead_letter_until_it_is_known() {
    let value = encode(&webhook()).unwrap().to_vec();
    let mut ignorant = Normalizer::new(Arc::new(Nobody));
    let outputs = ignorant.process(&batch(value)).await.unwrap();
    assert_eq!(outputs.verdicts[0].fate, Fate::Dead("unknown_provider"));
    let letter: DeadLetter = decode(outputs.verdicts[0].outputs[0].record.value.as_deref().unwrap()).unwrap();
    assert_eq!((letter.detail.as_str(), letter.provider.as_str()), ("larkpost", "larkpost"));

    // Replayed, once the adapter is in the configuration.
    let file = toml::from_str(include_str!("../../deploy/adapters/larkpost.toml")).unwrap();
    let providers = Providers::with(&[Adapter::declare(file).unwrap()]).unwrap();
    let mut knowing = Normalizer::new(Arc::new(Nobody)).knowing(providers);
    let outputs = knowing.process(&batch(letter.value.unwrap())).await.unwrap();
    let verdict = &outputs.verdicts[0];
    assert_eq!((&verdict.fate, verdict.outputs.len(), &*verdict.outputs[0].topic), (&Fate::Emitted, 1, topics::EVENTS));
}
