//! Bounces, complaints, delays and refusals of SES.
//!
//! SES sorts a bounce by type and sub-type; a delivery report's own status and reply say more where there are any. The
//! recipients of one bounce may have failed differently.

use super::event::Fact;
use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};
use std::borrow::Cow;

use Attribution::{Domain, Message, Provider, Recipient, Sender};
use FailureClass as F;

/// Not sent to, as a list of suppressed addresses holds it.
const ON_LIST: Word = Word::Firm(Provider, F::SuppressedByProvider, "provider.on_suppression_list");

/// One recipient of a bounce.
pub(super) fn bounce<'a>(bounce: &Object<'_>, recipient: &Object<'_>) -> Fact<'a> {
    let (kind, sub_kind) = (text(bounce, "bounceType"), text(bounce, "bounceSubType"));
    let code = match sub_kind.as_ref() {
        "" => kind.clone().into_owned(),
        sub_kind => format!("{kind}/{sub_kind}"),
    };
    // The account's own list is the one that Quell writes to; a tenant's and SES's global one are not.
    let is_on_list = matches!(
        sub_kind.as_ref(),
        "Suppressed" | "OnAccountSuppressionList" | "OnTenantSuppressionList" | "EmailValidationSuppressed"
    );
    if is_on_list {
        let failure = failure(recipient, Some(ON_LIST), None, &code).1;
        let echo = sub_kind == "OnAccountSuppressionList";
        return Fact { failure: Some(failure), echo, ..Kind::Rejected.into() };
    }
    let permanent = match kind.as_ref() {
        "Permanent" => Some(true),
        "Transient" => Some(false),
        _ => None,
    };
    let (bounced, failure) = failure(recipient, word(&sub_kind), permanent, &code);
    match text(recipient, "action").as_ref() {
        // RFC 3464, 2.3.3: a report names what became of each recipient, not only of those that failed.
        "delayed" => Fact { failure: Some(failure), ..Kind::Deferred.into() },
        "delivered" | "relayed" | "expanded" => Kind::Delivered.into(),
        _ => Fact { failure: Some(failure), ..bounced.into() },
    }
}

/// What a bounce's sub-type stands for.
fn word(sub_kind: &str) -> Option<Word> {
    let weak = |attribution, class, rule| Some(Word::Weak(attribution, class, rule));
    match sub_kind {
        "NoEmail" => weak(Recipient, F::UnknownRecipient, "provider.no_email"),
        "MailboxFull" => weak(Recipient, F::MailboxFull, "provider.mailbox_full"),
        "MessageTooLarge" => weak(Message, F::Size, "provider.message_too_large"),
        "ContentRejected" => weak(Message, F::Content, "provider.content_rejected"),
        "AttachmentRejected" => weak(Message, F::Content, "provider.attachment_rejected"),
        // The sender's own limit ran out; the reply says what stood in the way until then.
        "CustomTimeoutExceeded" => weak(Sender, F::Timeout, "provider.custom_timeout_exceeded"),
        _ => None,
    }
}

/// A complaint; SES names every recipient who may have made it.
pub(super) fn complaint<'a>(complaint: &Object<'_>) -> Fact<'a> {
    if text(complaint, "complaintSubType") == "OnAccountSuppressionList" {
        let failure = failure(&Object::default(), Some(ON_LIST), None, "OnAccountSuppressionList").1;
        return Fact { failure: Some(failure), echo: true, ..Kind::Rejected.into() };
    }
    match text(complaint, "complaintFeedbackType").as_ref() {
        // Types of report that are not a recipient's word against the sender (RFC 5965, 7.3; RFC 6591): the message was
        // moved out of the spam folder; a host could not authenticate it.
        "not-spam" | "auth-failure" => Kind::Unknown.into(),
        _ => Kind::Complaint.into(),
    }
}

/// One recipient of a delay.
pub(super) fn delay<'a>(delay: &Object<'_>, recipient: &Object<'_>) -> Fact<'a> {
    let weak = |attribution, class, rule| Some(Word::Weak(attribution, class, rule));
    let firm = |attribution, class, rule| Some(Word::Firm(attribution, class, rule));
    let kind = text(delay, "delayType");
    let word = match kind.as_ref() {
        "MailboxFull" => weak(Recipient, F::MailboxFull, "provider.mailbox_full"),
        "SpamDetected" => weak(Sender, F::Reputation, "provider.spam_detected"),
        "IPFailure" => weak(Sender, F::Reputation, "provider.ip_failure"),
        "RecipientServerError" => weak(Domain, F::Undetermined, "provider.recipient_server_error"),
        "TransientCommunicationFailure" => weak(Domain, F::Timeout, "provider.transient_communication_failure"),
        "BYOIPHostNameLookupUnavailable" => firm(Sender, F::Dns, "provider.host_name_lookup"),
        "InternalFailure" => firm(Provider, F::Undetermined, "provider.internal_failure"),
        "SendingDeferral" => firm(Provider, F::Rate, "provider.sending_deferral"),
        _ => None,
    };
    let failure = failure(recipient, word, Some(false), &kind).1;
    Fact { failure: Some(failure), ..Kind::Deferred.into() }
}

/// A message that SES took and then did not send, as it holds a virus.
pub(super) fn reject<'a>(reject: &Object<'_>) -> Fact<'a> {
    let word = Word::Firm(Message, F::Content, "provider.bad_content");
    refused(word, &text(reject, "reason"), None)
}

/// A template that could not be filled in.
pub(super) fn rendering<'a>(failure: &Object<'_>) -> Fact<'a> {
    let word = Word::Firm(Message, F::Content, "provider.template");
    let error = text(failure, "errorMessage");
    refused(word, &text(failure, "templateName"), Some(&error))
}

fn refused<'a>(word: Word, code: &str, diagnostic: Option<&str>) -> Fact<'a> {
    let evidence = Evidence { word: Some(word), diagnostic, ..Evidence::default() };
    Fact { failure: Some(draft::failure(&evidence, Some(code), None).1), ..Kind::Rejected.into() }
}

/// Status and reply stand with a recipient where a delivery report came.
fn failure(recipient: &Object<'_>, word: Option<Word>, permanent: Option<bool>, code: &str) -> (Kind, Failure) {
    let (status, reply) = (text(recipient, "status"), text(recipient, "diagnosticCode"));
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (status, reply) = (said(&status), said(&reply));
    let evidence =
        Evidence { word, permanent, smtp_code: None, enhanced_status: status.as_deref(), diagnostic: reply.as_deref() };
    draft::failure(&evidence, Some(code), None)
}

fn text<'a>(object: &Object<'a>, name: &str) -> Cow<'a, str> {
    object.get(name).and_then(Value::string).unwrap_or_default()
}
