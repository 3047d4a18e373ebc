//! SparkPost's bounce classes.
//!
//! Its own advice is to suppress on what it calls hard or admin only. An admin failure (25) is its own policy, the account's
//! suppression list included, and says nothing new of the recipient: it counts as a rejection.
//!
//! Source: <https://support.sparkpost.com/docs/deliverability/bounce-classification-codes>.

use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// A bounce, during the SMTP session or by mail afterwards. Some classes are no bounces at all.
pub(super) fn read(event: &Object<'_>) -> (Kind, Option<Failure>) {
    use Attribution::{Domain, Message, Recipient, Sender};
    use FailureClass as F;
    let firm = |attribution, class, rule| Some(Word::Firm(attribution, class, rule));
    let weak = |attribution, class, rule| Some(Word::Weak(attribution, class, rule));
    let (word, permanent) = match event.get("bounce_class").and_then(Value::integer::<u16>) {
        Some(10) => (weak(Recipient, F::UnknownRecipient, "provider.invalid_recipient"), Some(true)),
        Some(30) => (weak(Recipient, F::UnknownRecipient, "provider.no_rcpt"), Some(true)),
        Some(20 | 70) => (None, Some(false)),
        Some(21) => (firm(Domain, F::Dns, "provider.dns_failure"), Some(false)),
        Some(22) => (firm(Recipient, F::MailboxFull, "provider.mailbox_full"), Some(false)),
        Some(23) => (firm(Message, F::Size, "provider.too_large"), Some(false)),
        Some(24) => (firm(Domain, F::Timeout, "provider.timeout"), Some(false)),
        Some(25) => return (Kind::Rejected, Some(rejected(event, "policy_rejection"))),
        Some(40) => (weak(Recipient, F::Undetermined, "provider.generic_bounce"), Some(false)),
        Some(50) => (firm(Sender, F::Policy, "provider.mail_block"), Some(false)),
        Some(51) => (firm(Sender, F::Reputation, "provider.spam_block"), Some(false)),
        Some(52) => (firm(Message, F::Content, "provider.spam_content"), Some(false)),
        Some(53) => (firm(Message, F::Content, "provider.prohibited_attachment"), Some(false)),
        Some(54) => (firm(Domain, F::Relay, "provider.relaying_denied"), Some(false)),
        // Replies of machines: out of office, challenges.
        Some(60 | 100) => return (Kind::Unknown, None),
        Some(80) => return (Kind::Resubscribed, None),
        Some(90) => return (Kind::Unsubscribed, None),
        // 1 is what SparkPost could not make out; others are of tomorrow.
        _ => (weak(Recipient, F::Undetermined, "provider.undetermined"), Some(false)),
    };
    let (kind, failure) = failure(event, word, permanent);
    (kind, Some(failure))
}

/// A delivery that is tried again.
pub(super) fn delayed(event: &Object<'_>) -> Failure {
    failure(event, None, Some(false)).1
}

/// A message that SparkPost did not send, by the event that says so.
pub(super) fn rejected(event: &Object<'_>, word: &str) -> Failure {
    let reason = reason(event).unwrap_or_default().to_ascii_lowercase();
    let word = match word {
        _ if reason.contains("suppress") => {
            Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list")
        }
        "generation_failure" => Word::Firm(Attribution::Message, FailureClass::Content, "provider.generation_failure"),
        _ => Word::Firm(Attribution::Sender, FailureClass::Policy, "provider.policy_rejection"),
    };
    failure(event, Some(word), None).1
}

fn reason<'a>(event: &Object<'a>) -> Option<std::borrow::Cow<'a, str>> {
    ["raw_reason", "reason"].iter().find_map(|name| event.get(name)?.string())
}

fn failure(event: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let reply = reason(event);
    let evidence = Evidence {
        word,
        permanent,
        smtp_code: event.get("error_code").and_then(Value::integer),
        enhanced_status: None,
        diagnostic: reply.as_deref(),
    };
    let attempt = event.get("num_retries").and_then(Value::integer::<u32>).map(|retries| retries.saturating_add(1));
    draft::failure(&evidence, event.text("bounce_class").as_deref(), attempt)
}
