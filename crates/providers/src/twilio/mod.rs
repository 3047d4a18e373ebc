//! Twilio's messaging webhooks: status callbacks and inbound messages, as a form or (signed by body hash) as JSON.
//!
//! The signature is HMAC-SHA1 over the public URL and the sorted parameters; see [`signature`].
//!
//! Identity: `MessageSid`, recipient, the status (or the opt-out word) and `ErrorCode`. Twilio gives no event time and no
//! event id, and what it sends again is the same parameters; where even the sid is missing, the whole body stands in.
//!
//! An opt-out reaches the messaging service it was told to, or the number where there is no service; it says nothing of another
//! sender, nor of the same number on another channel.
//!
//! Source: <https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>,
//! <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>.

mod codes;
mod keyword;
mod parameters;
mod signature;
pub mod suppression_api;

use crate::draft::{self, Draft};
use crate::form::{Form, is_form};
use crate::json::{self, Object};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
    verify,
};
use domain::{Channel, Kind, Recipient, Scope, Timestamp};
use keyword::Keyword;
use parameters::Parameters;
use std::borrow::Cow;
pub use suppression_api::TwilioLists;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Twilio;

impl Provider for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, _: Timestamp) -> Authentication {
        verify::judge(request, source, "hmac-sha1", |tokens| signature::signature(request, source, tokens))
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
                Ok(form) => vec![parse(&Parameters::Form(&form), element, context)],
                Err(malformed) => draft::dead(malformed.reason),
            };
        }
        match Object::read(element) {
            Ok(object) => vec![parse(&Parameters::Json(&object), element, context)],
            Err(reason) => draft::dead(reason),
        }
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        verify::check_source(spec)?;
        let is_absolute = spec.public_url.as_deref().is_some_and(|url| verify::url::Parts::of(url).is_some());
        match is_absolute || spec.secrets.is_empty() {
            true => Ok(()),
            false => Err(SourceError(
                "twilio signs the URL that it calls: set `public_url` to the URL or its origin, as it stands in Twilio, \
                 e.g. \"https://hooks.example.com\""
                    .to_owned(),
            )),
        }
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        &["x-twilio-signature", "i-twilio-idempotency-token"]
    }
}

fn parse(given: &Parameters<'_>, element: &Element<'_>, context: &Context<'_>) -> Fate {
    let status = given.get("MessageStatus").or_else(|| given.get("SmsStatus"));
    match status.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None if given.get("Body").is_some() || given.get("OptOutType").is_some() => inbound(given, element, context),
        None => Fate::Dead("missing_status: neither `MessageStatus` nor an inbound message".to_owned()),
        Some("received" | "receiving") => inbound(given, element, context),
        Some("accepted" | "scheduled" | "queued" | "sending") => Fate::Ignored("in_progress"),
        Some(status) => outbound(status, given, element, context),
    }
}

/// What became of a message of ours.
fn outbound(status: &str, given: &Parameters<'_>, element: &Element<'_>, context: &Context<'_>) -> Fate {
    let code = given.get("ErrorCode").unwrap_or_default();
    let mut draft = Draft::new(Kind::Unknown, Cow::Owned(status.to_owned()));
    draft.address = given.get("To");
    match status {
        "sent" => draft.kind = Kind::Accepted,
        "delivered" => draft.kind = Kind::Delivered,
        "read" => draft.kind = Kind::Opened,
        "undelivered" | "failed" => {
            let diagnostic = given.get("ErrorMessage");
            (draft.kind, draft.failure) = codes::read(&code, diagnostic.as_deref());
            if draft.kind == Kind::Unsubscribed {
                draft.scope = Some(sender(given, "From"));
            }
            if given.get("To").is_some_and(|to| to.contains(':')) {
                (draft.kind, draft.failure) = codes::elsewhere(draft.kind, draft.failure);
            }
        }
        "canceled" => (draft.kind, draft.failure) = (Kind::Rejected, Some(codes::canceled())),
        _ => {}
    }
    draft.identity.push(code);
    finish(draft, given, element, context)
}

/// What a recipient wrote to us. Only opting out and back concern us.
fn inbound(given: &Parameters<'_>, element: &Element<'_>, context: &Context<'_>) -> Fate {
    let told = given.get("OptOutType").and_then(|told| keyword::of_type(&told)).map(|keyword| match keyword {
        Keyword::Stop => (keyword, "STOP"),
        Keyword::Start => (keyword, "START"),
        Keyword::Help => (keyword, "HELP"),
    });
    let read = || {
        let toll_free = given.get("To").is_some_and(|to| keyword::is_toll_free(&to));
        given.get("Body").and_then(|body| keyword::of_body(&body, toll_free))
    };
    let (kind, word) = match told.or_else(read) {
        Some((Keyword::Stop, word)) => (Kind::Unsubscribed, word),
        Some((Keyword::Start, word)) => (Kind::Resubscribed, word),
        Some((Keyword::Help, _)) => return Fate::Ignored("help_keyword"),
        None => return Fate::Ignored("inbound_message"),
    };
    let mut draft = Draft::new(kind, Cow::Owned(format!("inbound.{word}")));
    draft.address = given.get("From");
    draft.scope = Some(sender(given, "To"));
    finish(draft, given, element, context)
}

fn finish(mut draft: Draft<'_>, given: &Parameters<'_>, element: &Element<'_>, context: &Context<'_>) -> Fate {
    draft.channel = Some(Channel::Sms);
    draft.message_id = given.get("MessageSid").or_else(|| given.get("SmsSid")).map(|id| Cow::Owned(id.into_owned()));
    draft.occurred_at = given.get("RawDlrDoneDate").and_then(|text| done_date(&text));
    for name in ["AccountSid", "ChannelPrefix", "ChannelStatusMessage"] {
        if let Some(value) = given.get(name) {
            draft.metadata.add(name, &value);
        }
    }
    if draft.message_id.is_none() {
        draft.identity.push(Cow::Owned(String::from_utf8_lossy(element.bytes).into_owned()));
    }
    draft.finish(context)
}

/// The messaging service, or else the number, that a recipient opted out of. Where neither is told, all marketing is meant.
fn sender(given: &Parameters<'_>, number: &str) -> Scope {
    if let Some(service) = given.get("MessagingServiceSid") {
        return Scope::sender(service.trim());
    }
    let Some(number) = given.get(number) else { return Scope::Marketing };
    // One number may send on several channels (`whatsapp:+1…`), and a recipient leaves one of them.
    let channel = number.trim().rsplit_once(':').map(|(channel, _)| channel.to_ascii_lowercase());
    match (Recipient::phone(&number), channel) {
        (Ok(read), None) => Scope::sender(read.as_str()),
        (Ok(read), Some(channel)) => Scope::sender(&format!("{channel}:{}", read.as_str())),
        // Short codes and alphanumeric senders are no phone numbers.
        (Err(_), _) => Scope::sender(number.trim()),
    }
}

/// The carrier's time of the delivery receipt, `YYMMDDhhmm` in UTC.
fn done_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| text.get(at..at + 2);
    let (year, month, day, hour, minute) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    Timestamp::parse_rfc3339(&format!("20{year}-{month}-{day}T{hour}:{minute}:00Z")).ok()
}

#[cfg(test)]
mod tests;
