//! Vonage's Messages API: status webhooks and inbound messages of SMS and MMS, one JSON object each.
//!
//! The `Authorization` header bears a JWT signed (HS256) with the account's signature secret. Its `payload_hash` is the SHA-256
//! of the body; a token without one is bound to the first body it came with. Vonage signs each attempt anew, so five minutes
//! of freshness suffice.
//!
//! Identity: `message_uuid`, recipient, the status (or the opt-out word), `timestamp` and the error code.
//!
//! A request without a token is refused with 401 like any other forgery. Vonage may send one after an error of its own; it repeats
//! whatever is not answered 200, and signs the next attempt.
//!
//! Messages of other channels (WhatsApp, Viber, Messenger, RCS) are passed over: that one of them cannot be delivered says
//! nothing about text messages to that number.
//!
//! Source: <https://developer.vonage.com/en/api/messages>,
//! <https://developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks>.

mod codes;

use crate::draft::{self, Draft};
use crate::json::{self, Object, Value};
use crate::verify::{self, TOLERANCE_SECONDS, jwt};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
};
use domain::{Channel, Kind, Recipient, Scope, Timestamp};
use std::borrow::Cow;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Vonage;

impl Provider for Vonage {
    fn name(&self) -> &'static str {
        "vonage"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        verify::judge(request, source, "jwt-hs256", |secrets| {
            jwt::bearer(request, source, secrets, TOLERANCE_SECONDS, now)
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

    /// Vonage repeats what is not answered 200.
    fn accepted(&self) -> http::StatusCode {
        http::StatusCode::OK
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        let fits = spec.secrets.is_empty() || (spec.basic_auth.is_empty() && spec.bearer.is_empty());
        match fits {
            false => Err(SourceError(
                "vonage signs in the Authorization header, which has no room for `basic_auth` or `bearer` beside `secrets`"
                    .to_owned(),
            )),
            true => Ok(()),
        }
    }
}

fn parse(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let channel = object.text("channel").or_else(|| object.text("message_type")).unwrap_or_default();
    if object.get("channel").is_some() && !matches!(channel.as_ref(), "sms" | "mms") {
        return Fate::Ignored("other_channel");
    }
    match object.text("status") {
        Some(status) => outbound(&status, object, context),
        None if object.get("text").is_some() || object.get("message_type").is_some() => inbound(object, context),
        None => Fate::Dead("missing_status: neither `status` nor an inbound message".to_owned()),
    }
}

/// What became of a message of ours.
fn outbound(status: &str, object: &Object<'_>, context: &Context<'_>) -> Fate {
    let error = object.object("error").unwrap_or_default();
    let code = codes::code(&error).unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, Cow::Owned(status.to_owned()));
    draft.address = object.text("to").map(international);
    match status {
        "submitted" => draft.kind = Kind::Accepted,
        "delivered" => draft.kind = Kind::Delivered,
        "read" => draft.kind = Kind::Opened,
        "rejected" | "undeliverable" | "failed" => {
            (draft.kind, draft.failure) = codes::read(&code, error.text("detail").as_deref());
            if draft.kind == Kind::Unsubscribed {
                draft.scope = Some(sender(object.text("from")));
            }
        }
        _ => {}
    }
    draft.identity.push(Cow::Owned(code));
    finish(draft, object, context)
}

/// What a recipient wrote to us. Only opting out and back concern us.
fn inbound(object: &Object<'_>, context: &Context<'_>) -> Fate {
    let keyword = object.object("sms").and_then(|sms| sms.text("keyword").map(Cow::into_owned));
    let text = object.text("text").map(Cow::into_owned);
    // Vonage only acts on these words where its opt-out assistance is on, and passes them on either way.
    // Of a whole sentence that begins with STOP the keyword alone would remain: the text decides where it is there.
    let word = text.or(keyword).unwrap_or_default().trim().to_ascii_uppercase();
    let kind = match word.as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "REVOKE" | "OPTOUT" | "OPT OUT"
        | "OPT-OUT" => Kind::Unsubscribed,
        // JOIN is what Vonage has short codes use.
        "START" | "UNSTOP" | "JOIN" => Kind::Resubscribed,
        "HELP" | "INFO" => return Fate::Ignored("help_keyword"),
        _ => return Fate::Ignored("inbound_message"),
    };
    let mut draft = Draft::new(kind, Cow::Owned(format!("inbound.{word}")));
    draft.address = object.text("from").map(international);
    draft.scope = Some(sender(object.text("to")));
    finish(draft, object, context)
}

fn finish<'a>(mut draft: Draft<'a>, object: &Object<'a>, context: &Context<'_>) -> Fate {
    draft.channel = Some(Channel::Sms);
    draft.message_id = object.text("message_uuid");
    draft.occurred_at = object.get("timestamp").and_then(Value::utc);
    if let Some(reference) = object.text("client_ref") {
        draft.metadata.add("client_ref", &reference);
    }
    let network = object.object("destination").and_then(|network| network.text("network_code").map(Cow::into_owned));
    if let Some(network) = network {
        draft.metadata.add("network_code", &network);
    }
    draft.finish(context)
}

/// Vonage writes numbers in international form without the plus sign.
fn international(number: Cow<'_, str>) -> Cow<'_, str> {
    let digits = number.trim();
    match digits.starts_with(|c: char| c.is_ascii_digit() && c != '0') {
        true => Cow::Owned(format!("+{digits}")),
        false => number,
    }
}

/// The number that a recipient opted out of; all marketing where it is not told.
fn sender(number: Option<Cow<'_, str>>) -> Scope {
    let Some(number) = number else { return Scope::Marketing };
    match Recipient::phone(&international(Cow::Borrowed(&number))) {
        Ok(read) => Scope::sender(read.as_str()),
        // Short codes and alphanumeric senders are no phone numbers.
        Err(_) => Scope::sender(number.trim()),
    }
}

#[cfg(test)]
mod tests;
