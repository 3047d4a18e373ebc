//! Mailjet's webhooks: an array of events where the webhook groups them (version 2), else one bare object.
//!
//! Mailjet signs nothing: a source asks for basic authentication, which Mailjet takes from the URL.
//!
//! `sent` means that the recipient's host took the message. `MessageID` has more digits than a float can hold; it is read as
//! text.
//!
//! Identity: message id, recipient, event name and time, and the link, the list and the error. Mailjet gives no event id.
//!
//! Mailjet takes 200 alone for a success, repeats every 30 seconds for a day, and then suspends the URL.
//!
//! Source: <https://dev.mailjet.com/email/guides/webhooks/>.

mod error;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::{Failure, Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::MailjetLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Mailjet;

impl Provider for Mailjet {
    fn name(&self) -> &'static str {
        "mailjet"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "none", verify::no_signature)
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

    /// Anything but 200 is repeated.
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_unsigned_source(spec, "mailjet")
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(event) = object.get("event").and_then(Value::string) else {
        return Fate::Dead("missing_event: the element has no `event`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, object);
    let list = id(object, "mj_list_id");
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(list.as_deref().map_or(Scope::Marketing, Scope::category));
    }
    draft.address = object.get("email").and_then(Value::string);
    draft.occurred_at = object.get("time").and_then(Value::seconds);
    draft.message_id = id(object, "MessageID").or_else(|| id(object, "mj_message_id"));
    let campaign = object.text("customcampaign");
    draft.categories = campaign.clone().into_iter().collect();
    draft.campaign = campaign.or_else(|| id(object, "mj_campaign_id"));
    for name in ["CustomID", "Message_GUID", "blocked", "source"] {
        if let Some(value) = object.get(name) {
            draft.metadata.extend_by(name, value);
        }
    }
    if let Some(payload) = object.text("Payload") {
        match Value::read(&payload).and_then(Value::object) {
            Some(fields) => draft.metadata.extend(&fields),
            None => draft.metadata.add("Payload", &payload),
        }
    }
    draft.seen_by(object.text("agent"));
    draft.identity = ["url", "error"].map(|name| object.text(name).unwrap_or_default()).into();
    draft.identity.push(list.unwrap_or_default());
    draft.finish(context)
}

/// An id that names something: Mailjet writes 0 for none.
fn id<'a>(object: &Object<'a>, name: &str) -> Option<Cow<'a, str>> {
    object.text(name).filter(|id| id != "0")
}

fn kind(event: &str, object: &Object<'_>) -> (Kind, Option<Failure>) {
    match event {
        "sent" => (Kind::Delivered, None),
        "open" => (Kind::Opened, None),
        "click" => (Kind::Clicked, None),
        "spam" => (Kind::Complaint, None),
        "unsub" => (Kind::Unsubscribed, None),
        "bounce" => {
            let (kind, failure) = error::bounce(object);
            (kind, Some(failure))
        }
        "blocked" => (Kind::Rejected, Some(error::blocked(object))),
        _ => (Kind::Unknown, None),
    }
}

#[cfg(test)]
mod tests;
