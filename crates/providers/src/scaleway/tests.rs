use super::*;
use crate::Triage;
use crate::testing::{self, event, headers, now, post, secrets, source, triage};

#[test]
fn fixtures() {
    testing::run_fixtures(&Scaleway, include_str!("fixtures/events.json"));
}

#[test]
fn proofs() {
    let spec = || SourceSpec { basic_auth: vec!["quell:secret".to_owned()], ..SourceSpec::default() };
    let check = |pairs: &[(&str, &str)]| {
        let headers = headers(pairs);
        Scaleway.authenticate(&post("/", &headers, b"{}"), &source(&Scaleway, spec()), now()).reason
    };
    assert_eq!(check(&[("authorization", "Basic cXVlbGw6c2VjcmV0")]), "ok");
    assert_eq!(check(&[("authorization", "Basic cXVlbGw6c2VjcmV1")]), "wrong_credentials");
    assert_eq!(check(&[("authorization", "Basic cXVlbGw")]), "malformed_credentials");
    assert_eq!(check(&[]), "missing_credentials");
    assert!(Scaleway.check_source(&spec()).is_ok());
    assert!(Scaleway.check_source(&secrets(&["key"])).is_err());
    assert_eq!(Scaleway.overload(), crate::Overload::ServiceUnavailable, "SNS takes every 4xx for handled");
}

#[test]
fn a_confirmation_is_no_event() {
    let body = r#"{"Type":"SubscriptionConfirmation","MessageId":"n","Token":"t","TopicArn":"arn:scw:sns:fr-par:p:t","SubscribeURL":"https://example.com/"}"#;
    assert_eq!(triage(&Scaleway, "text/plain; charset=UTF-8", body), Triage::Ignore("subscription_confirmation"));
}

#[test]
fn identity() {
    let inner = r#"{"id":"e-1","type":"email_delivered","created_at":"2026-01-20T14:32:15Z","email_id":"m-1","email_to":"jane@example.com"}"#;
    let wrapped = |message_id: &str, inner: &str| {
        serde_json::json!({"Type": "Notification", "MessageId": message_id, "Message": inner}).to_string()
    };
    let id = |body: &str| event(&Scaleway, body).event_id;
    assert_eq!(id(&wrapped("n-1", inner)), id(&wrapped("n-2", inner)), "the event's own id counts");
    assert_eq!(id(inner), id(&wrapped("n-1", inner)));
    for (from, to) in [("e-1", "e-2"), ("delivered", "queued"), (":15Z", ":16Z"), ("m-1", "m-2"), ("jane", "joe")] {
        assert_ne!(id(inner), id(&inner.replace(from, to)), "{from}");
    }
    let nameless = inner.replace(r#""id":"e-1","#, "");
    assert_ne!(id(&wrapped("n-1", &nameless)), id(&wrapped("n-2", &nameless)));
}
