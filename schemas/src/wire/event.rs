//! `quell.events.v1`: canonical events.

use super::{ConvertError, key, read, time};
use domain::{CanonicalEvent, Failure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Twin of [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Failure")]
#[expect(missing_docs, reason = "documented on its domain twin")]
pub struct FailureRecord {
    pub attribution: String,
    pub class: String,
    pub smtp_code: Option<i32>,
    pub enhanced_status: Option<String>,
    pub provider_code: Option<String>,
    pub attempt: Option<i32>,
    pub diagnostic: Option<String>,
    pub rule: String,
}

/// Twin of [`CanonicalEvent`]; times in microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Event")]
#[expect(missing_docs, reason = "documented on its domain twin")]
pub struct EventRecord {
    pub event_id: String,
    pub tenant: String,
    pub channel: String,
    pub recipient: String,
    pub address: String,
    pub kind: String,
    pub provider_kind: String,
    pub occurred_at: i64,
    pub received_at: i64,
    pub rules: i32,
    pub provider: String,
    pub source: String,
    pub message_id: Option<String>,
    pub campaign: Option<String>,
    pub categories: Vec<String>,
    pub failure: Option<FailureRecord>,
    pub scope: Option<String>,
    pub machine: bool,
    pub echo: bool,
    pub metadata: BTreeMap<String, String>,
    pub receipt_id: String,
}

super::wire!(EventRecord, "Event", 2, "event.avsc");

impl From<CanonicalEvent> for EventRecord {
    fn from(event: CanonicalEvent) -> Self {
        Self {
            event_id: event.event_id.to_string(),
            tenant: event.tenant.as_str().to_owned(),
            channel: event.channel.as_str().to_owned(),
            recipient: event.recipient.as_str().to_owned(),
            address: event.address,
            kind: event.kind.as_str().to_owned(),
            provider_kind: event.provider_kind,
            occurred_at: event.occurred_at.as_micros(),
            received_at: event.received_at.as_micros(),
            rules: i32::try_from(event.rules).unwrap_or(i32::MAX),
            provider: event.provider,
            source: event.source,
            message_id: event.message_id,
            campaign: event.campaign,
            categories: event.categories,
            failure: event.failure.map(Into::into),
            scope: event.scope.map(|scope| scope.to_string()),
            machine: event.machine,
            echo: event.echo,
            metadata: event.metadata,
            receipt_id: event.receipt_id,
        }
    }
}

impl From<Failure> for FailureRecord {
    fn from(failure: Failure) -> Self {
        Self {
            attribution: failure.attribution.as_str().to_owned(),
            class: failure.class.as_str().to_owned(),
            smtp_code: failure.smtp_code.map(i32::from),
            enhanced_status: failure.enhanced_status,
            provider_code: failure.provider_code,
            attempt: failure.attempt.and_then(|attempt| i32::try_from(attempt).ok()),
            diagnostic: failure.diagnostic,
            rule: failure.rule,
        }
    }
}

impl TryFrom<FailureRecord> for Failure {
    type Error = ConvertError;
    fn try_from(record: FailureRecord) -> Result<Self, ConvertError> {
        Ok(Self {
            attribution: read("attribution", &record.attribution)?,
            class: read("class", &record.class)?,
            smtp_code: record.smtp_code.and_then(|code| u16::try_from(code).ok()),
            enhanced_status: record.enhanced_status,
            provider_code: record.provider_code,
            attempt: record.attempt.and_then(|attempt| u32::try_from(attempt).ok()),
            diagnostic: record.diagnostic,
            rule: record.rule,
        })
    }
}

impl TryFrom<EventRecord> for CanonicalEvent {
    type Error = ConvertError;
    fn try_from(record: EventRecord) -> Result<Self, ConvertError> {
        let key = key(&record.tenant, &record.channel, &record.recipient)?;
        Ok(Self {
            event_id: read("event_id", &record.event_id)?,
            tenant: key.tenant,
            channel: key.recipient.channel(),
            recipient: key.recipient,
            address: record.address,
            kind: read("kind", &record.kind)?,
            provider_kind: record.provider_kind,
            occurred_at: time("occurred_at", record.occurred_at)?,
            received_at: time("received_at", record.received_at)?,
            rules: u32::try_from(record.rules).unwrap_or(0),
            provider: record.provider,
            source: record.source,
            message_id: record.message_id,
            campaign: record.campaign,
            categories: record.categories,
            failure: record.failure.map(Failure::try_from).transpose()?,
            scope: record.scope.as_deref().map(|scope| read("scope", scope)).transpose()?,
            machine: record.machine,
            echo: record.echo,
            metadata: record.metadata,
            receipt_id: record.receipt_id,
        })
    }
}
