//! What good webhooks are signed with, and the good webhooks themselves.

use crate::wire::Raw;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, hmac};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};
use testkit::{
    payloads::{self, Told, What},
    sign::{self, SendGridKey},
};

pub(crate) const GENERIC: &str = "whsec_YXR0YWNrLWF0dGFjay1hdHRhY2stYXR0YWNrLTE=";
pub(crate) const MAILGUN: &str = "key-of-mailgun-under-attack";
pub(crate) const TWILIO: &str = "token-of-twilio-under-attack";
pub(crate) const VONAGE: &str = "secret-of-vonage-under-attack";
pub(crate) const DRIP: &str = "secret-of-drip-under-attack";
pub(crate) const POSTMARK: (&str, &str) = ("postmark", "password-under-attack");
pub(crate) const BEARER: &str = "bearer-of-dsn-under-attack";
/// Every address that is sent anywhere ends like this, so that none can hide in a log.
pub(crate) const DOMAIN: &str = "victim.example";

pub(crate) const GENERIC_PATH: &str = "/webhooks/generic";
pub(crate) const SENDGRID_PATH: &str = "/webhooks/sendgrid";
pub(crate) const MAILGUN_PATH: &str = "/webhooks/mailgun";
pub(crate) const VONAGE_PATH: &str = "/webhooks/vonage";

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A number that nobody had before.
pub(crate) fn number() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn unix() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

pub(crate) fn address(number: u64) -> String {
    format!("jane.{number}@{DOMAIN}")
}

/// Signs as the providers do.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) sendgrid: SendGridKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { sendgrid: SendGridKey::generate().expect("a key pair") }
    }

    /// The environment of the process that is attacked.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ATTACK_GENERIC", GENERIC.to_owned()),
            ("ATTACK_SENDGRID", self.sendgrid.public()),
            ("ATTACK_MAILGUN", MAILGUN.to_owned()),
            ("ATTACK_TWILIO", TWILIO.to_owned()),
            ("ATTACK_VONAGE", VONAGE.to_owned()),
            ("ATTACK_DRIP", DRIP.to_owned()),
            ("ATTACK_POSTMARK", format!("{}:{}", POSTMARK.0, POSTMARK.1)),
            ("ATTACK_DSN", BEARER.to_owned()),
        ]
    }

    /// What must never stand in a log or a metric: secrets, and the end of every address.
    pub(crate) fn never_told() -> [&'static str; 8] {
        [GENERIC, MAILGUN, TWILIO, VONAGE, DRIP, POSTMARK.1, BEARER, DOMAIN]
    }

    pub(crate) fn generic(&self) -> Raw {
        self.generic_at(unix(), body())
    }

    pub(crate) fn generic_at(&self, unix: i64, body: Vec<u8>) -> Raw {
        let id = format!("msg_{}", number());
        Raw::of(&sign::standard_webhooks(GENERIC_PATH, GENERIC, &id, unix, body).expect("a key"))
    }

    pub(crate) fn sendgrid(&self) -> Raw {
        self.sendgrid_at(unix())
    }

    pub(crate) fn sendgrid_at(&self, unix: i64) -> Raw {
        let events = with_told(|told| [payloads::sendgrid(told)]);
        Raw::of(&self.sendgrid.sign(SENDGRID_PATH, &events, unix).expect("a key"))
    }

    pub(crate) fn mailgun(&self) -> Raw {
        self.mailgun_at(unix(), &sign::mailgun_token(number()))
    }

    pub(crate) fn mailgun_at(&self, unix: i64, token: &str) -> Raw {
        Raw::of(&sign::mailgun(MAILGUN_PATH, MAILGUN, &with_told(payloads::mailgun), unix, token))
    }

    pub(crate) fn drip(&self) -> Raw {
        Raw::of(&sign::drip("/webhooks/drip/acme", DRIP, &with_told(payloads::drip)))
    }

    pub(crate) fn postmark(&self) -> Raw {
        let event = with_told(payloads::postmark);
        Raw::of(&sign::postmark("/webhooks/postmark", POSTMARK.0, POSTMARK.1, &event))
    }

    pub(crate) fn twilio(&self, origin: &str) -> Raw {
        let number = number();
        let parameters = payloads::twilio_failed("+15550001234", number, "30005");
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        let raw = Raw::of(&sign::twilio(&format!("{origin}/webhooks/twilio"), TWILIO, &parameters));
        Raw { target: "/webhooks/twilio".to_owned(), ..raw }
    }

    pub(crate) fn vonage(&self) -> Raw {
        let body = vonage_body();
        let claims = vonage_claims(&body);
        self.vonage_as(body, &jwt(VONAGE, r#"{"alg":"HS256","typ":"JWT"}"#, &claims))
    }

    pub(crate) fn vonage_as(&self, body: Vec<u8>, token: &str) -> Raw {
        Raw::post(VONAGE_PATH, body).set("authorization", &format!("Bearer {token}"))
    }
}

/// One event of the generic format.
pub(crate) fn body() -> Vec<u8> {
    with_told(payloads::generic).to_string().into_bytes()
}

fn with_told<T>(make: impl FnOnce(&Told<'_>) -> T) -> T {
    let number = number();
    let told = Told { what: What::HardBounce, address: &address(number), unix: unix(), number };
    make(&told)
}

pub(crate) fn vonage_body() -> Vec<u8> {
    let body = json!({
        "message_uuid": format!("aaaaaaaa-bbbb-4ccc-8ddd-{:012}", number()), "to": "15550001234", "from": "15550006789",
        "timestamp": "2026-01-20T14:32:15Z", "status": "rejected", "channel": "sms",
        "error": { "type": "https://developer.vonage.com/api-errors/messages#1330", "title": "1330" },
    });
    body.to_string().into_bytes()
}

/// The claims of a token that belongs to a body.
pub(crate) fn vonage_claims(body: &[u8]) -> Value {
    let hash: String =
        digest::digest(&digest::SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "iat": unix(), "jti": format!("j-{}", number()), "iss": "Vonage", "payload_hash": hash })
}

/// A JSON Web Token, its signature by HMAC-SHA256 whatever its head says.
pub(crate) fn jwt(secret: &str, head: &str, claims: &Value) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}
