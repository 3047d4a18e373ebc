//! Twilio's error codes of messages that were not delivered.
//!
//! Source: <https://www.twilio.com/docs/api/errors>.

use crate::draft;
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// The kind and failure of a code; the code of an opt-out has no failure.
///
/// What says that the number is none, or that its carrier takes no messages for it, is final. What content, filters,
/// registration, queues and accounts cause is recorded and blames the message, the sender or Twilio. All the rest is a soft
/// failure of the number, as Twilio says no more.
pub(super) fn read(code: &str, diagnostic: Option<&str>) -> (Kind, Option<Failure>) {
    use Attribution::{Message, Provider, Recipient, Sender};
    use FailureClass as F;
    use Kind::{BouncedHard, BouncedSoft, Rejected};
    let number: u32 = code.trim().parse().unwrap_or_default();
    let (kind, attribution, class, rule) = match number {
        21610 => return (Kind::Unsubscribed, None),
        // Unknown destination; invalid, landline or unreachable-by-SMS numbers; addresses that a messenger does not know.
        30005 | 21211 | 21214 | 21217 | 21401 | 21421 | 21614 | 21635 | 63003 | 63024 => {
            (BouncedHard, Recipient, F::InvalidNumber, "invalid_number")
        }
        // Switched off or out of reach; blocked on the device or by the carrier.
        30003 | 30004 => (BouncedSoft, Recipient, F::InvalidNumber, "unreachable"),
        30006 => (BouncedHard, Recipient, F::Carrier, "carrier"),
        30007 => (BouncedSoft, Message, F::Policy, "filtered"),
        30001 => (Rejected, Sender, F::Rate, "queue_overflow"),
        30002 | 30010 => (Rejected, Sender, F::Policy, "account"),
        30009 | 30011 => (BouncedSoft, Message, F::Protocol, "content"),
        30019 => (BouncedSoft, Message, F::Size, "content"),
        30012..=30016 => (Rejected, Sender, F::Protocol, "validity"),
        30036 => (Rejected, Sender, F::Timeout, "validity"),
        30037..=30039 => (BouncedSoft, Message, F::Content, "content"),
        30500 => (Rejected, Provider, F::Undetermined, "internal"),
        // Registration of numbers, brands and campaigns; geographic permissions; fraud guards.
        30018..=30999 => (Rejected, Sender, F::Policy, "registration"),
        // Requests that the API refused.
        20000..=21999 => (Rejected, Sender, F::Protocol, "request"),
        63018 => (Rejected, Sender, F::Rate, "channel"),
        63000..=63999 => (Rejected, Sender, F::Policy, "channel"),
        _ => (BouncedSoft, Recipient, F::Undetermined, "undetermined"),
    };
    let mut failure = failure(attribution, class, diagnostic, (!code.is_empty()).then_some(code));
    failure.rule = format!("twilio.{rule}");
    (kind, Some(failure))
}

/// The same on another channel (`whatsapp:`, `messenger:`, `rcs:`): that somebody cannot be reached there says nothing about text
/// messages to the number, so it is no failure of the number's.
pub(super) fn elsewhere(kind: Kind, failure: Option<Failure>) -> (Kind, Option<Failure>) {
    match failure {
        Some(failure) if failure.attribution == Attribution::Recipient => {
            let rule = "twilio.other_channel".to_owned();
            let (attribution, class) = (Attribution::Provider, FailureClass::Undetermined);
            (Kind::BouncedSoft, Some(Failure { attribution, class, rule, ..failure }))
        }
        failure => (kind, failure),
    }
}

/// The failure of a message that its sender took back.
pub(super) fn canceled() -> Failure {
    Failure {
        rule: "twilio.canceled".to_owned(),
        ..failure(Attribution::Sender, FailureClass::Undetermined, None, None)
    }
}

fn failure(attribution: Attribution, class: FailureClass, diagnostic: Option<&str>, code: Option<&str>) -> Failure {
    // Twilio's codes alone decide; texts and SMTP codes do not exist here.
    let evidence = Evidence { word: Some(Word::Firm(attribution, class, "twilio")), ..Evidence::default() };
    let (_, mut failure) = draft::failure(&evidence, code, None);
    failure.diagnostic = diagnostic.map(|text| domain::classify::cut(text, 1_024).to_owned());
    failure
}
