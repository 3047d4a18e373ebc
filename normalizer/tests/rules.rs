//! The operator's own rules of classification decide before all others.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::classify::{UserRule, UserRules};
use domain::{Attribution, CanonicalEvent, FailureClass, Kind};
use event_log::{Batch, Consumed, Position, Record, Stage as _};
use normalizer::{Nobody, Normalizer};
use schemas::{
    decode, encode, topics,
    wire::{EventRecord, RawWebhook},
};
use std::{collections::BTreeMap, sync::Arc};

fn batch() -> Batch {
    let body = r#"[{"event":"bounce","type":"blocked","email":"jane@example.com","timestamp":1768919535,"sg_event_id":"1","reason":"550 5.7.1 She has left the company"}]"#;
    let webhook = RawWebhook {
        receipt_id: "0001".to_owned(),
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        tenant: "default".to_owned(),
        received_at: 1_768_919_545_000_000,
        method: "POST".to_owned(),
        url: "/webhooks/sendgrid".to_owned(),
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: body.as_bytes().to_vec(),
        verified: "none".to_owned(),
        shadow: false,
    };
    let value = encode(&webhook).unwrap().to_vec();
    let record = Record { key: None, value: Some(value.into()), headers: Vec::new(), timestamp_ms: 1 };
    let consumed = Consumed { topic: topics::RAW.into(), position: Position::from_number(0, 0), record };
    Batch { records: vec![consumed], generation: 1 }
}

async fn read(mut stage: Normalizer) -> CanonicalEvent {
    let outputs = stage.process(&batch()).await.unwrap();
    let record: EventRecord = decode(outputs.verdicts[0].outputs[0].record.value.as_deref().unwrap()).unwrap();
    record.try_into().unwrap()
}

#[tokio::test]
async fn a_rule_of_the_operator_decides_first_and_its_id_is_kept() {
    let event = read(Normalizer::new(Arc::new(Nobody))).await;
    assert_eq!((event.kind, event.failure.unwrap().attribution), (Kind::BouncedSoft, Attribution::Sender));

    let rule = UserRule {
        id: "house.leavers".to_owned(),
        provider: None,
        source: None,
        domain: Some("example.com".to_owned()),
        text: Some("left the company".to_owned()),
        smtp_code: None,
        enhanced_status: None,
        provider_code: None,
        attribution: Attribution::Recipient,
        class: FailureClass::Disabled,
        permanent: Some(true),
    };
    let ruled = Normalizer::new(Arc::new(Nobody)).ruled_by(UserRules::new(&[rule]).unwrap());
    let event = read(ruled).await;
    let failure = event.failure.unwrap();
    assert_eq!(
        (event.kind, failure.attribution, failure.class),
        (Kind::BouncedHard, Attribution::Recipient, FailureClass::Disabled)
    );
    assert_eq!(failure.rule, "user.house.leavers");
}
