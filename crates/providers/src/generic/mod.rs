//! Quell's own format, for everything that has no folder here: `POST /webhooks/email/events` with one event or an array of
//! events as JSON.
//!
//! ```json
//! {
//!   "id": "01J9ZP4C",
//!   "kind": "bounced_hard",
//!   "channel": "email",
//!   "recipient": "jane@example.com",
//!   "occurred_at": "2026-01-20T14:32:15Z",
//!   "message_id": "m-1", "campaign": "winter", "categories": ["newsletter"],
//!   "failure": {"permanent": true, "smtp_code": 550, "enhanced_status": "5.1.1", "diagnostic": "550 5.1.1 no such user"},
//!   "metadata": {"customer": "12345"}
//! }
//! ```
//!
//! | field | |
//! |---|---|
//! | `kind` | needed: `accepted`, `delivered`, `deferred`, `bounced_hard`, `bounced_soft`, `bounced` (the failure decides), `rejected`, `complaint`, `unsubscribed`, `resubscribed`, `opened`, `clicked`; any other word is kept as `unknown` |
//! | `recipient` | needed: an email address, a phone number as `+COUNTRY NUMBER`, or a device token |
//! | `channel` | `email`, `sms` or `push`; without it what has an `@` is an email address and all else a phone number |
//! | `occurred_at` | RFC 3339; needed unless `id` is given |
//! | `id` | the sender's own id of the event, the same on every retry |
//! | `message_id`, `campaign`, `categories` | the message and what it belonged to |
//! | `scope` | what an opt-out or its return reaches: `all`, `non_critical`, `marketing` (the default), `category:NAME`, `sender:NUMBER` |
//! | `failure` | `permanent`, `smtp_code`, `enhanced_status`, `diagnostic`, `code` (the sender's own), `attempt`; who and what is to blame is found from these |
//! | `machine` | `true` for an open or click by a machine |
//! | `metadata` | an object of the sender's own, kept as text |
//!
//! A bounce is `bounced_hard` only if its failure proves no one else to be at fault. Unknown fields are passed over.
//!
//! Signed as Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`, or `svix-…`), within 300 seconds
//! either way unless the source says otherwise; basic authentication, bearer tokens and headers work too.
//!
//! Identity: `id`, `message_id`, recipient, `kind` and `occurred_at`, and without an `id` the scope as well. Two events
//! that agree in all of these are one event.

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, standard_webhooks};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Channel, Failure, FailureClass, Kind, Scope, Timestamp};

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Generic;

impl Provider for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "standard-webhooks", |secrets| {
            standard_webhooks::signature(request, source, secrets, now)
        })
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
        standard_webhooks::HEADERS
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        standard_webhooks::check_source(spec)
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(word) = object.get("kind").and_then(Value::string) else {
        return Fate::Dead("missing_kind: the event has no `kind`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    draft.channel = match object.text("channel").map(|channel| channel.parse::<Channel>()) {
        Some(Ok(channel)) => Some(channel),
        Some(Err(_)) => return Fate::Dead("unknown_channel: write email, sms or push".to_owned()),
        None => None,
    };
    (draft.kind, draft.failure) = match kind(&word, object) {
        Ok(read) => read,
        Err(reason) => return Fate::Dead(reason),
    };
    draft.address = object.get("recipient").and_then(Value::string);
    let id = object.text("id");
    draft.occurred_at = object.get("occurred_at").and_then(Value::rfc3339);
    if draft.occurred_at.is_none() && (id.is_none() || object.text("occurred_at").is_some()) && draft.address.is_some()
    {
        return Fate::Dead("missing_occurred_at: write when it happened as RFC 3339, or give an `id`".to_owned());
    }
    if matches!(draft.kind, Kind::Unsubscribed | Kind::Resubscribed) {
        draft.scope = match object.text("scope").map(|scope| scope.parse::<Scope>()) {
            Some(Ok(scope)) => Some(scope),
            Some(Err(error)) => return Fate::Dead(format!("unknown_scope: {error}")),
            None => Some(Scope::Marketing),
        };
    }
    draft.message_id = object.text("message_id");
    draft.campaign = object.text("campaign");
    draft.categories =
        object.get("categories").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    draft.machine = object.get("machine").is_some_and(Value::is_true);
    if let Some(metadata) = object.object("metadata") {
        draft.metadata.extend(&metadata);
    }
    draft.identity = match id {
        Some(id) => vec![id],
        None => vec!["".into(), object.text("scope").unwrap_or_default()],
    };
    draft.finish(context)
}

fn kind(word: &str, object: &Object<'_>) -> Result<(Kind, Option<Failure>), String> {
    let bounce = |permanent| {
        // Without other hints a phone number that fails for good is no number.
        let word = Word::Weak(Attribution::Recipient, FailureClass::InvalidNumber, "provider.invalid_number");
        let (kind, failure) = failure(object, (permanent == Some(true) && is_phone(object)).then_some(word), permanent);
        Ok((kind, Some(failure)))
    };
    let rejected = || {
        let word = Word::Weak(Attribution::Provider, FailureClass::Undetermined, "provider.rejected");
        failure(object, Some(word), Some(false)).1
    };
    match word {
        "bounced" => bounce(None),
        "bounced_hard" => bounce(Some(true)),
        "bounced_soft" => bounce(Some(false)),
        _ => match word.parse::<Kind>() {
            Ok(Kind::Deferred) => Ok((Kind::Deferred, Some(failure(object, None, Some(false)).1))),
            Ok(Kind::Rejected) => Ok((Kind::Rejected, Some(rejected()))),
            Ok(
                Kind::SuppressedManually
                | Kind::ReleasedManually
                | Kind::Unengaged
                | Kind::Expired
                | Kind::Reconsidered
                | Kind::Erased,
            ) => Err("inner_kind: this kind comes from inside only".to_owned()),
            Ok(kind) => Ok((kind, None)),
            Err(_) => Ok((Kind::Unknown, None)),
        },
    }
}

fn is_phone(object: &Object<'_>) -> bool {
    match object.text("channel") {
        Some(channel) => channel == Channel::Sms.as_str(),
        None => object.text("recipient").is_some_and(|recipient| !recipient.contains('@')),
    }
}

fn failure(object: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let given = object.object("failure").unwrap_or_default();
    let diagnostic = given.get("diagnostic").and_then(Value::string);
    let status = given.text("enhanced_status");
    let evidence = Evidence {
        word,
        permanent: permanent.or_else(|| given.get("permanent").and_then(Value::boolean)),
        smtp_code: given.get("smtp_code").and_then(Value::integer),
        enhanced_status: status.as_deref(),
        diagnostic: diagnostic.as_deref(),
    };
    draft::failure(&evidence, given.text("code").as_deref(), given.get("attempt").and_then(Value::integer))
}

#[cfg(test)]
mod tests;
