use super::*;
use crate::testing::{self, NOW, event, headers, now, post, secrets, source};
use ring::hmac as ring_hmac;

#[test]
fn fixtures() {
    testing::run_fixtures(&Mailomat, include_str!("fixtures/events.json"));
}

fn sign(text: &str) -> String {
    let key = ring_hmac::Key::new(ring_hmac::HMAC_SHA256, b"secret");
    format!("sha256={}", hex::encode(ring_hmac::sign(&key, text.as_bytes())))
}

fn verdict(keys: &[&str], pairs: &[(&str, &str)]) -> Authentication {
    let headers = headers(pairs);
    Mailomat.authenticate(&post("/", &headers, b"{}"), &source(&Mailomat, secrets(keys)), now())
}

#[test]
fn signatures() {
    let check = |id: &str, event: &str, time: i64, signature: &str| {
        let time = time.to_string();
        verdict(&["old", "secret"], &[(ID, id), (EVENT, event), (TIMESTAMP, &time), (SIGNATURE, signature)])
    };
    let right = sign(&format!("i.delivered.{NOW}"));
    let good = check("i", "delivered", NOW, &right);
    assert_eq!((good.ok, good.token), (true, Some(format!("i.delivered.{NOW}"))));
    assert_eq!(check("i", "delivered", NOW, &right.to_uppercase().replace("SHA", "sha")).reason, "ok");
    assert_eq!(check("j", "delivered", NOW, &right).reason, "wrong_signature");
    assert_eq!(check("i", "opened", NOW, &right).reason, "wrong_signature");
    assert_eq!(check("i", "delivered", NOW + 1, &right).reason, "wrong_signature");
    for wrong in [&right[7..], "sha256=", "sha1=00", &right[..40], "sha256=zz"] {
        assert_eq!(check("i", "delivered", NOW, wrong).reason, "malformed_signature", "{wrong}");
    }
    let old = NOW - 43_201;
    assert_eq!(check("i", "delivered", old, &sign(&format!("i.delivered.{old}"))).reason, "stale");
    let early = NOW + 43_201;
    assert_eq!(check("i", "delivered", early, &sign(&format!("i.delivered.{early}"))).reason, "stale");
    let late = NOW - 43_200;
    assert!(check("i", "delivered", late, &sign(&format!("i.delivered.{late}"))).ok);
    // The same signature with a dot moved stands for the same token.
    let moved = verdict(
        &["secret"],
        &[(ID, "a"), (EVENT, "b.c"), (TIMESTAMP, &NOW.to_string()), (SIGNATURE, &sign(&format!("a.b.c.{NOW}")))],
    );
    let other = verdict(
        &["secret"],
        &[(ID, "a.b"), (EVENT, "c"), (TIMESTAMP, &NOW.to_string()), (SIGNATURE, &sign(&format!("a.b.c.{NOW}")))],
    );
    assert!(moved.ok && moved.token == other.token);
    let long = "x".repeat(SIGNED_BYTES_MAX);
    assert_eq!(check(&long, "delivered", NOW, &right).reason, "malformed_id");
}

#[test]
fn every_header_is_needed() {
    let time = NOW.to_string();
    let all = [(ID, "i"), (EVENT, "delivered"), (TIMESTAMP, time.as_str()), (SIGNATURE, "sha256=00")];
    for (missing, reason) in [
        (ID, "missing_id"),
        (EVENT, "missing_event"),
        (TIMESTAMP, "missing_timestamp"),
        (SIGNATURE, "missing_signature"),
    ] {
        let rest: Vec<(&str, &str)> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        assert_eq!(verdict(&["secret"], &rest).reason, reason);
    }
    let pairs = [(ID, "i"), (EVENT, "e"), (TIMESTAMP, "soon"), (SIGNATURE, "sha256=00")];
    assert_eq!(verdict(&["secret"], &pairs).reason, "malformed_timestamp");
}

#[test]
fn identity() {
    let body = r#"{"id":"e-1","eventType":"clicked","occurredAt":"2026-01-20T15:32:15+01:00","messageUuid":"m-1","recipient":"jane@example.com","payload":{"url":"a"}}"#;
    let id = |body: &str| event(&Mailomat, body).event_id;
    assert_eq!(id(body), id(&body.replace("15:32:15+01:00", "14:32:15Z")), "the same moment");
    for (from, to) in [("e-1", "e-2"), ("clicked", "opened"), (":15+", ":16+"), ("m-1", "m-2"), ("jane", "joe")] {
        assert_ne!(id(body), id(&body.replace(from, to)), "{from}");
    }
}
