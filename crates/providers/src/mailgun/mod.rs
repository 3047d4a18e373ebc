//! Mailgun's webhooks: a JSON object with `signature` and `event-data`, or the legacy form.
//!
//! The signature is HMAC-SHA256 over timestamp and token, in hex. It leaves the body out: whoever has seen one request can
//! send its signature with another body. So the signed time must be fresh (12 hours by default, as Mailgun retries for 8),
//! and the token is handed on to be bound to the first body it came with. Timestamp and token are signed without a
//! separator, and handed on without one too, so that moving the boundary between them gives no new token.
//!
//! Identity: message id, recipient, event name, the event's own time and `event-data.id`, which Mailgun keeps unique within
//! a day only. The legacy form has no id; its code and link stand in.
//!
//! An unsubscription reaches all marketing: the tags in the event are those of the message, and do not tell whether the
//! recipient left one tag or everything.
//!
//! Source: <https://documentation.mailgun.com/docs/mailgun/user-manual/events/webhooks>.

mod data;
mod legacy;
pub mod suppression_api;

use crate::form::{Form, is_form};
use crate::json::{self, Object};
use crate::verify::{self, Signed, fresh, hmac, seconds};
use crate::{Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, draft};
use domain::Timestamp;
pub use suppression_api::MailgunLists;

/// Mailgun retries for 8 hours with the signature of the first attempt.
const TOLERANCE_SECONDS: u64 = 43_200;
/// Mailgun's tokens have 50 characters.
const TOKEN_BYTES_MAX: usize = 256;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Mailgun;

impl Provider for Mailgun {
    fn name(&self) -> &'static str {
        "mailgun"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha256-token", |secrets| signature(request, source, secrets, now))
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        if is_form(request) {
            Form::check(request)?;
            return Ok(vec![Element { index: 0, bytes: request.body }]);
        }
        json::elements(request.body)
    }

    fn parse(&self, request: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        if is_form(request) {
            return match Form::read(&Request { body: element.bytes, ..*request }) {
                Ok(form) => vec![legacy::parse(&form, context)],
                Err(malformed) => draft::dead(malformed.reason),
            };
        }
        match Object::read(element) {
            Ok(object) => vec![data::parse(&object, context)],
            Err(reason) => vec![Fate::Dead(reason)],
        }
    }

    /// Anything but 200 is repeated, and 406 ends it (Mailgun, "Webhooks").
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }
}

fn signature(request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
    let (form, object);
    let [time, token, given] = if is_form(request) {
        form = Form::read(request).map_err(|_| "malformed_body")?;
        ["timestamp", "token", "signature"].map(|name| form.last(name))
    } else {
        let body = Element { index: 0, bytes: request.body };
        object = Object::read(&body).map_err(|_| "malformed_body")?.object("signature").unwrap_or_default();
        ["timestamp", "token", "signature"].map(|name| object.text(name))
    };
    let given = given.ok_or("missing_signature")?;
    let time = time.ok_or("missing_timestamp")?;
    let token = token.ok_or("missing_token")?;
    let sent = seconds(&time).ok_or("malformed_timestamp")?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err("malformed_token");
    }
    let tag = hmac::hex_tag::<32>(&given).ok_or("malformed_signature")?;
    if !hmac::matches(hmac::SHA256, secrets, &[time.as_bytes(), token.as_bytes()], &tag) {
        return Err("wrong_signature");
    }
    if fresh(sent, source, TOLERANCE_SECONDS, now) { Ok(Some(format!("{time}{token}"))) } else { Err("stale") }
}

#[cfg(test)]
mod tests;
