use super::*;
use crate::testing::{self, NOW, event, headers, now, post, secrets, source};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

const KEY: &[u8] = b"a key of twenty-four byte";

#[test]
fn fixtures() {
    testing::run_fixtures(&Generic, include_str!("fixtures/events.json"));
}

fn sign(id: &str, time: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), format!("{id}.{time}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

fn verdict(secret: &str, pairs: &[(&str, &str)], body: &str) -> &'static str {
    let headers = headers(pairs);
    let source = source(&Generic, secrets(&["whsec_b2xk", secret]));
    Generic.authenticate(&post("/", &headers, body.as_bytes()), &source, now()).reason
}

#[test]
fn signatures() {
    let (time, body) = (NOW.to_string(), "{}");
    let (right, secret) = (sign("msg_1", &time, body), format!("whsec_{}", STANDARD.encode(KEY)));
    let standard = |signature: &str, time: &str, body: &str| {
        let pairs = [("webhook-id", "msg_1"), ("webhook-timestamp", time), ("webhook-signature", signature)];
        verdict(&secret, &pairs, body)
    };
    assert_eq!(standard(&right, &time, body), "ok");
    let svix = [("svix-id", "msg_1"), ("svix-timestamp", time.as_str()), ("svix-signature", right.as_str())];
    assert_eq!(verdict(&secret, &svix, body), "ok");
    assert_eq!(verdict(&STANDARD.encode(KEY).replace('=', ""), &svix, body), "ok");
    assert_eq!(verdict("whsec_", &svix, body), "wrong_signature");
    assert_eq!(verdict("whsec_*", &svix, body), "wrong_signature");
    assert_eq!(standard(&format!("v1,AAAA v2,x v1a,y  {right}"), &time, body), "ok");
    assert_eq!(standard(&format!("{}{right}", "v1,AAAA ".repeat(16)), &time, body), "wrong_signature");
    assert_eq!(standard(&right.replace("v1,", "v2,"), &time, body), "wrong_signature");
    assert_eq!(standard(&right, &time, "{ }"), "wrong_signature");
    assert_eq!(standard("", &time, body), "missing_signature");
    assert_eq!(standard(&right, "soon", body), "malformed_timestamp");
    assert_eq!(standard(&right, &format!("+{time}"), body), "malformed_timestamp");
    assert_eq!(standard(&right, &(NOW - 301).to_string(), body), "stale");
    assert_eq!(standard(&right, &(NOW + 301).to_string(), body), "stale");
    assert_eq!(verdict(&secret, &svix[1..], body), "missing_id");
}

#[test]
fn sources_are_checked() {
    assert!(Generic.check_source(&secrets(&["whsec_c2VjcmV0"])).is_ok());
    assert!(Generic.check_source(&secrets(&["whsec_"])).is_err());
    assert!(Generic.check_source(&secrets(&["with spaces"])).is_err());
}

#[test]
fn identity() {
    let body = r#"{"kind":"unsubscribed","recipient":"jane@example.com","occurred_at":"2026-01-20T14:32:15Z","scope":"category:a"}"#;
    let id = |body: &str| event(&Generic, body).event_id;
    assert_ne!(id(body), id(&body.replace("category:a", "category:b")));
    assert_ne!(id(body), id(&body.replace("15Z", "16Z")));
    let with_id = body.replace('}', r#","id":"1"}"#);
    assert_ne!(id(body), id(&with_id));
    assert_ne!(id(&with_id), id(&with_id.replace(r#""1""#, r#""2""#)));
    // What is told about an event may be corrected without its becoming another.
    assert_eq!(id(&with_id), id(&with_id.replace("category:a", "category:b")));
}
