//! Scaleway Transactional Email's webhooks: one JSON object, mostly inside the `Message` of a notification of Scaleway's Topics
//! and Events, which speaks the format of Amazon SNS; the bare object is read as well.
//!
//! Signed as Amazon SNS signs, see [`crate::sns`]. The host of the signing certificates is not documented, so none is ever
//! fetched: a source names the certificates that it takes, or asks for basic authentication, a bearer token or headers.
//!
//! Identity: the event's `id` (else the notification's `MessageId`, which its retries keep), beside email id, recipient, type
//! and time.
//!
//! Source: <https://www.scaleway.com/en/docs/transactional-email/reference-content/webhook-events-payloads/>.

pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::sns::{self, Hosts};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Timestamp};
pub use suppression_api::ScalewayLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Scaleway;

impl Provider for Scaleway {
    fn name(&self) -> &'static str {
        "scaleway"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        sns::authenticate(request, source, Hosts::Unknown, None, now)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => vec![unwrap(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        sns::KEPT_HEADERS
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        sns::check_source(spec, Hosts::Unknown)
    }
}

/// Takes the event out of its notification.
fn unwrap(object: &Object<'_>, context: &Context<'_>) -> Fate {
    match object.text("Type").as_deref() {
        Some("Notification") => {}
        Some("SubscriptionConfirmation") => return Fate::Ignored("subscription_confirmation"),
        Some("UnsubscribeConfirmation") => return Fate::Ignored("unsubscribe_confirmation"),
        Some(_) => return Fate::Ignored("other_notification"),
        None => return parse(object, None, context),
    }
    let Some(message) = object.get("Message").and_then(Value::string) else {
        return Fate::Dead("missing_message: the notification has no `Message`".to_owned());
    };
    let id = object.text("MessageId");
    match Object::read(&Element { index: 0, bytes: message.as_bytes() }) {
        Ok(event) => parse(&event, id.as_deref(), context),
        Err(reason) => Fate::Dead(format!("{reason} in `Message`")),
    }
}

fn parse(object: &Object<'_>, notification: Option<&str>, context: &Context<'_>) -> Fate {
    let Some(event) = object.get("type").and_then(Value::string) else {
        return Fate::Dead("missing_type: the event has no `type`".to_owned());
    };
    if event == "blocklist_created" {
        return Fate::Ignored("blocklist_created");
    }
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, object);
    draft.address = object.get("email_to").and_then(|to| to.list().first()?.string());
    draft.occurred_at = object.get("created_at").and_then(Value::utc);
    draft.message_id = object.text("email_id");
    for name in ["project_id", "domain_name"] {
        if let Some(value) = object.text(name) {
            draft.metadata.add(name, &value);
        }
    }
    for header in object.get("email_headers").map(Value::list).unwrap_or_default() {
        let Some(header) = header.object() else { continue };
        // The sender's own headers; the others hold names and subjects.
        if let (Some(name), Some(value)) = (header.text("key"), header.text("value"))
            && name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
        {
            draft.metadata.add(&name, &value);
        }
    }
    let id = object.text("id");
    draft.identity = vec![id.or_else(|| notification.map(|id| id.to_owned().into())).unwrap_or_default()];
    draft.finish(context)
}

fn kind(event: &str, object: &Object<'_>) -> (Kind, Option<Failure>) {
    use Attribution::{Message, Provider, Recipient};
    use FailureClass as F;
    let bounced = |word, permanent| {
        let (kind, failure) = failure(object, word, permanent);
        (kind, Some(failure))
    };
    let as_kind = |kind, word| (kind, Some(failure(object, word, false).1));
    match event {
        "email_queued" => (Kind::Accepted, None),
        "email_delivered" => (Kind::Delivered, None),
        "email_deferred" => as_kind(Kind::Deferred, None),
        "email_dropped" => bounced(None, true),
        "email_mailbox_not_found" => {
            bounced(Some(Word::Firm(Recipient, F::UnknownRecipient, "provider.mailbox_not_found")), true)
        }
        // A filter's verdict, not a recipient's complaint.
        "email_spam" => bounced(Some(Word::Firm(Message, F::Content, "provider.spam")), false),
        "email_blocklisted" => {
            as_kind(Kind::Rejected, Some(Word::Firm(Provider, F::SuppressedByProvider, "provider.on_suppression_list")))
        }
        _ => (Kind::Unknown, None),
    }
}

fn failure(object: &Object<'_>, word: Option<Word>, permanent: bool) -> (Kind, Failure) {
    let reply = object.text("email_response_message").or_else(|| object.text("email_error"));
    let evidence = Evidence {
        word,
        permanent: Some(permanent),
        smtp_code: object.get("email_response_code").and_then(Value::integer),
        enhanced_status: None,
        diagnostic: reply.as_deref(),
    };
    draft::failure(&evidence, None, object.get("email_try_count").and_then(Value::integer))
}

#[cfg(test)]
mod tests;
