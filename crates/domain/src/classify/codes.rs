//! What status codes mean: the IANA registry of enhanced codes (RFC 3463, 3886, 4468, 4954, 5248, 6710, 7293, 7372, 7505,
//! 8616, 8689) and the basic codes of RFC 5321 and 7504. Only codes that name one cause are listed.

use super::reply::Enhanced;
use crate::{Attribution, FailureClass};

type Cause = (Attribution, FailureClass);

/// The cause that a subject and detail name, if they name one.
pub(super) const fn exact(status: Enhanced) -> Option<Cause> {
    use Attribution::{Domain, Message, Provider, Recipient, Sender};
    use FailureClass as F;
    Some(match (status.subject, status.detail) {
        // Addressing. x.1.0 says too little: it also stands for refused senders.
        (1, 1 | 3) => (Recipient, F::UnknownRecipient),
        (1, 2 | 10) => (Domain, F::BadDomain),
        (1, 4) => (Recipient, F::Undetermined),
        (1, 6) => (Recipient, F::Disabled),
        (1, 7 | 8) => (Sender, F::Policy),
        (1, 9) => (Provider, F::Protocol),
        // Mailbox.
        (2, 1) => (Recipient, F::Disabled),
        (2, 2) => (Recipient, F::MailboxFull),
        (2, 3) => (Message, F::Size),
        (2, 4) => (Recipient, F::Undetermined),
        // Mail system.
        (3, 1 | 2) => (Domain, F::Undetermined),
        (3, 3 | 5) => (Domain, F::Protocol),
        (3, 4) => (Message, F::Size),
        // Network and routing.
        (4, 1 | 2 | 5 | 7) => (Domain, F::Timeout),
        (4, 3 | 4) => (Domain, F::Dns),
        (4, 6) => (Domain, F::Protocol),
        // Protocol.
        (5, 3) => (Sender, F::Rate),
        (5, 1..=6) => (Provider, F::Protocol),
        // Content.
        (6, 1..=10) => (Message, F::Content),
        // Security and policy.
        (7, 7) => (Message, F::Content),
        (7, 16) => (Message, F::Size),
        (7, 17) => (Recipient, F::Disabled),
        (7, 18) => (Domain, F::BadDomain),
        (7, 25) => (Sender, F::Reputation),
        (7, 28) => (Sender, F::Rate),
        _ => return None,
    })
}

/// The cause that the subject alone names: nothing in these subjects is about one mailbox.
pub(super) const fn subject(status: Enhanced) -> Option<Cause> {
    match status.subject {
        3 => Some((Attribution::Domain, FailureClass::Undetermined)),
        4 => Some((Attribution::Domain, FailureClass::Timeout)),
        5 => Some((Attribution::Provider, FailureClass::Protocol)),
        6 => Some((Attribution::Message, FailureClass::Content)),
        7 => Some((Attribution::Sender, FailureClass::Policy)),
        _ => None,
    }
}

/// The cause that a basic code names. 550, 553 and 554 stand for anything; 552 for a full mailbox as well as for size.
pub(super) const fn basic(code: u16) -> Option<Cause> {
    match code {
        421 => Some((Attribution::Domain, FailureClass::Timeout)),
        432 | 454 | 500..=504 | 523 | 524 | 530 | 534 | 535 | 538 | 555 => {
            Some((Attribution::Provider, FailureClass::Protocol))
        }
        451 | 452 => Some((Attribution::Domain, FailureClass::Undetermined)),
        521 | 556 => Some((Attribution::Domain, FailureClass::BadDomain)),
        _ => None,
    }
}
