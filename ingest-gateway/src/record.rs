//! The record of a webhook.

use bytes::Bytes;
use domain::Timestamp;
use event_log::{Header, Record};
use http::{HeaderMap, request::Parts};
use providers::Source;
use schemas::{EncodeError, headers as names, wire::RawWebhook};
use std::{borrow::Cow, collections::BTreeMap};

/// Headers that are kept: how the body is written, who sent it, and the providers' signatures, times and ids. Never
/// credentials: `Authorization`, cookies and a source's own secret headers stay out.
const KEPT: &[&str] = &[
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
    "x-twilio-email-event-webhook-signature",
    "x-twilio-email-event-webhook-timestamp",
    "x-twilio-signature",
    "i-twilio-idempotency-token",
    "x-drip-signature",
    "x-request-id",
];

/// What is known of a webhook once it is verified.
#[derive(Debug)]
pub(crate) struct Verified<'a> {
    pub(crate) source: &'a Source,
    pub(crate) inner_id: &'a str,
    pub(crate) received_at: Timestamp,
    pub(crate) url: &'a str,
    pub(crate) scheme: &'static str,
    pub(crate) shadow: bool,
}

/// The record to append.
pub(crate) fn record(verified: &Verified<'_>, parts: &Parts, body: Bytes) -> Result<Record, EncodeError> {
    let raw = RawWebhook {
        receipt_id: verified.inner_id.to_owned(),
        provider: verified.source.provider.to_owned(),
        source: verified.source.name.clone(),
        tenant: verified.source.tenant.as_str().to_owned(),
        received_at: verified.received_at.as_micros(),
        method: parts.method.as_str().to_owned(),
        url: verified.url.to_owned(),
        headers: kept(&parts.headers, verified.source),
        body: body.into(),
        verified: verified.scheme.to_owned(),
        shadow: verified.shadow,
    };
    let mut headers = Vec::with_capacity(2);
    let header =
        |name, value: &str| Header { name: Cow::Borrowed(name), value: Bytes::copy_from_slice(value.as_bytes()) };
    headers.push(header(names::RECEIPT_ID, verified.inner_id));
    if let Some(parent) = traceparent(&parts.headers) {
        headers.push(header(names::TRACEPARENT, parent));
    }
    let value = schemas::encode(&raw)?;
    Ok(Record { key: None, value: Some(value), headers, timestamp_ms: verified.received_at.as_millis() })
}

/// A header that is there more than once, or is not text, is left out, as it is for whoever verifies.
fn kept(headers: &HeaderMap, source: &Source) -> BTreeMap<String, String> {
    let secret = |name: &str| source.spec.headers.keys().any(|secret| secret.eq_ignore_ascii_case(name));
    let value = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    KEPT.iter()
        .filter_map(|name| Some(((*name).to_owned(), value(name)?.to_owned())))
        .filter(|(name, _)| !secret(name))
        .collect()
}

/// The caller's trace, if its `traceparent` is well-formed (W3C Trace Context, 3.2).
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(names::TRACEPARENT)?.to_str().ok()?;
    let mut parts = value.split('-');
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let fine = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && trace.bytes().any(|b| b != b'0')
        && hex(span, 16)
        && span.bytes().any(|b| b != b'0')
        && hex(flags, 2)
        // Later versions may append fields; what is passed on is bounded.
        && (version != "00" || parts.next().is_none())
        && value.len() <= 256;
    fine.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn passes_on_only_a_well_formed_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        let check = |value: &'static str, fine: bool| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(value));
            assert_eq!(traceparent(&headers), fine.then_some(value), "{value}");
        };
        check(good, true);
        check(later, true);
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            check(wrong, false);
        }
    }

    #[test]
    fn keeps_no_credentials() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "cookie", "proxy-authorization", "x-acme-secret", "x-request-id", "user-agent"] {
            headers.insert(name, HeaderValue::from_static("value"));
        }
        headers.append("content-type", HeaderValue::from_static("a/b"));
        headers.append("content-type", HeaderValue::from_static("c/d"));
        let mut spec = providers::SourceSpec::default();
        spec.headers.insert("X-Request-Id".to_owned(), "value".to_owned());
        let source = Source { provider: "drip", name: "default".into(), tenant: domain::Tenant::default(), spec };
        let kept = kept(&headers, &source);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["user-agent"]);
    }
}
