//! What is measured of each provider: bodies made of its fixtures, batched as it batches them; reading them into canonical
//! events; and reading them into nothing but the generic value of their format.

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue};
use mail_parser::MessageParser;
use providers::samples::{self, Sample};
use providers::{Context, Element, Fate, Provider, Request, Source, SourceSpec};
use serde_json::{Value, json};
use std::hint::black_box;

/// Events in a body of a provider that batches.
const BATCH: usize = 100;

/// A provider's bodies.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) provider: &'static dyn Provider,
    source: Source,
    pub(crate) bodies: Vec<Body>,
    /// Canonical events in all of them.
    pub(crate) events: usize,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Body {
    url: String,
    headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) format: Format,
}

/// How a body is read as a generic value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A `serde_json::Value`.
    Json,
    /// One for the envelope and one for the text in it.
    Sns,
    /// One a line.
    JsonLines,
    /// Names and values, decoded.
    Form,
    /// The same, and a `serde_json::Value` of the field that holds JSON.
    FormJson(&'static str),
    /// The parts of a mail, decoded, by `mail_parser`.
    Mail,
}

/// A declared adapter: the manual's.
const ADAPTER: &str = "larkpost";

/// A case for every provider that is built in, and one of a declared adapter.
pub(crate) fn all() -> anyhow::Result<Vec<Case>> {
    let measured =
        |provider: &&dyn Provider| providers::by_name(provider.name()).is_some() || provider.name() == ADAPTER;
    samples::everyone().filter(measured).map(|provider| Case::of(provider).context(provider.name())).collect()
}

impl Case {
    fn of(provider: &'static dyn Provider) -> anyhow::Result<Self> {
        let source = Source {
            provider: provider.name(),
            name: "default".to_owned(),
            tenant: domain::Tenant::default(),
            spec: SourceSpec { unauthenticated: true, ..SourceSpec::default() },
        };
        let mut case = Self { provider, source, bodies: Vec::new(), events: 0 };
        let bodies: Vec<Body> = samples::of(provider)
            .into_iter()
            .map(|sample| Body::of(provider, sample))
            .collect::<anyhow::Result<_>>()?;
        // Webhooks that concern nobody, or that are wrong on purpose, cost no event.
        let telling = bodies.into_iter().filter(|body| case.parse_one(body) > 0).collect();
        case.bodies = match case.batched(telling)? {
            Ok(batch) => vec![batch],
            Err(single) => single,
        };
        case.events = case.parse();
        anyhow::ensure!(case.events > 0, "its fixtures hold no event");
        Ok(case)
    }

    /// Reads every body as the normalizer does; how many events there were.
    pub(crate) fn parse(&self) -> usize {
        self.bodies.iter().map(|body| self.parse_one(body)).sum()
    }

    fn parse_one(&self, body: &Body) -> usize {
        let request = body.request();
        let elements = self.provider.elements(&request).unwrap_or_default();
        elements.iter().map(|element| self.events_of(&request, element)).sum()
    }

    fn events_of(&self, request: &Request<'_>, element: &Element<'_>) -> usize {
        let context =
            Context { source: &self.source, received_at: domain::Timestamp::default(), receipt_id: Some("receipt") };
        let fates = black_box(self.provider.parse(request, element, &context));
        fates.iter().filter(|fate| matches!(fate, Fate::Event(_))).count()
    }

    /// One body with the elements of all, over and over, where the provider sends several at once.
    fn batched(&self, bodies: Vec<Body>) -> anyhow::Result<Result<Body, Vec<Body>>> {
        let (head, separator, tail) = match self.provider.name() {
            "sendgrid" | "sparkpost" | "brevo" | "mailjet" | "generic" => ("[", ",", "]"),
            "mailtrap" | "larkpost" => (r#"{"events":["#, ",", "]}"),
            "mandrill" => ("mandrill_events=%5B", "%2C", "%5D"),
            _ => return Ok(Err(bodies)),
        };
        let first = bodies.first().context("no fixture tells an event")?;
        let content_type = first.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let (url, content_type) = (first.url.clone(), content_type.unwrap_or_default().to_owned());
        let format = match first.format {
            Format::JsonLines if separator != "\n" => Format::Json,
            other => other,
        };
        let mut elements = Vec::new();
        for body in &bodies {
            let request = body.request();
            let all = self.provider.elements(&request)?;
            let telling = all.iter().filter(|element| self.events_of(&request, element) > 0);
            elements.extend(telling.map(|element| element.bytes.to_vec()));
        }
        let joined: Vec<&[u8]> = elements.iter().map(Vec::as_slice).cycle().take(BATCH).collect();
        let bytes = [head.as_bytes(), &joined.join(separator.as_bytes()), tail.as_bytes()].concat();
        Ok(Ok(Body::new(url, &content_type, bytes, format)?))
    }

    /// Reads every body into its generic value.
    pub(crate) fn read(&self) {
        self.bodies.iter().for_each(Body::read);
    }
}

impl Body {
    fn of(provider: &dyn Provider, sample: Sample) -> anyhow::Result<Self> {
        let name = provider.name();
        let mut bytes = sample.body.into_bytes();
        let is_json = serde_json::from_slice::<Value>(&bytes).is_ok();
        let format = match (sample.content_type, name) {
            ("message/rfc822", _) => Format::Mail,
            ("application/x-www-form-urlencoded", "mandrill") => Format::FormJson("mandrill_events"),
            ("application/x-www-form-urlencoded", _) => Format::Form,
            (_, "ses" | "scaleway") => {
                bytes = in_envelope(&bytes)?;
                Format::Sns
            }
            _ if is_json => Format::Json,
            _ => Format::JsonLines,
        };
        Ok(Self::new(sample.url, sample.content_type, bytes, format)?)
    }

    fn new(url: String, content_type: &str, bytes: Vec<u8>, format: Format) -> Result<Self, http::Error> {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_str(content_type)?)]);
        Ok(Self { url, headers, bytes, format })
    }

    fn request(&self) -> Request<'_> {
        Request { method: "POST", url: &self.url, headers: &self.headers, body: &self.bytes }
    }

    fn read(&self) {
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
        match self.format {
            Format::Json => drop(black_box(json(&self.bytes))),
            Format::Sns => {
                let envelope = json(&self.bytes);
                let text = envelope.as_ref().and_then(|envelope| envelope["Message"].as_str());
                drop(black_box(text.and_then(|text| json(text.as_bytes()))));
                drop(black_box(envelope));
            }
            Format::JsonLines => {
                self.bytes.split(|byte| *byte == b'\n').for_each(|line| drop(black_box(json(line))));
            }
            Format::Form | Format::FormJson(_) => {
                let pairs: Vec<(String, String)> = form_urlencoded::parse(&self.bytes).into_owned().collect();
                if let Format::FormJson(field) = self.format {
                    let value = pairs.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str());
                    drop(black_box(value.and_then(|value| json(value.as_bytes()))));
                }
                drop(black_box(pairs));
            }
            // Debug builds of it assert on a report without a multipart around it: this is measured in release only.
            Format::Mail => drop(black_box(MessageParser::default().parse(&self.bytes))),
        }
    }
}

/// A text in a notification, unless it is in one already.
fn in_envelope(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let text = std::str::from_utf8(text)?;
    let is_envelope = serde_json::from_str::<Value>(text).is_ok_and(|value| value.get("Type").is_some());
    if is_envelope {
        return Ok(text.as_bytes().to_vec());
    }
    let region = "https://sns.eu-west-1.amazonaws.com";
    let envelope = json!({
        "Type": "Notification", "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:mail", "Subject": "Amazon SES Email Event Notification",
        "Message": text, "Timestamp": "2026-01-20T14:32:15.000Z", "SignatureVersion": "2", "Signature": "A".repeat(344),
        "SigningCertURL": format!("{region}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"),
        "UnsubscribeURL": format!("{region}/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:eu-west-1:123456789012:mail:1"),
    });
    Ok(serde_json::to_vec(&envelope)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_measured_by_bodies_that_tell() {
        let cases = all().unwrap();
        assert!(cases.len() > providers::PROVIDERS.len());
        for case in &cases {
            assert!(case.events >= case.bodies.len(), "{}", case.provider.name());
            for body in &case.bodies {
                let is_json = serde_json::from_slice::<Value>(&body.bytes).is_ok();
                let fits = match body.format {
                    Format::Json | Format::Sns => is_json,
                    _ => !is_json,
                };
                assert!(fits, "{} {:?}", case.provider.name(), body.format);
            }
        }
    }
}
