//! Mailomat's webhooks: one JSON object with `eventType`, `recipient` and a `payload` of details.
//!
//! `X-MOM-Webhook-Signature` is `sha256=` and the hex HMAC-SHA256 over the id, event and timestamp of the other headers,
//! joined by dots. It leaves the body out: whoever has seen one request can send its headers with another body. So the signed
//! time must be fresh, and what was signed is handed on to be bound to the first body it came with.
//!
//! Identity: the body's `id`, beside message id, recipient, event name and time.
//!
//! Source: <https://api.mailomat.swiss/docs/#tag/webhook-security>.

use crate::draft::{self, Draft, without_brackets};
use crate::json::{self, Object, Value};
use crate::verify::{self, Signed, fresh, hmac, seconds};
use crate::{Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope, Timestamp};

const ID: &str = "x-mom-webhook-id";
const EVENT: &str = "x-mom-webhook-event";
const TIMESTAMP: &str = "x-mom-webhook-timestamp";
const SIGNATURE: &str = "x-mom-webhook-signature";
/// Mailomat does not say how long it retries, nor whether a retry is signed anew: half a day loses nothing.
const TOLERANCE_SECONDS: u64 = 43_200;
/// Ids are UUIDs, events short words.
const SIGNED_BYTES_MAX: usize = 256;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Mailomat;

impl Provider for Mailomat {
    fn name(&self) -> &'static str {
        "mailomat"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256-token", |secrets| signature(request, source, secrets, now))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => vec![parse(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[ID, EVENT, TIMESTAMP, SIGNATURE]
    }
}

fn signature(request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
    let given = request.header(SIGNATURE).ok_or("missing_signature")?;
    let id = request.header(ID).ok_or("missing_id")?;
    let event = request.header(EVENT).ok_or("missing_event")?;
    let time = request.header(TIMESTAMP).ok_or("missing_timestamp")?;
    let sent = seconds(time).ok_or("malformed_timestamp")?;
    let tag = given.strip_prefix("sha256=").and_then(hmac::hex_tag::<32>).ok_or("malformed_signature")?;
    // The token is the very text that is signed, so that moving a dot between its parts gives no new one.
    let signed = format!("{id}.{event}.{time}");
    if signed.len() > SIGNED_BYTES_MAX {
        return Err("malformed_id");
    }
    if !hmac::matches(hmac::SHA256, secrets, &[signed.as_bytes()], &tag) {
        return Err("wrong_signature");
    }
    if fresh(sent, source, TOLERANCE_SECONDS, now) { Ok(Some(signed)) } else { Err("stale") }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let payload = object.object("payload").unwrap_or_default();
    let Some(event) = object.text("eventType").or_else(|| payload.text("event")) else {
        return Fate::Dead("missing_event: the element has no `eventType`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, &payload);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = object.get("recipient").or_else(|| payload.get("recipient")).and_then(Value::string);
    draft.occurred_at =
        object.get("occurredAt").and_then(Value::utc).or_else(|| payload.get("timestamp").and_then(Value::seconds));
    let header_id = object.text("messageId").map(without_brackets);
    if let Some(id) = &header_id {
        draft.metadata.add("messageId", id);
    }
    draft.message_id = object.text("messageUuid").or(header_id);
    draft.identity = vec![object.text("id").unwrap_or_default(), payload.text("url").unwrap_or_default()];
    draft.finish(context)
}

fn kind(event: &str, payload: &Object<'_>) -> (Kind, Option<Failure>) {
    match event {
        "accepted" => (Kind::Accepted, None),
        // Mailomat refuses for quotas and the like: the recipient has no part in it.
        "not_accepted" => {
            let reason = payload.text("reason");
            let word = Word::Firm(Attribution::Sender, FailureClass::Undetermined, "provider.not_accepted");
            let evidence = Evidence { word: Some(word), diagnostic: reason.as_deref(), ..Evidence::default() };
            (Kind::Rejected, Some(draft::failure(&evidence, None, None).1))
        }
        "delivered" => (Kind::Delivered, None),
        "failure_tmp" => (Kind::Deferred, Some(failure(payload, false).1)),
        "failure_perm" => {
            let (kind, failure) = failure(payload, true);
            (kind, Some(failure))
        }
        "opened" => (Kind::Opened, None),
        "clicked" => (Kind::Clicked, None),
        "complained" | "complaint" => (Kind::Complaint, None),
        "unsubscribed" => (Kind::Unsubscribed, None),
        _ => (Kind::Unknown, None),
    }
}

fn failure(payload: &Object<'_>, permanent: bool) -> (Kind, Failure) {
    let status = payload.object("delivery-status").unwrap_or_default();
    let (enhanced, reply) = (status.text("enhanced-code"), status.text("message").or_else(|| payload.text("reason")));
    let evidence = Evidence {
        word: None,
        permanent: Some(permanent),
        smtp_code: status.get("code").and_then(Value::integer),
        enhanced_status: enhanced.as_deref(),
        diagnostic: reply.as_deref(),
    };
    draft::failure(&evidence, None, status.get("attempt-nr").and_then(Value::integer))
}

#[cfg(test)]
mod tests;
