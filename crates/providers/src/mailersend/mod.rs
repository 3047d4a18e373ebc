//! MailerSend's webhooks: one JSON object with `type` and `data`, in either of two versions.
//!
//! The older one wraps the message (`data.email`, `data.morph`) and gives the event's time inside (`data.created_at`; the
//! outer one is the webhook's). The newer one is flat (`data.recipient`, `data.message_id`, `data.meta`) and gives the
//! event's time outside.
//!
//! Signed by HMAC-SHA256 of the raw body in hex, in `Signature`. Nothing signed tells the time: a recorded request passes
//! for ever, and is then the same event.
//!
//! Identity: message id, recipient, `type`, the event's time and `data.id`, the activity's own id.
//!
//! `opened_unique` and `clicked_unique` come beside `opened` and `clicked` for the first of each.
//!
//! Source: <https://developers.mailersend.com/api/v1/webhooks.html>.

pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, hmac};
use crate::{Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::MailerSendLists;

const SIGNATURE: &str = "signature";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct MailerSend;

impl Provider for MailerSend {
    fn name(&self) -> &'static str {
        "mailersend"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256", |secrets| hmac::hex_of_body(request, secrets, SIGNATURE))
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
        &[SIGNATURE]
    }
}

/// What the two versions say in different places.
#[derive(Debug)]
struct Activity<'a> {
    recipient: Option<Cow<'a, str>>,
    message_id: Option<Cow<'a, str>>,
    occurred_at: Option<Timestamp>,
    tags: Option<Value<'a>>,
    /// `morph`, or `meta`.
    details: Object<'a>,
}

impl<'a> Activity<'a> {
    fn of(object: &Object<'a>, data: &Object<'a>) -> Self {
        let time = |object: &Object<'a>| object.get("created_at").and_then(Value::rfc3339);
        match data.object("email") {
            Some(email) => Self {
                recipient: email.object("recipient").and_then(|recipient| recipient.get("email")?.string()),
                message_id: email.object("message").and_then(|message| message.text("id")),
                occurred_at: time(data),
                tags: email.get("tags"),
                details: data.object("morph").unwrap_or_default(),
            },
            None => Self {
                recipient: data.get("recipient").and_then(Value::string),
                message_id: data.text("message_id"),
                occurred_at: time(object),
                tags: data.get("tags"),
                details: data.object("meta").unwrap_or_default(),
            },
        }
    }

    fn detail(&self, names: &[&str]) -> Option<Cow<'a, str>> {
        names.iter().find_map(|name| self.details.text(name))
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(word) = object.get("type").and_then(Value::string) else {
        return Fate::Dead("missing_type: the element has no `type`".to_owned());
    };
    match word.as_ref() {
        "webhook.test" => return Fate::Ignored("test"),
        "inbound.message" => return Fate::Ignored("inbound_message"),
        _ => {}
    }
    let data = object.object("data").unwrap_or_default();
    let activity = Activity::of(object, &data);
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    (draft.kind, draft.failure) = kind(word.strip_prefix("activity.").unwrap_or(&word), &activity);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    draft.categories = activity.tags.map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    if let Some(domain) = object.text("domain_id") {
        draft.metadata.add("domain_id", &domain);
    }
    let url = activity.detail(&["url"]).unwrap_or_default();
    draft.identity = vec![data.text("id").unwrap_or_default(), url];
    (draft.address, draft.message_id, draft.occurred_at) =
        (activity.recipient, activity.message_id, activity.occurred_at);
    draft.finish(context)
}

fn kind(word: &str, activity: &Activity<'_>) -> (Kind, Option<Failure>) {
    match word {
        "sent" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "deferred" => (Kind::Deferred, Some(failure(activity, None, Some(false)).1)),
        "soft_bounced" | "hard_bounced" => {
            let (kind, failure) = failure(activity, None, Some(word == "hard_bounced"));
            (kind, Some(failure))
        }
        "opened" | "opened_unique" => (Kind::Opened, None),
        "clicked" | "clicked_unique" => (Kind::Clicked, None),
        "unsubscribed" => (Kind::Unsubscribed, None),
        "spam_complaint" | "spam_complaints" => (Kind::Complaint, None),
        "suppressed" => {
            let word =
                Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list");
            (Kind::Rejected, Some(failure(activity, Some(word), None).1))
        }
        "rejected" => {
            let word = Word::Firm(Attribution::Sender, FailureClass::Policy, "provider.rejected");
            (Kind::Rejected, Some(failure(activity, Some(word), None).1))
        }
        _ => (Kind::Unknown, None),
    }
}

fn failure(activity: &Activity<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    // The reason is the server's; the readable one is MailerSend's sentence about it.
    let reason =
        activity.detail(&["reason", "bounce_reason", "reject_reason", "suppression_reason", "readable_reason"]);
    let code = activity.detail(&["bounce_code"]);
    let evidence = Evidence {
        word,
        permanent,
        smtp_code: code.as_deref().and_then(|code| code.parse().ok()),
        enhanced_status: code.as_deref(),
        diagnostic: reason.as_deref(),
    };
    draft::failure(&evidence, activity.detail(&["suppression_reason", "bounce_code"]).as_deref(), None)
}

#[cfg(test)]
mod tests;
