//! The answer to "may this be sent?": what is in force, a question and the time in, the cause that stops it out. Pure.

use crate::{Policy, store::InForce};
use domain::{AddressError, Cause, MessageClass, Recipient, Timestamp};
use std::{cmp::Reverse, io::Write as _};

/// What is about to be sent.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its class.
    pub class: MessageClass,
    /// Its categories, lists or campaigns.
    pub categories: Vec<String>,
    /// Only causes that one of these providers supports count; empty is all. What was done by hand has the provider
    /// `manual`.
    pub sources: Vec<String>,
    /// The number or messaging service it is sent from.
    pub sender: Option<String>,
}

impl Question {
    /// A question about a class of message.
    pub fn of(class: MessageClass) -> Self {
        Self { class, categories: Vec::new(), sources: Vec::new(), sender: None }
    }

    /// Sent from `sender`, as scopes name it: a phone number as E.164, all else as it is.
    #[must_use]
    pub fn from_sender(mut self, sender: Option<&str>) -> Self {
        let name = |text: &str| {
            Recipient::phone(text).map_or_else(|_| text.trim().to_owned(), |read| read.as_str().to_owned())
        };
        self.sender = sender.map(name);
        self
    }
}

/// The cause that stops a message, if one does. Ends are compared with now, so that an answer never waits for the
/// scanner (R7). Of several causes one for good is told before one that ends, then the later end, then the farther scope
/// (`all`, `non_critical`, `marketing`, others), then the decision's own order: so `retry_at` is never too early.
pub fn answer<'a>(
    in_force: Option<&'a InForce>,
    question: &Question,
    policy: &Policy,
    now: Timestamp,
) -> Option<&'a Cause> {
    let counts = |cause: &&Cause| {
        cause.until.is_none_or(|until| until > now)
            && (question.sources.is_empty() || cause.providers.iter().any(|name| question.sources.contains(name)))
            && policy.stops(&cause.scope, question.class, &question.categories, question.sender.as_deref())
    };
    let causes = in_force?.decision.causes().iter().filter(counts);
    // Causes come by scope, then precedence, and the first of equals is taken.
    causes.min_by_key(|cause| (cause.until.is_some(), Reverse(cause.until)))
}

/// What is told of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// The address cannot be read, so it cannot be sent to either: told as suppressed, as a sender must never take it
    /// for allowed.
    Unreadable(AddressError),
    /// Nothing stops it.
    Free,
    /// This stops it.
    Stopped(&'a Cause),
}

/// The reason given for an address that cannot be read.
const UNREADABLE: &str = "invalid_address";

/// The columns that an answer adds to a CSV file.
pub const COLUMNS: [&str; 6] = ["suppressed", "reason", "scope", "since", "until", "retry_at"];

impl Told<'_> {
    /// Appends the answer as one JSON object. Written by hand: its shape is fixed, and there are millions of them.
    pub fn write_json(&self, out: &mut Vec<u8>, recipient: &str) {
        out.extend_from_slice(b"{\"recipient\":");
        write_text(out, recipient);
        match self {
            Self::Free => out.extend_from_slice(
                b",\"suppressed\":false,\"reason\":null,\"scope\":null,\"since\":null,\"until\":null,\"retry_at\":null}",
            ),
            Self::Unreadable(error) => {
                out.extend_from_slice(
                    b",\"suppressed\":true,\"reason\":\"invalid_address\",\"scope\":null,\"since\":null,\"until\":null,\"retry_at\":null,\"error\":",
                );
                write_text(out, &error.to_string());
                out.push(b'}');
            }
            Self::Stopped(cause) => {
                out.extend_from_slice(b",\"suppressed\":true,\"reason\":\"");
                out.extend_from_slice(cause.reason.as_str().as_bytes());
                out.extend_from_slice(b"\",\"scope\":");
                write_text(out, &cause.scope.to_string());
                // Writing to memory cannot fail.
                let _ = write!(out, ",\"since\":\"{}\"", cause.since);
                let _ = match cause.until {
                    Some(until) => write!(out, ",\"until\":\"{until}\",\"retry_at\":\"{until}\""),
                    None => write!(out, ",\"until\":null,\"retry_at\":null"),
                };
                // Only where it is so: millions of answers are not.
                if let Some(incident) = cause.incident {
                    let _ = write!(out, ",\"provisional\":true,\"incident\":\"{incident}\"");
                }
                out.push(b'}');
            }
        }
    }

    /// The answer's columns of a CSV row, in the order of [`COLUMNS`].
    pub fn columns(&self) -> [String; 6] {
        let text = str::to_owned;
        match self {
            Self::Free => [text("false"), text(""), text(""), text(""), text(""), text("")],
            Self::Unreadable(_) => [text("true"), text(UNREADABLE), text(""), text(""), text(""), text("")],
            Self::Stopped(cause) => {
                let until = cause.until.map(|until| until.to_string()).unwrap_or_default();
                let since = cause.since.to_string();
                [text("true"), text(cause.reason.as_str()), cause.scope.to_string(), since, until.clone(), until]
            }
        }
    }
}

/// Appends a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // A string always serializes, and writing to memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Decision, EventId, Reason, Scope};

    const DAY: i64 = 86_400;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000).unwrap().plus_seconds(days * DAY)
    }

    fn cause(scope: Scope, reason: Reason, until: Option<i64>, providers: &[&str]) -> Cause {
        Cause {
            scope,
            reason,
            since: at(0),
            until: until.map(at),
            rule: "rule".to_owned(),
            event_id: EventId::derive(&[reason.as_str()]),
            provider: providers[0].to_owned(),
            source: "default".to_owned(),
            providers: providers.iter().map(|name| (*name).to_owned()).collect(),
            incident: None,
        }
    }

    #[track_caller]
    fn check(causes: Vec<Cause>, question: &Question, now: i64, expected: Option<Reason>) {
        let row = InForce { position: 1, policy: 0, address: String::new(), decision: Decision::new(causes) };
        let found = answer(Some(&row), question, &Policy::built_in(), at(now));
        assert_eq!(found.map(|cause| cause.reason), expected);
    }

    #[test]
    fn what_stops_what() {
        let marketing = Question::of(MessageClass::Marketing);
        let transactional = Question::of(MessageClass::Transactional);
        let critical = Question::of(MessageClass::Critical);
        let hard = || cause(Scope::All, Reason::HardBounce, None, &["drip"]);
        let complaint = || cause(Scope::NonCritical, Reason::SpamComplaint, None, &["postmark"]);
        let left = || cause(Scope::Marketing, Reason::Unsubscribe, None, &["sendgrid"]);
        let soft = || cause(Scope::All, Reason::SoftBounce, Some(7), &["mailgun", "sendgrid"]);
        let news = || cause(Scope::category("news"), Reason::Unsubscribe, None, &["sendgrid"]);
        check(vec![], &marketing, 0, None);
        check(vec![hard()], &critical, 0, Some(Reason::HardBounce));
        check(vec![complaint()], &critical, 0, None);
        check(vec![complaint()], &transactional, 0, Some(Reason::SpamComplaint));
        check(vec![left()], &transactional, 0, None);
        check(vec![left()], &marketing, 0, Some(Reason::Unsubscribe));
        check(vec![news()], &marketing, 0, None);
        check(
            vec![news()],
            &Question { categories: vec!["news".to_owned()], ..marketing.clone() },
            0,
            Some(Reason::Unsubscribe),
        );
        // Ends are compared with now.
        check(vec![soft()], &marketing, 6, Some(Reason::SoftBounce));
        check(vec![soft()], &marketing, 7, None);
        // For good before for a while, then the farther scope.
        check(vec![soft(), complaint(), left()], &marketing, 1, Some(Reason::SpamComplaint));
        check(vec![left(), hard(), complaint()], &marketing, 1, Some(Reason::HardBounce));
        // Only what these sources support.
        let only = |name: &str| Question { sources: vec![name.to_owned()], ..marketing.clone() };
        check(vec![hard(), left()], &only("sendgrid"), 0, Some(Reason::Unsubscribe));
        check(vec![soft()], &only("sendgrid"), 0, Some(Reason::SoftBounce));
        check(vec![hard()], &only("manual"), 0, None);
        check(vec![cause(Scope::All, Reason::Manual, None, &["manual"])], &only("manual"), 0, Some(Reason::Manual));
    }

    #[test]
    fn of_ends_the_later_is_told() {
        let early = cause(Scope::All, Reason::SoftBounce, Some(3), &["drip"]);
        let late = cause(Scope::Marketing, Reason::Manual, Some(9), &["manual"]);
        check(vec![early, late], &Question::of(MessageClass::Marketing), 1, Some(Reason::Manual));
    }

    #[test]
    fn a_stop_told_to_one_sender() {
        let stop = || cause(Scope::sender("+15551234567"), Reason::Unsubscribe, None, &["twilio"]);
        let from = |sender: Option<&str>| Question::of(MessageClass::Marketing).from_sender(sender);
        check(vec![stop()], &from(None), 0, Some(Reason::Unsubscribe));
        check(vec![stop()], &from(Some("+1 555 123 4567")), 0, Some(Reason::Unsubscribe));
        check(vec![stop()], &from(Some("MG123")), 0, None);
    }

    #[test]
    fn writes_json_that_reads_back() {
        let soft = cause(Scope::category("a \"b\""), Reason::SoftBounce, Some(7), &["drip"]);
        for told in [Told::Free, Told::Stopped(&soft), Told::Unreadable(AddressError::NotEmail)] {
            let mut out = Vec::new();
            told.write_json(&mut out, "j\u{fc}rgen\n\"x\"@example.com");
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["recipient"], "j\u{fc}rgen\n\"x\"@example.com");
            assert_eq!(value["suppressed"], told != Told::Free);
            for name in COLUMNS {
                assert!(value.get(name).is_some(), "{name}");
            }
            if let Told::Stopped(cause) = told {
                assert_eq!(value["scope"], "category:a \"b\"");
                assert_eq!(value["retry_at"], cause.until.unwrap().to_string());
                assert!(value.get("incident").is_none());
            }
        }
        let held = Cause { incident: Some(EventId::derive(&["i"])), ..soft };
        let mut out = Vec::new();
        Told::Stopped(&held).write_json(&mut out, "j@example.com");
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((value["provisional"].as_bool(), value["incident"].as_str().map(str::len)), (Some(true), Some(32)));
    }
}
