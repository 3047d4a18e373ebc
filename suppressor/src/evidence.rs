//! What can change a decision, as rows: one an event, never a counter (R1).

use domain::{Attribution, CanonicalEvent, EventId, Failure, FailureClass, IncidentMark, Kind, Scope, Timestamp};
use serde::{Deserialize, Serialize};

/// Metadata of inner events: how an operator's act, a job's finding or a scanner's notice travels in a canonical event.
pub mod inner {
    /// Who did it.
    pub const ACTOR: &str = "quell.actor";
    /// Why.
    pub const NOTE: &str = "quell.note";
    /// RFC 3339 end of a suppression by hand.
    pub const UNTIL: &str = "quell.until";
    /// RFC 3339 time of the newest engagement that the unengaged job saw.
    pub const ENGAGED_AT: &str = "quell.engaged_at";
    /// RFC 3339 time of the newest send that the unengaged job saw.
    pub const SENT_AT: &str = "quell.sent_at";
    /// Version of the policy that a reconsidered event brings.
    pub const POLICY: &str = "quell.policy";
    /// The mark of an incident that a reconsidered event brings, as JSON.
    pub const INCIDENT: &str = "quell.incident";
    /// Number of the position of an erasure whose recipient is now to be forgotten.
    pub const FORGETS: &str = "quell.forgets";
}

/// The part of a failure that a decision or an explanation needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureEvidence {
    /// Whose failure.
    pub attribution: Attribution,
    /// What kind.
    pub class: FailureClass,
    /// The classifier's rule.
    pub rule: String,
    /// Enhanced status or basic code, as text.
    pub code: Option<String>,
    /// The reply as worded.
    pub diagnostic: Option<String>,
}

impl From<&Failure> for FailureEvidence {
    fn from(failure: &Failure) -> Self {
        let basic = || failure.smtp_code.map(|code| code.to_string());
        Self {
            attribution: failure.attribution,
            class: failure.class,
            rule: failure.rule.clone(),
            code: failure.enhanced_status.clone().or_else(|| failure.provider_code.clone()).or_else(basic),
            diagnostic: failure.diagnostic.clone(),
        }
    }
}

/// One row of evidence, keyed by event time, event id and revision of the rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The event.
    pub event_id: EventId,
    /// The provider's time, unclamped.
    pub occurred_at: Timestamp,
    /// When the gateway took the webhook that first brought it.
    pub received_at: Timestamp,
    /// Revision of the rules that read it; of two rows of one event the highest counts.
    pub rules: u32,
    /// Number of the position that first brought it.
    pub position: u64,
    /// Version of the policy in force in its partition at that position.
    pub policy: u32,
    /// What happened.
    pub kind: Kind,
    /// Which provider.
    pub provider: String,
    /// Which source.
    pub source: String,
    /// Which message.
    pub message_id: Option<String>,
    /// What an opt-out, its return or an act by hand reaches.
    pub scope: Option<Scope>,
    /// Why delivery failed.
    pub failure: Option<FailureEvidence>,
    /// The receipt that first brought it.
    pub receipt_id: String,
    /// End of a suppression by hand; newest engagement that the unengaged job saw.
    pub limit: Option<Timestamp>,
    /// Version that a reconsidered event brings.
    pub new_policy: Option<u32>,
    /// Who did it, by hand.
    pub actor: Option<String>,
    /// Why, by hand.
    pub note: Option<String>,
    /// In which incidents it was told, as its position knows; of a reconsidered event, what it says of its recipient's.
    #[serde(default)]
    pub marks: Vec<IncidentMark>,
}

/// What identifies a row.
pub type RowKey = (Timestamp, EventId, u32);

impl Evidence {
    /// The row for an event, if the event can ever change a decision. Echoes of our own pushes are confirmations, and
    /// machine opens and clicks are nobody's: neither is evidence.
    pub fn of(event: &CanonicalEvent, position: u64, policy: u32) -> Option<Self> {
        if event.echo || !is_evidence(event.kind, event.machine) {
            return None;
        }
        let time = |name: &str| event.metadata.get(name).and_then(|text| Timestamp::parse_rfc3339(text).ok());
        let text = |name: &str| event.metadata.get(name).cloned();
        Some(Self {
            event_id: event.event_id,
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            rules: event.rules,
            position,
            policy,
            kind: event.kind,
            provider: event.provider.clone(),
            source: event.source.clone(),
            message_id: event.message_id.clone(),
            scope: event.scope.clone(),
            failure: event.failure.as_ref().map(Into::into),
            receipt_id: event.receipt_id.clone(),
            limit: match event.kind {
                Kind::Unengaged => time(inner::ENGAGED_AT),
                _ => time(inner::UNTIL),
            },
            new_policy: text(inner::POLICY).and_then(|version| version.parse().ok()),
            actor: text(inner::ACTOR),
            note: text(inner::NOTE),
            marks: match event.kind {
                Kind::Reconsidered => text(inner::INCIDENT).and_then(|mark| serde_json::from_str(&mark).ok()),
                _ => None,
            }
            .into_iter()
            .collect(),
        })
    }

    /// What identifies it.
    pub fn row_key(&self) -> RowKey {
        (self.occurred_at, self.event_id, self.rules)
    }

    /// Whether another row is of the same event, in whichever revision of the rules.
    pub fn is_of(&self, other: &Self) -> bool {
        self.occurred_at == other.occurred_at && self.event_id == other.event_id
    }

    /// The time that counts for deciding: a time later than the receipt is clamped by it.
    pub fn effective_at(&self) -> Timestamp {
        self.occurred_at.min(self.received_at)
    }

    /// Whether the provider's clock ran ahead of ours.
    pub fn clamped(&self) -> bool {
        self.occurred_at > self.received_at
    }

    /// Whether it is a failure of the recipient's own: the only kind that may suppress.
    pub fn is_own_failure(&self) -> bool {
        matches!(self.kind, Kind::BouncedHard | Kind::BouncedSoft)
            && self.failure.as_ref().is_none_or(|failure| failure.attribution == Attribution::Recipient)
    }

    /// A human open or click.
    pub fn is_engagement(&self) -> bool {
        matches!(self.kind, Kind::Opened | Kind::Clicked)
    }
}

fn is_evidence(kind: Kind, machine: bool) -> bool {
    match kind {
        Kind::Delivered
        | Kind::BouncedHard
        | Kind::BouncedSoft
        | Kind::Complaint
        | Kind::Unsubscribed
        | Kind::Resubscribed
        | Kind::SuppressedManually
        | Kind::ReleasedManually
        | Kind::Unengaged
        | Kind::Expired
        | Kind::Reconsidered
        | Kind::Erased => true,
        Kind::Opened | Kind::Clicked => !machine,
        Kind::Accepted | Kind::Deferred | Kind::Rejected | Kind::Unknown => false,
    }
}

/// Registers that feed the unengaged job, never a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engagement {
    /// Oldest send.
    pub first_sent_at: Option<Timestamp>,
    /// Newest send.
    pub sent_at: Option<Timestamp>,
    /// Newest human open or click.
    pub engaged_at: Option<Timestamp>,
}

impl Engagement {
    /// The oldest first send, and the newer of the other registers.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            first_sent_at: match (self.first_sent_at, other.first_sent_at) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
            sent_at: self.sent_at.max(other.sent_at),
            engaged_at: self.engaged_at.max(other.engaged_at),
        }
    }

    /// What an event adds.
    pub fn of(event: &CanonicalEvent) -> Self {
        let at = Some(event.occurred_at.min(event.received_at));
        match event.kind {
            Kind::Accepted | Kind::Delivered => Self { first_sent_at: at, sent_at: at, engaged_at: None },
            Kind::Opened | Kind::Clicked if !event.machine => Self { engaged_at: at, ..Self::default() },
            _ => Self::default(),
        }
    }
}

/// Everything known of one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Every row, in order of row keys.
    pub rows: Vec<Evidence>,
    /// Registers.
    pub engagement: Engagement,
    /// The address as last sent.
    pub address: String,
    /// What erasures kept, each row at its erasure's position. It lies under a pseudonym and not with the rest.
    #[serde(skip)]
    pub kept: Vec<Evidence>,
}

impl History {
    /// Every row, and what erasures kept.
    pub fn all(&self) -> impl Iterator<Item = &Evidence> + Clone {
        self.kept.iter().chain(&self.rows)
    }

    /// Positions of the recipient's erasures.
    pub fn erasures(&self) -> impl Iterator<Item = u64> + '_ {
        self.kept.iter().filter(|row| row.kind == Kind::Erased).map(|row| row.position)
    }

    /// Adds a row; of two with one key the earlier position stays (the one that first brought it).
    pub fn insert(&mut self, row: Evidence) {
        match self.rows.binary_search_by_key(&row.row_key(), Evidence::row_key) {
            Ok(at) if self.rows[at].position > row.position => self.rows[at] = row,
            Ok(_) => {}
            Err(at) => self.rows.insert(at, row),
        }
    }

    /// The position that first brought an event in this revision of the rules or a later one, if it is known.
    pub fn first_brought(&self, row: &Evidence) -> Option<u64> {
        self.rows
            .iter()
            .filter(|known| {
                known.occurred_at == row.occurred_at && known.event_id == row.event_id && known.rules >= row.rules
            })
            .map(|known| known.position)
            .min()
    }

    /// The rows below a position: what a decision at it may rest on (R2).
    pub fn before(&self, position: u64) -> impl Iterator<Item = &Evidence> + Clone {
        self.all().filter(move |row| row.position < position)
    }
}
