//! Incidents: a mailbox domain or a provider that refuses valid recipients for a while, as large ones have done for hours.
//!
//! What a hard bounce says in an incident is doubtful. The guard says when one lasts; its verdicts are data in the log.

use crate::{EventId, Recipient, Timestamp, words::words};
use serde::{Deserialize, Serialize};

words!(
    /// What holds for the bounces of an incident.
    Ruling, "ruling", {
        /// They are provisional.
        Held = "held",
        /// An operator says that they are what they look like.
        Confirmed = "confirmed",
        /// An operator says that they never counted.
        Undone = "undone",
    }
);

/// Whose bounces meet in one count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Recipients of one mail domain, as lower-case A-label.
    Mailbox(String),
    /// What one provider tells.
    Provider(String),
}

/// Text that names no group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a group: use mailbox:DOMAIN or provider:NAME")]
pub struct GroupError;

impl Group {
    /// Whether a bounce of this recipient, told by this provider, is one of the group's.
    pub fn holds(&self, recipient: &Recipient, provider: &str) -> bool {
        match self {
            Self::Mailbox(domain) => recipient.domain() == Some(domain),
            Self::Provider(name) => recipient.domain().is_some() && name == provider,
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mailbox(domain) => write!(f, "mailbox:{domain}"),
            Self::Provider(name) => write!(f, "provider:{name}"),
        }
    }
}

impl std::str::FromStr for Group {
    type Err = GroupError;
    fn from_str(text: &str) -> Result<Self, GroupError> {
        match text.split_once(':') {
            Some(("mailbox", domain)) if !domain.is_empty() => Ok(Self::Mailbox(domain.to_owned())),
            Some(("provider", name)) if !name.is_empty() => Ok(Self::Provider(name.to_owned())),
            _ => Err(GroupError),
        }
    }
}

impl Serialize for Group {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id of an incident: of its group and of when it began. Seen twice, it is one.
pub fn incident_id(group: &Group, from: Timestamp) -> EventId {
    EventId::derive(&["incident", &group.to_string(), &from.as_micros().to_string()])
}

/// Which incident a row of evidence was told in, and what holds for it: on a bounce for that bounce, on a `reconsidered`
/// for every bounce of its recipient within reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentMark {
    /// Which.
    pub incident: EventId,
    /// Whose.
    pub group: Group,
    /// What was ruled when the mark was made; of several marks of one incident that at the highest position counts.
    pub ruling: Ruling,
    /// Start, in event time.
    pub from: Timestamp,
    /// End, in event time; of one that lasts, how far it was known to last.
    pub to: Timestamp,
}

impl IncidentMark {
    /// Whether a bounce is in the incident.
    pub fn reaches(&self, recipient: &Recipient, provider: &str, at: Timestamp) -> bool {
        self.reaches_at(provider, at) && self.group.holds(recipient, provider)
    }

    /// The same of a recipient who is known to be of the group's mailbox.
    pub fn reaches_at(&self, provider: &str, at: Timestamp) -> bool {
        let is_told_there = match &self.group {
            Group::Mailbox(_) => true,
            Group::Provider(name) => name == provider,
        };
        is_told_there && self.from <= at && at <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_back() {
        for text in ["mailbox:gmail.com", "provider:sendgrid"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        for text in ["", "gmail.com", "mailbox:", "tenant:x"] {
            assert!(text.parse::<Group>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mark_reaches_its_group_and_time() {
        let at = |seconds| Timestamp::from_seconds(seconds).unwrap();
        let mark = |group: Group| IncidentMark {
            incident: incident_id(&group, at(10)),
            group,
            ruling: Ruling::Held,
            from: at(10),
            to: at(20),
        };
        let jane = Recipient::email("jane@gmail.com").unwrap();
        let mailbox = mark(Group::Mailbox("gmail.com".to_owned()));
        assert!(mailbox.reaches(&jane, "sendgrid", at(10)) && mailbox.reaches(&jane, "postmark", at(20)));
        assert!(!mailbox.reaches(&jane, "sendgrid", at(9)) && !mailbox.reaches(&jane, "sendgrid", at(21)));
        assert!(!mailbox.reaches(&Recipient::email("jane@example.com").unwrap(), "sendgrid", at(15)));
        let provider = mark(Group::Provider("sendgrid".to_owned()));
        assert!(provider.reaches(&jane, "sendgrid", at(15)) && !provider.reaches(&jane, "postmark", at(15)));
        assert!(!provider.reaches(&Recipient::phone("+15551234567").unwrap(), "sendgrid", at(15)), "email only");
    }
}
