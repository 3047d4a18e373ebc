//! Events from inside: acts by hand, and what jobs find.

use super::JobError;
use domain::{CanonicalEvent, EventId, Kind, RecipientKey, Scope, Timestamp, event::RULES_REVISION};
use event_log::{Append, Header, Position, Record};
use schemas::{encode, headers, topics, wire::EventRecord};
use std::collections::BTreeMap;

/// An event that no provider sent.
#[derive(Debug, Clone)]
pub struct InnerEvent {
    /// Whose.
    pub key: RecipientKey,
    /// What.
    pub kind: Kind,
    /// When, in event time.
    pub occurred_at: Timestamp,
    /// When it was asked for.
    pub received_at: Timestamp,
    /// `manual` for acts by hand, `quell` for jobs.
    pub provider: &'static str,
    /// The token's or the job's name.
    pub source: String,
    /// What it reaches.
    pub scope: Option<Scope>,
    /// What tells it from another of the same kind and time; part of its id.
    pub identity: String,
    /// See [`crate::evidence::inner`].
    pub metadata: BTreeMap<String, String>,
}

impl InnerEvent {
    /// The canonical event; its id is derived, so that asking twice is one event.
    pub fn into_event(self) -> CanonicalEvent {
        let log_key = self.key.to_log_key();
        let at = self.occurred_at.as_micros().to_string();
        let scope = self.scope.as_ref().map(ToString::to_string).unwrap_or_default();
        let event_id =
            EventId::derive(&["quell", self.kind.as_str(), &self.source, &log_key, &scope, &at, &self.identity]);
        CanonicalEvent {
            event_id,
            tenant: self.key.tenant,
            channel: self.key.recipient.channel(),
            address: self.key.recipient.as_str().to_owned(),
            recipient: self.key.recipient,
            kind: self.kind,
            provider_kind: self.kind.as_str().to_owned(),
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            rules: RULES_REVISION,
            provider: self.provider.to_owned(),
            source: self.source,
            message_id: None,
            campaign: None,
            categories: Vec::new(),
            failure: None,
            scope: self.scope,
            machine: false,
            echo: false,
            metadata: self.metadata,
            receipt_id: format!("i-{event_id}"),
        }
    }
}

/// Appends an event, keyed by its recipient; returns once it is durable.
pub async fn append(log: &dyn Append, event: CanonicalEvent) -> Result<(EventId, Position), JobError> {
    let event_id = event.event_id;
    let header = Header { name: headers::RECEIPT_ID.into(), value: event.receipt_id.clone().into() };
    let timestamp_ms = event.received_at.as_millis();
    let key = event.key().to_log_key();
    let value = encode(&EventRecord::from(event))?;
    let record = Record { key: Some(key.into()), value: Some(value), headers: vec![header], timestamp_ms };
    Ok((event_id, log.append(topics::EVENTS, None, record).await?))
}

/// Appends many, at most `at_once` waiting for the log at a time.
pub async fn append_all(log: &dyn Append, events: Vec<CanonicalEvent>, at_once: usize) -> Result<usize, JobError> {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    let count = events.len();
    futures_util::stream::iter(events)
        .map(|event| append(log, event))
        .buffer_unordered(at_once.max(1))
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(count)
}
