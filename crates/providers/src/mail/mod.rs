//! Raw mail, as an MTA's pipe or whoever empties a mailbox hands it over: what delivery reports and feedback reports have
//! in common.
//!
//! MIME, charsets, dates and addresses are read by mail-parser; the structure is walked here, within bounds.

pub(crate) mod address;
pub(crate) mod fields;
pub(crate) mod part;

use crate::verify::{self, standard_webhooks};
use crate::{
    Authentication, Context, Element, Fate, Malformed, Parsed, Provider, Request, Source, SourceError, SourceSpec,
    Triage,
};
use domain::Timestamp;
use fields::Fields;
use mail_parser::DateTime;
use part::Part;
use std::borrow::Cow;

/// Recipients read of one report. Each may become an event, so that a small mail must not name any number of them.
pub(crate) const RECIPIENTS_MAX: usize = 10_000;
/// What reasons begin with that say the mail is none for this endpoint: the gateway refuses these, all else is stored.
const NOT: &str = "not_a_";

/// Judges the proofs of whoever hands mail over: Standard Webhooks where the source has secrets.
pub(crate) fn authenticate(request: &Request<'_>, source: &Source, now: Timestamp) -> Authentication {
    verify::judge(request, source, "standard-webhooks", |secrets| {
        standard_webhooks::signature(request, source, secrets, now)
    })
}

/// Checks a source of raw mail.
pub(crate) fn check_source(spec: &SourceSpec) -> Result<(), SourceError> {
    standard_webhooks::check_source(spec)
}

/// A mail is one element: what it says of several recipients stands in one encoded part.
pub(crate) fn elements<'a>(request: &Request<'a>) -> Result<Vec<Element<'a>>, Malformed> {
    let body = request.body;
    let refuse = |reason: &str| Err(Malformed { reason: reason.to_owned() });
    if body.trim_ascii().is_empty() {
        return refuse("empty_body");
    }
    if Fields::read(body.trim_ascii_start()).0.is_empty() {
        return refuse("malformed_mail: no header; send the whole message as it came (RFC 5322)");
    }
    Ok(vec![Element { index: 0, bytes: body }])
}

/// What the gateway does: a mail that is no report is refused, one that cannot be read whole is stored all the same and
/// becomes a dead letter, as nobody will send it again.
pub(crate) fn triage(provider: &dyn Provider, request: &Request<'_>, context: &Context<'_>) -> Triage {
    let elements = match provider.elements(request) {
        Ok(elements) => elements,
        Err(malformed) => return Triage::Refuse(malformed.reason),
    };
    let mut verdict = Triage::Ignore("no_events");
    for fate in elements.iter().flat_map(|element| provider.parse(request, element, context)) {
        match fate {
            Fate::Dead(reason) if reason.starts_with(NOT) => return Triage::Refuse(reason),
            Fate::Event(_) | Fate::Found | Fate::Dead(_) => return Triage::Accept,
            Fate::Ignored(reason) => verdict = Triage::Ignore(reason),
        }
    }
    verdict
}

/// A mail with its parts.
#[derive(Debug)]
pub(crate) struct Mail<'a> {
    /// The message itself.
    root: Part<'a>,
    /// Every part of it that holds no others.
    leaves: Vec<Part<'a>>,
}

impl<'a> Mail<'a> {
    /// Reads a mail.
    pub(crate) fn read(text: &'a [u8]) -> Self {
        let root = Part::read(text.trim_ascii_start());
        let leaves = root.leaves();
        Self { root, leaves }
    }

    /// Its own header.
    pub(crate) const fn head(&self) -> &Fields<'a> {
        &self.root.fields
    }

    /// `report-type` (RFC 6522), where it says that it is a report.
    pub(crate) fn report(&self) -> Option<&str> {
        self.root.report.as_deref().filter(|_| self.root.kind == "multipart/report")
    }

    /// The first part of one of these types.
    pub(crate) fn leaf(&self, kinds: &[&str]) -> Option<&Part<'a>> {
        self.leaves.iter().chain([&self.root]).find(|leaf| kinds.contains(&leaf.kind.as_str()))
    }

    /// The header of the message that the report is about, as bytes: of the returned message or what is left of it.
    pub(crate) fn returned(&self) -> Option<Cow<'a, [u8]>> {
        let kinds = [
            "message/rfc822",
            "message/global",
            "text/rfc822-headers",
            "message/global-headers",
            "message/rfc822-headers",
            "text/rfc822",
        ];
        self.leaf(&kinds).map(Part::bytes)
    }

    /// The first text that people would read.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        self.leaf(&["text/plain"]).map(Part::text).unwrap_or_default()
    }

    /// What tells this report from another and stays when it is handed over again: its own id, else a digest of what it
    /// says. Other fields of its header may be added on each way here.
    pub(crate) fn identity(&self, says: &[u8]) -> String {
        match self.head().get("message-id").and_then(fields::message_id) {
            Some(id) => id.to_owned(),
            None => hex::encode(ring::digest::digest(&ring::digest::SHA256, says)),
        }
    }

    /// When the report was written.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        self.head().get("date").and_then(time)
    }

    /// Why a mail that is no report of any kind concerns nobody, if it is known to.
    pub(crate) fn concerns_nobody(&self) -> Option<&'static str> {
        let head = self.head();
        let value = |name| head.get(name).unwrap_or_default().to_ascii_lowercase();
        if self.leaf(&["message/disposition-notification", "message/global-disposition-notification"]).is_some()
            || self.report() == Some("disposition-notification")
        {
            return Some("read_receipt");
        }
        let subject = decoded(head.get("subject").unwrap_or_default()).to_lowercase();
        // RFC 7489 7.2.1.1 and RFC 8460 5.3.
        if subject.starts_with("report domain:") && subject.contains("submitter:") {
            let tls = self.report() == Some("tlsrpt") || head.get("tls-report-domain").is_some();
            return Some(if tls { "tls_report" } else { "dmarc_report" });
        }
        if self.report() == Some("tlsrpt") {
            return Some("tls_report");
        }
        if CHALLENGE_FIELDS.iter().any(|name| head.any_named(name))
            || CHALLENGE_SUBJECTS.iter().any(|begin| subject.starts_with(begin))
        {
            return Some("challenge_response");
        }
        let replied = value("auto-submitted").starts_with("auto-replied")
            || value("precedence") == "auto_reply"
            || AUTO_REPLY_FIELDS.iter().any(|name| head.any_named(name))
            || AUTO_REPLY_SUBJECTS.iter().any(|begin| subject.starts_with(begin));
        replied.then_some("auto_reply")
    }

    /// Whether it comes from a mail system rather than from somebody: with the null return path or a daemon's name.
    pub(crate) fn is_from_a_system(&self) -> bool {
        let from = self.head().get("from").unwrap_or_default().to_ascii_lowercase();
        let null = self.head().get("return-path").is_some_and(|path| path.replace(' ', "") == "<>");
        null || ["mailer-daemon", "postmaster@", "mail delivery sub", "mail delivery system"]
            .iter()
            .any(|name| from.contains(name))
    }
}

const CHALLENGE_FIELDS: &[&str] = &["x-tmda-", "x-choicemail-", "x-boxbe-", "x-spamarrest", "x-qurb-"];
const CHALLENGE_SUBJECTS: &[&str] =
    &["please confirm your message", "your message requires verification", "[please verify", "verify your email to"];
const AUTO_REPLY_FIELDS: &[&str] = &["x-autoreply", "x-autorespond", "x-mail-autoreply", "x-auto-reply"];
const AUTO_REPLY_SUBJECTS: &[&str] = &[
    "out of office",
    "out of the office",
    "automatic reply",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto:",
    "automatische antwort",
    "abwesenheit",
    "r\u{e9}ponse automatique",
    "absence du bureau",
    "respuesta autom\u{e1}tica",
    "risposta automatica",
    "resposta autom\u{e1}tica",
    "automatisch antwoord",
    "automatisk svar",
];

/// A date and time as mail writes it (RFC 5322 3.3).
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let read = DateTime::parse_rfc822(text)?;
    if !read.is_valid() {
        return None;
    }
    Timestamp::from_seconds(read.to_timestamp()).ok()
}

/// A field's text with its encoded words (RFC 2047) decoded.
fn decoded(value: &str) -> String {
    let text = format!("{value}\n");
    let read = mail_parser::parsers::MessageStream::new(text.as_bytes()).parse_unstructured();
    read.into_text().map(Cow::into_owned).unwrap_or_default()
}

/// What a mail says, with all that cannot be read as one fate: each would hold the whole mail as a dead letter.
pub(crate) fn gathered(fates: impl Iterator<Item = Fate>) -> Parsed {
    let (mut kept, mut first, mut dead) = (Vec::new(), None, 0_usize);
    for fate in fates {
        match fate {
            Fate::Dead(reason) => {
                dead += 1;
                first.get_or_insert(reason);
            }
            fate => kept.push(fate),
        }
    }
    kept.extend(first.map(|reason| match dead {
        1 => Fate::Dead(reason),
        more => Fate::Dead(format!("{reason} (the first of {more} recipients that cannot be read)")),
    }));
    kept
}

#[cfg(test)]
mod tests;
