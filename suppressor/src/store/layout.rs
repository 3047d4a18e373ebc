//! How values lay in stores before: read, and written as they are now at the next write of their row.
//!
//! The first layout knew no incidents: no evidence was told in one, and no cause was provisional.

use super::{Due, InForce, IncidentRow, MessageEntry, PolicyRow};
use crate::{
    Evidence, History,
    erasure::Erased,
    evidence::{Engagement, FailureEvidence},
};
use domain::{Cause, Decision, EventId, Kind, Reason, Scope, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};

/// A value of a store, in every layout.
pub(super) trait Stored: DeserializeOwned {
    /// Reads the first layout. The same as the newest, unless the type has changed since.
    fn read_first(bytes: &[u8]) -> postcard::Result<Self> {
        postcard::from_bytes(bytes)
    }
}

impl Stored for Due {}
impl Stored for MessageEntry {}
impl Stored for PolicyRow {}
impl Stored for IncidentRow {}
impl Stored for Erased {}
impl Stored for String {}
impl Stored for (Engagement, String) {}

impl Stored for Evidence {
    fn read_first(bytes: &[u8]) -> postcard::Result<Self> {
        postcard::from_bytes::<FirstEvidence>(bytes).map(Into::into)
    }
}

impl Stored for History {
    fn read_first(bytes: &[u8]) -> postcard::Result<Self> {
        let FirstHistory { rows, engagement, address } = postcard::from_bytes(bytes)?;
        let rows = rows.into_iter().map(Into::into).collect();
        Ok(Self { rows, engagement, address, kept: Vec::new() })
    }
}

impl Stored for InForce {
    fn read_first(bytes: &[u8]) -> postcard::Result<Self> {
        let FirstInForce { position, policy, address, decision } = postcard::from_bytes(bytes)?;
        let causes = decision.causes.into_iter().map(Into::into).collect();
        Ok(Self { position, policy, address, decision: Decision::new(causes) })
    }
}

#[derive(Deserialize)]
struct FirstHistory {
    rows: Vec<FirstEvidence>,
    engagement: Engagement,
    address: String,
}

#[derive(Deserialize)]
struct FirstInForce {
    position: u64,
    policy: u32,
    address: String,
    decision: FirstDecision,
}

#[derive(Deserialize)]
struct FirstDecision {
    causes: Vec<FirstCause>,
}

#[derive(Deserialize)]
struct FirstEvidence {
    event_id: EventId,
    occurred_at: Timestamp,
    received_at: Timestamp,
    rules: u32,
    position: u64,
    policy: u32,
    kind: Kind,
    provider: String,
    source: String,
    message_id: Option<String>,
    scope: Option<Scope>,
    failure: Option<FailureEvidence>,
    receipt_id: String,
    limit: Option<Timestamp>,
    new_policy: Option<u32>,
    actor: Option<String>,
    note: Option<String>,
}

impl From<FirstEvidence> for Evidence {
    fn from(first: FirstEvidence) -> Self {
        Self {
            event_id: first.event_id,
            occurred_at: first.occurred_at,
            received_at: first.received_at,
            rules: first.rules,
            position: first.position,
            policy: first.policy,
            kind: first.kind,
            provider: first.provider,
            source: first.source,
            message_id: first.message_id,
            scope: first.scope,
            failure: first.failure,
            receipt_id: first.receipt_id,
            limit: first.limit,
            new_policy: first.new_policy,
            actor: first.actor,
            note: first.note,
            marks: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct FirstCause {
    scope: Scope,
    reason: Reason,
    since: Timestamp,
    until: Option<Timestamp>,
    rule: String,
    event_id: EventId,
    provider: String,
    source: String,
    providers: Vec<String>,
}

impl From<FirstCause> for Cause {
    fn from(first: FirstCause) -> Self {
        Self {
            scope: first.scope,
            reason: first.reason,
            since: first.since,
            until: first.until,
            rule: first.rule,
            event_id: first.event_id,
            provider: first.provider,
            source: first.source,
            providers: first.providers,
            incident: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::value::{read_value, write_value};
    use domain::{Group, IncidentMark, Ruling};
    use serde::Serialize;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    type Failed<'a> =
        (Option<&'a str>, Option<Scope>, Option<FailureEvidence>, &'a str, Option<Timestamp>, Option<u32>);

    /// As the build before incidents wrote a row: its fields in their order, without the last.
    #[derive(Serialize)]
    struct Written<'a>(
        (EventId, Timestamp, Timestamp, u32, u64, u32, Kind, &'a str, &'a str),
        Failed<'a>,
        (Option<&'a str>, Option<&'a str>),
    );

    fn written(id: &str) -> Written<'_> {
        Written(
            (EventId::derive(&[id]), at(5), at(6), 2, 7, 1, Kind::BouncedHard, "sendgrid", "default"),
            (Some("m1"), None, None, "r1", None, None),
            (Some("jo"), None),
        )
    }

    fn first(value: &impl Serialize) -> Vec<u8> {
        [&[1], postcard::to_stdvec(value).unwrap().as_slice()].concat()
    }

    #[test]
    fn what_an_older_build_wrote_is_read() {
        let row: Evidence = read_value(&first(&written("a"))).unwrap();
        assert_eq!(
            (row.event_id, row.kind, row.receipt_id.as_str()),
            (EventId::derive(&["a"]), Kind::BouncedHard, "r1")
        );
        assert_eq!((row.actor.as_deref(), row.note.as_deref(), row.marks.len()), (Some("jo"), None, 0));

        let history: History =
            read_value(&first(&(vec![written("a"), written("b")], Engagement::default(), "A@b.example"))).unwrap();
        assert_eq!((history.rows.len(), history.address.as_str()), (2, "A@b.example"));

        let cause = (Scope::All, Reason::HardBounce, at(1), Some(at(9)), "bounce.hard", EventId::derive(&["a"]));
        let cause = (cause, "sendgrid", "default", vec!["sendgrid"]);
        let in_force: InForce = read_value(&first(&(8_u64, 1_u32, "A@b.example", (vec![cause],)))).unwrap();
        let found = &in_force.decision.causes()[0];
        assert_eq!((found.reason, found.until, found.incident), (Reason::HardBounce, Some(at(9)), None));
        assert_eq!(found.providers, ["sendgrid"]);
    }

    #[test]
    fn what_this_build_writes_is_read() {
        let mut row: Evidence = read_value(&first(&written("a"))).unwrap();
        row.marks.push(IncidentMark {
            incident: EventId::derive(&["i"]),
            group: Group::Mailbox("b.example".to_owned()),
            ruling: Ruling::Held,
            from: at(1),
            to: at(2),
        });
        let history = History { rows: vec![row.clone(), row.clone()], ..History::default() };
        assert_eq!(read_value::<Evidence>(&write_value(&row).unwrap()).unwrap(), row);
        assert_eq!(read_value::<History>(&write_value(&history).unwrap()).unwrap(), history);
        assert!(read_value::<History>(&[9, 0]).is_err());
    }
}
