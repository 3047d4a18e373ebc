//! `quell.deltas.v1`.

use super::{ConvertError, key, read, time};
use domain::{Delta, Standing, Trigger};
use serde::{Deserialize, Serialize};

/// Twin of [`Standing`]; times in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Standing")]
#[expect(missing_docs, reason = "documented on its domain twin")]
pub struct StandingRecord {
    pub reason: String,
    pub since: i64,
    pub until: Option<i64>,
    pub rule: String,
    pub event_id: String,
    pub provider: String,
    pub source: String,
    pub incident: Option<String>,
}

/// Twin of [`Trigger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Trigger")]
#[expect(missing_docs, reason = "documented on its domain twin")]
pub struct TriggerRecord {
    pub event_id: String,
    pub kind: String,
    pub provider: String,
    pub source: String,
    pub receipt_id: String,
}

/// A scope and the reason that counts in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "two words of the domain")]
pub struct ScopeReason {
    pub scope: String,
    pub reason: String,
}

/// Twin of [`Delta`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Delta")]
#[expect(missing_docs, reason = "documented on its domain twin")]
pub struct DeltaRecord {
    pub delta_id: String,
    pub tenant: String,
    pub channel: String,
    pub recipient: String,
    pub address: String,
    pub scope: String,
    pub change: String,
    pub before: Option<StandingRecord>,
    pub now: Option<StandingRecord>,
    pub in_force: Vec<ScopeReason>,
    pub provisional: Vec<String>,
    pub trigger: TriggerRecord,
    pub decided_at: i64,
    pub position: i64,
    pub policy: i32,
}

super::wire!(DeltaRecord, "Delta", 4, "delta.avsc", "delta.1.avsc");

impl From<Standing> for StandingRecord {
    fn from(standing: Standing) -> Self {
        Self {
            reason: standing.reason.as_str().to_owned(),
            since: standing.since.as_micros(),
            until: standing.until.map(domain::Timestamp::as_micros),
            rule: standing.rule,
            event_id: standing.event_id.to_string(),
            provider: standing.provider,
            source: standing.source,
            incident: standing.incident.map(|incident| incident.to_string()),
        }
    }
}

impl TryFrom<StandingRecord> for Standing {
    type Error = ConvertError;
    fn try_from(record: StandingRecord) -> Result<Self, ConvertError> {
        Ok(Self {
            reason: read("reason", &record.reason)?,
            since: time("since", record.since)?,
            until: record.until.map(|until| time("until", until)).transpose()?,
            rule: record.rule,
            event_id: read("event_id", &record.event_id)?,
            provider: record.provider,
            source: record.source,
            incident: record.incident.map(|incident| read("incident", &incident)).transpose()?,
        })
    }
}

impl From<Delta> for DeltaRecord {
    fn from(delta: Delta) -> Self {
        Self {
            delta_id: delta.delta_id.to_string(),
            tenant: delta.key.tenant.as_str().to_owned(),
            channel: delta.key.recipient.channel().as_str().to_owned(),
            recipient: delta.key.recipient.as_str().to_owned(),
            address: delta.address,
            scope: delta.scope.to_string(),
            change: delta.change.as_str().to_owned(),
            before: delta.before.map(Into::into),
            now: delta.now.map(Into::into),
            in_force: delta
                .in_force
                .into_iter()
                .map(|(scope, reason)| ScopeReason { scope: scope.to_string(), reason: reason.as_str().to_owned() })
                .collect(),
            provisional: delta.provisional.iter().map(ToString::to_string).collect(),
            trigger: TriggerRecord {
                event_id: delta.trigger.event_id.to_string(),
                kind: delta.trigger.kind.as_str().to_owned(),
                provider: delta.trigger.provider,
                source: delta.trigger.source,
                receipt_id: delta.trigger.receipt_id,
            },
            decided_at: delta.decided_at.as_micros(),
            position: i64::try_from(delta.position).unwrap_or(i64::MAX),
            policy: i32::try_from(delta.policy).unwrap_or(i32::MAX),
        }
    }
}

impl TryFrom<DeltaRecord> for Delta {
    type Error = ConvertError;
    fn try_from(record: DeltaRecord) -> Result<Self, ConvertError> {
        let in_force: Result<Vec<_>, ConvertError> = record
            .in_force
            .iter()
            .map(|entry| Ok((read("in_force.scope", &entry.scope)?, read("in_force.reason", &entry.reason)?)))
            .collect();
        Ok(Self {
            delta_id: read("delta_id", &record.delta_id)?,
            key: key(&record.tenant, &record.channel, &record.recipient)?,
            address: record.address,
            scope: read("scope", &record.scope)?,
            change: read("change", &record.change)?,
            before: record.before.map(Standing::try_from).transpose()?,
            now: record.now.map(Standing::try_from).transpose()?,
            in_force: in_force?,
            provisional: record
                .provisional
                .iter()
                .map(|scope| read("provisional", scope))
                .collect::<Result<_, ConvertError>>()?,
            trigger: Trigger {
                event_id: read("trigger.event_id", &record.trigger.event_id)?,
                kind: read("trigger.kind", &record.trigger.kind)?,
                provider: record.trigger.provider,
                source: record.trigger.source,
                receipt_id: record.trigger.receipt_id,
            },
            decided_at: time("decided_at", record.decided_at)?,
            position: u64::try_from(record.position).unwrap_or(0),
            policy: u32::try_from(record.policy).unwrap_or(0),
        })
    }
}
