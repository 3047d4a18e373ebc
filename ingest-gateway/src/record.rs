//! The record of a webhook.

use crate::trace::WebhookTrace;
use bytes::Bytes;
use domain::Timestamp;
use event_log::{Header, Record};
use http::{HeaderMap, request::Parts};
use providers::{Provider, Source};
use schemas::{headers as names, wire::RawWebhookRef};
use std::borrow::Cow;

/// Headers that are kept of every webhook: how the body is written and who sent it. Beside them each provider names those
/// with its signatures, times and ids ([`Provider::kept_headers`]). Never credentials: `Authorization`, cookies and a
/// source's own secret headers stay out.
const KEPT: &[&str] = &["content-type", "user-agent", "x-request-id"];

/// What is known of a webhook once it is verified.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) source: &'a Source,
    pub(crate) inner_id: &'a str,
    pub(crate) received_at: Timestamp,
    pub(crate) url: &'a str,
    pub(crate) scheme: &'static str,
    pub(crate) shadow: bool,
}

/// The record to append, with what it carries on of the trace.
pub(crate) fn record(verified: &Verified<'_>, parts: &Parts, body: &[u8], trace: &WebhookTrace) -> Record {
    let raw = RawWebhookRef {
        receipt_id: verified.inner_id,
        provider: verified.source.provider,
        source: &verified.source.name,
        tenant: verified.source.tenant.as_str(),
        received_at: verified.received_at.as_micros(),
        method: parts.method.as_str(),
        url: verified.url,
        headers: &kept(&parts.headers, verified.provider, verified.source),
        body,
        verified: verified.scheme,
        shadow: verified.shadow,
    };
    let mut headers = Vec::with_capacity(names::CARRIED.len());
    let header =
        |name, value: &str| Header { name: Cow::Borrowed(name), value: Bytes::copy_from_slice(value.as_bytes()) };
    headers.push(header(names::RECEIPT_ID, verified.inner_id));
    headers.extend(trace.traceparent().map(|parent| header(names::TRACEPARENT, parent)));
    headers.extend(trace.tracestate().map(|state| header(names::TRACESTATE, state)));
    Record { key: None, value: Some(raw.encode()), headers, timestamp_ms: verified.received_at.as_millis() }
}

/// Kept headers in the order of their names. One that is there more than once, or is not text, is left out, as it is for
/// whoever verifies.
fn kept<'a>(headers: &'a HeaderMap, provider: &dyn Provider, source: &Source) -> Vec<(&'static str, &'a str)> {
    let names = || KEPT.iter().chain(provider.kept_headers()).copied();
    let is_secret = |name: &str| source.spec.headers.keys().any(|secret| secret.eq_ignore_ascii_case(name));
    let mut kept = Vec::with_capacity(headers.keys_len());
    let mut before = None;
    // A webhook has few headers: they are gone through once, where each name looked up would be hashed. Values of one name
    // come one after the other.
    for (given, value) in headers {
        let Some(name) = names().find(|name| *name == given.as_str()) else { continue };
        if before == Some(name) {
            kept.pop_if(|(last, _)| *last == name);
        } else if !is_secret(name) {
            kept.extend(value.to_str().ok().map(|value| (name, value)));
        }
        before = Some(name);
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn keeps_no_credentials() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-acme-secret",
            "x-request-id",
            "user-agent",
            "x-drip-signature",
            "svix-id",
        ] {
            headers.insert(name, HeaderValue::from_static("value"));
        }
        for value in ["a/b", "c/d", "e/f"] {
            headers.append("content-type", HeaderValue::from_static(value));
        }
        headers.insert("svix-timestamp", HeaderValue::from_bytes(b"\xff").unwrap());
        let mut spec = providers::SourceSpec::default();
        spec.headers.insert("X-Request-Id".to_owned(), "value".to_owned());
        let source = Source { provider: "drip", name: "default".into(), tenant: domain::Tenant::default(), spec };
        let drip = providers::by_name("drip").unwrap();
        let kept = kept(&headers, drip, &source);
        assert_eq!(kept, [("user-agent", "value"), ("x-drip-signature", "value")]);
    }
}
