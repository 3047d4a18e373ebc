//! One event of SES: what it says, of whom.

use super::{failure, subscription};
use crate::draft::{self, Draft, Metadata};
use crate::json::{Object, Value};
use crate::{Context, Fate, Parsed};
use domain::{Failure, Kind, Scope, Timestamp};
use std::borrow::Cow;

/// A message of SES has at most 50 recipients.
const RECIPIENTS_MAX: usize = 100;
/// Facts of one notice. A change of preferences has one for each topic, and is one recipient's.
const FACTS_MAX: usize = 200;

/// What all events of one notification have in common.
pub(super) struct Notice<'a> {
    /// SES's word for what happened.
    word: Cow<'a, str>,
    /// The part that tells it, e.g. `bounce`.
    detail: Object<'a>,
    mail: Object<'a>,
    metadata: Metadata,
    /// `feedbackId`, or the notification's own id.
    id: Cow<'a, str>,
}

/// What happened to one recipient.
#[derive(Debug)]
pub(super) struct Fact<'a> {
    pub(super) kind: Kind,
    pub(super) failure: Option<Failure>,
    pub(super) scope: Option<Scope>,
    pub(super) machine: bool,
    pub(super) echo: bool,
    /// What tells it from other facts of the same notice about the same recipient.
    pub(super) identity: Cow<'a, str>,
}

impl From<Kind> for Fact<'_> {
    fn from(kind: Kind) -> Self {
        Self { kind, failure: None, scope: None, machine: false, echo: false, identity: Cow::Borrowed("") }
    }
}

/// Reads an event. `notification` is the id of what it came in, where that is known.
pub(super) fn parse(object: &Object<'_>, notification: Option<&str>, context: &Context<'_>) -> Parsed {
    let Some(word) = ["eventType", "notificationType"].iter().find_map(|name| object.get(name)?.string()) else {
        return draft::dead("missing_type: the event has neither `eventType` nor `notificationType`");
    };
    let part = match word.as_ref() {
        "Bounce" => "bounce",
        "Complaint" => "complaint",
        "Delivery" => "delivery",
        "Send" => "send",
        "Reject" => "reject",
        "Open" => "open",
        "Click" => "click",
        "Rendering Failure" | "RenderingFailure" => "failure",
        "DeliveryDelay" => "deliveryDelay",
        "Subscription" => "subscription",
        // Mail that SES received, and what it says when a topic is set for an identity.
        "Received" => return vec![Fate::Ignored("inbound_message")],
        "AmazonSnsSubscriptionSucceeded" => return vec![Fate::Ignored("set_up")],
        _ => "",
    };
    let detail = object.object(part).unwrap_or_default();
    let mail = object.object("mail").unwrap_or_default();
    let id = detail.text("feedbackId").or_else(|| notification.map(|id| id.to_owned().into())).unwrap_or_default();
    let notice = Notice { metadata: metadata(&mail), word, detail, mail, id };
    notice.facts(part, context)
}

impl<'a> Notice<'a> {
    fn facts(&self, part: &str, context: &Context<'_>) -> Parsed {
        let all = |fact: fn(&Self) -> Fact<'a>| {
            self.each(self.mail.get("destination"), context, |recipient| (recipient.string(), vec![fact(self)]))
        };
        let listed = |list: &str, fact: fn(&Self, &Object<'a>) -> Fact<'a>| {
            self.each(self.detail.get(list), context, |recipient| {
                let recipient = recipient.object().unwrap_or_default();
                (recipient.get("emailAddress").and_then(Value::string), vec![fact(self, &recipient)])
            })
        };
        match part {
            "bounce" => listed("bouncedRecipients", |notice, recipient| failure::bounce(&notice.detail, recipient)),
            "complaint" => listed("complainedRecipients", |notice, _| failure::complaint(&notice.detail)),
            "deliveryDelay" => {
                listed("delayedRecipients", |notice, recipient| failure::delay(&notice.detail, recipient))
            }
            "delivery" => self.each(self.detail.get("recipients"), context, |recipient| {
                (recipient.string(), vec![Kind::Delivered.into()])
            }),
            "send" => all(|_| Kind::Accepted.into()),
            "reject" => all(|notice| failure::reject(&notice.detail)),
            "failure" => all(|notice| failure::rendering(&notice.detail)),
            // SES does not say which recipient it was.
            "open" => all(|notice| Fact { machine: is_machine(&notice.detail), ..Kind::Opened.into() }),
            "click" => {
                all(|notice| Fact { identity: notice.detail.text("link").unwrap_or_default(), ..Kind::Clicked.into() })
            }
            "subscription" => self.each(self.mail.get("destination"), context, |recipient| {
                (recipient.string(), subscription::facts(&self.detail))
            }),
            _ => match self.mail.get("destination") {
                Some(_) => all(|_| Kind::Unknown.into()),
                None => vec![Fate::Ignored("no_recipient")],
            },
        }
    }

    /// The facts about each recipient of a list; an unreadable one loses none of the others.
    fn each(
        &self,
        list: Option<Value<'a>>,
        context: &Context<'_>,
        read: impl Fn(Value<'a>) -> (Option<Cow<'a, str>>, Vec<Fact<'a>>),
    ) -> Parsed {
        let recipients = list.map(Value::list).unwrap_or_default();
        if recipients.is_empty() {
            return draft::dead("missing_recipients: the event lists none");
        }
        let is_too_long = recipients.len() > RECIPIENTS_MAX;
        let mut fates = Vec::with_capacity(recipients.len().min(RECIPIENTS_MAX));
        for recipient in recipients.into_iter().take(RECIPIENTS_MAX) {
            if fates.len() > FACTS_MAX {
                break;
            }
            let (address, facts) = read(recipient);
            match address {
                Some(address) => {
                    fates.extend(facts.into_iter().map(|fact| self.draft(fact, address.clone()).finish(context)));
                }
                None => fates.push(Fate::Dead("missing_recipient: an entry of the list names no address".to_owned())),
            }
        }
        if fates.len() > FACTS_MAX {
            fates.truncate(FACTS_MAX);
            fates.push(Fate::Dead(format!("too_many_facts: an event tells at most {FACTS_MAX}")));
        }
        if is_too_long {
            fates.push(Fate::Dead(format!("too_many_recipients: an event lists at most {RECIPIENTS_MAX}")));
        }
        fates
    }

    fn draft<'b>(&'b self, fact: Fact<'b>, address: Cow<'b, str>) -> Draft<'b> {
        let mut draft = Draft::new(fact.kind, Cow::Borrowed(self.word.as_ref()));
        draft.address = Some(address);
        draft.occurred_at = self.time();
        draft.message_id = self.mail.text("messageId");
        (draft.failure, draft.scope) = (fact.failure, fact.scope);
        (draft.machine, draft.echo) = (fact.machine, fact.echo);
        draft.metadata = self.metadata.clone();
        draft.identity = vec![Cow::Borrowed(self.id.as_ref()), fact.identity];
        draft
    }

    /// The event's own time; what has none happened when the message was sent.
    fn time(&self) -> Option<Timestamp> {
        let of = |object: &Object<'_>| object.get("timestamp").and_then(Value::rfc3339);
        of(&self.detail).or_else(|| of(&self.mail))
    }
}

/// The message's tags, those of SES itself among them; each may have several values.
fn metadata(mail: &Object<'_>) -> Metadata {
    let mut metadata = Metadata::default();
    for (name, values) in mail.object("tags").unwrap_or_default().iter() {
        let values: Vec<_> = values.list().into_iter().filter_map(Value::shown).collect();
        metadata.add(name, &values.join(","));
    }
    metadata
}

/// Opened or clicked by a machine, as its user agent tells.
fn is_machine(act: &Object<'_>) -> bool {
    act.text("userAgent").is_some_and(|agent| crate::machine::is_machine(&agent))
}
