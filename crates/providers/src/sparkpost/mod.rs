//! SparkPost's webhooks: a JSON array of `{"msys": {CLASS: EVENT}}`.
//!
//! SparkPost signs nothing: a source asks for basic authentication, a bearer token (OAuth 2) or headers of its own choice.
//! `{"msys": {}}` is how it tries an endpoint out.
//!
//! Identity: message id, recipient, `type`, `timestamp` and `event_id`. A batch that was not answered in time is sent again
//! as it was.
//!
//! The message id is `transmission_id`, which the sender was told; what came by SMTP without one has `message_id`, which
//! is kept in the metadata otherwise. The recipient is `raw_rcpt_to`, as the sender wrote it; `rcpt_to` is lower-cased.
//!
//! `open` and `initial_open` both come for the first open.
//!
//! Source: <https://developers.sparkpost.com/api/webhooks/>, `…/api/events/`.

mod bounce;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::{Failure, Kind, Scope, Timestamp};
use std::borrow::Cow;

/// Classes in one element; SparkPost writes one.
const CLASSES_MAX: usize = 8;
pub use suppression_api::SparkPostLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct SparkPost;

impl Provider for SparkPost {
    fn name(&self) -> &'static str {
        "sparkpost"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "none", verify::no_signature)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        json::elements(request.body)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        let object = match Object::read(element) {
            Ok(object) => object,
            Err(reason) => return draft::dead(reason),
        };
        let Some(msys) = object.object("msys") else { return draft::dead("missing_msys: the element has no `msys`") };
        let classes: Vec<Fate> = msys
            .iter()
            .take(CLASSES_MAX)
            .map(|(class, event)| match event.object() {
                Some(event) => parse(class, &event, context),
                None => Fate::Dead("malformed_event: what stands in `msys` is no object".to_owned()),
            })
            .collect();
        if classes.is_empty() { vec![Fate::Ignored("ping")] } else { classes }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["x-messagesystems-batch-id"]
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_unsigned_source(spec, self.name())
    }
}

fn parse(class: &str, event: &Object<'_>, context: &Context<'_>) -> Fate {
    if class.starts_with("relay") {
        return Fate::Ignored("inbound_message");
    }
    let Some(word) = event.get("type").and_then(Value::string) else {
        return Fate::Dead("missing_type: the event has no `type`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, word.clone());
    (draft.kind, draft.failure) = kind(&word, event);
    if matches!(draft.kind, Kind::Unsubscribed | Kind::Resubscribed) {
        draft.scope = Some(Scope::Marketing);
    }
    draft.address = event.get("raw_rcpt_to").and_then(Value::string).or_else(|| event.get("rcpt_to")?.string());
    draft.occurred_at = event.get("timestamp").and_then(|time| time.seconds().or_else(|| time.rfc3339()));
    let message_id = event.text("message_id");
    draft.message_id = event.text("transmission_id").or_else(|| message_id.clone());
    draft.campaign = event.text("campaign_id");
    draft.categories =
        event.get("rcpt_tags").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    if let Some(metadata) = event.object("rcpt_meta") {
        draft.metadata.extend(&metadata);
    }
    for (name, value) in [("message_id", message_id), ("subaccount_id", event.text("subaccount_id"))] {
        if let Some(value) = value {
            draft.metadata.add(name, &value);
        }
    }
    // A prefetch loads the pixels of mail that nobody has looked at. A proxy only stands between.
    let agent = event.object("user_agent_parsed").unwrap_or_default();
    draft.machine = agent.get("is_prefetched").is_some_and(Value::is_true);
    draft.seen_by(event.text("user_agent"));
    draft.identity = match event.text("event_id") {
        Some(id) => vec![id],
        None => vec![Cow::Borrowed(""), event.text("target_link_url").unwrap_or_default()],
    };
    draft.finish(context)
}

fn kind(word: &str, event: &Object<'_>) -> (Kind, Option<Failure>) {
    match word {
        "injection" => (Kind::Accepted, None),
        "delivery" => (Kind::Delivered, None),
        "delay" => (Kind::Deferred, Some(bounce::delayed(event))),
        "bounce" | "out_of_band" => bounce::read(event),
        "policy_rejection" | "generation_failure" | "generation_rejection" => {
            (Kind::Rejected, Some(bounce::rejected(event, word)))
        }
        "spam_complaint" => (Kind::Complaint, None),
        "list_unsubscribe" | "link_unsubscribe" => (Kind::Unsubscribed, None),
        "open" | "initial_open" | "amp_open" | "amp_initial_open" => (Kind::Opened, None),
        "click" | "amp_click" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

#[cfg(test)]
mod tests;
