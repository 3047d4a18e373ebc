//! By hand, receipts and dead letters.

use super::bed::{Answer, Bed, DAY, START, at, hard};
use axum::body::Body;
use event_log::Record;
use schemas::{
    encode, topics,
    wire::{DeadLetter, RawWebhook},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::atomic::Ordering};

const JANE: &str = "jane@example.com";

async fn act(bed: &Bed, method: &str, uri: &str, key: Option<&str>, body: Value) -> Answer {
    let headers: Vec<(&str, &str)> = key.into_iter().map(|key| ("idempotency-key", key)).collect();
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = bed.call_as("writer", method, uri, Some("application/json"), &headers, body).await;
    bed.settle().await;
    answer
}

async fn reason(bed: &Bed, address: &str) -> Value {
    let body = json!({ "recipients": [address] }).to_string();
    bed.call("POST", "/v1/check", Some("application/json"), &body).await.json()["results"][0]["reason"].clone()
}

#[tokio::test]
async fn suppressed_and_released_by_hand() {
    let bed = Bed::new();
    let wanted =
        json!({ "recipients": ["Jane@Example.com", "+1-555-123-4567"], "by": "ann", "note": "asked on the phone" });
    let answer = act(&bed, "POST", "/v1/suppressions", None, wanted).await;
    assert_eq!((answer.status, answer.json()["accepted"].as_array().unwrap().len()), (202, 2));
    assert_eq!(reason(&bed, JANE).await, "manual");
    assert_eq!(reason(&bed, "+15551234567").await, "manual");
    let why = bed.get("/v1/recipients/jane@example.com").await.json();
    let row = &why["evidence"][0];
    assert_eq!(
        (&row["by"], &row["note"], &row["source"]),
        (&json!("ann"), &json!("asked on the phone"), &json!("writer"))
    );
    assert_eq!((&row["provider"], &row["event_id"]), (&json!("manual"), &answer.json()["accepted"][0]["event_id"]));
    assert_eq!(why["address"], "Jane@Example.com");

    // At the very same moment: the release is stamped after the evidence it saw.
    let uri = "/v1/suppressions/jane@example.com?by=bob&note=came%20back";
    assert_eq!(act(&bed, "DELETE", uri, None, Value::Null).await.status, 202);
    assert_eq!(reason(&bed, JANE).await, Value::Null);
    let again = json!({ "recipient": JANE, "by": "ann", "reason": "no", "scope": "marketing", "until": at(DAY) });
    assert_eq!(act(&bed, "POST", "/v1/suppressions", None, again).await.status, 202);
    assert_eq!(reason(&bed, JANE).await, "manual");
    bed.advance(DAY);
    assert_eq!(reason(&bed, JANE).await, Value::Null);
}

#[tokio::test]
async fn a_release_wins_over_a_provider_whose_clock_runs_ahead_of_ours() {
    let bed = Bed::new();
    bed.tell(hard(JANE, 50));
    bed.settle().await;
    assert_eq!(bed.clock.load(Ordering::SeqCst), START);
    let body = json!({ "recipient": JANE, "by": "ann", "note": "typo of theirs" });
    assert_eq!(act(&bed, "DELETE", "/v1/suppressions", None, body).await.status, 202);
    assert_eq!(reason(&bed, JANE).await, Value::Null);
}

#[tokio::test]
async fn asked_again_with_its_key_an_act_is_one_event() {
    let bed = Bed::new();
    let body = json!({ "recipient": JANE, "by": "ann", "note": "asked" });
    let first = act(&bed, "POST", "/v1/suppressions", Some("k1"), body.clone()).await;
    bed.advance(5);
    let second = act(&bed, "POST", "/v1/suppressions", Some("k1"), body.clone()).await;
    assert_eq!((first.status, first.json()), (202, second.json()));
    // Another process, which remembers nothing, finds it in the evidence.
    let other = Bed::with(bed.store.clone(), crate::lookup::LookupLimits::default());
    let body_text = Body::from(body.to_string());
    let key = [("idempotency-key", "k1")];
    other.advance(9);
    let third = other.call_as("writer", "POST", "/v1/suppressions", None, &key, body_text).await;
    assert_eq!(third.json(), first.json());
    let why = bed.get("/v1/recipients/jane@example.com").await.json();
    assert_eq!(why["evidence"].as_array().unwrap().len(), 1);
    let changed = json!({ "recipient": "joe@example.com", "by": "ann", "note": "asked" });
    assert_eq!(act(&bed, "POST", "/v1/suppressions", Some("k1"), changed).await.status, 409);
    let fresh = act(&bed, "POST", "/v1/suppressions", Some("k2"), body).await;
    assert_ne!(fresh.json()["accepted"], first.json()["accepted"]);
}

#[tokio::test]
async fn an_act_says_who_why_and_whom() {
    let bed = Bed::new();
    let cases = [
        (json!({ "recipient": JANE, "note": "x" }), "by"),
        (json!({ "recipient": JANE, "by": "ann", "note": " " }), "note"),
        (json!({ "by": "ann", "note": "x" }), "recipient"),
        (json!({ "recipients": ["nobody"], "by": "ann", "note": "x" }), "nothing was done"),
        (json!({ "recipient": JANE, "by": "ann", "note": "x", "until": at(-1) }), "until"),
        (json!({ "recipient": JANE, "by": "ann", "note": "x", "scope": "everything" }), "not a scope"),
        (json!({ "recipient": JANE, "by": "ann", "note": "x", "scop": "all" }), "unknown field"),
        (json!({ "recipients": vec!["a@b.c"; 1_001], "by": "ann", "note": "x" }), "1 to 1000"),
    ];
    for (body, expected) in cases {
        let answer = act(&bed, "POST", "/v1/suppressions", None, body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(expected), "{}", answer.text());
    }
    assert_eq!(reason(&bed, JANE).await, Value::Null);
    assert_eq!(bed.log.records(topics::EVENTS, 0).len() + bed.log.records(topics::EVENTS, 1).len(), 0);
}

fn put(bed: &Bed, topic: &str, partition: u32, value: bytes::Bytes) -> u64 {
    let record = Record { key: Some("k".into()), value: Some(value), headers: Vec::new(), timestamp_ms: 0 };
    bed.log.append_now(topic, Some(partition), record).unwrap().offset
}

fn raw(tenant: &str, body: &[u8]) -> RawWebhook {
    RawWebhook {
        receipt_id: "abc".to_owned(),
        provider: "drip".to_owned(),
        source: "default".to_owned(),
        tenant: tenant.to_owned(),
        received_at: at(0).as_micros(),
        method: "POST".to_owned(),
        url: "https://example.com/webhooks/drip".to_owned(),
        headers: BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]),
        body: body.to_vec(),
        verified: "hmac".to_owned(),
        shadow: false,
    }
}

#[tokio::test]
async fn receipts_show_the_webhook() {
    let bed = Bed::new();
    put(&bed, topics::RAW, 1, encode(&raw("default", b"{}")).unwrap());
    put(&bed, topics::RAW, 1, encode(&raw("default", b"\xff")).unwrap());
    let told = bed.get("/v1/receipts/r0.1.0.abc").await.json();
    assert_eq!((&told["body"], &told["body_base64"], &told["status"]), (&json!("{}"), &Value::Null, &json!("waiting")));
    assert_eq!(told["events"], json!([{ "receipt_id": "r0.1.0.abc", "bytes": 2 }]));
    assert_eq!(bed.get("/v1/receipts/r0.1.1.abc").await.json()["body_base64"], "/w==");
    for (uri, status) in [
        ("/v1/receipts/nonsense", 400),
        ("/v1/receipts/r0.1.0.abd", 404),
        ("/v1/receipts/r0.1.2.abc", 404),
        ("/v1/receipts/r0.7.0.abc", 404),
        ("/v1/receipts/r1.1.0.abc", 404),
        ("/v1/receipts/r0.1.0.abc?tenant=acme", 404),
    ] {
        assert_eq!(bed.get(uri).await.status, status, "{uri}");
    }
    let theirs = bed.call_as("acme", "GET", "/v1/receipts/r0.1.0.abc", None, &[], Body::empty()).await;
    assert_eq!(theirs.status, 404);

    // Once the normalizer's position is past it, it was processed.
    use event_log::{Limits, Outputs, Polled, Session as _};
    let mut session = bed.log.join(topics::NORMALIZERS, topics::RAW).unwrap();
    let limits = Limits { records_max: 1, bytes_max: 1 << 20, wait: std::time::Duration::ZERO };
    session.poll(&limits).unwrap();
    let Polled::Batch(batch) = session.poll(&limits).unwrap() else { panic!("no batch") };
    session.commit(&batch, &Outputs::default()).unwrap();
    assert_eq!(bed.get("/v1/receipts/r0.1.0.abc").await.json()["status"], "processed");
    assert_eq!(bed.get("/v1/receipts/r0.1.1.abc").await.json()["status"], "waiting");
}

#[tokio::test]
async fn a_spooled_webhook_is_found_by_its_first_receipt() {
    let bed = Bed::new();
    put(&bed, topics::RAW, 1, encode(&raw("default", b"{}")).unwrap());
    let told = bed.get("/v1/receipts/sabc").await.json();
    assert_eq!((&told["receipt_id"], &told["body"]), (&json!("r0.1.0.abc"), &json!("{}")));
    assert_eq!(told["events"], json!([{ "receipt_id": "r0.1.0.abc", "bytes": 2 }]));

    for (uri, status) in [("sabd", 404), ("slost", 404), ("saway", 503), ("s", 400), ("sa.b", 400)] {
        assert_eq!(bed.get(&format!("/v1/receipts/{uri}")).await.status, status, "{uri}");
    }
    // A stranger learns nothing: what is another tenant's looks like what is not there yet.
    let theirs = bed.call_as("acme", "GET", "/v1/receipts/sabc", None, &[], Body::empty()).await;
    let unknown = bed.call_as("acme", "GET", "/v1/receipts/sabd", None, &[], Body::empty()).await;
    assert_eq!((theirs.status, theirs.text()), (404, unknown.text()));
    assert!(unknown.text().contains("not in the log yet"), "{}", unknown.text());
}

fn letter(tenant: &str, topic: &str, value: Option<&[u8]>) -> DeadLetter {
    DeadLetter {
        stage: "normalizer".to_owned(),
        reason: "malformed".to_owned(),
        detail: "no email".to_owned(),
        topic: topic.to_owned(),
        partition: 0,
        offset: 3,
        element: Some(2),
        attempt: 1,
        receipt_id: "abc".to_owned(),
        provider: "drip".to_owned(),
        tenant: tenant.to_owned(),
        key: Some(b"key".to_vec()),
        value: value.map(<[u8]>::to_vec),
        headers: BTreeMap::from([("receipt-id".to_owned(), "abc".to_owned())]),
        dead_at: at(0).as_micros(),
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_replayed() {
    let bed = Bed::new();
    put(&bed, topics::DEAD_LETTER, 0, encode(&letter("default", topics::EVENTS, Some(b"one"))).unwrap());
    put(&bed, topics::DEAD_LETTER, 1, encode(&letter("acme", topics::EVENTS, Some(b"two"))).unwrap());
    put(&bed, topics::DEAD_LETTER, 1, encode(&letter("", topics::DELTAS, None)).unwrap());
    let ids = |answer: &Value| -> Vec<String> {
        let letters = answer["dead_letters"].as_array().unwrap();
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = bed.get("/v1/dead-letters").await.json();
    assert_eq!(ids(&all), ["0.0", "1.0", "1.1"]);
    assert_eq!(
        (&all["dead_letters"][0]["replayable"], &all["dead_letters"][2]["replayable"]),
        (&json!(true), &json!(false))
    );
    let first = bed.get("/v1/dead-letters?max=2").await.json();
    let rest = bed.get(&format!("/v1/dead-letters?after={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((ids(&first), ids(&rest)), (vec!["0.0".to_owned(), "1.0".to_owned()], vec!["1.1".to_owned()]));
    let theirs = bed.call_as("acme", "GET", "/v1/dead-letters", None, &[], Body::empty()).await.json();
    assert_eq!(ids(&theirs), ["1.0"]);

    let replay = async |who: &str, body: Value| {
        let body = Body::from(body.to_string());
        bed.call_as(who, "POST", "/v1/dead-letters/replay", None, &[], body).await
    };
    assert_eq!(replay("reader", json!({ "all": true })).await.status, 403);
    assert_eq!(replay("writer", json!({})).await.status, 400);
    assert_eq!(replay("acme", json!({ "ids": ["0.0"] })).await.status, 404);
    assert_eq!(replay("writer", json!({ "ids": ["0.0", "0.9"] })).await.status, 404);
    let events = || [0, 1].iter().flat_map(|partition| bed.log.records(topics::EVENTS, *partition)).collect::<Vec<_>>();
    assert_eq!(events().len(), 0);
    assert_eq!(replay("writer", json!({ "ids": ["0.0"] })).await.json()["replayed"], 1);
    let record = events().remove(0).record;
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"key"[..]), Some(&b"one"[..])));
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|header| (header.name.as_ref(), header.value.as_ref())).collect();
    assert_eq!(headers, [("receipt-id", &b"abc"[..]), ("attempt", &b"2"[..])]);
    let answer = replay("writer", json!({ "all": true, "limit": 10 })).await;
    assert_eq!((answer.status, &answer.json()["skipped"]), (202, &json!(["1.1"])));
    assert_eq!((&answer.json()["replayed"], events().len()), (&json!(2), 3));
}

#[tokio::test]
async fn what_a_subscriber_did_not_take_goes_back_to_it_alone() {
    let bed = Bed::new();
    let undelivered = |topic: &str| {
        let mut letter = letter("default", topic, Some(b"a delta"));
        letter.stage = schemas::headers::NOTIFIER.to_owned();
        letter.headers.insert("subscriber".to_owned(), "crm".to_owned());
        encode(&letter).unwrap()
    };
    put(&bed, topics::DEAD_LETTER, 0, undelivered(topics::DELTAS));
    put(&bed, topics::DEAD_LETTER, 0, undelivered(topics::REDELIVERIES));
    let body = Body::from(json!({ "all": true }).to_string());
    let answer = bed.call_as("writer", "POST", "/v1/dead-letters/replay", None, &[], body).await;
    assert_eq!((answer.status, &answer.json()["replayed"]), (202, &json!(2)));
    let appended = |topic: &str| -> Vec<_> {
        [0, 1].iter().flat_map(|partition| bed.log.records(topic, *partition)).map(|found| found.record).collect()
    };
    assert_eq!(appended(topics::DELTAS), [], "no delta is told twice");
    let back = appended(topics::REDELIVERIES);
    assert_eq!(back.len(), 2);
    for record in back {
        assert_eq!(record.value.as_deref(), Some(&b"a delta"[..]));
        assert!(record.headers.iter().any(|header| header.name == "subscriber" && header.value == "crm"));
    }
}
