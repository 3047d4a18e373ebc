//! Notifications as a topic sends them, signed with a key made for these tests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

pub(crate) const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
pub(crate) const URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
pub(crate) const PEM: &str = include_str!("fixtures/signer.pem");
pub(crate) const OTHER_PEM: &str = include_str!("fixtures/other.pem");
/// The same key in a certificate that ended before 2026.
pub(crate) const EXPIRED_PEM: &str = include_str!("fixtures/expired.pem");
/// The signature of version 1 over `notification("plain")`, made with openssl.
pub(crate) const BY_SHA1: &str = "HMgzxrZVShdcDm45WUz7TNX+A/raF0Z0kPByjc7JBa7S/iNp42yIwIP+ZGEGnDnAqf2IRZNkXLadUaQOuk/Oby6RaY/1Elj8MFg7RFJryIt+9XY6f69sHy5PDkC4JWEjwepbNJgclL+UlB22zBGfpEy3PO/DycMnQFy8lq+rn+vwAG4YvwaZtlKZrlmwDTQbJ25aBb9ELYdaMzpf/AJsi4obkp7vJ9s0PS0VndURoA4qfDV1dQKaqFtFILO45R/tXfV56n56kq6EcikTYD6PFNkkz0glNNBfu6zN5g6vuibzJVhgs1cqM1kQI2xfJklcftYGahRsSLfODndh8YrhhQ==";

/// A minute before the tests' now.
pub(crate) const TIME: &str = "2026-01-20T14:32:15.000Z";

/// A notification, not yet signed.
pub(crate) fn notification(message: &str) -> Value {
    json!({
        "Type": "Notification", "MessageId": "n-1", "TopicArn": TOPIC, "Subject": "Amazon SES Email Event Notification",
        "Message": message, "Timestamp": TIME, "SignatureVersion": "2", "SigningCertURL": URL,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    })
}

/// What asks to have a subscription confirmed, or says that there is none any more; not yet signed.
pub(crate) fn confirmation(purpose: &str) -> Value {
    json!({
        "Type": purpose, "MessageId": "c-1", "TopicArn": TOPIC, "Token": "2336412f37",
        "Message": "You have chosen to subscribe to the topic.\nVisit the SubscribeURL.",
        "SubscribeURL": format!("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"),
        "Timestamp": TIME, "SignatureVersion": "2", "SigningCertURL": URL,
    })
}

/// The body of a notification, signed as version 2 over what it holds now.
pub(crate) fn signed(mut notification: Value) -> String {
    let names: &[&str] = match notification["Type"].as_str() {
        Some("Notification") => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let line = |name: &&str| notification[*name].as_str().map(|value| format!("{name}\n{value}\n"));
    let text: String = names.iter().filter_map(line).collect();
    notification["Signature"] = STANDARD.encode(signature(text.as_bytes())).into();
    notification.to_string()
}

fn signature(text: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("fixtures/signer.pk8")).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
    signature
}
