//! SendGrid's Event Webhook: a JSON array of events.
//!
//! Signed Event Webhook: ECDSA on P-256 over the timestamp header and the raw body (CRLFs included), the key as base64 of
//! its SubjectPublicKeyInfo. SendGrid's own libraries check no freshness; here the signed time must lie within the
//! source's tolerance, so that a recorded request does not pass for ever.
//!
//! Identity: `sg_event_id`, which stays the same when a request is retried, beside message id, recipient, event name and
//! time. Some old and `dropped` events lack it; the rest of the fields and the reason then tell them apart.
//!
//! Source: <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event>.

mod event;
pub mod suppression_api;

use crate::verify::{self, Signed, TOLERANCE_SECONDS, ecdsa, fresh, seconds};
use crate::{
    Authentication, Context, Element, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec, json,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
pub use suppression_api::SendGridLists;

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct SendGrid;

impl Provider for SendGrid {
    fn name(&self) -> &'static str {
        "sendgrid"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "ecdsa-p256-sha256", |keys| signature(request, source, keys, now))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        event::parse(element, context)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[SIGNATURE, TIMESTAMP]
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        match spec.secrets.iter().all(|key| ecdsa::point(key).is_some()) {
            true => Ok(()),
            false => Err(SourceError(
                "`secrets` holds text that is no P-256 public key: copy the verification key of the signed event webhook"
                    .to_owned(),
            )),
        }
    }
}

fn signature(request: &Request<'_>, source: &Source, keys: &[String], now: Timestamp) -> Signed {
    let given = request.header(SIGNATURE).ok_or("missing_signature")?;
    let time = request.header(TIMESTAMP).ok_or("missing_timestamp")?;
    let sent = seconds(time).ok_or("malformed_timestamp")?;
    if !fresh(sent, source, TOLERANCE_SECONDS, now) {
        return Err("stale");
    }
    // A DER signature on P-256 has at most 72 bytes.
    let mut signature = [0; 128];
    let length = STANDARD.decode_slice(given, &mut signature).map_err(|_| "malformed_signature")?;
    let signature = signature.get(..length).ok_or("malformed_signature")?;
    let mut signed = Vec::with_capacity(time.len() + request.body.len());
    signed.extend_from_slice(time.as_bytes());
    signed.extend_from_slice(request.body);
    if ecdsa::matches(keys, &signed, signature) { Ok(None) } else { Err("wrong_signature") }
}

#[cfg(test)]
mod tests;
