//! Records in and out of the stage.

use super::broken;
use crate::{evidence::inner, policy::Policy, store::IncidentRow};
use domain::{CanonicalEvent, Kind, Timestamp};
use event_log::{Consumed, Fate, Header, Output, Record, StageError, Verdict};
use schemas::{
    DecodeError, codec, decode, encode, headers, topics,
    wire::{DeadLetter, EventRecord, IncidentVerdict, PolicyApplied},
};
use std::{collections::BTreeMap, sync::Arc};

/// A record of the events topic, read.
pub(super) enum Read {
    Event(Box<CanonicalEvent>),
    Policy(Arc<Policy>, Box<PolicyApplied>),
    Incident(Box<IncidentRow>),
    Bad(&'static str, String),
}

/// Reads a record. One written with a schema that the registry could not be asked for is an error, and no bad record.
pub(super) fn read(consumed: &Consumed) -> Result<Read, DecodeError> {
    let Some(value) = &consumed.record.value else {
        return Ok(Read::Bad("no_value", "an event has a value".to_owned()));
    };
    if codec::is::<PolicyApplied>(value) {
        return Ok(match decode::<PolicyApplied>(value) {
            Ok(record) => match Policy::parse(u32::try_from(record.version).unwrap_or(0), &record.document) {
                Ok(policy) => Read::Policy(Arc::new(policy), Box::new(record)),
                Err(error) => Read::Bad("bad_policy", error.to_string()),
            },
            Err(error) if error.is_unresolved() => return Err(error),
            Err(error) => Read::Bad("undecodable", error.to_string()),
        });
    }
    if codec::is::<IncidentVerdict>(value) {
        return Ok(match decode::<IncidentVerdict>(value) {
            Ok(record) => match incident(record) {
                Ok(row) => Read::Incident(Box::new(row)),
                Err(error) => Read::Bad("bad_incident", error),
            },
            Err(error) if error.is_unresolved() => return Err(error),
            Err(error) => Read::Bad("undecodable", error.to_string()),
        });
    }
    let event = match decode::<EventRecord>(value) {
        Ok(event) => event,
        Err(error) if error.is_unresolved() => return Err(error),
        Err(error) => return Ok(Read::Bad("undecodable", error.to_string())),
    };
    Ok(match CanonicalEvent::try_from(event) {
        Ok(event)
            if event.kind == Kind::Reconsidered
                && !event.metadata.contains_key(inner::POLICY)
                && !event.metadata.contains_key(inner::INCIDENT) =>
        {
            Read::Bad("no_policy", "a reconsidered event names the policy or the incident it brings".to_owned())
        }
        Ok(event) => Read::Event(Box::new(event)),
        Err(error) => Read::Bad("unreadable", error.to_string()),
    })
}

fn incident(record: IncidentVerdict) -> Result<IncidentRow, String> {
    let time = |micros: i64| Timestamp::from_micros(micros).map_err(|error| error.to_string());
    Ok(IncidentRow {
        incident: record.incident.parse().map_err(|_| "incident: not an id".to_owned())?,
        group: record.group.parse().map_err(|error: domain::incident::GroupError| error.to_string())?,
        from: time(record.from)?,
        to: time(record.to)?,
        revision: u32::try_from(record.revision).map_err(|error| error.to_string())?,
        is_over: record.is_over,
        ruling: record.ruling.parse().map_err(|error: domain::words::UnknownWord| error.to_string())?,
        policy: u32::try_from(record.policy).unwrap_or(0),
        bounced: u64::try_from(record.bounced).unwrap_or(0),
        engaged: u64::try_from(record.engaged).unwrap_or(0),
        decided_at: time(record.decided_at)?,
        decided_by: record.decided_by,
        note: record.note,
    })
}

pub(super) fn output(topic: &str, consumed: &Consumed, key: String, value: Option<bytes::Bytes>) -> Output {
    let record = Record {
        key: Some(key.into()),
        value,
        headers: consumed.record.headers.clone(),
        timestamp_ms: consumed.record.timestamp_ms,
    };
    Output { topic: topic.into(), partition: None, record }
}

/// A dead letter of a stage of this crate.
pub(crate) fn dead_letter(
    stage: &str,
    consumed: &Consumed,
    reason: &'static str,
    detail: String,
) -> Result<Verdict, StageError> {
    let text = |header: &Header| (header.name.to_string(), String::from_utf8_lossy(&header.value).into_owned());
    let headers: BTreeMap<String, String> = consumed.record.headers.iter().map(text).collect();
    let letter = DeadLetter {
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        detail: detail.chars().take(512).collect(),
        topic: consumed.topic.to_string(),
        partition: i32::try_from(consumed.position.partition).unwrap_or(-1),
        offset: i64::try_from(consumed.position.number()).unwrap_or(-1),
        element: None,
        attempt: 1,
        receipt_id: headers.get(headers::RECEIPT_ID).cloned().unwrap_or_default(),
        provider: String::new(),
        tenant: String::new(),
        key: consumed.record.key.as_ref().map(|key| key.to_vec()),
        value: consumed.record.value.as_ref().map(|value| value.to_vec()),
        headers,
        dead_at: consumed.record.timestamp_ms.saturating_mul(1_000),
    };
    let record = Record {
        key: consumed.record.key.clone(),
        value: Some(encode(&letter).map_err(broken)?),
        headers: consumed.record.headers.clone(),
        timestamp_ms: consumed.record.timestamp_ms,
    };
    let output = Output { topic: topics::DEAD_LETTER.into(), partition: None, record };
    Ok(Verdict { fate: Fate::Dead(reason), outputs: vec![output] })
}
