//! Postmark's bounce types. Its documents disagree on the numbers, so the names are read.
//!
//! Source: <https://postmarkapp.com/developer/api/bounce-api#bounce-types>.

use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// What a bounce says; `None` for one of an inbound message, which concerns no recipient of ours.
pub(super) fn read(object: &Object<'_>) -> Option<(Kind, Option<Failure>)> {
    use Attribution::{Domain, Message, Provider, Recipient, Sender};
    use FailureClass as F;
    let name = object.get("Type").and_then(Value::string).unwrap_or_default();
    let bounced = |word, permanent| {
        let (kind, failure) = failure(object, &name, word, permanent);
        Some((kind, Some(failure)))
    };
    let as_kind = |kind, word| Some((kind, Some(failure(object, &name, word, Some(false)).1)));
    let firm = |attribution, class, rule| Some(Word::Firm(attribution, class, rule));
    match name.as_ref() {
        "HardBounce" => bounced(None, Some(true)),
        "BadEmailAddress" => bounced(firm(Recipient, F::UnknownRecipient, "provider.bad_address"), Some(true)),
        "SoftBounce" => bounced(None, Some(false)),
        "Unknown" | "Undeliverable" => {
            bounced(Some(Word::Weak(Recipient, F::Undetermined, "provider.unknown")), Some(false))
        }
        "Transient" => as_kind(Kind::Deferred, None),
        "OpenRelayTest" => as_kind(Kind::Deferred, firm(Domain, F::Relay, "provider.open_relay_test")),
        "DnsError" => bounced(firm(Domain, F::Dns, "provider.dns"), Some(false)),
        "SpamNotification" => bounced(firm(Message, F::Content, "provider.spam_notification"), Some(false)),
        "VirusNotification" => bounced(firm(Message, F::Content, "provider.virus_notification"), Some(false)),
        "Blocked" => bounced(firm(Sender, F::Policy, "provider.blocked"), Some(false)),
        "DMARCPolicy" => bounced(firm(Sender, F::Policy, "provider.dmarc_policy"), Some(false)),
        "SMTPApiError" => as_kind(Kind::Rejected, firm(Sender, F::Protocol, "provider.api_error")),
        "TemplateRenderingFailed" => as_kind(Kind::Rejected, firm(Message, F::Content, "provider.template")),
        "ManuallyDeactivated" => {
            as_kind(Kind::Rejected, firm(Provider, F::SuppressedByProvider, "provider.manually_deactivated"))
        }
        "Unconfirmed" => as_kind(Kind::Rejected, firm(Sender, F::Policy, "provider.unconfirmed")),
        "SpamComplaint" => Some((Kind::Complaint, None)),
        "Unsubscribe" => Some((Kind::Unsubscribed, None)),
        "Subscribe" => Some((Kind::Resubscribed, None)),
        "InboundError" => None,
        // Replies of machines, and whatever Postmark invents next.
        _ => Some((Kind::Unknown, None)),
    }
}

/// What a hard bounce on the suppression list says.
pub(super) fn from_suppression_list() -> (Kind, Failure) {
    let word = Word::Firm(Attribution::Recipient, FailureClass::UnknownRecipient, "provider.suppressed_hard_bounce");
    let evidence = Evidence { word: Some(word), permanent: Some(true), ..Evidence::default() };
    draft::failure(&evidence, Some("HardBounce"), None)
}

/// `Details` holds the reply; `Description` is Postmark's own text about the type and proves nothing.
fn failure(object: &Object<'_>, name: &str, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let details = object.get("Details").and_then(Value::string);
    let evidence = Evidence { word, permanent, diagnostic: details.as_deref(), ..Evidence::default() };
    let (kind, mut failure) = draft::failure(&evidence, Some(name), None);
    if failure.diagnostic.is_none() {
        let description = object.get("Description").and_then(Value::string);
        failure.diagnostic = description.map(|text| domain::classify::cut(&text, 1_024).to_owned());
    }
    (kind, failure)
}
