//! What the tests of all providers share: sources, requests, and the runner of the fixtures.
//!
//! A fixture is `{"case", "body" (JSON, or text taken as it is) or "form" (urlencoded text), "expect": […]}`. Each
//! expectation is a subset of one canonical event as JSON, or `{"ignored": tag}`, or `{"dead": beginning of the reason}`.

use crate::{Context, Element, Fate, Provider, Request, Source, SourceSpec, Triage};
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
    let (source, headers) = (open(provider), headers(&[("content-type", content_type)]));
    let request = post("/webhooks", &headers, body);
    let context = Context { source: &source, received_at: now(), receipt_id: "receipt" };
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
    let context = Context { source: &source, received_at: now(), receipt_id: "receipt" };
    provider.triage(&post("/webhooks", &headers, body.as_bytes()), &context)
}

/// A fixture's content type and body.
pub(crate) fn body_of(fixture: &Value) -> (&'static str, String) {
    match (&fixture["form"], &fixture["body"]) {
        (Value::String(form), _) => ("application/x-www-form-urlencoded", form.clone()),
        (_, Value::String(text)) => ("application/json", text.clone()),
        (_, json) => ("application/json", json.to_string()),
    }
}

pub(crate) fn read_fixtures(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("the fixtures are a JSON array")
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
    match fate {
        Fate::Ignored(_) => {}
        Fate::Dead(reason) => assert!(reason.len() <= 256, "{reason}"),
        Fate::Event(event) => {
            assert!(event.address.len() <= 2_100 && event.provider_kind.len() <= 64);
            assert!(event.categories.len() <= 32 && event.categories.iter().all(|category| category.len() <= 256));
            assert!(event.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 4_096);
            for name in [&event.message_id, &event.campaign].into_iter().flatten() {
                assert!(name.len() <= 256);
            }
            if let Some(failure) = &event.failure {
                assert!(failure.diagnostic.as_ref().is_none_or(|text| text.len() <= 1_024));
                assert!(failure.provider_code.as_ref().is_none_or(|code| code.len() <= 64));
                assert!(failure.rule.len() <= 64);
            }
        }
    }
}

/// Feeds bytes to everything a provider has; nothing may panic and everything is bounded.
pub(crate) fn feed(provider: &dyn Provider, content_type: &str, url: &str, body: &[u8]) {
    let mom = format!("sha256={}", "0".repeat(64));
    let headers = headers(&[
        ("content-type", content_type),
        ("authorization", "Basic eA=="),
        ("x-twilio-signature", "NBdBDr/T/lgjI+tlgpXjKZQZs/k="),
        ("x-drip-signature", "00"),
        ("x-postal-signature-256", "AAAA"),
        ("x-mom-webhook-id", "1"),
        ("x-mom-webhook-event", "delivered"),
        ("x-mom-webhook-timestamp", "1768919600"),
        ("x-mom-webhook-signature", &mom),
    ]);
    let request = post(url, &headers, body);
    let guarded = source(provider, secrets(&["secret"]));
    assert!(!provider.authenticate(&request, &guarded, now()).ok);
    let source = open(provider);
    let context = Context { source: &source, received_at: now(), receipt_id: "receipt" };
    if let Ok(elements) = provider.elements(&request) {
        let mut end = 0;
        for Element { index, bytes } in &elements {
            end += bytes.len();
            for fate in provider.parse(&request, &Element { index: *index, bytes }, &context) {
                assert_bounded(&fate);
            }
        }
        assert!(end <= body.len());
    }
    let _verdict = provider.triage(&request, &context);
}

mod hostile;
