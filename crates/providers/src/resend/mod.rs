//! Resend's webhooks: one JSON object with `type`, `created_at` and `data`.
//!
//! Signed as Svix signs (Standard Webhooks, headers `svix-…`): HMAC-SHA256 over id, timestamp and raw body. Each retry
//! carries a fresh timestamp and the same id.
//!
//! Since November 2024 each event stands for one recipient, who is the only one in `data.to`; older ones name every
//! recipient of the message there. Each address in the list gets an event of its own.
//!
//! Identity: `data.email_id`, recipient, `type`, the top-level `created_at` (that of the event; `data.created_at` is the
//! message's) and the id in the headers, which stays the same when a request is retried.
//!
//! `suppression.added` and `suppression.removed` say what Resend's list holds. Of origin `manual` they are an echo: the
//! list was changed by API or in the dashboard, not by the recipient.
//!
//! Source: <https://resend.com/docs/webhooks/introduction>, <https://resend.com/changelog/webhook-event-visibility>.

mod bounce;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, standard_webhooks};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::{Failure, Kind, Timestamp};
use std::borrow::Cow;
pub use suppression_api::ResendLists;

/// A message has at most so many recipients in `to`. Each gets an event that repeats what the webhook says.
const RECIPIENTS_MAX: usize = 50;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Resend;

impl Provider for Resend {
    fn name(&self) -> &'static str {
        "resend"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "svix", |secrets| standard_webhooks::signature(request, source, secrets, now))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => parse(request, &object, context),
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        standard_webhooks::HEADERS
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        standard_webhooks::check_source(spec)
    }
}

fn parse(request: &Request<'_>, object: &Object<'_>, context: &Context<'_>) -> Parsed {
    let Some(word) = object.get("type").and_then(Value::string) else {
        return draft::dead("missing_type: the element has no `type`");
    };
    let data = object.object("data").unwrap_or_default();
    match word.as_ref() {
        "email.scheduled" => return vec![Fate::Ignored("scheduled")],
        "email.received" => return vec![Fate::Ignored("inbound_message")],
        _ if word.starts_with("domain.") || word.starts_with("contact.") => {
            return vec![Fate::Ignored("no_recipient")];
        }
        _ => {}
    }
    let recipients: Vec<Option<Cow<'_, str>>> = match data.get("to").map(Value::list) {
        Some(list) if !list.is_empty() => list.into_iter().map(Value::string).collect(),
        // A change of the suppression list names its address alone; whatever else names nobody.
        _ => vec![data.get("email").and_then(Value::string)],
    };
    if recipients.len() > RECIPIENTS_MAX {
        return draft::dead("too_many_recipients: an event names at most 50");
    }
    let (kind, failure) = kind(&word, &data);
    let event = |address: Option<Cow<'_, str>>| {
        let mut draft = Draft::new(kind, word.clone());
        draft.address = address.map(|address| Cow::Owned(address.into_owned()));
        draft.failure = failure.clone();
        draft.occurred_at = object.get("created_at").and_then(Value::rfc3339);
        draft.message_id = data.text("email_id");
        draft.campaign = data.text("broadcast_id");
        draft.echo = word.starts_with("suppression.") && data.text("origin").as_deref() == Some("manual");
        if let Some(tags) = data.get("tags") {
            add_tags(&mut draft, tags);
        }
        let id = request.header("svix-id").or_else(|| request.header("webhook-id")).unwrap_or_default();
        let act = data.object("click").or_else(|| data.object("open")).unwrap_or_default();
        draft.seen_by(act.text("userAgent"));
        let link = act.text("link").map(|link| Cow::Owned(link.into_owned())).unwrap_or_default();
        draft.identity = vec![Cow::Borrowed(id), link];
        draft.finish(context)
    };
    recipients.into_iter().map(event).collect()
}

/// Tags are an object, or a list of names and values as they were given when sending.
fn add_tags(draft: &mut Draft<'_>, tags: Value<'_>) {
    match tags.object() {
        Some(tags) => draft.metadata.extend(&tags),
        None => {
            for tag in tags.list().into_iter().filter_map(Value::object) {
                if let (Some(name), Some(value)) = (tag.text("name"), tag.text("value")) {
                    draft.metadata.add(&name, &value);
                }
            }
        }
    }
}

fn kind(word: &str, data: &Object<'_>) -> (Kind, Option<Failure>) {
    match word {
        "email.sent" => (Kind::Accepted, None),
        "email.delivered" => (Kind::Delivered, None),
        "email.delivery_delayed" => (Kind::Deferred, Some(bounce::delayed(data))),
        "email.bounced" => {
            let (kind, failure) = bounce::read(data);
            (kind, Some(failure))
        }
        "email.failed" => (Kind::Rejected, Some(bounce::failed(data))),
        "email.suppressed" | "suppression.added" => (Kind::Rejected, Some(bounce::suppressed(data))),
        "email.complained" => (Kind::Complaint, None),
        "email.opened" => (Kind::Opened, None),
        "email.clicked" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

#[cfg(test)]
mod tests;
