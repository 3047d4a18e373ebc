//! What became of a message: `status`, and for failures `delivery_info.delivery_status`.
//!
//! Source: <https://godocs.unisender.ru/web-api-ref#callback-format>.

use crate::draft;
use crate::json::Object;
use domain::classify::{Evidence, Word};
use domain::{Attribution, Failure, FailureClass, Kind};

/// The kind and failure of a status.
pub(super) fn read(status: &str, info: &Object<'_>) -> (Kind, Option<Failure>) {
    match status {
        "sent" => (Kind::Accepted, None),
        "delivered" => (Kind::Delivered, None),
        "opened" => (Kind::Opened, None),
        "clicked" => (Kind::Clicked, None),
        "unsubscribed" => (Kind::Unsubscribed, None),
        "subscribed" => (Kind::Resubscribed, None),
        "spam" => (Kind::Complaint, None),
        "soft_bounced" => bounce(info, false),
        "hard_bounced" => bounce(info, true),
        _ => (Kind::Unknown, None),
    }
}

/// `err_unsubscribed` says that the recipient left earlier; what the message was not even tried for is a rejection.
fn bounce(info: &Object<'_>, hard: bool) -> (Kind, Option<Failure>) {
    let code = info.text("delivery_status").unwrap_or_default();
    if code == "err_unsubscribed" {
        return (Kind::Unsubscribed, None);
    }
    let reply = info.text("destination_response");
    let evidence =
        Evidence { word: word(&code), permanent: Some(hard), diagnostic: reply.as_deref(), ..Evidence::default() };
    let (bounce, failure) = draft::failure(&evidence, Some(&code), None);
    let kind = match code.as_ref() {
        "err_will_retry" if !hard => Kind::Deferred,
        "err_skip_letter" | "err_spam_skipped" => Kind::Rejected,
        _ => bounce,
    };
    (kind, Some(failure))
}

/// What Unisender Go read out of the reply. Of the drawers that hold several causes the reply itself says more.
fn word(code: &str) -> Option<Word> {
    use Attribution::{Domain, Message, Provider, Recipient, Sender};
    use FailureClass as F;
    let (attribution, class, rule) = match code {
        "err_user_unknown" => (Recipient, F::UnknownRecipient, "provider.user_unknown"),
        "err_user_inactive" => (Recipient, F::Disabled, "provider.user_inactive"),
        "err_mailbox_discarded" => (Recipient, F::Disabled, "provider.mailbox_discarded"),
        "err_mailbox_full" => (Recipient, F::MailboxFull, "provider.mailbox_full"),
        "err_unreachable" => (Recipient, F::Unreachable, "provider.unreachable"),
        "err_spam_rejected" => return Some(Word::Firm(Message, F::Content, "provider.spam_rejected")),
        "err_spam_skipped" => return Some(Word::Firm(Message, F::Content, "provider.spam_skipped")),
        "err_blacklisted" => return Some(Word::Firm(Sender, F::Reputation, "provider.blacklisted")),
        "err_too_large" => return Some(Word::Firm(Message, F::Size, "provider.too_large")),
        "err_skip_letter" => {
            return Some(Word::Firm(Provider, F::SuppressedByProvider, "provider.on_suppression_list"));
        }
        "err_lost" => return Some(Word::Firm(Provider, F::Undetermined, "provider.lost")),
        "err_domain_inactive" => (Domain, F::BadDomain, "provider.domain_inactive"),
        "err_destination_misconfigured" => (Domain, F::Protocol, "provider.destination_misconfigured"),
        "err_will_retry" => (Domain, F::Undetermined, "provider.will_retry"),
        _ => return None,
    };
    Some(Word::Weak(attribution, class, rule))
}
