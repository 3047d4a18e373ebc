//! Postmark's webhooks: one JSON object, told apart by `RecordType`.
//!
//! Postmark signs nothing: a source asks for basic authentication or headers of its own choice.
//!
//! Identity: message id, recipient, `RecordType` and the event's own time, and `ID` where there is one (bounces and spam
//! complaints), else what else may differ at one moment (the link, the stream, the direction of a change). `RecordType`
//! and `MessageID` alone would collapse repeated opens and clicks.
//!
//! A `SubscriptionChange` of `Origin` `Customer` was asked for through Postmark's API, that is by us or for us: an echo.
//! What the recipient or an administrator did is none.
//!
//! Source: <https://postmarkapp.com/developer/webhooks/webhooks-overview>.

mod bounce;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::{Kind, Scope, Timestamp};
use std::borrow::Cow;
pub use suppression_api::PostmarkLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Postmark;

impl Provider for Postmark {
    fn name(&self) -> &'static str {
        "postmark"
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

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_unsigned_source(spec, self.name())
    }

    /// Anything but 200 is repeated (Postmark, "Webhooks overview").
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let Some(record_type) = object.text("RecordType") else {
        return Fate::Dead("missing_record_type: the element has no `RecordType`".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, record_type.clone());
    let time = |name: &str| object.get(name).and_then(Value::rfc3339);
    draft.message_id = object.text("MessageID");
    draft.address = object.get("Recipient").or_else(|| object.get("Email")).and_then(Value::string);
    let stream = object.text("MessageStream");
    let scope = || Some(stream.as_deref().map_or(Scope::Marketing, Scope::category));
    draft.categories = object.text("Tag").into_iter().chain(stream.clone()).collect();
    if let Some(metadata) = object.object("Metadata") {
        draft.metadata.extend(&metadata);
    }
    let mut identity = vec![object.text("ID").unwrap_or_default()];
    match record_type.as_ref() {
        "Delivery" => (draft.kind, draft.occurred_at) = (Kind::Delivered, time("DeliveredAt")),
        "Open" => (draft.kind, draft.occurred_at) = (Kind::Opened, time("ReceivedAt")),
        "Click" => {
            (draft.kind, draft.occurred_at) = (Kind::Clicked, time("ReceivedAt"));
            identity.extend(object.text("OriginalLink"));
        }
        "SpamComplaint" => (draft.kind, draft.occurred_at) = (Kind::Complaint, time("BouncedAt")),
        "Bounce" => {
            let Some((kind, failure)) = bounce::read(object) else { return Fate::Ignored("inbound_error") };
            (draft.kind, draft.failure, draft.occurred_at) = (kind, failure, time("BouncedAt"));
            draft.provider_kind = Cow::Owned(format!("Bounce.{}", object.text("Type").unwrap_or_default()));
            if matches!(kind, Kind::Unsubscribed | Kind::Resubscribed) {
                draft.scope = scope();
            }
        }
        "SubscriptionChange" => {
            draft.occurred_at = time("ChangedAt");
            (draft.kind, draft.failure) = subscription(object);
            draft.echo = object.text("Origin").as_deref() == Some("Customer");
            if matches!(draft.kind, Kind::Unsubscribed | Kind::Resubscribed) {
                draft.scope = scope();
            }
            let differs = ["SuppressSending", "SuppressionReason", "Origin", "MessageStream"];
            identity.extend(differs.map(|name| object.text(name).unwrap_or_default()));
        }
        _ => draft.occurred_at = ["ReceivedAt", "BouncedAt", "ChangedAt"].into_iter().find_map(time),
    }
    draft.seen_by(object.text("UserAgent"));
    draft.identity = identity;
    draft.finish(context)
}

/// A change of Postmark's suppression list. `HardBounce` and `SpamComplaint` are a second report of a fact that its own
/// webhook has told.
fn subscription(object: &Object<'_>) -> (Kind, Option<domain::Failure>) {
    match (object.get("SuppressSending").and_then(Value::boolean), object.text("SuppressionReason").as_deref()) {
        (Some(false), _) => (Kind::Resubscribed, None),
        (Some(true), Some("HardBounce")) => {
            let (kind, failure) = bounce::from_suppression_list();
            (kind, Some(failure))
        }
        (Some(true), Some("SpamComplaint")) => (Kind::Complaint, None),
        (Some(true), _) => (Kind::Unsubscribed, None),
        (None, _) => (Kind::Unknown, None),
    }
}

#[cfg(test)]
mod tests;
