//! Webhook requests, signed as their providers sign them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// A request, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// Absolute URL.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl SignedRequest {
    fn new(url: &str, kind: &str, body: Vec<u8>) -> Self {
        Self { url: url.to_owned(), headers: vec![("content-type", kind.to_owned())], body }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

const JSON: &str = "application/json";
/// What comes before the point in the SubjectPublicKeyInfo of a P-256 key (RFC 5480 2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that cannot be made or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyError;

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the key cannot be made or used")
    }
}

impl std::error::Error for KeyError {}

/// SendGrid's key pair of a webhook.
#[derive(Debug)]
pub struct SendGridKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl SendGridKey {
    /// A new key pair.
    pub fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(|_| KeyError)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
            .map_err(|_| KeyError)?;
        Ok(Self { pair, random })
    }

    /// The public key as SendGrid shows it and a source's `secrets` take it: base64 of its SubjectPublicKeyInfo.
    pub fn public(&self) -> String {
        let spki = [&P256_PREFIX[..], self.pair.public_key().as_ref()].concat();
        STANDARD.encode(spki)
    }

    /// A webhook of these events: ECDSA over timestamp and body.
    pub fn sign(&self, url: &str, events: &[Value], unix: i64) -> Result<SignedRequest, KeyError> {
        self.sign_body(url, Value::Array(events.to_vec()).to_string().into_bytes(), unix)
    }

    /// A webhook with this body, whatever it is.
    pub fn sign_body(&self, url: &str, body: Vec<u8>, unix: i64) -> Result<SignedRequest, KeyError> {
        let time = unix.to_string();
        let signed = [time.as_bytes(), &body].concat();
        let signature = self.pair.sign(&self.random, &signed).map_err(|_| KeyError)?;
        Ok(SignedRequest::new(url, JSON, body)
            .with("x-twilio-email-event-webhook-signature", STANDARD.encode(signature))
            .with("x-twilio-email-event-webhook-timestamp", time))
    }
}

/// Postmark: basic authentication.
pub fn postmark(url: &str, user: &str, password: &str, event: &Value) -> SignedRequest {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    SignedRequest::new(url, JSON, event.to_string().into_bytes()).with("authorization", format!("Basic {pair}"))
}

/// Mailgun: HMAC-SHA256 over timestamp and token, in the body. A token has 50 characters and is new for every event.
pub fn mailgun(url: &str, key: &str, event_data: &Value, unix: i64, token: &str) -> SignedRequest {
    let time = unix.to_string();
    let signature = hex::encode(sha256(key.as_bytes(), &[time.as_bytes(), token.as_bytes()]));
    let body = json!({
        "signature": { "timestamp": time, "token": token, "signature": signature },
        "event-data": event_data,
    });
    SignedRequest::new(url, JSON, body.to_string().into_bytes())
}

/// A token for [`mailgun`], derived from a number.
pub fn mailgun_token(number: u64) -> String {
    format!("{number:050}")
}

/// Drip, where a secret is configured: HMAC-SHA256 of the body in hex.
pub fn drip(url: &str, secret: &str, event: &Value) -> SignedRequest {
    let body = event.to_string().into_bytes();
    let signature = hex::encode(sha256(secret.as_bytes(), &[&body]));
    SignedRequest::new(url, JSON, body).with("x-drip-signature", signature)
}

/// Twilio: HMAC-SHA1 over the URL and the parameters sorted by name, as a form.
pub fn twilio(url: &str, token: &str, parameters: &[(&str, &str)]) -> SignedRequest {
    let mut sorted = parameters.to_vec();
    sorted.sort_unstable();
    let mut parts = vec![url.as_bytes()];
    for (name, value) in &sorted {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, &parts.concat()));
    let form: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    SignedRequest::new(url, "application/x-www-form-urlencoded", form.join("&").into_bytes())
        .with("x-twilio-signature", signature)
}

/// Standard Webhooks: HMAC-SHA256 over id, timestamp and body. `secret` is `whsec_` and base64.
pub fn standard_webhooks(
    url: &str,
    secret: &str,
    id: &str,
    unix: i64,
    body: Vec<u8>,
) -> Result<SignedRequest, KeyError> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| KeyError)?;
    let time = unix.to_string();
    let signature = STANDARD.encode(sha256(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", &body]));
    Ok(SignedRequest::new(url, JSON, body)
        .with("webhook-id", id.to_owned())
        .with("webhook-timestamp", time)
        .with("webhook-signature", format!("v1,{signature}")))
}

fn sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
