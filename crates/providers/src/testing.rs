//! What the tests of all providers share: sources, requests, and the runner of the fixtures.
//!
//! A fixture is `{"case", "body" (JSON, or text taken as it is), "form" (urlencoded text) or "mail" (a raw message's lines),
//! "expect": […]}`. Each
//! expectation is a subset of one canonical event as JSON, or `{"ignored": tag}`, or `{"dead": beginning of the reason}`.

use crate::attack::{self, Input};
use crate::samples;
pub(crate) use crate::samples::{body_of, read_fixtures};
use crate::{Context, Fate, Provider, Request, Source, SourceSpec, Triage};
use domain::{CanonicalEvent, Tenant, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

pub(crate) const NOW: i64 = 1_768_919_600;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(NOW).unwrap()
}

pub(crate) fn source(provider: &dyn Provider, spec: SourceSpec) -> Source {
    Source { provider: provider.name(), name: "default".to_owned(), tenant: Tenant::default(), spec }
}

pub(crate) fn open(provider: &dyn Provider) -> Source {
    source(provider, SourceSpec { unauthenticated: true, ..SourceSpec::default() })
}

pub(crate) fn secrets(secrets: &[&str]) -> SourceSpec {
    SourceSpec { secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(), ..SourceSpec::default() }
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

pub(crate) fn post<'a>(url: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Request<'a> {
    Request { method: "POST", url, headers, body }
}

/// Every fate of a body.
pub(crate) fn fates(provider: &dyn Provider, content_type: &str, body: &[u8]) -> Result<Vec<Fate>, String> {
    fates_at(provider, "/webhooks", content_type, body)
}

/// Every fate of a body that came to a URL.
pub(crate) fn fates_at(
    provider: &dyn Provider,
    url: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Vec<Fate>, String> {
    let (source, headers) = (open(provider), headers(&[("content-type", content_type)]));
    let request = post(url, &headers, body);
    let context = Context { source: &source, received_at: now(), receipt_id: Some("receipt") };
    let elements = provider.elements(&request).map_err(|malformed| malformed.reason)?;
    Ok(elements.iter().flat_map(|element| provider.parse(&request, element, &context)).collect())
}

/// The only event of a JSON body.
#[track_caller]
pub(crate) fn event(provider: &dyn Provider, body: &str) -> CanonicalEvent {
    let mut fates = fates(provider, "application/json", body.as_bytes()).unwrap();
    assert_eq!(fates.len(), 1, "{fates:?}");
    match fates.remove(0) {
        Fate::Event(event) => *event,
        other => panic!("no event: {other:?}"),
    }
}

pub(crate) fn triage(provider: &dyn Provider, content_type: &str, body: &str) -> Triage {
    let (source, headers) = (open(provider), headers(&[("content-type", content_type)]));
    let context = Context { source: &source, received_at: now(), receipt_id: None };
    provider.triage(&post("/webhooks", &headers, body.as_bytes()), &context)
}

/// Runs every fixture and compares; shows all that differ at once.
#[track_caller]
pub(crate) fn run_fixtures(provider: &dyn Provider, text: &str) {
    let mut differences = Vec::new();
    for fixture in read_fixtures(text) {
        let (content_type, body) = body_of(&fixture);
        let found = fates(provider, content_type, body.as_bytes());
        let again = fates(provider, content_type, body.as_bytes());
        assert_eq!(found, again, "the same request gives the same events");
        let expected = fixture["expect"].as_array().expect("expect is a list");
        let found = match found {
            Ok(fates) => fates.iter().map(shown).collect(),
            Err(reason) => vec![serde_json::json!({ "malformed": reason })],
        };
        let fine = found.len() == expected.len() && found.iter().zip(expected).all(|(found, want)| holds(found, want));
        if !fine {
            differences.push(format!(
                "{}\n  found {}\n  want  {}",
                fixture["case"],
                Value::Array(found),
                fixture["expect"]
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn shown(fate: &Fate) -> Value {
    match fate {
        Fate::Event(event) => serde_json::to_value(event).unwrap(),
        Fate::Found => panic!("a receipt was given"),
        Fate::Ignored(reason) => serde_json::json!({ "ignored": reason }),
        Fate::Dead(reason) => serde_json::json!({ "dead": reason }),
    }
}

/// Whether a value holds what is wanted: objects as subsets, reasons by their beginning.
fn holds(found: &Value, want: &Value) -> bool {
    match (found, want) {
        (Value::Object(found), Value::Object(want)) => {
            want.iter().all(|(name, value)| match (name.as_str(), found.get(name)) {
                ("dead" | "malformed", Some(reason)) => {
                    reason.as_str().unwrap_or_default().starts_with(value.as_str().unwrap_or("?"))
                }
                (_, Some(found)) => holds(found, value),
                (_, None) => value.is_null(),
            })
        }
        (found, want) => found == want,
    }
}

/// What must hold of every fate, whatever the input was.
pub(crate) fn assert_bounded(fate: &Fate) {
    let _bytes = attack::check(fate, attack::EVENT_BYTES_MAX);
}

/// Feeds bytes to everything a provider has; nothing may panic and everything is bounded.
pub(crate) fn feed(provider: &dyn Provider, content_type: &str, url: &str, body: &[u8]) {
    let tag = format!("sha256={}", "0".repeat(64));
    let headers = headers(&[
        ("content-type", content_type),
        ("authorization", "Basic eA=="),
        ("x-twilio-signature", "NBdBDr/T/lgjI+tlgpXjKZQZs/k="),
        ("x-drip-signature", "00"),
        ("x-postal-signature-256", "AAAA"),
        ("x-mom-webhook-id", "1"),
        ("x-mom-webhook-event", "delivered"),
        ("x-mom-webhook-timestamp", "1768919600"),
        ("x-mom-webhook-signature", &tag),
    ]);
    attack::run(provider, &samples::guarded(provider.name()), &Input::of(url, headers, body));
}

mod corpus;
mod hostile;
mod mutation;
