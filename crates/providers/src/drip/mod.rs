//! Drip's webhooks: one JSON object with `event` and `data`.
//!
//! Two payloads are read: Drip's documented one, with `data.subscriber`, `data.properties` and `occurred_at` at the top,
//! and the short one that many receivers were written for, with `data.email`, `data.bounce_type`, `data.bounce_reason` and
//! `data.occurred_at`.
//!
//! Drip documents no signature. Where one is configured it is `X-Drip-Signature`, the hex HMAC-SHA256 of the raw body;
//! basic authentication in the URL works too.
//!
//! Drip's own bounce says nothing about hardness: it counts as an undetermined soft bounce, and
//! `subscriber.marked_as_undeliverable` is the hard word.
//!
//! Identity: message id (`properties.delivery_id`, else `email_id`), recipient, event name, time, subscriber id, and the
//! properties that tell two events of one second apart.
//!
//! Source: <https://developer.drip.com/#webhook-events>.

pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, hmac};
use crate::{Authentication, Context, Element, Fate, Malformed, Overload, Parsed, Provider, Request, Source};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::DripLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Drip;

impl Provider for Drip {
    fn name(&self) -> &'static str {
        "drip"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256", |secrets| hmac::hex_of_body(request, secrets, "x-drip-signature"))
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
        &["x-drip-signature"]
    }

    /// Drip tries again for up to three days after 429; any other failure that lasts disables the webhook.
    fn overload(&self) -> Overload {
        Overload::TooManyRequests
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(event) = object.get("event").and_then(Value::string) else {
        return Fate::Dead("missing_event: the element has no `event`".to_owned());
    };
    let data = object.object("data").unwrap_or_default();
    let subscriber = data.object("subscriber").unwrap_or_default();
    let properties = data.object("properties").unwrap_or_default();
    let campaign = properties.text("campaign_id");
    let mut draft = Draft::new(Kind::Unknown, event.clone());
    (draft.kind, draft.failure) = kind(&event, &data);
    draft.scope = scope(&event, campaign.as_deref());
    draft.address = subscriber.get("email").or_else(|| data.get("email")).and_then(Value::string);
    draft.occurred_at = object.get("occurred_at").or_else(|| data.get("occurred_at")).and_then(Value::rfc3339);
    draft.message_id = properties.text("delivery_id").or_else(|| properties.text("email_id"));
    draft.campaign = campaign.clone();
    draft.categories =
        subscriber.get("tags").map(Value::list).unwrap_or_default().into_iter().filter_map(Value::text).collect();
    for (name, value) in
        [("account_id", data.text("account_id")), ("previous_value", properties.text("previous_value"))]
    {
        if let Some(value) = value {
            draft.metadata.add(name, &value);
        }
    }
    if let Some(fields) = subscriber.object("custom_fields") {
        draft.metadata.extend(&fields);
    }
    draft.seen_by(properties.text("user_agent"));
    draft.identity = vec![subscriber.text("id").unwrap_or_default(), campaign.unwrap_or_default()];
    let differs = ["email_id", "url", "tag", "identifier", "value", "action", "trigger_id", "lead_score"];
    draft.identity.extend(differs.map(|name| properties.text(name).unwrap_or_default()));
    draft.identity.extend(data.get("bounce_type").and_then(Value::string).filter(|_| draft.occurred_at.is_none()));
    draft.finish(context)
}

fn scope(event: &str, campaign: Option<&str>) -> Option<Scope> {
    match event {
        "subscriber.unsubscribed_from_campaign" => Some(campaign.map_or(Scope::Marketing, Scope::category)),
        // Deliverable again says that the address lives, not that its owner wants marketing back.
        "subscriber.marked_as_deliverable" => Some(Scope::All),
        "subscriber.unsubscribed_all"
        | "subscriber.unsubscribed_from_email_marketing"
        | "subscriber.unsubscribed"
        | "subscriber.reactivated"
        | "subscriber.subscribed_to_email_marketing" => Some(Scope::Marketing),
        _ => None,
    }
}

fn kind(event: &str, data: &Object<'_>) -> (Kind, Option<Failure>) {
    match event {
        "subscriber.bounced" => bounce(data),
        "subscriber.marked_as_undeliverable" => {
            let evidence = Evidence { permanent: Some(true), ..Evidence::default() };
            let (kind, failure) = draft::failure(&evidence, Some("marked_as_undeliverable"), None);
            (kind, Some(failure))
        }
        "subscriber.complained" => (Kind::Complaint, None),
        "subscriber.unsubscribed_all"
        | "subscriber.unsubscribed_from_campaign"
        | "subscriber.unsubscribed_from_email_marketing"
        | "subscriber.unsubscribed" => (Kind::Unsubscribed, None),
        "subscriber.reactivated" | "subscriber.marked_as_deliverable" | "subscriber.subscribed_to_email_marketing" => {
            (Kind::Resubscribed, None)
        }
        "subscriber.received_email" => (Kind::Accepted, None),
        "subscriber.opened_email" => (Kind::Opened, None),
        "subscriber.clicked_email" => (Kind::Clicked, None),
        _ => (Kind::Unknown, None),
    }
}

fn bounce(data: &Object<'_>) -> (Kind, Option<Failure>) {
    let bounce_type = data.get("bounce_type").and_then(Value::string).map(Cow::into_owned).unwrap_or_default();
    let permanent = match bounce_type.to_ascii_lowercase().as_str() {
        "hard" => Some(true),
        "soft" => Some(false),
        "complaint" => return (Kind::Complaint, None),
        _ => None,
    };
    let reason = data.get("bounce_reason").and_then(Value::string);
    let evidence = Evidence { permanent, diagnostic: reason.as_deref(), ..Evidence::default() };
    let (mut kind, mut failure) = draft::failure(&evidence, Some(&bounce_type), None);
    // Without Drip's word on hardness a wording that only claims a dead address proves none.
    if permanent.is_none()
        && failure.attribution == Attribution::Recipient
        && failure.class != FailureClass::MailboxFull
    {
        let word = Word::Firm(Attribution::Recipient, FailureClass::Undetermined, "undetermined");
        let evidence = Evidence { word: Some(word), permanent: Some(false), ..evidence };
        (kind, failure) = draft::failure(&evidence, Some(&bounce_type), None);
    }
    (kind, Some(failure))
}

#[cfg(test)]
mod tests;
