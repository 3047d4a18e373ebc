//! Suppressions in force, why they are, and the deltas between one state and the next.

use crate::{EventId, Kind, RecipientKey, Scope, Timestamp, words::words};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

words!(
    /// Why a recipient is suppressed. Ordered by weight: the first outweighs the rest where several hold at once.
    Reason, "reason", {
        Manual = "manual",
        SpamComplaint = "spam_complaint",
        HardBounce = "hard_bounce",
        InvalidNumber = "invalid_number",
        CarrierRejection = "carrier_rejection",
        Unsubscribe = "unsubscribe",
        SoftBounce = "soft_bounce",
        UnknownBounce = "unknown_bounce",
        SmsFailure = "sms_failure",
        Unengaged = "unengaged",
    }
);

words!(
    /// What a delta does to a recipient and scope.
    Change, "change", {
        /// Nothing held before.
        Suppressed = "suppressed",
        /// Another reason, since or until holds.
        Updated = "updated",
        /// Nothing holds any more.
        Released = "released",
        /// What held before still holds, but what was known of the recipient is forgotten, and is to be.
        Erased = "erased",
    }
);

/// One reason for which a recipient is suppressed in one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// How far it reaches.
    pub scope: Scope,
    /// Why.
    pub reason: Reason,
    /// Event time of the evidence it rests on.
    pub since: Timestamp,
    /// When it ends by itself; `None` is for good.
    pub until: Option<Timestamp>,
    /// Id of the policy's rule.
    pub rule: String,
    /// The event it rests on.
    pub event_id: EventId,
    /// Provider of that event; `manual` for what was done by hand.
    pub provider: String,
    /// Source of that event.
    pub source: String,
    /// Every provider whose evidence supports it, sorted.
    pub providers: Vec<String>,
    /// The incident under which it is provisional; `None` where it is not.
    #[serde(default)]
    pub incident: Option<EventId>,
}

impl Cause {
    /// What a delta tells of it.
    pub fn standing(&self) -> Standing {
        Standing {
            reason: self.reason,
            since: self.since,
            until: self.until,
            rule: self.rule.clone(),
            event_id: self.event_id,
            provider: self.provider.clone(),
            source: self.source.clone(),
            incident: self.incident,
        }
    }

    /// Whether it rests on bounces of an incident alone: it holds here for a while, and is not told to providers.
    pub const fn is_provisional(&self) -> bool {
        self.incident.is_some()
    }

    /// Sort key among causes of one scope: for good before for a while, the later end first, then weight, then age.
    fn precedence(&self) -> (bool, std::cmp::Reverse<Option<Timestamp>>, Reason, Timestamp, EventId) {
        (self.until.is_some(), std::cmp::Reverse(self.until), self.reason, self.since, self.event_id)
    }
}

/// Everything in force for one recipient: the outcome of `decide`. Sorted by scope, then precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    causes: Vec<Cause>,
}

impl Decision {
    /// From causes in any order.
    pub fn new(mut causes: Vec<Cause>) -> Self {
        causes.sort_by(|a, b| a.scope.cmp(&b.scope).then_with(|| a.precedence().cmp(&b.precedence())));
        Self { causes }
    }

    /// Every cause.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// Whether nothing is in force.
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// The cause that counts in each scope.
    pub fn by_scope(&self) -> BTreeMap<&Scope, &Cause> {
        let mut scopes = BTreeMap::new();
        for cause in &self.causes {
            scopes.entry(&cause.scope).or_insert(cause);
        }
        scopes
    }
}

/// What holds for a recipient and scope, as told to subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Why.
    pub reason: Reason,
    /// Since when, in event time.
    pub since: Timestamp,
    /// Until when; `None` is for good.
    pub until: Option<Timestamp>,
    /// By which rule of the policy.
    pub rule: String,
    /// On which event it rests.
    pub event_id: EventId,
    /// From which provider that event came.
    pub provider: String,
    /// From which of its sources.
    pub source: String,
    /// The incident under which it is provisional; `None` where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<EventId>,
}

/// The event whose arrival brought a delta about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its id.
    pub event_id: EventId,
    /// Its kind.
    pub kind: Kind,
    /// Its provider.
    pub provider: String,
    /// Its source.
    pub source: String,
    /// The receipt that carried it.
    pub receipt_id: String,
}

/// One change of one recipient's suppression in one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Derived from recipient, scope and position: the same however often it is computed.
    pub delta_id: EventId,
    /// Whose.
    pub key: RecipientKey,
    /// The address as last sent, for providers that compare letter by letter.
    pub address: String,
    /// Where.
    pub scope: Scope,
    /// What changed.
    pub change: Change,
    /// What held before.
    pub before: Option<Standing>,
    /// What holds now.
    pub now: Option<Standing>,
    /// What is in force for the recipient over all scopes once this position is applied.
    pub in_force: Vec<(Scope, Reason)>,
    /// Those of these scopes in which it is provisional, and so not told to providers.
    pub provisional: Vec<Scope>,
    /// The event that brought it about.
    pub trigger: Trigger,
    /// Receipt time of that event: when this became known.
    pub decided_at: Timestamp,
    /// Number of the position (epoch and offset) in the recipient's partition.
    pub position: u64,
    /// Version of the policy that decided.
    pub policy: u32,
}

impl Delta {
    /// The deltas from one decision to the next, one a scope, in order of scopes.
    pub fn between(before: &Decision, now: &Decision) -> Vec<(Scope, Change, Option<Standing>, Option<Standing>)> {
        let (old, new) = (before.by_scope(), now.by_scope());
        let scopes: std::collections::BTreeSet<&Scope> = old.keys().chain(new.keys()).copied().collect();
        let mut changes = Vec::new();
        for scope in scopes {
            let was = old.get(scope).map(|cause| cause.standing());
            let is = new.get(scope).map(|cause| cause.standing());
            let change = match (&was, &is) {
                (None, Some(_)) => Change::Suppressed,
                (Some(_), None) => Change::Released,
                (Some(a), Some(b)) if (a.reason, a.since, a.until) != (b.reason, b.since, b.until) => Change::Updated,
                _ => continue,
            };
            changes.push((scope.clone(), change, was, is));
        }
        changes
    }
}
