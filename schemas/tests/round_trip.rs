//! Every record goes to bytes and back, through the domain where it has a twin.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use apache_avro::{Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use domain::{
    Attribution, CanonicalEvent, Change, Delta, EventId, Failure, FailureClass, Kind, Reason, Recipient, Scope,
    Standing, Tenant, Timestamp, Trigger,
};
use schemas::{
    DecodeError, Ids, Wire, decode, encode,
    ids::Resolved,
    wire::{DeadLetter, DeltaRecord, EventRecord, OutcomeRecord, PolicyApplied, RawWebhook, StateRecord},
};

fn event() -> CanonicalEvent {
    CanonicalEvent {
        event_id: EventId::derive(&["x"]),
        tenant: Tenant::default(),
        recipient: Recipient::email("jane@example.com").unwrap(),
        channel: domain::Channel::Email,
        address: "Jane@example.com".into(),
        kind: Kind::BouncedHard,
        provider_kind: "bounce".into(),
        occurred_at: Timestamp::from_seconds(1_700_000_000).unwrap(),
        received_at: Timestamp::from_seconds(1_700_000_001).unwrap(),
        rules: 1,
        provider: "sendgrid".into(),
        source: "default".into(),
        message_id: Some("m1".into()),
        campaign: None,
        categories: vec!["a".into(), "b".into()],
        failure: Some(Failure {
            attribution: Attribution::Recipient,
            class: FailureClass::UnknownRecipient,
            smtp_code: Some(550),
            enhanced_status: Some("5.1.1".into()),
            provider_code: None,
            attempt: Some(2),
            diagnostic: Some("no such user".into()),
            rule: "enhanced.5.1.1".into(),
        }),
        scope: Some(Scope::category("news")),
        machine: true,
        echo: false,
        metadata: [("k".to_owned(), "v".to_owned())].into(),
        receipt_id: "r1".into(),
    }
}

fn delta() -> Delta {
    let standing = Standing {
        reason: Reason::HardBounce,
        since: Timestamp::from_seconds(1).unwrap(),
        until: Some(Timestamp::from_seconds(9).unwrap()),
        rule: "email.hard".into(),
        event_id: EventId::derive(&["x"]),
        provider: "sendgrid".into(),
        source: "default".into(),
        incident: Some(EventId::derive(&["incident"])),
    };
    Delta {
        delta_id: EventId::derive(&["d"]),
        key: event().key(),
        address: "Jane@example.com".into(),
        scope: Scope::All,
        change: Change::Updated,
        before: Some(standing.clone()),
        now: Some(standing),
        in_force: vec![(Scope::All, Reason::HardBounce)],
        provisional: vec![Scope::All],
        trigger: Trigger {
            event_id: EventId::derive(&["x"]),
            kind: Kind::BouncedHard,
            provider: "sendgrid".into(),
            source: "default".into(),
            receipt_id: "r1".into(),
        },
        decided_at: Timestamp::from_seconds(2).unwrap(),
        position: (1 << 40) + 7,
        policy: 1,
    }
}

#[test]
fn events_and_deltas_survive_the_wire() {
    let bytes = encode(&EventRecord::from(event())).unwrap();
    let back: EventRecord = decode(&bytes).unwrap();
    assert_eq!(CanonicalEvent::try_from(back).unwrap(), event());

    let mut bare = event();
    (bare.failure, bare.scope, bare.message_id) = (None, None, None);
    bare.categories.clear();
    bare.metadata.clear();
    let back: EventRecord = decode(&encode(&EventRecord::from(bare.clone())).unwrap()).unwrap();
    assert_eq!(CanonicalEvent::try_from(back).unwrap(), bare);

    let back: DeltaRecord = decode(&encode(&DeltaRecord::from(delta())).unwrap()).unwrap();
    assert_eq!(Delta::try_from(back).unwrap(), delta());
    let mut first = delta();
    first.before = None;
    let back: DeltaRecord = decode(&encode(&DeltaRecord::from(first.clone())).unwrap()).unwrap();
    assert_eq!(Delta::try_from(back).unwrap(), first);
}

#[test]
fn the_rest_survives_the_wire() {
    let raw = RawWebhook {
        receipt_id: "r1".into(),
        provider: "drip".into(),
        source: "default".into(),
        tenant: "default".into(),
        received_at: 5,
        method: "POST".into(),
        url: "/webhooks/drip".into(),
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        body: vec![0, 255, 7],
        verified: "hmac-sha256".into(),
        shadow: false,
    };
    assert_eq!(decode::<RawWebhook>(&encode(&raw).unwrap()).unwrap(), raw);
    let dead = DeadLetter {
        stage: "normalizer".into(),
        reason: "bad_element".into(),
        detail: "no address".into(),
        topic: "quell.raw.v1".into(),
        partition: 0,
        offset: 3,
        element: Some(4),
        attempt: 1,
        receipt_id: "r1".into(),
        provider: "drip".into(),
        tenant: "default".into(),
        key: None,
        value: Some(vec![1, 2]),
        headers: [("receipt-id".to_owned(), "r1".to_owned())].into(),
        dead_at: 6,
    };
    assert_eq!(decode::<DeadLetter>(&encode(&dead).unwrap()).unwrap(), dead);
    let outcome = OutcomeRecord {
        delta_id: "d".into(),
        tenant: "default".into(),
        channel: "email".into(),
        recipient: "jane@example.com".into(),
        account: "sendgrid/main".into(),
        provider: "sendgrid".into(),
        action: "suppress".into(),
        result: "done".into(),
        list: None,
        detail: Some("201".into()),
        attempts: 1,
        at: 9,
    };
    assert_eq!(decode::<OutcomeRecord>(&encode(&outcome).unwrap()).unwrap(), outcome);
    let policy =
        PolicyApplied { version: 2, decide_revision: 1, document: "x".into(), applied_at: 1, applied_by: "me".into() };
    assert_eq!(decode::<PolicyApplied>(&encode(&policy).unwrap()).unwrap(), policy);
    let state = StateRecord {
        tenant: "default".into(),
        channel: "email".into(),
        recipient: "jane@example.com".into(),
        address: "Jane@example.com".into(),
        scope: "all".into(),
        standing: DeltaRecord::from(delta()).now.unwrap(),
        position: 7,
    };
    assert_eq!(decode::<StateRecord>(&encode(&state).unwrap()).unwrap(), state);
}

#[test]
fn foreign_bytes_are_errors() {
    assert!(matches!(decode::<RawWebhook>(b""), Err(DecodeError::NotFramed)));
    assert!(matches!(decode::<RawWebhook>(&[1, 0, 0, 0, 1]), Err(DecodeError::NotFramed)));
    assert!(matches!(decode::<RawWebhook>(&[0, 0, 0, 0, 0, 1]), Err(DecodeError::OtherSchema { found: 0, .. })));
    assert!(matches!(decode::<RawWebhook>(&[0, 0, 0, 0, 9, 1]), Err(DecodeError::Unresolved { found: 9, .. })));
    let good = encode(&EventRecord::from(event())).unwrap();
    for cut in 5..good.len() {
        assert!(decode::<EventRecord>(&good[..cut]).is_err(), "cut at {cut}");
    }
}

/// Writes a value as an older build did: with a schema that lacks a field which has a default.
fn written_without<T: Wire>(value: &T, field: &str, id: u32) -> (String, Vec<u8>) {
    let codec = T::codec();
    let mut schema: serde_json::Value = serde_json::from_str(codec.text).unwrap();
    schema["fields"].as_array_mut().unwrap().retain(|known| known["name"] != field);
    let older = Schema::parse_str(&schema.to_string()).unwrap();
    let bytes = encode(value).unwrap();
    let read = GenericDatumReader::builder(codec.schema()).build().unwrap().read_value(&mut &bytes[5..]).unwrap();
    let fields = if let Value::Record(fields) = read { Some(fields) } else { None };
    let fields = fields.unwrap().into_iter().filter(|(name, _)| name != field).collect();
    let mut out = [&[0], &id.to_be_bytes()[..]].concat();
    let writer = GenericDatumWriter::builder(&older).build().unwrap();
    writer.write_value(&mut out, Value::Record(fields)).unwrap();
    (schema.to_string(), out)
}

/// Also the records whose schemas name others, hold maps, bytes and unions.
#[test]
fn what_an_older_build_wrote_is_read_with_defaults() {
    fn check<T: Wire + std::fmt::Debug + PartialEq>(id: u32, field: &str, value: &T, expected: &T) {
        let ids = Ids::new();
        let numbers: Vec<(u8, u32)> = (1..).zip(1..=9).collect();
        ids.adopt(&numbers).unwrap();
        let (schema, bytes) = written_without(value, field, id);
        assert!(ids.decode::<T>(&bytes).unwrap_err().is_unresolved());
        ids.learn(id, Resolved::Schema(schema));
        assert_eq!(&ids.decode::<T>(&bytes).unwrap(), expected, "without {field}");
    }
    let event = EventRecord::from(event());
    check(100, "-", &event, &event);
    check(101, "metadata", &event, &EventRecord { metadata: [].into(), ..event.clone() });
    check(102, "failure", &event, &EventRecord { failure: None, ..event.clone() });
    check(103, "machine", &event, &EventRecord { machine: false, ..event.clone() });
    check(104, "categories", &event, &EventRecord { categories: vec![], ..event.clone() });
    let delta = DeltaRecord::from(delta());
    check(105, "-", &delta, &delta);
    check(106, "now", &delta, &DeltaRecord { now: None, ..delta.clone() });
    check(109, "provisional", &delta, &DeltaRecord { provisional: vec![], ..delta.clone() });
    let dead = DeadLetter {
        stage: "normalizer".into(),
        reason: "bad_element".into(),
        detail: "no address".into(),
        topic: "quell.raw.v1".into(),
        partition: 0,
        offset: 3,
        element: Some(4),
        attempt: 1,
        receipt_id: "r1".into(),
        provider: "drip".into(),
        tenant: "default".into(),
        key: Some(vec![0, 255]),
        value: Some(vec![1, 2]),
        headers: [("receipt-id".to_owned(), "r1".to_owned())].into(),
        dead_at: 6,
    };
    check(107, "-", &dead, &dead);
    check(108, "key", &dead, &DeadLetter { key: None, ..dead.clone() });
}
