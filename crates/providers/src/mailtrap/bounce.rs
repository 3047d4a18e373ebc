//! What Mailtrap says about failures: a category, a reply with its code, and for what it did not send a reason.
//!
//! The categories are those of the delivery software behind it; their spelling is documented by examples alone, so hyphens,
//! underscores, spaces and capitals make no difference. The reply goes before the category.

use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// A bounce.
pub(super) fn read(object: &Object<'_>, permanent: bool) -> (Kind, Failure) {
    failure(object, word(object), Some(permanent))
}

/// A message that waits until Mailtrap has looked at its sender.
pub(super) fn suspended(object: &Object<'_>) -> Failure {
    let word = Word::Firm(Attribution::Sender, FailureClass::Policy, "provider.suspension");
    failure(object, Some(word), Some(false)).1
}

/// A message that Mailtrap did not send: because the address is on its suppression list, or because of the sender.
pub(super) fn rejected(object: &Object<'_>) -> Failure {
    let reason = object.get("reason").and_then(Value::string).unwrap_or_default().to_ascii_lowercase();
    let on_list = ["suppress", "unsubscri", "bounce", "spam complaint", "complained"];
    let word = match on_list.iter().any(|part| reason.contains(part)) {
        true => Word::Firm(Attribution::Provider, FailureClass::SuppressedByProvider, "provider.on_suppression_list"),
        false => Word::Firm(Attribution::Sender, FailureClass::Policy, "provider.rejected"),
    };
    failure(object, Some(word), None).1
}

fn word(object: &Object<'_>) -> Option<Word> {
    use Attribution::{Domain, Message, Recipient, Sender};
    use FailureClass as F;
    let category = object.get("bounce_category").and_then(Value::string)?;
    let category: String = category.chars().filter(char::is_ascii_alphanumeric).collect();
    let weak = |attribution, class, rule| Some(Word::Weak(attribution, class, rule));
    match category.to_ascii_lowercase().as_str() {
        "badmailbox" => weak(Recipient, F::UnknownRecipient, "provider.bad_mailbox"),
        "inactivemailbox" => weak(Recipient, F::Disabled, "provider.inactive_mailbox"),
        "quotaissues" => weak(Recipient, F::MailboxFull, "provider.quota_issues"),
        "baddomain" => weak(Domain, F::BadDomain, "provider.bad_domain"),
        "routingerrors" => weak(Domain, F::Dns, "provider.routing_errors"),
        "noanswerfromhost" | "badconnection" | "messageexpired" => weak(Domain, F::Timeout, "provider.no_answer"),
        "relayingissues" => weak(Domain, F::Relay, "provider.relaying_issues"),
        "badconfiguration" => weak(Domain, F::Undetermined, "provider.bad_configuration"),
        "protocolerrors" => weak(Sender, F::Protocol, "provider.protocol_errors"),
        "contentrelated" | "virusrelated" => weak(Message, F::Content, "provider.content_related"),
        "spamrelated" => weak(Sender, F::Reputation, "provider.spam_related"),
        "policyrelated" | "invalidsender" => weak(Sender, F::Policy, "provider.policy_related"),
        _ => None,
    }
}

fn failure(object: &Object<'_>, word: Option<Word>, permanent: Option<bool>) -> (Kind, Failure) {
    let reply = ["response", "reason"].iter().find_map(|name| object.get(name)?.string());
    let evidence = Evidence {
        word,
        permanent,
        smtp_code: object.get("response_code").and_then(Value::integer),
        enhanced_status: None,
        diagnostic: reply.as_deref(),
    };
    let code = object.text("bounce_category").or_else(|| object.text("reason"));
    draft::failure(&evidence, code.as_deref(), None)
}
