//! Erased: forgotten, still suppressed, and with a receipt.

use super::bed::{Answer, Bed, DAY, at, event, hard, soft};
use crate::lookup::{LookupDeps, LookupLimits, router};
use axum::body::Body;
use domain::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

const JANE: &str = "jane@example.com";
const ERASURES: &str = "/v1/erasures";

async fn call(bed: &Bed, who: &str, method: &str, uri: &str, key: Option<&str>, body: Value) -> Answer {
    let headers: Vec<(&str, &str)> = key.into_iter().map(|key| ("idempotency-key", key)).collect();
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = bed.call_as(who, method, uri, Some("application/json"), &headers, body).await;
    bed.settle().await;
    answer
}

async fn erase(bed: &Bed, address: &str) -> Value {
    let body = json!({ "recipient": address, "by": "ann", "note": "asked by letter" });
    let answer = call(bed, "writer", "POST", ERASURES, None, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()
}

async fn get(bed: &Bed, uri: &str) -> Value {
    let answer = bed.get(uri).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn reason(bed: &Bed, address: &str) -> Value {
    let body = json!({ "recipients": [address] }).to_string();
    bed.call("POST", "/v1/check", Some("application/json"), &body).await.json()["results"][0]["reason"].clone()
}

#[tokio::test]
async fn an_erased_recipient_is_forgotten_and_stays_suppressed() {
    let bed = Bed::new();
    bed.tell(event(Kind::Delivered, 0));
    bed.tell(hard(JANE, 5));
    bed.settle().await;
    bed.advance(10);
    assert_eq!(bed.get("/v1/erasures/jane@example.com").await.status, 404);
    let before = get(&bed, "/v1/recipients/jane@example.com").await;
    assert_eq!((&before["erased"], &before["evidence"][0]["kept"]), (&Value::Null, &json!(false)));

    let receipt = erase(&bed, "Jane@Example.com").await;
    assert_eq!(
        (&receipt["asked_at"], &receipt["accepted"][0]["recipient"]),
        (&json!(at(10)), &json!("Jane@Example.com"))
    );
    let told = get(&bed, "/v1/erasures/jane@example.com").await;
    assert_eq!((&told["state"], &told["erased_at"], &told["by"]), (&json!("kept"), &json!(at(10)), &json!("ann")));
    assert_eq!(told["gone"], receipt["gone"]);
    // While the rest waits to be forgotten, nobody is shown it.
    let waiting = get(&bed, "/v1/recipients/jane@example.com").await;
    assert_eq!(bed.forget().await, 1);
    let why = get(&bed, "/v1/recipients/jane@example.com").await;
    assert_eq!(why["erased"], json!({ "at": at(10), "by": "ann", "forgotten": true }));
    assert_eq!(waiting["erased"]["forgotten"], false);
    for name in ["suppressed", "in_force", "why", "evidence", "deltas", "address", "engagement"] {
        assert_eq!(why[name], waiting[name], "{name}");
    }
    assert_eq!((&why["suppressed"], &why["address"], &why["deltas"]), (&json!(true), &json!(""), &json!([])));
    assert_eq!(why["in_force"][0]["reason"], "hard_bounce");
    assert_eq!(why["in_force"][0]["since"], before["in_force"][0]["since"]);
    assert_ne!(why["in_force"][0]["event_id"], before["in_force"][0]["event_id"]);
    assert_eq!(why["engagement"]["sent_at"], Value::Null);
    let rows: Vec<(&Value, &Value, &Value)> =
        why["evidence"].as_array().unwrap().iter().map(|row| (&row["kind"], &row["effect"], &row["kept"])).collect();
    let expected = [("erased", "recorded"), ("bounced_hard", "suppresses")];
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for ((kind, effect, kept), expected) in rows.into_iter().zip(expected) {
        assert_eq!((kind.as_str(), effect.as_str(), kept), (Some(expected.0), Some(expected.1), &json!(true)));
    }
    let because = why["evidence"][1]["because"].as_str().unwrap();
    assert!(because.ends_with("(kept when the recipient was erased)"), "{because}");
    assert!(!why["evidence"].to_string().contains("no such user"), "{why}");

    assert_eq!(reason(&bed, JANE).await, "hard_bounce");
    let told = get(&bed, "/v1/erasures/jane@example.com").await;
    assert_eq!((&told["state"], &told["in_force"][0]["reason"]), (&json!("forgotten"), &json!("hard_bounce")));
    assert!(!bed.get("/v1/export").await.text().contains("jane"));
    assert_eq!(bed.get("/v1/messages/m%2F1%20%3Cx%3E").await.status, 404);
}

#[tokio::test]
async fn the_receipt_names_the_date_of_each_place() {
    let bed = Bed::new();
    let gone = erase(&bed, JANE).await["gone"].clone();
    // 604 800 s kept, 3 600 s added, 3 600 s for what is on its way, and up to the hour.
    assert_eq!(gone[0]["gone_by"], "2023-11-22T01:00:00Z", "{gone}");
    assert_eq!((&gone[0]["place"], &gone[0]["keeps_seconds"]), (&json!("topic"), &json!(604_800)));
    assert_eq!((&gone[1]["place"], &gone[1]["gone_by"]), (&json!("store"), &Value::Null));
}

#[tokio::test]
async fn who_was_free_stays_free_and_who_is_released_by_hand_is() {
    let bed = Bed::new();
    erase(&bed, "stranger@example.com").await;
    bed.forget().await;
    assert_eq!(reason(&bed, "stranger@example.com").await, Value::Null);
    let told = get(&bed, "/v1/erasures/stranger@example.com").await;
    assert_eq!((&told["state"], &told["in_force"]), (&json!("forgotten"), &json!([])));

    bed.tell(hard(JANE, 0));
    bed.settle().await;
    bed.advance(10);
    erase(&bed, JANE).await;
    bed.forget().await;
    bed.advance(10);
    let uri = "/v1/suppressions/jane@example.com?by=bob&note=wants%20mail%20again";
    assert_eq!(call(&bed, "writer", "DELETE", uri, None, Value::Null).await.status, 202);
    assert_eq!(reason(&bed, JANE).await, Value::Null);
    let why = get(&bed, "/v1/recipients/jane@example.com").await;
    assert_eq!((&why["suppressed"], &why["evidence"][0]["kind"]), (&json!(false), &json!("released_manually")));
    assert_eq!((&why["address"], &why["deltas"][0]["change"]), (&json!(JANE), &json!("released")));
    assert_eq!(why["evidence"][0]["kept"], false);
    assert_eq!(get(&bed, "/v1/erasures/jane@example.com").await["in_force"], json!([]));
}

#[tokio::test]
async fn what_ends_ends_also_when_erased() {
    let bed = Bed::new();
    bed.tell(soft(JANE, 0));
    bed.settle().await;
    bed.advance(10);
    erase(&bed, JANE).await;
    bed.forget().await;
    assert_eq!(reason(&bed, JANE).await, "soft_bounce");
    bed.advance(8 * DAY);
    assert_eq!(reason(&bed, JANE).await, Value::Null);
    assert_eq!(get(&bed, "/v1/erasures/jane@example.com").await["in_force"], json!([]));
    assert_eq!(get(&bed, "/v1/recipients/jane@example.com").await["suppressed"], false);
}

#[tokio::test]
async fn asked_again_with_its_key_an_erasure_is_one_event() {
    let bed = Bed::new();
    let body = json!({ "recipients": [JANE, "joe@example.com"], "by": "ann", "note": "asked" });
    let first = call(&bed, "writer", "POST", ERASURES, Some("k1"), body.clone()).await;
    bed.advance(5);
    let second = call(&bed, "writer", "POST", ERASURES, Some("k1"), body).await;
    assert_eq!((first.status, first.json()), (202, second.json()));
    assert_eq!(bed.forget().await, 2);
    let other = json!({ "recipient": JANE, "by": "ann", "note": "another" });
    assert_eq!(call(&bed, "writer", "POST", ERASURES, Some("k1"), other).await.status, 409);
}

#[tokio::test]
async fn who_may_not_and_what_cannot_be_read_is_refused() {
    let bed = Bed::new();
    let good = json!({ "recipient": JANE, "by": "ann", "note": "asked" });
    assert_eq!(call(&bed, "reader", "POST", ERASURES, None, good.clone()).await.status, 403);
    for wrong in [
        json!({ "recipient": "jane", "by": "ann", "note": "asked" }),
        json!({ "by": "ann", "note": "asked" }),
        json!({ "recipient": JANE, "note": "asked" }),
        json!({ "recipient": JANE, "by": "ann" }),
        json!({ "recipient": JANE, "by": "ann", "note": "asked", "scope": "marketing" }),
        json!({ "recipients": vec![JANE; 1_001], "by": "ann", "note": "asked" }),
    ] {
        assert_eq!(call(&bed, "writer", "POST", ERASURES, None, wrong).await.status, 400);
    }
    let other = json!({ "recipient": JANE, "by": "ann", "note": "asked", "tenant": "other" });
    assert_eq!(call(&bed, "acme", "POST", ERASURES, None, other).await.status, 403);
    assert_eq!(call(&bed, "acme", "POST", ERASURES, None, good).await.status, 202);
    assert_eq!(bed.get("/v1/erasures/jane@example.com").await.status, 404, "another tenant's erasure");
    assert_eq!(bed.get("/v1/erasures/jane@example.com?tenant=acme").await.status, 200);
    assert_eq!(bed.get("/v1/erasures/jane").await.status, 400);
}

#[tokio::test]
async fn without_a_key_nobody_is_erased() {
    let bed = Bed::new();
    let deps = Bed::deps(&bed.store, &bed.log, &bed.clock, Vec::new(), true, LookupLimits::default());
    let router = router(LookupDeps { store: Arc::new(bed.store.clone()), ..deps });
    let body = json!({ "recipient": JANE, "by": "ann", "note": "asked" }).to_string();
    let request = http::Request::post(ERASURES).header("content-type", "application/json").body(Body::from(body));
    let answer = super::bed::send(router, request.unwrap()).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (501, "application/problem+json"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("[erasure] key"), "{}", answer.text());
}
