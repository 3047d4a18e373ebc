//! Bounces without a report part, where their form tells for sure whose failure it was: qmail's (QSBMF,
//! <https://cr.yp.to/proto/qsbmf.txt>), Exim's, and those of Postfix before it wrote reports.

use super::report::{self, About};
use crate::draft::Draft;
use crate::mail::{
    self, Mail, RECIPIENTS_MAX, address,
    fields::{Fields, message_id},
};
use crate::{Context, Fate, Parsed};
use domain::Kind;
use domain::classify::{DIAGNOSTIC_BYTES_MAX, cut};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Longest reason read for one recipient; a reply has a few lines.
const REASON_LINES_MAX: usize = 20;

/// A recipient and the reason given.
type Failed<'a> = (&'a str, String);

/// What the mail says, if it has one of the forms.
pub(super) fn parse(mail: &Mail<'_>, context: &Context<'_>) -> Option<Parsed> {
    let text = mail.text();
    let (action, failed) = exim(mail, &text).or_else(|| paragraphs(&text))?;
    let mut about = About::read(mail, text.as_bytes());
    about.message_id = about.message_id.or_else(|| copied(&text));
    let fates = failed.into_iter().take(RECIPIENTS_MAX).map(|(written, reason)| {
        let mut draft = Draft::new(Kind::Unknown, action.into());
        (draft.kind, draft.failure) = report::kind(action, None, Some(&reason));
        draft.address = Some(Cow::Borrowed(written));
        draft.occurred_at = about.time;
        draft.message_id = about.message_id.as_deref().map(Into::into);
        draft.identity = vec![about.identity.as_str().into(), written.into()];
        draft.finish(context)
    });
    let fates: Vec<Fate> = fates.collect();
    Some(mail::gathered(fates.into_iter()))
}

/// Exim names whom it failed in a field of its own, and each reason in the text below the address.
fn exim<'a>(mail: &'a Mail<'_>, text: &str) -> Option<(&'static str, Vec<Failed<'a>>)> {
    let named: Vec<&str> = mail
        .head()
        .all("x-failed-recipients")
        .flat_map(|value| value.split(','))
        .map(address::bare)
        .filter(|address| !address.is_empty())
        .take(RECIPIENTS_MAX)
        .collect();
    if named.is_empty() {
        return None;
    }
    let wanted: HashSet<String> = named.iter().map(|address| address.to_ascii_lowercase()).collect();
    let mut reasons = HashMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("------") && line.contains("copy of") {
            break;
        }
        if line.starts_with(' ') && line.contains('@') {
            let address = address::bare(line).to_ascii_lowercase();
            if wanted.contains(&address) {
                // The reason is set in deeper than the address, and the next address is not.
                let below = lines.clone().take_while(|other| indent(other) > indent(line));
                reasons.entry(address).or_insert_with(|| reason(below));
            }
        }
    }
    let failed = named.into_iter().map(|address| {
        let reason = reasons.get(&address.to_ascii_lowercase()).cloned().unwrap_or_default();
        (address, reason)
    });
    Some(("failed", failed.collect()))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// qmail and Postfix: after an introduction that names the program, a paragraph for each recipient that begins with
/// `<address>:`. What comes after these is the sender's own message, in which anything may stand.
fn paragraphs(text: &str) -> Option<(&'static str, Vec<Failed<'_>>)> {
    let mut paragraphs = Paragraphs { rest: text };
    let mut is_known = false;
    let first = loop {
        let paragraph = paragraphs.next()?;
        // QSBMF: the very first words. Postfix: its name in one of the first paragraphs.
        is_known |= paragraph.starts_with("Hi. This is the")
            || paragraph.contains("Postfix program at host")
            || paragraph.contains("the Postfix program");
        if let Some(failed) = recipient(paragraph).filter(|_| is_known) {
            break failed;
        }
        // Neither has more than a few lines before the first recipient.
        if paragraph.starts_with("--") || text.len() - paragraphs.rest.len() > 8_192 {
            return None;
        }
    };
    let begun = &text[..text.len() - paragraphs.rest.len()];
    let action = if begun.contains("THIS IS A WARNING ONLY") { "delayed" } else { "failed" };
    let others = paragraphs.map_while(recipient);
    Some((action, std::iter::once(first).chain(others).take(RECIPIENTS_MAX).collect()))
}

/// `<address>:` and the reason.
fn recipient(paragraph: &str) -> Option<Failed<'_>> {
    let (written, text) = paragraph.strip_prefix('<')?.split_once(">:")?;
    let fine = !written.is_empty() && !written.contains(['\n', '<', '>']);
    fine.then(|| (written, reason(text.trim_start().lines())))
}

/// The lines up to an empty one, within bounds.
fn reason<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines.take(REASON_LINES_MAX).map(str::trim).take_while(|line| !line.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(cut(line, DIAGNOSTIC_BYTES_MAX.saturating_sub(text.len())));
    }
    text
}

/// Runs of lines that say something.
struct Paragraphs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        if text.is_empty() {
            self.rest = "";
            return None;
        }
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            if line.trim().is_empty() {
                break;
            }
            end += line.len();
        }
        self.rest = &text[end..];
        Some(text[..end].trim_end())
    }
}

/// The message id of the copy below the reasons.
fn copied(text: &str) -> Option<String> {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.starts_with("---") && line.contains("copy of") {
            let (fields, _) = Fields::read(text[end..].trim_start().as_bytes());
            return fields.get("message-id").and_then(message_id).map(str::to_owned);
        }
    }
    None
}
