use super::*;
use crate::testing::{self, event, headers, now, post, secrets, source};
use ring::hmac as ring_hmac;

#[test]
fn fixtures() {
    testing::run_fixtures(&MailerSend, include_str!("fixtures/events.json"));
}

#[test]
fn signatures() {
    let body = br#"{"type": "webhook.test"}"#;
    let right = hex::encode(ring_hmac::sign(&ring_hmac::Key::new(ring_hmac::HMAC_SHA256, b"secret"), body));
    let check = |secret: &str, signature: Option<&str>, body: &[u8]| {
        let headers = headers(&signature.map(|given| ("Signature", given)).into_iter().collect::<Vec<_>>());
        let source = source(&MailerSend, secrets(&["old", secret]));
        let verdict = MailerSend.authenticate(&post("/", &headers, body), &source, now());
        assert_eq!(verdict.ok, verdict.reason == "ok");
        verdict.reason
    };
    assert_eq!(check("secret", Some(&right), body), "ok");
    assert_eq!(check("other", Some(&right), body), "wrong_signature");
    assert_eq!(check("secret", Some(&right), br#"{"type":"webhook.test"}"#), "wrong_signature");
    assert_eq!(check("secret", Some(&right), &body[..10]), "wrong_signature");
    assert_eq!(check("secret", Some(&right[..32]), body), "malformed_signature");
    assert_eq!(check("secret", Some(""), body), "malformed_signature");
    assert_eq!(check("secret", None, body), "missing_signature");
}

#[test]
fn a_retry_has_the_same_id_and_another_event_has_not() {
    let body = r#"{"type":"activity.opened","created_at":"2026-01-20T14:32:15Z","data":{"id":"a-1","recipient":"jane@example.com","message_id":"m-1"}}"#;
    let id = |body: &str| event(&MailerSend, body).event_id;
    assert_eq!(id(body), id(&body.replace("\":", "\": ")));
    assert_ne!(id(body), id(&body.replace("a-1", "a-2")));
    assert_ne!(id(body), id(&body.replace("opened", "opened_unique")));
    assert_ne!(id(body), id(&body.replace("jane", "joe")));
}
