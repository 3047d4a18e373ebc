//! Brevo's webhooks: one JSON object, or an array of up to 500 where the webhook is `batched`; of transactional mail and of
//! marketing campaigns.
//!
//! Brevo signs nothing: a source asks for basic authentication, a bearer token or headers, all of which Brevo can send.
//!
//! Identity: message id, recipient, event name and time, and the link, campaign and lists. `id` is the webhook's own id and
//! tells nothing. The time is `ts_epoch`; the other times follow the account's time zone and stand in only where it is
//! missing, as in marketing webhooks.
//!
//! Brevo gives up at once on every 5xx and every 4xx but 429, so 429 is the answer under load.
//!
//! Source: <https://developers.brevo.com/docs/transactional-webhooks>, <https://developers.brevo.com/docs/marketing-webhooks>.

pub mod suppression_api;

use crate::draft::{self, Draft, without_brackets};
use crate::json::{self, Object, Value};
use crate::verify;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Overload, Parsed, Provider, Request, Source, SourceError,
    SourceSpec,
};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::BrevoLists;

/// `ts_epoch` is in milliseconds, but Brevo's own examples show seconds: what is smaller than this (a millisecond of 1973, a
/// second of 5138) is seconds.
const MILLIS_MIN: i64 = 100_000_000_000;

/// Addresses of one contact. Each becomes an event larger than itself, so a list of them needs a bound.
const ADDRESSES_MAX: usize = 100;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Brevo;

impl Provider for Brevo {
    fn name(&self) -> &'static str {
        "brevo"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "none", verify::no_signature)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        match Object::read(element) {
            Ok(object) => parse(&object, context),
            Err(reason) => draft::dead(reason),
        }
    }

    /// Brevo tries again after 429 alone.
    fn overload(&self) -> Overload {
        Overload::TooManyRequests
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_unsigned_source(spec, "brevo")
    }
}

/// A contact that is deleted may come with several addresses: each is an event.
fn parse(object: &Object<'_>, context: &Context<'_>) -> Parsed {
    if object.get("items").is_some() && object.get("event").is_none() {
        return vec![Fate::Ignored("inbound_message")];
    }
    let Some(event) = object.get("event").and_then(Value::string) else {
        return draft::dead("missing_event: the element has no `event`");
    };
    let addresses = object.get("email").map(Value::list).unwrap_or_default();
    match addresses.as_slice() {
        _ if addresses.len() > ADDRESSES_MAX => draft::dead("too_many_recipients: an event names at most 100"),
        [] => vec![read(&event, object, None).finish(context)],
        several => several.iter().map(|one| read(&event, object, one.string()).finish(context)).collect(),
    }
}

fn read<'a>(event: &Cow<'a, str>, object: &Object<'a>, address: Option<Cow<'a, str>>) -> Draft<'a> {
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    let lists = object.get("list_id").map(Value::list).unwrap_or_default();
    let list = lists.first().and_then(|list| list.text());
    draft.address = address;
    draft.message_id = object.text("message-id").map(without_brackets);
    draft.campaign = object.text("camp_id");
    draft.occurred_at = time(object);
    draft.categories = tags(object);
    (draft.kind, draft.failure) = kind(event, object);
    draft.scope = match draft.kind {
        // Brevo blocks whoever unsubscribes from all campaigns, whichever list the message was sent to.
        Kind::Unsubscribed => Some(Scope::Marketing),
        Kind::Resubscribed => list.as_deref().map(Scope::category),
        _ => None,
    };
    if draft.kind == Kind::Resubscribed && draft.scope.is_none() {
        draft.kind = Kind::Unknown;
    }
    draft.machine = matches!(event.as_ref(), "proxy_open" | "unique_proxy_open" | "loaded_by_proxy");
    for name in ["template_id", "contact_id", "campaign name", "list_id"] {
        if let Some(value) = object.get(name) {
            draft.metadata.extend_by(name, value);
        }
    }
    if let Some(custom) = object.text("X-Mailin-custom") {
        match Value::read(&custom).and_then(Value::object) {
            Some(fields) => draft.metadata.extend(&fields),
            None => draft.metadata.add("X-Mailin-custom", &custom),
        }
    }
    draft.identity = vec![
        object.text("link").unwrap_or_default(),
        object.text("camp_id").unwrap_or_default(),
        object.get("list_id").map(|lists| Cow::Borrowed(lists.raw())).unwrap_or_default(),
    ];
    draft
}

fn time(object: &Object<'_>) -> Option<Timestamp> {
    let epoch = object.get("ts_epoch").and_then(Value::integer::<i64>).and_then(|time| match time {
        MILLIS_MIN.. => Timestamp::from_millis(time).ok(),
        _ => Timestamp::from_seconds(time).ok(),
    });
    epoch.or_else(|| ["ts_event", "ts"].into_iter().find_map(|name| object.get(name)?.seconds()))
}

/// `tags`, or else `tag`, which is one tag or a list written as text.
fn tags<'a>(object: &Object<'a>) -> Vec<Cow<'a, str>> {
    let tags = object.get("tags").map(Value::list).unwrap_or_default();
    if !tags.is_empty() {
        return tags.into_iter().filter_map(Value::text).collect();
    }
    let Some(tag) = object.text("tag") else { return Vec::new() };
    match Value::read(&tag).filter(|value| value.raw().starts_with('[')) {
        Some(list) => list.list().into_iter().filter_map(|tag| Some(Cow::Owned(tag.text()?.into_owned()))).collect(),
        None => vec![tag],
    }
}

fn kind(event: &str, object: &Object<'_>) -> (Kind, Option<Failure>) {
    use Attribution::{Message, Provider, Recipient};
    use FailureClass as F;
    let failed = |word, permanent| failure(object, word, permanent);
    let as_kind = |kind, word| (kind, Some(failed(word, Some(false)).1));
    let bounced = |word, permanent| {
        let (kind, failure) = failed(word, Some(permanent));
        (kind, Some(failure))
    };
    match event {
        "request" | "sent" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "deferred" => as_kind(Kind::Deferred, None),
        "hard_bounce" => bounced(None, true),
        "soft_bounce" => bounced(None, false),
        "invalid_email" | "invalid" => {
            bounced(Some(Word::Firm(Recipient, F::UnknownRecipient, "provider.invalid_email")), true)
        }
        "blocked" => {
            as_kind(Kind::Rejected, Some(Word::Firm(Provider, F::SuppressedByProvider, "provider.on_suppression_list")))
        }
        "error" => as_kind(Kind::Rejected, Some(Word::Firm(Message, F::Undetermined, "provider.error"))),
        "spam" | "complaint" => (Kind::Complaint, None),
        "unsubscribe" | "unsubscribed" => (Kind::Unsubscribed, None),
        "list_addition" => (Kind::Resubscribed, None),
        "opened" | "unique_opened" | "proxy_open" | "unique_proxy_open" | "loaded_by_proxy" => (Kind::Opened, None),
        "click" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

fn failure(object: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let reason = object.text("reason");
    let evidence = Evidence { word, permanent, diagnostic: reason.as_deref(), ..Evidence::default() };
    draft::failure(&evidence, None, None)
}

#[cfg(test)]
mod tests;
