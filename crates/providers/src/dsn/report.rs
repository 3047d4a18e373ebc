//! The report part: fields of the message, then a group of fields for each recipient.

use crate::draft::{self, Draft};
use crate::mail::{
    self, Mail, RECIPIENTS_MAX, address,
    fields::{Fields, message_id},
    part::Part,
};
use crate::{Context, Fate, Parsed};
use domain::classify::{Enhanced, Evidence, cut};
use domain::{Failure, Kind, Timestamp};

const METADATA_BYTES_MAX: usize = 128;

/// What holds for every recipient of a report.
#[derive(Debug)]
pub(super) struct About {
    /// Tells this report from another.
    pub(super) identity: String,
    /// When the report was written, or else when the message had come to the reporting host.
    pub(super) time: Option<Timestamp>,
    /// The message that could not be delivered.
    pub(super) message_id: Option<String>,
    /// The sender's own name for the message (`ENVID`).
    envelope: Option<String>,
    reporter: Option<String>,
    /// The recipient in the report's own return path.
    pub(super) verp: Option<String>,
}

impl About {
    /// Reads what the mail says around the report part; `says` is what it reports, for its identity.
    pub(super) fn read(mail: &Mail<'_>, says: &[u8]) -> Self {
        let head = mail.head();
        let returned = mail.returned();
        let returned = returned.as_deref().map(|text| Fields::read(text).0).unwrap_or_default();
        let id = returned.get("message-id").or_else(|| head.get("in-reply-to"));
        let paths = ["x-original-to", "delivered-to", "envelope-to", "to"];
        Self {
            identity: mail.identity(says),
            time: mail.date(),
            message_id: id.and_then(message_id).map(str::to_owned),
            envelope: None,
            reporter: None,
            verp: paths.iter().flat_map(|name| head.all(name)).find_map(address::verp),
        }
    }

    fn of_message(&mut self, fields: &Fields<'_>) {
        self.time = self.time.or_else(|| fields.get("arrival-date").and_then(mail::time));
        self.envelope =
            fields.get("original-envelope-id").map(|id| address::xtext(id).unwrap_or_else(|| id.to_owned()));
        self.reporter = fields.get("reporting-mta").map(|host| address::untyped(host).to_owned());
        self.message_id = self.message_id.take().or_else(|| self.envelope.clone());
    }
}

pub(super) fn parse(mail: &Mail<'_>, part: &Part<'_>, context: &Context<'_>) -> Parsed {
    let text = part.bytes();
    let mut about = About::read(mail, &text);
    let mut groups = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() && groups.len() <= RECIPIENTS_MAX {
        let (fields, after) = Fields::read(rest);
        rest = after.trim_ascii_start();
        groups.push(fields);
    }
    // The first group is about the message; some hosts leave out the empty line after it.
    if let Some(first) = groups.first() {
        about.of_message(first);
    }
    let is_complete = rest.is_empty();
    let groups: Vec<Fields<'_>> = groups.into_iter().filter(is_of_recipient).take(RECIPIENTS_MAX).collect();
    if groups.is_empty() {
        return draft::dead("unreadable_report: its report part names no recipient");
    }
    let alone = groups.len() == 1;
    let fates = groups.iter().map(|fields| recipient(fields, &about, alone, context));
    let over = (!is_complete).then(|| Fate::Dead(format!("too_many_recipients: the first {RECIPIENTS_MAX} were read")));
    mail::gathered(fates.chain(over))
}

fn is_of_recipient(fields: &Fields<'_>) -> bool {
    ["final-recipient", "original-recipient", "action"].iter().any(|name| fields.get(name).is_some())
}

fn recipient(fields: &Fields<'_>, about: &About, alone: bool, context: &Context<'_>) -> Fate {
    let last = fields.get("final-recipient").and_then(address::typed);
    let named = fields.get("original-recipient").and_then(|value| address::original(value, last.as_deref()));
    let status = fields.get("status").and_then(|status| status.split_whitespace().next());
    let action = fields.get("action").and_then(|action| action.split_whitespace().next()).map(str::to_ascii_lowercase);
    let Some(action) = action.or_else(|| action_of(status).map(str::to_owned)) else {
        return Fate::Dead("missing_action: a recipient of the report has neither an action nor a status".to_owned());
    };
    let mut draft = Draft::new(Kind::Unknown, action.clone().into());
    (draft.kind, draft.failure) = kind(&action, status, fields.get("diagnostic-code"));
    let own = about.verp.as_deref().filter(|own| alone && named.is_none() && is_another(own, last.as_deref()));
    let written = own.map(Into::into).or(named).or_else(|| last.clone());
    if let (Some(last), Some(written)) = (&last, &written)
        && !last.eq_ignore_ascii_case(written)
    {
        draft.metadata.add("final_recipient", cut(last, METADATA_BYTES_MAX));
    }
    draft.address = written;
    draft.occurred_at = fields.get("last-attempt-date").and_then(mail::time).or(about.time);
    draft.message_id = about.message_id.as_deref().map(Into::into);
    let host = fields.get("remote-mta").map(address::untyped);
    for (name, value) in
        [("envelope_id", about.envelope.as_deref()), ("reporting_mta", about.reporter.as_deref()), ("remote_mta", host)]
    {
        if let Some(value) = value {
            draft.metadata.add(name, cut(value, METADATA_BYTES_MAX));
        }
    }
    draft.identity = vec![about.identity.as_str().into(), last.unwrap_or_default()];
    draft.finish(context)
}

/// Whether a return path's recipient is another than the final one, to whom its mail was forwarded; not the same with
/// something of the sender's own before it (`bounces+4711-jane=example.com@`).
fn is_another(own: &str, last: Option<&str>) -> bool {
    let Some(last) = last else { return true };
    !own.to_ascii_lowercase().ends_with(&last.to_ascii_lowercase())
}

/// The action that a status stands for, where a host leaves the action out.
fn action_of(status: Option<&str>) -> Option<&'static str> {
    match status?.as_bytes().first()? {
        b'2' => Some("delivered"),
        b'4' => Some("delayed"),
        b'5' => Some("failed"),
        _ => None,
    }
}

/// What an action means (RFC 3464 2.3.3).
pub(super) fn kind(action: &str, status: Option<&str>, diagnostic: Option<&str>) -> (Kind, Option<Failure>) {
    let failed = |permanent| {
        let reply = diagnostic.map(without_type);
        let evidence = Evidence { permanent, enhanced_status: status, diagnostic: reply, ..Evidence::default() };
        draft::failure(&evidence, None, None)
    };
    match action {
        "failed" => {
            // The message has failed for good either way; the status says whether the next one would.
            let (kind, failure) = failed(status.and_then(Enhanced::read).map(|status| status.class == 5));
            (kind, Some(failure))
        }
        "delayed" => (Kind::Deferred, Some(failed(Some(false)).1)),
        "delivered" | "expanded" => (Kind::Delivered, None),
        "relayed" => (Kind::Accepted, None),
        _ => (Kind::Unknown, None),
    }
}

/// `smtp; 550 5.1.1 no such user` without its type.
fn without_type(diagnostic: &str) -> &str {
    match diagnostic.split_once(';') {
        Some((kind, text)) if !kind.trim().contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') => text.trim(),
        _ => diagnostic.trim(),
    }
}
