use super::*;
use crate::Triage;
use crate::sns::testing as sns_testing;
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
fn signatures_are_judged_by_named_certificates_alone() {
    const TOPIC: &str = "arn:scw:sns:fr-par:project-1:mail";
    const URL: &str = "https://certificates.scw.example/sns.pem";
    let spec = |url: &str, pem: &str| SourceSpec {
        topics: vec![TOPIC.to_owned()],
        certificates: [(url.to_owned(), pem.to_owned())].into(),
        ..SourceSpec::default()
    };
    let mut body = sns_testing::notification("{}");
    (body["TopicArn"], body["SigningCertURL"]) = (TOPIC.into(), URL.into());
    let (body, headers) = (sns_testing::signed(body), headers(&[]));
    let judge = |spec: SourceSpec| {
        Scaleway.authenticate(&post("/", &headers, body.as_bytes()), &source(&Scaleway, spec), now())
    };
    let verdict = judge(spec(URL, sns_testing::PEM));
    assert_eq!((verdict.ok, verdict.scheme), (true, "sns-rsa-sha256"));
    assert_eq!(judge(spec(URL, sns_testing::OTHER_PEM)).reason, "wrong_signature");
    let other =
        SourceSpec { topics: vec!["arn:scw:sns:fr-par:project-2:mail".to_owned()], ..spec(URL, sns_testing::PEM) };
    assert_eq!(judge(other).reason, "topic_not_allowed");
    // Nothing is ever fetched for it.
    let topic_alone = SourceSpec { certificates: [].into(), ..spec(URL, "") };
    for spec in [spec("https://other.example/a.pem", sns_testing::PEM), topic_alone.clone()] {
        assert_eq!(judge(spec).wanted, Some(crate::Wanted::Pinned));
    }
    assert!(Scaleway.check_source(&spec(URL, sns_testing::PEM)).is_ok());
    assert!(Scaleway.check_source(&topic_alone).is_err());
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
