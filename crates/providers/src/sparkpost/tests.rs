use super::*;
use crate::Triage;
use crate::testing::{self, event, headers, now, post, secrets, source, triage};

#[test]
fn fixtures() {
    testing::run_fixtures(&SparkPost, include_str!("fixtures/events.json"));
}

#[test]
fn proofs_are_credentials_and_headers() {
    let mut fixed = SourceSpec { basic_auth: vec!["quell:secret".to_owned()], ..SourceSpec::default() };
    fixed.headers.insert("X-MessageSystems-Webhook-Token".to_owned(), "token".to_owned());
    let check = |spec: &SourceSpec, pairs: &[(&str, &str)]| {
        let headers = headers(pairs);
        SparkPost.authenticate(&post("/", &headers, b"[]"), &source(&SparkPost, spec.clone()), now()).reason
    };
    let (basic, token) = (("authorization", "Basic cXVlbGw6c2VjcmV0"), ("x-messagesystems-webhook-token", "token"));
    assert_eq!(check(&fixed, &[basic, token]), "ok");
    assert_eq!(check(&fixed, &[basic]), "missing_header");
    assert_eq!(check(&fixed, &[token]), "missing_credentials");
    let bearer = SourceSpec { bearer: vec!["t-1".to_owned()], ..SourceSpec::default() };
    assert_eq!(check(&bearer, &[("authorization", "Bearer t-1")]), "ok");
    assert_eq!(check(&bearer, &[("authorization", "Bearer t-2")]), "wrong_credentials");
    assert!(SparkPost.check_source(&fixed).is_ok());
    assert!(SparkPost.check_source(&secrets(&["key"])).is_err());
}

#[test]
fn a_batch_sent_again_has_the_same_ids() {
    let body = r#"[{"msys":{"track_event":{"type":"open","event_id":"1","timestamp":"5","rcpt_to":"jane@example.com","transmission_id":"t"}}}]"#;
    let id = |body: &str| event(&SparkPost, body).event_id;
    assert_eq!(id(body), id(&body.replace("\":", "\": ")));
    assert_ne!(id(body), id(&body.replace(r#""event_id":"1""#, r#""event_id":"2""#)));
    assert_ne!(id(body), id(&body.replace("open", "initial_open")));
    assert_ne!(id(body), id(&body.replace(r#""event_id":"1","#, "")));
}

#[test]
fn a_ping_is_answered_and_not_stored() {
    assert_eq!(triage(&SparkPost, "application/json", r#"[{"msys":{}}]"#), Triage::Ignore("ping"));
    assert!(matches!(triage(&SparkPost, "application/json", r#"[{"msys":7}]"#), Triage::Refuse(_)));
}
