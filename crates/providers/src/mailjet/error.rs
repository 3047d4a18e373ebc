//! Mailjet's errors: `error_related_to` says whose, `error` what.
//!
//! Source: <https://dev.mailjet.com/email/guides/webhooks/#event-types>.

use crate::draft;
use crate::json::{Object, Value};
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// A bounce: hard or soft as Mailjet says and its cause allows. A greylisted message is tried again, and one to an address
/// of Mailjet's own lists was never sent.
pub(super) fn bounce(object: &Object<'_>) -> (Kind, Failure) {
    let hard = object.get("hard_bounce").is_some_and(Value::is_true);
    let error = error(object);
    let (kind, failure) = failure(object, &error, Some(hard));
    match failure.class {
        FailureClass::SuppressedByProvider => (Kind::Rejected, failure),
        _ if error == "greylisted" && !hard => (Kind::Deferred, failure),
        _ => (kind, failure),
    }
}

/// A message that Mailjet did not send.
pub(super) fn blocked(object: &Object<'_>) -> Failure {
    failure(object, &error(object), Some(false)).1
}

fn error(object: &Object<'_>) -> String {
    object.text("error").map(|error| error.trim().to_ascii_lowercase()).unwrap_or_default()
}

fn failure(object: &Object<'_>, error: &str, permanent: Option<bool>) -> (Kind, Failure) {
    let related = object.text("error_related_to").unwrap_or_default();
    let diagnostic = object.text("comment").or_else(|| object.text("smtp_reply"));
    let evidence = Evidence {
        word: word(related.trim(), error),
        permanent,
        diagnostic: diagnostic.as_deref(),
        ..Evidence::default()
    };
    draft::failure(&evidence, Some(error), None)
}

/// The words that name a cause are firm: `comment` quotes the last reply and says less than Mailjet read out of all of
/// them. Of an error that nobody here knows, whose it was still counts.
fn word(related: &str, error: &str) -> Option<Word> {
    use Attribution::{Domain, Message, Provider, Recipient, Sender};
    use FailureClass as F;
    let firm = |attribution, class, rule| Some(Word::Firm(attribution, class, rule));
    match error {
        "user unknown" => firm(Recipient, F::UnknownRecipient, "provider.user_unknown"),
        "mailbox inactive" => firm(Recipient, F::Disabled, "provider.mailbox_inactive"),
        "quota exceeded" => firm(Recipient, F::MailboxFull, "provider.quota_exceeded"),
        "blacklisted" | "spam reporter" | "preblocked" => {
            firm(Provider, F::SuppressedByProvider, "provider.on_suppression_list")
        }
        "invalid domain" | "typofix" => firm(Domain, F::BadDomain, "provider.invalid_domain"),
        "no mail host" => firm(Domain, F::Timeout, "provider.no_mail_host"),
        "relay/access denied" => firm(Domain, F::Relay, "provider.relay_denied"),
        "greylisted" => firm(Domain, F::Policy, "provider.greylisted"),
        "sender blocked" => firm(Sender, F::Reputation, "provider.sender_blocked"),
        "content blocked" => firm(Message, F::Content, "provider.content_blocked"),
        "policy issue" => firm(Sender, F::Policy, "provider.policy"),
        "duplicate in campaign" => firm(Sender, F::Policy, "provider.duplicate"),
        _ => match related {
            "content" => firm(Message, F::Content, "provider.content"),
            "spam" => firm(Sender, F::Policy, "provider.spam"),
            "system" => firm(Provider, F::Undetermined, "provider.system"),
            "mailjet" => firm(Provider, F::Undetermined, "provider.mailjet"),
            "domain" => Some(Word::Weak(Domain, F::Undetermined, "provider.domain")),
            _ => None,
        },
    }
}
