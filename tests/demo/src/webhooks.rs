//! The story's webhooks, as their providers send and sign them.

use crate::story::{Person, Sms, Source};
use anyhow::Context as _;
use serde_json::Value;
use testkit::{SignedRequest, payloads, payloads::Told, sign, sign::SendGridKey};

const POSTMARK_USER: &str = "postmark";
const POSTMARK_PASSWORD: &str = "demo-postmark-password";
const MAILGUN_KEY: &str = "demo-mailgun-signing-key";
const DRIP_SECRET: &str = "demo-drip-secret";
const GENERIC_SECRET: &str = "whsec_ZGVtby1nZW5lcmljLXNlY3JldA==";
const TWILIO_TOKEN: &str = "demo-twilio-auth-token";

/// What signs. The secrets live as long as the demo and open nothing else.
#[derive(Debug)]
pub(crate) struct Signer {
    sendgrid: SendGridKey,
    /// Scheme, host and port of the gateway.
    gateway: String,
    /// The time in signatures, seconds since the epoch.
    unix: i64,
}

/// One source as the configuration has it.
#[derive(Debug)]
pub(crate) struct SourceEntry {
    /// The provider's word.
    pub(crate) provider: &'static str,
    /// The key that takes the secret, `secrets` or `basic_auth`.
    pub(crate) key: &'static str,
    /// The environment variable that holds it.
    pub(crate) variable: &'static str,
    /// The secret.
    pub(crate) secret: String,
    /// The URL that is signed, where the provider signs it.
    pub(crate) public_url: Option<String>,
}

impl Signer {
    /// With fresh keys where the scheme has a key pair.
    pub(crate) fn new(gateway: &str, unix: i64) -> anyhow::Result<Self> {
        let sendgrid = SendGridKey::generate().context("no key pair for SendGrid's webhooks")?;
        Ok(Self { sendgrid, gateway: gateway.to_owned(), unix })
    }

    /// The sources that take what is signed here.
    pub(crate) fn sources(&self) -> Vec<SourceEntry> {
        let entry = |provider, key, variable, secret: &str| SourceEntry {
            provider,
            key,
            variable,
            secret: secret.to_owned(),
            public_url: None,
        };
        vec![
            entry("sendgrid", "secrets", "DEMO_SENDGRID_PUBLIC_KEY", &self.sendgrid.public()),
            entry("postmark", "basic_auth", "DEMO_POSTMARK_USER", &format!("{POSTMARK_USER}:{POSTMARK_PASSWORD}")),
            entry("mailgun", "secrets", "DEMO_MAILGUN_SIGNING_KEY", MAILGUN_KEY),
            entry("drip", "secrets", "DEMO_DRIP_SECRET", DRIP_SECRET),
            entry("generic", "secrets", "DEMO_GENERIC_SECRET", GENERIC_SECRET),
            SourceEntry {
                public_url: Some(self.twilio_url()),
                ..entry("twilio", "secrets", "DEMO_TWILIO_AUTH_TOKEN", TWILIO_TOKEN)
            },
        ]
    }

    fn twilio_url(&self) -> String {
        format!("{}/webhooks/twilio/status", self.gateway)
    }

    /// The webhook that tells of a person.
    pub(crate) fn email(&self, person: &Person) -> anyhow::Result<SignedRequest> {
        let told =
            Told { what: person.what, address: &person.told_as, unix: self.unix - person.ago, number: person.number };
        let url = |path: &str| format!("{}/webhooks/{path}", self.gateway);
        Ok(match person.source {
            Source::SendGrid => {
                let events: [Value; 1] = [payloads::sendgrid(&told)];
                self.sendgrid.sign(&url("sendgrid"), &events, self.unix)?
            }
            Source::Postmark => {
                sign::postmark(&url("postmark"), POSTMARK_USER, POSTMARK_PASSWORD, &payloads::postmark(&told))
            }
            Source::Mailgun => sign::mailgun(
                &url("mailgun"),
                MAILGUN_KEY,
                &payloads::mailgun(&told),
                self.unix,
                &sign::mailgun_token(person.number),
            ),
            Source::Drip => sign::drip(&url("drip/bounce"), DRIP_SECRET, &payloads::drip(&told)),
            Source::Generic => {
                let body = payloads::generic(&told).to_string().into_bytes();
                let id = format!("msg_{}", person.number);
                sign::standard_webhooks(&url("email/events"), GENERIC_SECRET, &id, self.unix, body)?
            }
        })
    }

    /// The status callback that tells of a text message.
    pub(crate) fn sms(&self, sms: &Sms) -> SignedRequest {
        let parameters = payloads::twilio_failed(&sms.phone, sms.number, sms.code);
        let borrowed: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        sign::twilio(&self.twilio_url(), TWILIO_TOKEN, &borrowed)
    }
}
