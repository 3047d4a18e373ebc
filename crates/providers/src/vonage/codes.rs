//! Vonage's error codes of messages that were not delivered.
//!
//! Source: <https://developer.vonage.com/en/api-errors/messages>.

use crate::draft;
use crate::json::Object;
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// The code of an error: `title` is the code as number or text, and `type` ends in it.
pub(super) fn code(error: &Object<'_>) -> Option<String> {
    let digits = |text: &str| (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned());
    let title = error.text("title").and_then(|title| digits(title.trim()));
    title.or_else(|| error.text("type").and_then(|kind| digits(kind.rsplit(['#', '/']).next()?.trim())))
}

/// The kind and failure of a code; the code of an opt-out has no failure.
///
/// What says that the number is none or no longer in use is final. What the account, the request, filters or routes cause is
/// recorded and blames the sender, the message or Vonage. Without a known code it is a soft failure of the number, as Vonage
/// says no more.
pub(super) fn read(code: &str, detail: Option<&str>) -> (Kind, Option<Failure>) {
    use Attribution::{Message, Provider, Recipient, Sender};
    use FailureClass as F;
    use Kind::{BouncedHard, BouncedSoft, Rejected};
    let number: u32 = code.parse().unwrap_or_default();
    let (kind, attribution, class, rule) = match number {
        // "The user has already sent a STOP opt-out message."
        1240 => return (Kind::Unsubscribed, None),
        1170 | 1190 => (BouncedHard, Recipient, F::InvalidNumber, "invalid_number"),
        1180 | 1220 => (BouncedSoft, Recipient, F::Unreachable, "unreachable"),
        // Call barred, a number that changed its carrier, a plan without messages, an empty pre-paid account.
        1200 | 1280 | 1290 => (BouncedSoft, Recipient, F::Carrier, "carrier"),
        1300 | 1310 => (BouncedSoft, Recipient, F::Carrier, "no_service"),
        1250 | 1260 => (BouncedSoft, Provider, F::Carrier, "unroutable"),
        1210 | 1270 => (BouncedSoft, Message, F::Policy, "filtered"),
        1040 => (BouncedSoft, Recipient, F::Undetermined, "invalid_message"),
        1050 => (Rejected, Provider, F::SuppressedByProvider, "barred"),
        1000 | 1241 => (Rejected, Sender, F::Rate, "rate"),
        1030 | 1100 | 1230 => (BouncedSoft, Provider, F::Undetermined, "network"),
        1090 => (Rejected, Message, F::Size, "size"),
        1360 => (BouncedSoft, Provider, F::Timeout, "expired"),
        // Accounts, requests, senders, templates, regulations.
        1000..=1160 | 1320 | 1340..=1999 => (Rejected, Sender, F::Policy, "request"),
        _ => (BouncedSoft, Recipient, F::Undetermined, "undetermined"),
    };
    // Vonage's codes alone decide; its texts only describe them.
    let evidence = Evidence { word: Some(Word::Firm(attribution, class, "vonage")), ..Evidence::default() };
    let (_, mut failure) = draft::failure(&evidence, Some(code), None);
    failure.diagnostic = detail.map(|text| domain::classify::cut(text, 1_024).to_owned());
    failure.rule = format!("vonage.{rule}");
    (kind, Some(failure))
}
