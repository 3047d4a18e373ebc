//! Feedback reports as mail (RFC 5965, the Abuse Reporting Format of feedback loops): `POST /webhooks/arf` with the whole
//! message as it came, from an MTA's pipe or from whoever empties the feedback mailbox.
//!
//! | `Feedback-Type` | kind |
//! |---|---|
//! | `abuse`, `fraud` | `complaint` |
//! | `opt-out`, `opt-out-list` | `unsubscribed` from marketing |
//! | `not-spam`, `virus`, `other`, any other | `unknown`: kept, never a reason to suppress |
//! | `auth-failure` (RFC 6591), `dmarc`, `dkim` | ignored: about the sender's own authentication |
//!
//! Who complained is whom the report names: each `Original-Rcpt-To`, else `Removal-Recipient`, else the recipient in the
//! sender's return path (VERP), else Microsoft's own field, else `To` of the original message if it names one address
//! alone. Addresses that the report hides (RFC 6590) are none: such a complaint is a dead letter with the message id, from
//! which the sender can tell whom it wrote to. Microsoft's complaints (JMRP), which attach the message without a report, are
//! read as `abuse`.
//!
//! Identity: the report's own `Message-ID`, or a digest of its report part, with message id, recipient, type and time.

use crate::draft::{self, Draft};
use crate::mail::{
    self, Mail, RECIPIENTS_MAX, address,
    fields::{Fields, message_id},
};
use crate::verify::standard_webhooks;
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
    Triage,
};
use domain::classify::cut;
use domain::{Kind, Scope, Timestamp};
use mail_parser::{HeaderValue, parsers::MessageStream};

const METADATA_BYTES_MAX: usize = 128;
/// Of a message id in a reason.
const SHOWN_BYTES_MAX: usize = 120;

/// The provider.
#[derive(Debug, Clone, Copy)]
pub struct Arf;

impl Provider for Arf {
    fn name(&self) -> &'static str {
        "arf"
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
    if let Some(part) = mail.leaf(&["message/feedback-report"]) {
        let text = part.bytes();
        let (fields, _) = Fields::read(text.trim_ascii_start());
        return report(mail, &fields, mail.identity(&text), context);
    }
    if is_of_microsoft(mail) {
        let says = mail.returned().unwrap_or_default();
        let (fields, _) = Fields::read(b"Feedback-Type: abuse");
        return report(mail, &fields, mail.identity(&says), context);
    }
    if mail.leaf(&["message/delivery-status", "message/global-delivery-status"]).is_some() {
        return draft::dead("not_a_feedback_report: it is a delivery report; send it to /webhooks/dsn");
    }
    if let Some(reason) = mail.concerns_nobody() {
        return vec![Fate::Ignored(reason)];
    }
    if mail.report() == Some("feedback-report") {
        return draft::dead("unreadable_report: no message/feedback-report part (RFC 5965)");
    }
    draft::dead("not_a_report: no feedback report (RFC 5965); send only what comes to the feedback address")
}

/// Microsoft's Junk Mail Reporting Program sends the message as an attachment, with whose mailbox it lay in added to its
/// header.
fn is_of_microsoft(mail: &Mail<'_>) -> bool {
    let head = mail.head();
    let from = head.get("from").map(address::bare).unwrap_or_default();
    let subject = head.get("subject").unwrap_or_default().to_ascii_lowercase();
    from.eq_ignore_ascii_case("staff@hotmail.com")
        && subject.starts_with("complaint about message from")
        && mail.returned().is_some()
}

fn report(mail: &Mail<'_>, fields: &Fields<'_>, identity: String, context: &Context<'_>) -> Parsed {
    let Some(kind) = fields.get("feedback-type").map(str::to_ascii_lowercase) else {
        return draft::dead("unreadable_report: its report part has no Feedback-Type");
    };
    let (what, scope) = match kind.as_str() {
        "abuse" | "fraud" => (Kind::Complaint, None),
        "opt-out" | "opt-out-list" => (Kind::Unsubscribed, Some(Scope::Marketing)),
        "auth-failure" | "dmarc" | "dkim" => return vec![Fate::Ignored("authentication_report")],
        _ => (Kind::Unknown, None),
    };
    let returned = mail.returned();
    let original = returned.as_deref().map(|text| Fields::read(text).0).unwrap_or_default();
    let id = original.get("message-id").and_then(message_id);
    let time = mail
        .date()
        .or_else(|| ["arrival-date", "received-date"].iter().find_map(|name| fields.get(name).and_then(mail::time)));
    let (named, hidden) = recipients(fields, &original);
    if named.is_empty() {
        return match (what, hidden) {
            (Kind::Unknown, _) => vec![Fate::Ignored("no_recipient")],
            (_, true) => nobody("redacted_recipient: the report hides the address", id),
            (_, false) => nobody("missing_recipient: the report names no address", id),
        };
    }
    let fates = named.into_iter().take(RECIPIENTS_MAX).map(|address| {
        let mut draft = Draft::new(what, kind.as_str().into());
        draft.scope.clone_from(&scope);
        draft.address = Some(address.into());
        draft.occurred_at = time;
        draft.message_id = id.map(Into::into);
        for (name, field) in
            [("reporting_mta", "reporting-mta"), ("user_agent", "user-agent"), ("envelope_id", "original-envelope-id")]
        {
            if let Some(value) = fields.get(field) {
                let value = if field == "reporting-mta" { address::untyped(value) } else { value };
                draft.metadata.add(name, cut(value, METADATA_BYTES_MAX));
            }
        }
        draft.identity = vec![identity.as_str().into()];
        draft.finish(context)
    });
    mail::gathered(fates)
}

/// A complaint that names nobody, with the message that it is about.
fn nobody(reason: &str, id: Option<&str>) -> Parsed {
    draft::dead(match id {
        Some(id) => format!("{reason}; it is about message {}", cut(id, SHOWN_BYTES_MAX)),
        None => format!("{reason} and no message"),
    })
}

/// Whom the report names, each once, and whether it hides somebody. The first of these ways that names any decides.
fn recipients(fields: &Fields<'_>, original: &Fields<'_>) -> (Vec<String>, bool) {
    let mut hidden = false;
    let mut shown = |addresses: Vec<String>| {
        let count = addresses.len();
        let mut seen = std::collections::HashSet::new();
        let open: Vec<String> = addresses
            .into_iter()
            .filter(|address| !address::is_redacted(address))
            .filter(|address| seen.insert(address.to_ascii_lowercase()))
            .collect();
        hidden |= open.is_empty() && count > 0;
        open
    };
    let typed = |value: &str| address::typed(value).map(std::borrow::Cow::into_owned);
    let ways: [&dyn Fn() -> Vec<String>; 5] = [
        &|| fields.all("original-rcpt-to").filter_map(typed).collect(),
        &|| fields.all("removal-recipient").filter_map(typed).collect(),
        &|| fields.get("original-mail-from").and_then(address::verp).into_iter().collect(),
        &|| original.all("x-hmxmroriginalrecipient").filter_map(typed).collect(),
        &|| only(original.get("to")).into_iter().collect(),
    ];
    let named = ways.iter().map(|way| shown(way())).find(|named| !named.is_empty()).unwrap_or_default();
    (named, hidden)
}

/// The address of a field that names one alone.
fn only(value: Option<&str>) -> Option<String> {
    let text = format!("{}\n", value?);
    let read = MessageStream::new(text.as_bytes()).parse_address();
    let HeaderValue::Address(addresses) = read else { return None };
    let mut addresses = addresses.iter().filter_map(|one| one.address());
    match (addresses.next(), addresses.next()) {
        (Some(address), None) => Some(address.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
