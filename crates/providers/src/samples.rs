//! What each provider sends, and sources that ask for all that it can prove: for the tests, for fuzzing and for measuring.
//! Built with the feature `testing` alone.

mod adapters;

use crate::declared::{Adapter, AdapterFile};
use crate::{PROVIDERS, Provider, SourceSpec};
use serde_json::Value;
use std::sync::LazyLock;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const MAIL: &str = "message/rfc822";

/// The fixtures of the providers that have some, as they stand in their folders.
const FIXTURES: &[(&str, &str)] = &[
    ("sendgrid", include_str!("sendgrid/fixtures/events.json")),
    ("postmark", include_str!("postmark/fixtures/events.json")),
    ("mailgun", include_str!("mailgun/fixtures/events.json")),
    ("drip", include_str!("drip/fixtures/events.json")),
    ("twilio", include_str!("twilio/fixtures/events.json")),
    ("generic", include_str!("generic/fixtures/events.json")),
    ("resend", include_str!("resend/fixtures/events.json")),
    ("mailersend", include_str!("mailersend/fixtures/events.json")),
    ("mailtrap", include_str!("mailtrap/fixtures/events.json")),
    ("sparkpost", include_str!("sparkpost/fixtures/events.json")),
    ("mandrill", include_str!("mandrill/fixtures/events.json")),
    ("brevo", include_str!("brevo/fixtures/events.json")),
    ("mailjet", include_str!("mailjet/fixtures/events.json")),
    ("postal", include_str!("postal/fixtures/events.json")),
    ("unisender-go", include_str!("unisender_go/fixtures/events.json")),
    ("mailomat", include_str!("mailomat/fixtures/events.json")),
    ("vonage", include_str!("vonage/fixtures/events.json")),
    ("scaleway", include_str!("scaleway/fixtures/events.json")),
    ("sweego", include_str!("sweego/fixtures/events.json")),
    ("ses", include_str!("ses/fixtures/events.json")),
    ("dsn", include_str!("dsn/fixtures/reports.json")),
    ("arf", include_str!("arf/fixtures/reports.json")),
];

/// A token that some other key sealed.
const ONE_CLICK_URL: &str =
    "/unsubscribe/1.2026a.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ONE_CLICK_STORED: &str = r#"{"tenant":"acme","recipient":"jane@example.com","issued_at":1768919535,"scope":"category:news","message_id":"m-1","campaign":"c-1"}"#;

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path and query.
    pub url: String,
    /// Its content type.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
}

/// A provider's webhooks: its fixtures' bodies, those that are not empty.
pub fn of(provider: &dyn Provider) -> Vec<Sample> {
    let name = provider.name();
    let sample =
        |(content_type, body): (&'static str, String)| Sample { url: format!("/webhooks/{name}"), content_type, body };
    let fixtures = FIXTURES.iter().filter(|(of, _)| *of == name).flat_map(|(_, text)| read_fixtures(text));
    let declared = declared().iter().filter(|(adapter, ..)| adapter.name() == name);
    let declared =
        declared.flat_map(|(_, content_type, bodies)| bodies.iter().map(|body| (*content_type, body.clone())));
    let mut samples: Vec<Sample> = fixtures.map(|fixture| body_of(&fixture)).chain(declared).map(sample).collect();
    if name == crate::one_click::NAME {
        let stored = crate::one_click::STORED_PATH;
        for (url, content_type, body) in
            [(ONE_CLICK_URL, FORM, crate::one_click::ONE_CLICK), (stored, JSON, ONE_CLICK_STORED)]
        {
            samples.push(Sample { url: url.to_owned(), content_type, body: body.to_owned() });
        }
    }
    samples.retain(|sample| !sample.body.is_empty());
    samples
}

/// Those built in, and a declared adapter of each sort.
pub fn everyone() -> impl Iterator<Item = &'static dyn Provider> {
    PROVIDERS.iter().copied().chain(declared().iter().map(|(adapter, ..)| *adapter as &dyn Provider))
}

/// An adapter, the content type of its webhooks, and bodies of some.
pub type Declared = (&'static Adapter, &'static str, Vec<String>);

/// A declared adapter of each sort.
pub fn declared() -> &'static [Declared] {
    static DECLARED: LazyLock<Vec<Declared>> = LazyLock::new(|| {
        let read = |(content_type, text, body): &(&'static str, &str, &str)| {
            let mut file: AdapterFile = toml::from_str(text).ok()?;
            let mut bodies: Vec<String> = file.fixtures.drain(..).filter_map(|fixture| fixture.body).collect();
            bodies.push((*body).to_owned());
            Some((Adapter::declare(file).ok()?, *content_type, bodies))
        };
        let declared: Vec<Declared> = adapters::ADAPTERS.iter().filter_map(read).collect();
        assert_eq!(declared.len(), adapters::ADAPTERS.len(), "an adapter of these cannot be declared");
        declared
    });
    &DECLARED
}

/// A source of a provider that asks for the strongest proof that it has, with keys that signed nothing.
pub fn guarded(provider: &str) -> SourceSpec {
    let secrets = |secrets: &[&str]| SourceSpec {
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
        public_url: Some(format!("https://hooks.example.com/webhooks/{provider}")),
        ..SourceSpec::default()
    };
    let certificate = include_str!("sns/fixtures/signer.pem").to_owned();
    let topics = vec!["arn:aws:sns:eu-west-1:123456789012:mail".to_owned()];
    match provider {
        "sendgrid" => secrets(&[
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqdwHYUDG0aYGg9M9Vjrd2BUG75XC6gYUyp9NmIaW8s/QI//qFNqFFA/jgNu9gb+2XLOc+M/ZvNWouX97Z7UDQA==",
        ]),
        "postal" => secrets(&[
            "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDMz/+633KM8iX/StOrCTqUfNiLRLtUck7wEFxmU3fQdWOd4O9Moig+BXBrVOmC4IdNG5+Nqzmp4hSJevCULNjxIuM+DTDJltkutqKIvcrJR1u1kGAPVNyTm8Op4FHdMQYADsd/NAd19RaZQsR0x9Ctacxhr6GPnfWumPbsqHqz2QIDAQAB",
        ]),
        "ses" => SourceSpec { topics, ..SourceSpec::default() },
        "scaleway" => SourceSpec {
            topics,
            certificates: [("https://certificates.example.com/sns.pem".to_owned(), certificate)].into(),
            ..SourceSpec::default()
        },
        "postmark" | "brevo" | "mailjet" | "sparkpost" | "linebird" | "manybird" | "rootbird" => SourceSpec {
            basic_auth: vec!["quell:b7c2f5aa1e0d4d1c8f6a3b9e52d07c64".to_owned()],
            ..SourceSpec::default()
        },
        "one-click" => secrets(&["2026a:6f1d0b9c83e24a57b1c0d9e8f7a6b5c4"]),
        // Base64, for those that want it.
        _ => secrets(&["whsec_c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgISEhISE="]),
    }
}

/// Headers as a provider's requests bear them, with signatures of the right form that are no one's.
pub fn headers(provider: &str) -> Vec<(&'static str, String)> {
    const TIME: &str = "1768919535";
    let hex = || "0f".repeat(32);
    let base64 = |bytes: usize| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![0x5a; bytes]);
    let standard = || vec![("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", TIME.to_owned())];
    let alone = |name, value| vec![(name, value)];
    match provider {
        "sendgrid" => vec![
            ("x-twilio-email-event-webhook-signature", format!("MEUCIQDx{}", base64(66))),
            ("x-twilio-email-event-webhook-timestamp", TIME.to_owned()),
        ],
        "twilio" => alone("x-twilio-signature", base64(20)),
        "mandrill" => alone("x-mandrill-signature", base64(20)),
        "drip" => alone("x-drip-signature", hex()),
        "mailersend" => alone("signature", hex()),
        "mailtrap" => alone("mailtrap-signature", hex()),
        "postal" => alone("x-postal-signature-256", base64(128)),
        "resend" | "generic" | "sweego" | "dsn" | "arf" => {
            standard().into_iter().chain([("webhook-signature", format!("v1,{}", base64(32)))]).collect()
        }
        "mailomat" => vec![
            ("x-mom-webhook-id", "1".to_owned()),
            ("x-mom-webhook-event", "delivered".to_owned()),
            ("x-mom-webhook-timestamp", TIME.to_owned()),
            ("x-mom-webhook-signature", format!("sha256={}", hex())),
        ],
        "vonage" => {
            alone("authorization", format!("Bearer eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjE3Njg5MTk1MzV9.{}", "A".repeat(43)))
        }
        "ses" | "scaleway" => vec![
            ("x-amz-sns-message-type", "Notification".to_owned()),
            ("x-amz-sns-topic-arn", "arn:aws:sns:eu-west-1:123456789012:mail".to_owned()),
        ],
        "postmark" | "brevo" | "mailjet" | "sparkpost" => alone("authorization", "Basic cXVlbGw6eA==".to_owned()),
        "larkpost" => {
            vec![("x-larkpost-signature", format!("sha256={}", hex())), ("x-larkpost-timestamp", TIME.to_owned())]
        }
        "smsbird" => alone("x-key", "k".to_owned()),
        "formbird" => alone("x-sig", base64(64)),
        "rootbird" => vec![("x-event", "gone".to_owned()), ("x-delivery", "d-1".to_owned())],
        // Signed in the body or in the path.
        _ => Vec::new(),
    }
}

/// A fixture's content type and body.
pub(crate) fn body_of(fixture: &Value) -> (&'static str, String) {
    if let Value::Array(lines) = &fixture["mail"] {
        return (MAIL, lines.iter().map(|line| format!("{}\r\n", line.as_str().unwrap_or_default())).collect());
    }
    match (&fixture["form"], &fixture["body"]) {
        (Value::String(form), _) => (FORM, form.clone()),
        (_, Value::String(text)) => (JSON, text.clone()),
        (_, json) => (JSON, json.to_string()),
    }
}

pub(crate) fn read_fixtures(text: &str) -> Vec<Value> {
    let fixtures = serde_json::from_str(text);
    assert!(fixtures.is_ok(), "the fixtures are a JSON array");
    fixtures.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_samples_that_say_something() {
        for provider in everyone() {
            let samples = of(provider);
            let say = |sample: &&Sample| {
                let fates =
                    crate::testing::fates_at(provider, &sample.url, sample.content_type, sample.body.as_bytes());
                fates.is_ok_and(|fates| fates.iter().any(|fate| matches!(fate, crate::Fate::Event(_))))
            };
            assert!(samples.iter().any(|sample| say(&sample)), "{}", provider.name());
        }
    }

    #[test]
    fn every_guarded_source_could_be_configured() {
        for provider in everyone() {
            assert_eq!(provider.check_source(&guarded(provider.name())), Ok(()), "{}", provider.name());
        }
    }
}
