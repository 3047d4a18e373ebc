//! Mailtrap's webhooks: a JSON object with a list of `events`, or JSON Lines with one event a line.
//!
//! Signed by HMAC-SHA256 of the raw body in hex, in `Mailtrap-Signature`. Nothing signed tells the time: a recorded request
//! passes for ever, and is then the same events.
//!
//! Identity: `message_id`, recipient, `event`, `timestamp` and `event_id`.
//!
//! Mailtrap takes 200 for a success, and nothing else when it tests a webhook.
//!
//! Source: <https://docs.mailtrap.io/email-api-smtp/advanced/webhooks>.

mod bounce;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, hmac};
use crate::{Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source};
use domain::{Failure, Kind, Scope, Timestamp};
pub use suppression_api::MailtrapLists;

const SIGNATURE: &str = "mailtrap-signature";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Mailtrap;

impl Provider for Mailtrap {
    fn name(&self) -> &'static str {
        "mailtrap"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256", |secrets| hmac::hex_of_body(request, secrets, SIGNATURE))
    }

    /// Which of the formats a body is in, its own shape tells: both are configured per webhook and labelled alike.
    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        if let Some(events) = json::events(request.body) {
            return events;
        }
        match json::elements(request.body) {
            Err(_) if is_lines(request.body) => json::lines(request.body),
            whole => whole,
        }
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => vec![parse(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[SIGNATURE]
    }

    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }
}

/// Whether a body that is no JSON document begins with a line that is one.
fn is_lines(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    lines.next().is_some() && first.starts_with(b"{") && first.ends_with(b"}")
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(word) = object.get("event").and_then(Value::string) else {
        return Fate::Dead("missing_event: the element has no `event`".to_owned());
    };
    if word.starts_with("inbound") {
        return Fate::Ignored("inbound_message");
    }
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    (draft.kind, draft.failure) = kind(&word, object);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = object.get("email").and_then(Value::string);
    draft.occurred_at = object.get("timestamp").and_then(Value::seconds);
    draft.message_id = object.text("message_id");
    draft.categories = object.text("category").into_iter().collect();
    if let Some(variables) = object.object("custom_variables") {
        draft.metadata.extend(&variables);
    }
    for name in ["sending_stream", "sending_domain_name"] {
        if let Some(value) = object.text(name) {
            draft.metadata.add(name, &value);
        }
    }
    draft.seen_by(object.text("user_agent"));
    draft.identity = [object.text("event_id"), object.text("url")].into_iter().map(Option::unwrap_or_default).collect();
    draft.finish(context)
}

fn kind(word: &str, object: &Object<'_>) -> (Kind, Option<Failure>) {
    match word {
        "delivery" => (Kind::Delivered, None),
        "open" => (Kind::Opened, None),
        "click" => (Kind::Clicked, None),
        "spam" => (Kind::Complaint, None),
        "unsubscribe" => (Kind::Unsubscribed, None),
        "bounce" | "soft bounce" | "soft_bounce" => {
            let (kind, failure) = bounce::read(object, word == "bounce");
            (kind, Some(failure))
        }
        "suspension" => (Kind::Deferred, Some(bounce::suspended(object))),
        "reject" => (Kind::Rejected, Some(bounce::rejected(object))),
        _ => (Kind::Unknown, None),
    }
}

#[cfg(test)]
mod tests;
