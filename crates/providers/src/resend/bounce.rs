//! What Resend says about failures: a type, a subtype, and a sentence of its own.
//!
//! The sentence describes the subtype ("… can have a negative impact on your reputation as a sender") and is no reply of a
//! mail server: it is kept, but nothing is concluded from it beyond what older payloads, which hold nothing else, say in
//! it. A server's own words stand in `diagnosticCode`, where they stand at all.

use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{DIAGNOSTIC_BYTES_MAX, Evidence, Word, cut};
use domain::{Attribution, Failure, FailureClass, Kind};
use std::borrow::Cow;

/// A bounce.
pub(super) fn read(data: &Object<'_>) -> (Kind, Failure) {
    use Attribution::{Message, Recipient};
    use FailureClass as F;
    let bounce = data.object("bounce").unwrap_or_default();
    let message = bounce.get("message").and_then(Value::string).unwrap_or_default();
    let subtype = bounce.get("subType").and_then(Value::string).unwrap_or_default();
    let said = |phrase: &str| message.to_ascii_lowercase().contains(phrase);
    let on_list = matches!(subtype.as_ref(), "Suppressed" | "OnAccountSuppressionList")
        || (subtype.is_empty() && (said("suppressed sending") || said("on the suppression list")));
    if on_list {
        return (Kind::Rejected, suppressed(data));
    }
    let word = match subtype.as_ref() {
        "NoEmail" => Some(Word::Weak(Recipient, F::UnknownRecipient, "provider.no_email")),
        "MailboxFull" => Some(Word::Firm(Recipient, F::MailboxFull, "provider.mailbox_full")),
        "MessageTooLarge" => Some(Word::Firm(Message, F::Size, "provider.message_too_large")),
        "ContentRejected" => Some(Word::Firm(Message, F::Content, "provider.content_rejected")),
        "AttachmentRejected" => Some(Word::Firm(Message, F::Content, "provider.attachment_rejected")),
        "" if said("inbox was full") => Some(Word::Firm(Recipient, F::MailboxFull, "provider.mailbox_full")),
        _ => None,
    };
    let permanent = match bounce.get("type").and_then(Value::string).as_deref() {
        Some("Permanent") => Some(true),
        Some(_) => Some(false),
        None => Some(said("hard bounce")),
    };
    let kind = bounce.get("type").and_then(Value::string).unwrap_or_default();
    let code = if subtype.is_empty() { kind.into_owned() } else { format!("{kind}.{subtype}") };
    failure(data, word, permanent, &code)
}

/// A delivery that is tried again.
pub(super) fn delayed(data: &Object<'_>) -> Failure {
    failure(data, None, Some(false), "").1
}

/// A message that Resend could not send.
pub(super) fn failed(data: &Object<'_>) -> Failure {
    let reason = data.object("failed").and_then(|failed| failed.text("reason")).unwrap_or_default();
    let limited = ["quota", "limit"].iter().any(|part| reason.contains(part));
    let word = match limited {
        true => Word::Firm(Attribution::Sender, FailureClass::Rate, "provider.quota"),
        false => Word::Firm(Attribution::Message, FailureClass::Undetermined, "provider.failed"),
    };
    failure(data, Some(word), None, &reason).1
}

/// An address that stands on Resend's list already.
pub(super) fn suppressed(data: &Object<'_>) -> Failure {
    let word = Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list");
    let origin = data.text("origin").unwrap_or_default();
    failure(data, Some(word), None, &origin).1
}

fn failure(data: &Object<'_>, word: Option<Word>, permanent: Option<bool>, code: &str) -> (Kind, Failure) {
    let of = |name: &str, field: &str| {
        let value = data.object(name)?.get(field)?;
        value.list().into_iter().find_map(Value::string).map(Cow::into_owned)
    };
    let reply = of("bounce", "diagnosticCode");
    let evidence = Evidence { word, permanent, diagnostic: reply.as_deref(), ..Evidence::default() };
    let (kind, mut failure) = draft::failure(&evidence, Some(code), None);
    if failure.diagnostic.is_none() {
        let sentence = ["bounce", "suppressed", "failed"].iter().find_map(|name| of(name, "message"));
        failure.diagnostic = sentence.map(|text| cut(&text, DIAGNOSTIC_BYTES_MAX).to_owned());
    }
    (kind, failure)
}
