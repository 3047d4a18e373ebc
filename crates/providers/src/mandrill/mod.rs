//! Mandrill's (Mailchimp Transactional's) webhooks: a form whose field `mandrill_events` holds a JSON array.
//!
//! Signed by HMAC-SHA1 over the webhook's URL and the form; see [`signature`]. Nothing signed tells the time: a recorded
//! request passes for ever, and is then the same events.
//!
//! When a webhook is set up Mandrill first sends a HEAD without any proof, and then an empty batch signed with the literal
//! key `test-webhook`, as the real one is not known yet. Both are answered 200 and nothing is stored.
//!
//! Identity: `_id` of the message, recipient, `event`, `ts`, and for a click the link. Mandrill gives events no id.
//!
//! Events of the synchronisation with Mailchimp (`type` and `action` in place of `event`) say what Mandrill's own lists
//! hold: an address on the deny list is `rejected` and no new failure. One put there by API or by hand (reason `custom`) is
//! an echo.
//!
//! Source: <https://mailchimp.com/developer/transactional/docs/webhooks/>.

mod signature;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::form::field;
use crate::json::{Object, Value};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
    verify,
};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::MandrillLists;

/// The form's field that holds the array of events.
const FIELD: &[u8] = b"mandrill_events";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Mandrill;

impl Provider for Mandrill {
    fn name(&self) -> &'static str {
        "mandrill"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha1", |keys| signature::signature(request, source, keys))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        field::elements(request.body, FIELD)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        let decoded = crate::form::decode(element.bytes);
        match Object::read(&Element { index: element.index, bytes: &decoded }) {
            Ok(object) => vec![parse(&object, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &[signature::HEADER]
    }

    fn set_up_methods(&self) -> &'static [&'static str] {
        &["HEAD"]
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        let is_absolute = spec.public_url.as_deref().is_some_and(|url| verify::url::Parts::of(url).is_some());
        match is_absolute || spec.secrets.is_empty() {
            true => Ok(()),
            false => Err(SourceError(
                "mandrill signs the URL that it calls: set `public_url` to the webhook's URL, as it stands in Mandrill"
                    .to_owned(),
            )),
        }
    }

    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    if let Some(word) = object.get("event").and_then(Value::string) {
        return match word.as_ref() {
            "inbound" => Fate::Ignored("inbound_message"),
            _ => message(word, object, context),
        };
    }
    match object.get("type").and_then(Value::string) {
        Some(list) => sync(&list, object, context),
        None => Fate::Dead("missing_event: the element has neither `event` nor `type`".to_owned()),
    }
}

/// What became of a message.
fn message(word: Cow<'_, str>, object: &Object<'_>, context: &Context<'_>) -> Fate {
    let message = object.object("msg").unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    (draft.kind, draft.failure) = kind(&word, &message);
    if draft.kind == Kind::Unsubscribed {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = message.get("email").and_then(Value::string);
    draft.occurred_at = object.get("ts").and_then(Value::seconds);
    draft.message_id = message.text("_id").or_else(|| object.text("_id"));
    draft.categories =
        message.get("tags").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    if let Some(metadata) = message.object("metadata") {
        draft.metadata.extend(&metadata);
    }
    if let Some(subaccount) = message.text("subaccount") {
        draft.metadata.add("subaccount", &subaccount);
    }
    draft.seen_by(object.text("user_agent"));
    draft.identity = vec![object.text("url").unwrap_or_default()];
    draft.finish(context)
}

fn kind(word: &str, message: &Object<'_>) -> (Kind, Option<Failure>) {
    match word {
        "send" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "deferral" => (Kind::Deferred, Some(failure(message, None, Some(false)).1)),
        "hard_bounce" | "soft_bounce" => {
            let (kind, failure) = failure(message, word_of(message), Some(word == "hard_bounce"));
            (kind, Some(failure))
        }
        "reject" => {
            let word =
                Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list");
            (Kind::Rejected, Some(failure(message, Some(word), None).1))
        }
        "spam" => (Kind::Complaint, None),
        "unsub" => (Kind::Unsubscribed, None),
        "open" => (Kind::Opened, None),
        "click" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

/// What Mandrill's one-word description of a bounce stands for.
fn word_of(message: &Object<'_>) -> Option<Word> {
    use Attribution::{Domain, Message, Recipient, Sender};
    use FailureClass as F;
    let weak = |attribution, class, rule| Some(Word::Weak(attribution, class, rule));
    match message.get("bounce_description").and_then(Value::string)?.as_ref() {
        "bad_mailbox" => weak(Recipient, F::UnknownRecipient, "provider.bad_mailbox"),
        "inactive_mailbox" => weak(Recipient, F::Disabled, "provider.inactive_mailbox"),
        "mailbox_full" => weak(Recipient, F::MailboxFull, "provider.mailbox_full"),
        "invalid_domain" => weak(Domain, F::BadDomain, "provider.invalid_domain"),
        "no_answer" => weak(Domain, F::Timeout, "provider.no_answer"),
        "relaying_denied" => weak(Domain, F::Relay, "provider.relaying_denied"),
        "message_too_large" => weak(Message, F::Size, "provider.message_too_large"),
        "spam" | "content" => weak(Message, F::Content, "provider.content"),
        "policy_related" => weak(Sender, F::Policy, "provider.policy_related"),
        "general" | "undetermined" => weak(Recipient, F::Undetermined, "provider.undetermined"),
        _ => None,
    }
}

fn failure(message: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    // A deferral's replies stand in a list, the newest last.
    let last = || message.get("smtp_events")?.list().pop()?.object()?.get("diag")?.string();
    let reply = message.get("diag").and_then(Value::string).or_else(last);
    let evidence = Evidence { word, permanent, diagnostic: reply.as_deref(), ..Evidence::default() };
    let code = ["bounce_description", "reject_reason", "reject"].iter().find_map(|name| {
        let value = message.get(name)?;
        value.text().or_else(|| value.object()?.text("reason"))
    });
    draft::failure(&evidence, code.as_deref(), None)
}

/// A change of Mandrill's own lists.
fn sync(list: &str, object: &Object<'_>, context: &Context<'_>) -> Fate {
    let action = object.text("action").unwrap_or_default();
    let entry = object.object("reject").or_else(|| object.object("entry")).unwrap_or_default();
    let reason = entry.text("reason").unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, Cow::Owned(format!("{list}.{action}")));
    if matches!((list, action.as_ref()), ("blacklist" | "denylist", "add" | "change")) {
        let word =
            Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list");
        let detail = entry.get("detail").and_then(Value::string);
        let evidence = Evidence { word: Some(word), diagnostic: detail.as_deref(), ..Evidence::default() };
        (draft.kind, draft.failure) = (Kind::Rejected, Some(draft::failure(&evidence, Some(&reason), None).1));
    }
    draft.echo = reason == "custom";
    draft.address = entry.get("email").and_then(Value::string);
    draft.occurred_at = object.get("ts").and_then(Value::seconds);
    if let Some(subaccount) = entry.text("subaccount") {
        draft.metadata.add("subaccount", &subaccount);
    }
    draft.identity = vec![reason.clone()];
    draft.finish(context)
}

#[cfg(test)]
mod tests;
