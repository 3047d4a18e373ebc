//! Notifications of Amazon SNS that name certificates and confirmations elsewhere. Where they point somebody listens, and
//! must hear nothing.

use crate::{
    bed::{Bed, Change, in_seconds},
    keys,
    wire::Raw,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use std::net::TcpListener;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
const CERTIFICATE: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
/// A source that fetches certificates, and one that takes only the one that is configured.
const FETCHES: &str = "/webhooks/ses";
const PINNED: &str = "/webhooks/ses/pinned";

fn change() -> Change {
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/../providers/src/sns/fixtures/signer.pem");
    let sources = format!(
        "[[source]]\nprovider = \"ses\"\ntopics = [\"{TOPIC}\"]\n[[source]]\nprovider = \"ses\"\nname = \"pinned\"\n\
         topics = [\"{TOPIC}\"]\ncertificates = {{ \"{CERTIFICATE}\" = \"file:{pem}\" }}\n"
    );
    Change { server: "", sources }
}

/// A notification about a bounce, sent so many seconds from now.
fn notification(age: i64) -> Value {
    let number = keys::number();
    let event = json!({
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-01-20T14:32:14.000Z",
            "feedbackId": format!("f-{number}"), "bouncedRecipients": [{ "emailAddress": keys::address(number) }],
        },
        "mail": { "messageId": format!("m-{number}"), "timestamp": "2026-01-20T14:32:00.000Z" },
    });
    json!({
        "Type": "Notification", "MessageId": format!("n-{number}"), "TopicArn": TOPIC, "Message": event.to_string(),
        "Timestamp": time(age), "SignatureVersion": "2", "SigningCertURL": CERTIFICATE,
    })
}

fn confirmation(url: &str) -> Value {
    json!({
        "Type": "SubscriptionConfirmation", "MessageId": format!("c-{}", keys::number()), "TopicArn": TOPIC,
        "Token": "2336412f37", "Message": "You have chosen to subscribe.", "SubscribeURL": url, "Timestamp": time(0),
        "SignatureVersion": "2", "SigningCertURL": CERTIFICATE,
    })
}

fn time(age: i64) -> String {
    Timestamp::from_seconds(in_seconds(age)).expect("a time").to_string()
}

/// Signed by the key of the configured certificate, over all that SNS signs. The URL of the certificate is not signed.
fn signed(mut notification: Value, target: &str) -> Raw {
    let names: &[&str] = match notification["Type"].as_str() {
        Some("Notification") => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let line = |name: &&str| notification[*name].as_str().map(|value| format!("{name}\n{value}\n"));
    let text: String = names.iter().filter_map(line).collect();
    let key = RsaKeyPair::from_pkcs8(include_bytes!("../../../providers/src/sns/fixtures/signer.pk8")).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("a signature");
    notification["Signature"] = STANDARD.encode(signature).into();
    sent(&notification, target)
}

fn sent(notification: &Value, target: &str) -> Raw {
    Raw::post(target, notification.to_string().into_bytes()).set("content-type", "text/plain; charset=UTF-8")
}

/// Every place that is almost Amazon's, or within reach of the gateway, `{}` being where somebody listens.
const ELSEWHERE: &[&str] = &[
    "https://{}/a.pem",
    "http://{}/a.pem",
    "https://user@{}/a.pem",
    "https://sns.eu-west-1.amazonaws.com@{}/a.pem",
    "https://{}\\@sns.eu-west-1.amazonaws.com/a.pem",
    "https://{}#@sns.eu-west-1.amazonaws.com/a.pem",
    "https://{}/sns.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
    "http://sns.eu-west-1.amazonaws.com/a.pem",
    "https://SNS.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com/../a.pem",
    "https://sns.eu-west-1.amazonaws.com/a.pem?redirect=https://{}/",
    "https://sns.eu-west-1.amazonaws.com/a",
    "https://s3.eu-west-1.amazonaws.com/a.pem",
    "https://169.254.169.254/a.pem",
    "https://[::ffff:127.0.0.1]/a.pem",
    "file:///etc/passwd",
    "gopher://{}/a.pem",
    "//{}/a.pem",
    "a.pem",
];

#[test]
fn a_certificate_elsewhere_is_neither_taken_nor_asked_for() {
    let mut bed = Bed::with(&change());
    let trap = TcpListener::bind("127.0.0.1:0").expect("loopback");
    trap.set_nonblocking(true).expect("it can");
    let listens = trap.local_addr().expect("an address").to_string();
    for url in ELSEWHERE {
        let mut forged = notification(0);
        forged["SigningCertURL"] = url.replace("{}", &listens).into();
        for target in [FETCHES, PINNED] {
            bed.refused(url, &signed(forged.clone(), target), 401, "certificate_url_not_allowed");
        }
    }
    let mut both = notification(0);
    both["SigningCertUrl"] = json!(format!("https://{listens}/a.pem"));
    both.as_object_mut().expect("an object").remove("SigningCertURL");
    bed.refused("by its other name", &signed(both, PINNED), 401, "certificate_url_not_allowed");
    // On Amazon's host, and not the one that is configured: whoever sent it is asked to come again, as it may be a new one.
    let mut unknown = notification(0);
    unknown["SigningCertURL"] = json!("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-ff.pem");
    bed.refused("not pinned", &signed(unknown, PINNED), 503, "certificate_not_pinned");
    bed.good("pinned", &signed(notification(0), PINNED));
    assert_eq!(trap.accept().map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::WouldBlock));
    assert!(bed.figures("quell_gateway_outside_calls_total").is_empty());
    bed.finish();
}

#[test]
fn a_notification_that_was_changed_is_refused() {
    let mut bed = Bed::with(&change());
    let good = notification(0);
    bed.good("as it was", &signed(good.clone(), PINNED));
    for (field, value, cause) in [
        ("Message", json!("{\"eventType\":\"Bounce\"}"), "wrong_signature"),
        ("MessageId", json!("n-other"), "wrong_signature"),
        ("Subject", json!("of its own"), "wrong_signature"),
        ("TopicArn", json!("arn:aws:sns:eu-west-1:999999999999:mail"), "topic_not_allowed"),
        ("Timestamp", json!(time(1)), "wrong_signature"),
        ("Timestamp", json!("yesterday"), "malformed_timestamp"),
        ("SignatureVersion", json!("1"), "wrong_signature"),
        ("SignatureVersion", json!("3"), "unknown_signature_version"),
        ("SignatureVersion", json!("none"), "unknown_signature_version"),
        ("SignatureVersion", Value::Null, "missing_signature"),
        ("Signature", Value::Null, "missing_signature"),
        ("Signature", json!(""), "malformed_signature"),
        ("Signature", json!("%%%"), "malformed_signature"),
        ("Signature", json!(STANDARD.encode([0; 256])), "wrong_signature"),
    ] {
        let mut changed: Value = serde_json::from_slice(&signed(good.clone(), PINNED).body).expect("JSON");
        changed[field] = value;
        bed.refused(field, &sent(&changed, PINNED), 401, cause);
    }
    bed.refused("of yesterday", &signed(notification(-86_400), PINNED), 401, "stale");
    let header = signed(good.clone(), PINNED).add("x-amz-sns-topic-arn", "arn:aws:sns:eu-west-1:1:other");
    bed.refused("another topic in the head", &header, 401, "headers_disagree");
    let event: Value = serde_json::from_str(good["Message"].as_str().expect("text")).expect("JSON");
    bed.refused("delivered bare", &sent(&event, PINNED), 401, "raw_delivery");
    bed.finish();
}

#[test]
fn a_confirmation_elsewhere_is_not_opened() {
    let mut bed = Bed::with(&change());
    let trap = TcpListener::bind("127.0.0.1:0").expect("loopback");
    trap.set_nonblocking(true).expect("it can");
    let listens = trap.local_addr().expect("an address").to_string();
    for host in [
        listens.clone(),
        format!("sns.eu-west-1.amazonaws.com@{listens}"),
        "sns.eu-west-1.amazonaws.com.evil.example".to_owned(),
        "169.254.169.254".to_owned(),
    ] {
        let url = format!("https://{host}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37");
        // Whoever may publish to the topic may sign this: it is passed over, and nothing is opened.
        let raw = signed(confirmation(&url), PINNED);
        let answers = crate::wire::exchange(bed.gateway, &raw.bytes());
        assert!(answers.len() == 1 && answers[0].status == 200, "{answers:?}");
        bed.expect(PINNED, "200", "subscription_confirmation", 1);
    }
    let good = confirmation(&format!(
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
    ));
    let mut forged: Value = serde_json::from_slice(&signed(good, PINNED).body).expect("JSON");
    forged["Token"] = json!("another");
    bed.refused("a token of its own", &sent(&forged, PINNED), 401, "wrong_signature");
    assert_eq!(trap.accept().map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::WouldBlock));
    assert!(bed.figures("quell_gateway_outside_calls_total").is_empty());
    bed.finish();
}
