//! Notifications of Amazon SNS: certificates that are fetched, subscriptions that are confirmed, through a way out that
//! only this test has.

use crate::running::{Running, Setup, source, start};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ingest_gateway::{Fetch, FetchError, Fetched};
use reqwest::Response;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
const URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
const CONFIRM: &str = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:mail&Token=2336412f37";
const PEM: &str = include_str!("../../../crates/providers/src/sns/fixtures/signer.pem");
const OTHER_PEM: &str = include_str!("../../../crates/providers/src/sns/fixtures/other.pem");

/// Answers as it is told; what it is not told, it cannot reach.
#[derive(Debug)]
struct FakeSns {
    answers: Mutex<HashMap<String, (u16, Vec<u8>)>>,
    calls: Mutex<Vec<String>>,
    /// Calls wait for a permit here.
    gate: Semaphore,
}

impl FakeSns {
    fn new() -> Arc<Self> {
        Arc::new(Self { answers: Mutex::default(), calls: Mutex::default(), gate: Semaphore::new(100) })
    }

    fn answer(&self, url: &str, status: u16, body: &[u8]) {
        self.answers.lock().unwrap().insert(url.to_owned(), (status, body.to_vec()));
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Fetch for FakeSns {
    async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        self.calls.lock().unwrap().push(url.to_owned());
        let _permit = self.gate.acquire().await.unwrap();
        let answers = self.answers.lock().unwrap();
        let (status, body) = answers.get(url).ok_or_else(|| FetchError("no route".to_owned()))?;
        Ok(Fetched { status: http::StatusCode::from_u16(*status).unwrap(), body: body.clone().into() })
    }
}

async fn gateway(sns: &Arc<FakeSns>) -> Running {
    let topic = || vec![TOPIC.to_owned()];
    let pins = || [(URL.to_owned(), PEM.to_owned())].into();
    let sources = vec![
        source("ses", "default", false, |spec| spec.topics = topic()),
        source("ses", "shadow", true, |spec| spec.topics = topic()),
        source("ses", "pinned", false, |spec| (spec.topics, spec.certificates) = (topic(), pins())),
        source("ses", "password", false, |spec| spec.basic_auth = vec!["quell:secret".to_owned()]),
    ];
    start(Setup { sources, fetch: sns.clone(), ..Setup::default() }).await
}

fn notification() -> Value {
    let message = json!({
        "eventType": "Delivery", "delivery": { "timestamp": "2026-01-20T14:32:10.000Z", "recipients": ["jane@example.com"] },
        "mail": { "timestamp": "2026-01-20T14:32:00.000Z", "messageId": "m-1" },
    });
    json!({
        "Type": "Notification", "MessageId": "n-1", "TopicArn": TOPIC, "Message": message.to_string(),
        "Timestamp": "2026-01-20T14:32:15.000Z", "SignatureVersion": "2", "SigningCertURL": URL,
    })
}

fn confirmation() -> Value {
    json!({
        "Type": "SubscriptionConfirmation", "MessageId": "c-1", "TopicArn": TOPIC, "Token": "2336412f37",
        "Message": "Visit the SubscribeURL.", "SubscribeURL": CONFIRM, "Timestamp": "2026-01-20T14:32:15.000Z",
        "SignatureVersion": "2", "SigningCertURL": URL,
    })
}

fn with(mut value: Value, name: &str, other: &str) -> Value {
    value[name] = other.into();
    value
}

fn signed(mut body: Value) -> String {
    let names: &[&str] = match body["Type"].as_str() {
        Some("Notification") => &["Message", "MessageId", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let text: String = names.iter().map(|name| format!("{name}\n{}\n", body[*name].as_str().unwrap())).collect();
    let key = include_bytes!("../../../crates/providers/src/sns/fixtures/signer.pk8");
    let key = RsaKeyPair::from_pkcs8(key).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    body["Signature"] = STANDARD.encode(signature).into();
    body.to_string()
}

async fn post(gateway: &Running, path: &str, body: String) -> Response {
    let request = gateway.client.post(gateway.url(path)).header("content-type", "text/plain; charset=UTF-8");
    request.body(body).send().await.unwrap()
}

/// Status, and the reason that the answer gives.
async fn ask(gateway: &Running, path: &str, body: String) -> (u16, String) {
    let response = post(gateway, path, body).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    let answer: Value = response.json().await.unwrap();
    (status, answer["reason"].as_str().unwrap_or_default().to_owned())
}

fn told(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to that");
}

/// Until SNS tries again.
fn wait(gateway: &Running) {
    gateway.clock.advance_micros(20_000_000);
}

#[tokio::test]
async fn a_certificate_is_fetched_once_and_for_all_who_wait() {
    let sns = FakeSns::new();
    sns.answer(URL, 200, PEM.as_bytes());
    let gateway = gateway(&sns).await;
    let held = sns.gate.acquire_many(100).await.unwrap();
    let (body, gateway) = (signed(notification()), &gateway);
    let waiting = async {
        let ask = || ask(gateway, "/webhooks/ses", body.clone());
        tokio::join!(ask(), ask(), ask(), ask(), ask(), ask())
    };
    let opened = async {
        until(|| gateway.count("quell_gateway_in_flight_requests") == 6 && sns.calls().len() == 1).await;
        drop(held);
    };
    let ((a, b, c, d, e, f), ()) = tokio::join!(waiting, opened);
    assert_eq!([a.0, b.0, c.0, d.0, e.0, f.0], [202; 6]);
    assert_eq!(ask(gateway, "/webhooks/ses", body).await.0, 202);
    assert_eq!((sns.calls(), gateway.appended()), (vec![URL.to_owned()], 7));
    assert_eq!(gateway.raw(0).verified, "sns-rsa-sha256");
    assert_eq!(gateway.count(r#"quell_gateway_outside_calls_total{call="certificate",outcome="ok"}"#), 1);
}

#[tokio::test]
async fn what_cannot_be_judged_now_is_asked_for_again() {
    for (status, body) in [
        (0, &b""[..]),
        (404, PEM.as_bytes()),
        (302, PEM.as_bytes()),
        (500, b"oops"),
        (200, b""),
        (200, b"<html>"),
        (200, b"\xff\xfe"),
        (200, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
    ] {
        let sns = FakeSns::new();
        if status > 0 {
            sns.answer(URL, status, body);
        }
        let gateway = gateway(&sns).await;
        let ask = || ask(&gateway, "/webhooks/ses", signed(notification()));
        assert_eq!(ask().await, told(503, "certificate_unavailable"), "{status}");
        // Not asked for again at once, but before SNS tries again.
        sns.answer(URL, 200, PEM.as_bytes());
        assert_eq!(ask().await, told(503, "certificate_unavailable"));
        assert_eq!((sns.calls().len(), gateway.appended()), (1, 0));
        wait(&gateway);
        assert_eq!(ask().await.0, 202);
        assert_eq!((sns.calls().len(), gateway.appended()), (2, 1));
    }
}

#[tokio::test]
async fn nothing_is_fetched_for_what_is_wrong_anyway() {
    let sns = FakeSns::new();
    let gateway = gateway(&sns).await;
    for (name, value, reason) in [
        ("TopicArn", "arn:aws:sns:eu-west-1:999999999999:mail", "topic_not_allowed"),
        ("Timestamp", "2026-01-20T13:00:00.000Z", "stale"),
        ("SignatureVersion", "3", "unknown_signature_version"),
        ("SigningCertURL", "https://evil.example/a.pem", "certificate_url_not_allowed"),
        ("SigningCertURL", "http://sns.eu-west-1.amazonaws.com/a.pem", "certificate_url_not_allowed"),
        ("SigningCertURL", "https://sns.eu-west-1.amazonaws.com@169.254.169.254/a.pem", "certificate_url_not_allowed"),
        ("SigningCertURL", "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem", "certificate_url_not_allowed"),
        ("MessageId", "a\nb", "malformed_envelope"),
    ] {
        let body = signed(with(notification(), name, value));
        assert_eq!(ask(&gateway, "/webhooks/ses", body).await, told(401, reason), "{name} {value}");
    }
    let unsigned = notification().to_string();
    assert_eq!(ask(&gateway, "/webhooks/ses", unsigned).await, told(401, "missing_signature"));
    for bare in ["{}", "text", "[]", r#"{"eventType":"Send"}"#] {
        assert_eq!(ask(&gateway, "/webhooks/ses", bare.to_owned()).await, told(401, "raw_delivery"), "{bare}");
    }
    assert_eq!((sns.calls().len(), gateway.appended()), (0, 0));
}

#[tokio::test]
async fn a_wrong_signature_is_refused_whatever_was_fetched() {
    let sns = FakeSns::new();
    sns.answer(URL, 200, OTHER_PEM.as_bytes());
    let gateway = gateway(&sns).await;
    assert_eq!(ask(&gateway, "/webhooks/ses", signed(notification())).await, told(401, "wrong_signature"));
    let forged = signed(notification()).replace("jane", "joey");
    assert_eq!(ask(&gateway, "/webhooks/ses/pinned", forged).await, told(401, "wrong_signature"));
    // A header field opens no door.
    let request =
        gateway.client.post(gateway.url("/webhooks/ses")).header("x-amz-sns-message-type", "SubscriptionConfirmation");
    assert_eq!(request.body(signed(notification())).send().await.unwrap().status(), 401);
    assert_eq!(gateway.appended(), 0);
}

#[tokio::test]
async fn a_subscription_is_confirmed_once() {
    let sns = FakeSns::new();
    sns.answer(URL, 200, PEM.as_bytes());
    let gateway = gateway(&sns).await;
    let ask = || ask(&gateway, "/webhooks/ses", signed(confirmation()));
    // SNS is told to try again until it worked.
    assert_eq!(ask().await, told(503, "confirmation_failed"));
    sns.answer(CONFIRM, 400, b"");
    wait(&gateway);
    assert_eq!(ask().await, told(503, "confirmation_failed"));
    sns.answer(CONFIRM, 200, b"<ConfirmSubscriptionResponse/>");
    wait(&gateway);
    assert_eq!(ask().await, told(200, "confirmed"));
    assert_eq!(ask().await, told(200, "confirmed"));
    assert_eq!(
        (sns.calls(), gateway.appended()),
        (vec![URL.to_owned(), CONFIRM.to_owned(), CONFIRM.to_owned(), CONFIRM.to_owned()], 0)
    );
    let count = |outcome: &str| {
        gateway.count(&format!(r#"quell_gateway_outside_calls_total{{call="confirmation",outcome="{outcome}"}}"#))
    };
    assert_eq!((count("ok"), count("failed")), (1, 2));
}

#[tokio::test]
async fn nothing_else_is_ever_opened() {
    let sns = FakeSns::new();
    sns.answer(CONFIRM, 200, b"");
    let gateway = gateway(&sns).await;
    let pinned = async |body: Value| ask(&gateway, "/webhooks/ses/pinned", signed(body)).await;
    let ignored = || told(200, "subscription_confirmation");
    assert_eq!(pinned(with(confirmation(), "SubscribeURL", "https://evil.example/x")).await, ignored());
    assert_eq!(pinned(with(confirmation(), "SubscribeURL", &CONFIRM.replace("https", "http"))).await, ignored());
    let unsubscribe = CONFIRM.replace("ConfirmSubscription", "Unsubscribe");
    assert_eq!(pinned(with(confirmation(), "SubscribeURL", &unsubscribe)).await, ignored());
    let left = with(confirmation(), "Type", "UnsubscribeConfirmation");
    assert_eq!(pinned(left).await, told(200, "unsubscribe_confirmation"));
    let foreign = with(confirmation(), "TopicArn", "arn:aws:sns:eu-west-1:999999999999:mail");
    assert_eq!(pinned(foreign).await, told(401, "topic_not_allowed"));
    let forged = with(serde_json::from_str(&signed(confirmation())).unwrap(), "Token", "other").to_string();
    assert_eq!(ask(&gateway, "/webhooks/ses/pinned", forged).await, told(401, "wrong_signature"));
    // A password is no signature.
    let request = gateway.client.post(gateway.url("/webhooks/ses/password")).basic_auth("quell", Some("secret"));
    assert_eq!(request.body(signed(confirmation())).send().await.unwrap().status(), 200);
    // Where failures are only reported, they still confirm nothing.
    let forged = with(serde_json::from_str(&signed(confirmation())).unwrap(), "Token", "other").to_string();
    assert_eq!(ask(&gateway, "/webhooks/ses/shadow", forged).await, ignored());
    assert_eq!(sns.calls(), [URL], "the certificate, which the shadow source wanted");
    assert_eq!(pinned(confirmation()).await, told(200, "confirmed"));
    assert_eq!((sns.calls().len(), gateway.appended()), (2, 0));
}

#[tokio::test]
async fn pins_are_not_fetched_and_shadows_take_what_cannot_be_judged() {
    let sns = FakeSns::new();
    let gateway = gateway(&sns).await;
    assert_eq!(ask(&gateway, "/webhooks/ses/pinned", signed(notification())).await.0, 202);
    let unknown = with(notification(), "SigningCertURL", "https://sns.eu-west-1.amazonaws.com/new.pem");
    assert_eq!(ask(&gateway, "/webhooks/ses/pinned", signed(unknown)).await, told(503, "certificate_not_pinned"));
    assert_eq!(sns.calls().len(), 0);
    assert_eq!(ask(&gateway, "/webhooks/ses/shadow", signed(notification())).await.0, 202);
    assert_eq!((gateway.raw(1).verified.as_str(), gateway.raw(1).shadow), ("none", true));
    let failures =
        r#"quell_gateway_shadow_failures_total{provider="ses",reason="certificate_unavailable",source="shadow"}"#;
    assert_eq!(gateway.count(failures), 1);
    // SNS sends a password only once it is asked for one.
    let bare =
        r#"{"eventType":"Send","mail":{"destination":["jane@example.com"],"timestamp":"2026-01-20T14:32:00.000Z"}}"#;
    let asked = post(&gateway, "/webhooks/ses/password", bare.to_owned()).await;
    assert_eq!(asked.status(), 401);
    assert!(asked.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic realm="));
    let request = gateway.client.post(gateway.url("/webhooks/ses/password")).basic_auth("quell", Some("secret"));
    let request = request.header("x-amz-sns-rawdelivery", "true").header("x-amz-sns-message-id", "n-1");
    assert_eq!(request.body(bare).send().await.unwrap().status(), 202);
    assert_eq!(gateway.raw(2).headers["x-amz-sns-message-id"], "n-1");
}

#[tokio::test]
async fn a_flood_of_urls_makes_few_calls() {
    let sns = FakeSns::new();
    let gateway = gateway(&sns).await;
    let named = |n: usize| {
        let url = format!("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{n}.pem");
        signed(with(notification(), "SigningCertURL", &url))
    };
    for n in 0..200 {
        assert_eq!(post(&gateway, "/webhooks/ses", named(n)).await.status(), 503);
    }
    assert_eq!((sns.calls().len(), gateway.appended()), (64, 0));
    assert_eq!(ask(&gateway, "/webhooks/ses", named(200)).await, told(503, "certificates_busy"));
    wait(&gateway);
    sns.answer(URL, 200, PEM.as_bytes());
    assert_eq!(ask(&gateway, "/webhooks/ses", signed(notification())).await.0, 202);
}
