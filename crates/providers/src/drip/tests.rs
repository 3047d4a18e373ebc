use super::*;
use crate::testing::{self, event, headers, now, post, secrets, source};
use ring::hmac;

#[test]
fn fixtures() {
    testing::run_fixtures(&Drip, include_str!("fixtures/events.json"));
}

#[test]
fn signatures() {
    let body = br#"{"event":"subscriber.bounced"}"#;
    let right = hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), body));
    let check = |secret: &str, signature: Option<&str>, body: &[u8]| {
        let headers =
            headers(&signature.map(|signature| ("X-Drip-Signature", signature)).into_iter().collect::<Vec<_>>());
        Drip.authenticate(&post("/", &headers, body), &source(&Drip, secrets(&["old", secret])), now()).reason
    };
    assert_eq!(check("secret", Some(&right), body), "ok");
    assert_eq!(check("secret", Some(&right.to_uppercase()), body), "ok");
    assert_eq!(check("other", Some(&right), body), "wrong_signature");
    assert_eq!(check("secret", Some(&right), b"{}"), "wrong_signature");
    assert_eq!(check("secret", Some(&right[..32]), body), "malformed_signature");
    assert_eq!(check("secret", Some("not hex"), body), "malformed_signature");
    assert_eq!(check("secret", None, body), "missing_signature");
    assert_eq!(Drip.overload(), Overload::TooManyRequests);
}

#[test]
fn events_of_one_second_are_told_apart() {
    let body = r#"{"event":"subscriber.clicked_email","data":{"subscriber":{"id":"s","email":"jane@example.com"},"properties":{"delivery_id":"1","url":"a"}},"occurred_at":"2026-01-20T14:32:15Z"}"#;
    let id = |body: &str| event(&Drip, body).event_id;
    assert_eq!(id(body), id(&body.replace("\":", "\": ")), "white space is no difference");
    assert_ne!(id(body), id(&body.replace(r#""url":"a""#, r#""url":"b""#)));
    assert_ne!(id(body), id(&body.replace(r#""delivery_id":"1""#, r#""delivery_id":"2""#)));
}
