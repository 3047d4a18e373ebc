//! What status codes mean: every enhanced code of the IANA registry ("SMTP Enhanced Status Codes": RFC 3463, 3886, 4468, 4865,
//! 4954, 5248, 6531, 6710, 7293, 7372, 7505, 8616, 8689), some that Microsoft uses beside it, and the basic codes of RFC 5321
//! and 7504. A code whose description fits several causes names none; the reply's words decide then.

use super::reply::Enhanced;
use crate::{Attribution, FailureClass};

type Cause = (Attribution, FailureClass);

/// The cause that a subject and detail name, if they name one.
pub(super) const fn exact(status: Enhanced) -> Option<Cause> {
    match status.subject {
        1 => address(status.detail),
        2 => mailbox(status.detail),
        3 => system(status.detail),
        4 => network(status.detail),
        5 => protocol(status.detail),
        6 => content(status.detail),
        7 => policy(status.detail),
        // x.0.0 says nothing.
        _ => None,
    }
}

const RECIPIENT: Attribution = Attribution::Recipient;
const DOMAIN: Attribution = Attribution::Domain;
const MESSAGE: Attribution = Attribution::Message;
const SENDER: Attribution = Attribution::Sender;
const PROVIDER: Attribution = Attribution::Provider;

const fn address(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Bad mailbox address; bad syntax of one.
        1 | 3 => (RECIPIENT, FailureClass::UnknownRecipient),
        // Bad destination system; null MX (Microsoft's 5.1.10 is told by its words).
        2 | 10 => (DOMAIN, FailureClass::BadDomain),
        // Ambiguous.
        4 => (RECIPIENT, FailureClass::Undetermined),
        // Moved, no forwarding address.
        6 => (RECIPIENT, FailureClass::Disabled),
        // Bad address, bad system of the sender.
        7 | 8 => (SENDER, FailureClass::Policy),
        // Relayed to a mailer that does not conform.
        9 => (PROVIDER, FailureClass::Protocol),
        // 0, other: it also stands for refused senders. 5, destination valid, is no failure.
        _ => return None,
    })
}

const fn mailbox(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Disabled, not accepting messages.
        1 => (RECIPIENT, FailureClass::Disabled),
        2 => (RECIPIENT, FailureClass::MailboxFull),
        // Longer than the administrative limit.
        3 => (MESSAGE, FailureClass::Size),
        // Expansion of a mailing list.
        4 => (RECIPIENT, FailureClass::Undetermined),
        // Microsoft: the mailbox takes no more messages within the hour.
        121 | 122 => (DOMAIN, FailureClass::Rate),
        _ => return None,
    })
}

const fn system(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Full; not accepting messages; set up wrongly.
        1 | 2 | 5 => (DOMAIN, FailureClass::Undetermined),
        // Not capable of a selected feature.
        3 => (DOMAIN, FailureClass::Protocol),
        4 => (MESSAGE, FailureClass::Size),
        // The requested priority was changed: RFC 6710, no failure by itself.
        _ => return None,
    })
}

const fn network(detail: u16) -> Option<Cause> {
    Some(match detail {
        // No answer; bad connection; expired on the way.
        1 | 2 | 7 => (DOMAIN, FailureClass::Timeout),
        // Directory server; unable to route.
        3 | 4 => (DOMAIN, FailureClass::Dns),
        // Congestion.
        5 => (DOMAIN, FailureClass::Undetermined),
        // Routing loop.
        6 => (DOMAIN, FailureClass::Protocol),
        _ => return None,
    })
}

const fn protocol(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Too many recipients.
        3 => (SENDER, FailureClass::Rate),
        // Invalid command, syntax, arguments, version, authentication line.
        1 | 2 | 4..=6 => (PROVIDER, FailureClass::Protocol),
        _ => return None,
    })
}

const fn content(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Media not supported; conversions; content not available; a header in UTF-8.
        1..=6 | 9 => (MESSAGE, FailureClass::Content),
        // Addresses beyond ASCII are not taken there.
        7 => (DOMAIN, FailureClass::Protocol),
        // A reply in UTF-8 that the client does not permit; 10 is its deprecated twin.
        8 | 10 => (PROVIDER, FailureClass::Protocol),
        _ => return None,
    })
}

const fn policy(detail: u16) -> Option<Cause> {
    Some(match detail {
        // Expansion prohibited for this sender.
        2 => (SENDER, FailureClass::Policy),
        // Security conversion, features, cryptography, algorithm.
        3..=6 => (PROVIDER, FailureClass::Protocol),
        // Integrity of the message.
        7 => (MESSAGE, FailureClass::Content),
        // Credentials and encryption of the connection. Yahoo uses 9 for policy, so 9 names nothing.
        8 | 10..=12 => (PROVIDER, FailureClass::Protocol),
        // The account that authenticated is disabled; trust relationship required; priority too low.
        13..=15 => (SENDER, FailureClass::Policy),
        16 => (MESSAGE, FailureClass::Size),
        // RFC 7293: whoever had it has it no longer.
        17 => (RECIPIENT, FailureClass::Disabled),
        18 => (DOMAIN, FailureClass::BadDomain),
        // The test of that cannot be done.
        19 => (DOMAIN, FailureClass::Undetermined),
        // RFC 7372, 7505, 8617: DKIM, SPF, reverse DNS, several checks, the sender's null MX, ARC.
        20..=27 | 29 => (SENDER, FailureClass::Policy),
        28 => (SENDER, FailureClass::Rate),
        // RFC 8689, REQUIRETLS.
        30 => (DOMAIN, FailureClass::Protocol),
        // Microsoft: abuse seen; banned senders and addresses; addresses it limits for their reputation.
        500..=503 | 511 | 606..=650 => (SENDER, FailureClass::Reputation),
        // 0 and 1, "not authorized", stand for every policy there is.
        _ => return None,
    })
}

/// The cause that the subject alone names: nothing in these subjects is about one mailbox.
pub(super) const fn subject(status: Enhanced) -> Option<Cause> {
    match status.subject {
        3 => Some((DOMAIN, FailureClass::Undetermined)),
        4 => Some((DOMAIN, FailureClass::Timeout)),
        5 => Some((PROVIDER, FailureClass::Protocol)),
        6 => Some((MESSAGE, FailureClass::Content)),
        7 => Some((SENDER, FailureClass::Policy)),
        _ => None,
    }
}

/// The cause that a basic code names. 450, 550, 553 and 554 stand for anything; 552 for a full mailbox as well as for size.
pub(super) const fn basic(code: u16) -> Option<Cause> {
    match code {
        421 | 451 | 452 => Some((DOMAIN, FailureClass::Undetermined)),
        432 | 454 | 500..=504 | 523 | 524 | 530 | 534 | 535 | 538 | 555 => Some((PROVIDER, FailureClass::Protocol)),
        521 | 556 => Some((DOMAIN, FailureClass::BadDomain)),
        _ => None,
    }
}
