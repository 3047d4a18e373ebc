//! Amazon SES by way of Amazon SNS: one event in the `Message` of a notification, a JSON text about one message and one or
//! several of its recipients. Event publishing names it in `eventType`, the older feedback of an identity in
//! `notificationType`; both are read alike. With raw message delivery the text is the body itself.
//!
//! Signed by SNS, see [`crate::sns`]: a signature proves that *some* topic sent it, so a source lists its topics. A
//! notification that asks for a subscription is confirmed only once its signature and its topic are right.
//!
//! Identity: SES's id of the message, recipient, event, time, and `feedbackId` for bounces and complaints or else the
//! notification's `MessageId`, which SNS keeps over its retries; for a click also the link, for a change of preferences
//! what it reaches.
//!
//! An address on the account's own suppression list, which Quell writes to, is not sent to, and told as a bounce or a
//! complaint of the sub-type `OnAccountSuppressionList`: `rejected` and an echo, no new failure.
//!
//! Source: <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html> and
//! <https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html>.

mod event;
mod failure;
mod sigv4;
mod subscription;
pub mod suppression_api;

use crate::json::{self, Object, Value};
use crate::sns::{self, Envelope, Hosts, Purpose};
use crate::{
    Authentication, Certificate, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError,
    SourceSpec, Triage, draft,
};
use domain::Timestamp;
use std::borrow::Cow;
pub use suppression_api::SesLists;

/// How the text begins that SES publishes when a topic becomes an event destination.
const VALIDATION: &str = "Successfully validated SNS topic";

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Ses;

impl Provider for Ses {
    fn name(&self) -> &'static str {
        "ses"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        sns::authenticate(request, source, Hosts::Amazon, None, now)
    }

    fn authenticate_by(
        &self,
        request: &Request<'_>,
        source: &Source,
        now: Timestamp,
        certificate: &Certificate,
    ) -> Authentication {
        sns::authenticate(request, source, Hosts::Amazon, Some(certificate), now)
    }

    fn confirmation(&self, request: &Request<'_>, source: &Source, proof: &Authentication) -> Option<String> {
        sns::confirmation(request, source, proof, Hosts::Amazon)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        // The one text that is no JSON, where it is delivered bare.
        if request.body.trim_ascii_start().starts_with(VALIDATION.as_bytes()) {
            return Ok(vec![Element { index: 0, bytes: request.body }]);
        }
        json::elements(request.body)
    }

    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        if element.bytes.trim_ascii_start().starts_with(VALIDATION.as_bytes()) {
            return vec![Fate::Ignored("set_up")];
        }
        let object = match Object::read(element) {
            Ok(object) => object,
            Err(reason) => return draft::dead(reason),
        };
        if object.get("Type").and_then(Value::string).is_none() {
            return event::parse(&object, request.header(sns::MESSAGE_ID_HEADER), context);
        }
        match Envelope::of(object) {
            Some(Ok(envelope)) => unwrap(&envelope, context),
            _ => vec![Fate::Ignored("other_notification")],
        }
    }

    /// What cannot be read is stored too, and becomes a dead letter: SNS takes a 400 for handled and never comes back with it.
    fn triage(&self, request: &Request<'_>, context: &Context<'_>) -> Triage {
        let elements = match self.elements(request) {
            Ok(elements) => elements,
            Err(malformed) => return Triage::Refuse(malformed.reason),
        };
        let fates = elements.iter().flat_map(|element| self.parse(request, element, context));
        let mut ignored = None;
        for fate in fates {
            match fate {
                Fate::Ignored(reason) => ignored = ignored.or(Some(reason)),
                Fate::Event(_) | Fate::Found | Fate::Dead(_) => return Triage::Accept,
            }
        }
        Triage::Ignore(ignored.unwrap_or("no_events"))
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        sns::KEPT_HEADERS
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        sns::check_source(spec, Hosts::Amazon)
    }
}

/// Takes the event out of its notification.
fn unwrap(envelope: &Envelope<'_>, context: &Context<'_>) -> Parsed {
    match envelope.purpose {
        Purpose::Notification => {}
        Purpose::SubscriptionConfirmation => return vec![Fate::Ignored("subscription_confirmation")],
        Purpose::UnsubscribeConfirmation => return vec![Fate::Ignored("unsubscribe_confirmation")],
    }
    let message = match envelope.required("Message") {
        Ok(message) => message,
        Err(_) => return draft::dead("missing_message: the notification has no `Message`"),
    };
    let message = message.trim();
    if message.starts_with(VALIDATION) {
        return vec![Fate::Ignored("set_up")];
    }
    if !message.starts_with('{') {
        // Written by hand into the topic: SES publishes nothing but objects.
        return vec![Fate::Ignored("other_message")];
    }
    let id: Option<Cow<'_, str>> = envelope.field("MessageId").ok().flatten();
    match Object::read(&Element { index: 0, bytes: message.as_bytes() }) {
        Ok(object) => event::parse(&object, id.as_deref(), context),
        Err(reason) => draft::dead(format!("{reason} in `Message`")),
    }
}

#[cfg(test)]
mod tests;
