//! Delivery reports as mail (RFC 3464, and RFC 6533 for addresses beyond ASCII): `POST /webhooks/dsn` with the whole
//! message as it came, from an MTA's pipe or from whoever empties the bounce mailbox.
//!
//! A report has a group of fields for each recipient; each becomes an event:
//!
//! | `Action` | kind |
//! |---|---|
//! | `failed` | `bounced_hard` or `bounced_soft`, as the failure decides |
//! | `delayed` | `deferred` |
//! | `delivered`, `expanded` | `delivered` |
//! | `relayed` | `accepted`: beyond the next host nobody reports |
//! | any other | `unknown` |
//!
//! The recipient is the one that the sender named: `Original-Recipient`, else the one in a return path of its own (VERP),
//! else `Final-Recipient`. The message id is that of the returned message. qmail's bounces (QSBMF), and those of Exim and
//! of Postfix without a report part, are read in `old_forms`; bounces of any other form are dead letters: an address is
//! never guessed. Automatic replies, read receipts and aggregate reports concern nobody.
//!
//! What proves a request proves who handed the mail over. Anybody can write to a bounce address: see the provider's page.
//!
//! Identity: the report's own `Message-ID`, or a digest of its report part, with message id, recipient, final recipient,
//! action and time.

mod old_forms;
mod report;

use crate::mail::{self, Mail};
use crate::verify::standard_webhooks;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
    Triage, draft,
};
use domain::Timestamp;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Dsn;

impl Provider for Dsn {
    fn name(&self) -> &'static str {
        "dsn"
    }

    fn authenticate(&self, request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
        mail::authenticate(request, source, now)
    }

    fn elements<'a>(&self, request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
        mail::elements(request)
    }

    fn parse(&self, _: &Request<'_>, element: &Element<'_>, context: &Context<'_>) -> Parsed {
        parse(&Mail::read(element.bytes), context)
    }

    fn kept_headers(&self) -> &'static [&'static str] {
        standard_webhooks::HEADERS
    }

    fn takes_mail(&self) -> bool {
        true
    }

    fn check_source(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        mail::check_source(spec)
    }

    fn triage(&self, request: &Request<'_>, context: &Context<'_>) -> Triage {
        mail::triage(self, request, context)
    }
}

fn parse(mail: &Mail<'_>, context: &Context<'_>) -> Parsed {
    if let Some(part) = mail.leaf(&["message/delivery-status", "message/global-delivery-status"]) {
        return report::parse(mail, part, context);
    }
    if mail.leaf(&["message/feedback-report"]).is_some() {
        return draft::dead("not_a_delivery_report: it is a feedback report; send it to /webhooks/arf");
    }
    if let Some(fates) = old_forms::parse(mail, context) {
        return fates;
    }
    let says_so = mail.report() == Some("delivery-status");
    if let Some(reason) = mail.concerns_nobody().filter(|_| !says_so) {
        return vec![Fate::Ignored(reason)];
    }
    if says_so || mail.is_from_a_system() {
        return draft::dead("unreadable_bounce: no report part (RFC 3464) and no form that is known here");
    }
    draft::dead(
        "not_a_report: neither a delivery report (RFC 3464) nor a bounce; send only what comes to the bounce address",
    )
}

#[cfg(test)]
mod tests;
