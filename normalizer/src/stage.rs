//! The stage.

use crate::tally::{NormalizerMetrics, Tally};
use async_trait::async_trait;
use domain::{CanonicalEvent, Tenant, Timestamp, classify::UserRules};
use event_log::{Batch, Consumed, Fate, Header, Output, Outputs, Record, Stage, StageError, Verdict};
use providers::{
    Element, Fate as ElementFate, Provider, Providers, Request, Source, SourceSpec,
    webhook::{Context, Malformed},
};
use schemas::{
    decode, encode, headers,
    receipt::ReceiptId,
    topics,
    wire::{DeadLetter, EventRecord, RawWebhook},
};
use std::{collections::BTreeMap, sync::Arc};

/// The stage. Stateless, but for the counts of the batch that is open.
#[derive(Debug)]
pub struct Normalizer {
    tally: Tally,
    providers: Providers,
    rules: UserRules,
}

impl Normalizer {
    /// A stage that knows the built-in providers.
    pub fn new(metrics: Arc<dyn NormalizerMetrics>) -> Self {
        Self { tally: Tally::new(metrics), providers: Providers::default(), rules: UserRules::default() }
    }

    /// The same with others too. What comes from a provider that is not among them goes to dead-letter, whole, and can be
    /// replayed once it is.
    #[must_use]
    pub fn knowing(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// The same with the operator's own rules of classification before all others.
    #[must_use]
    pub fn ruled_by(self, rules: UserRules) -> Self {
        Self { rules, ..self }
    }

    fn webhook(&mut self, consumed: &Consumed) -> Result<Verdict, StageError> {
        let raw = consumed.record.value.as_deref().map(decode::<RawWebhook>);
        let raw = match raw {
            Some(Ok(raw)) => raw,
            Some(Err(error)) if error.is_unresolved() => return Err(StageError::Unavailable(error.to_string())),
            Some(Err(error)) => return self.whole_dead(consumed, None, "undecodable", error.to_string()),
            None => return self.whole_dead(consumed, None, "no_value", "a raw webhook has a value".to_owned()),
        };
        let Some(provider) = self.providers.by_name(&raw.provider) else {
            return self.whole_dead(consumed, Some(&raw), "unknown_provider", raw.provider.clone());
        };
        let (Ok(tenant), Ok(received_at)) = (Tenant::new(&raw.tenant), Timestamp::from_micros(raw.received_at)) else {
            return self.whole_dead(consumed, Some(&raw), "unreadable", "tenant or receipt time".to_owned());
        };
        let source =
            Source { provider: provider.name(), name: raw.source.clone(), tenant, spec: SourceSpec::default() };
        let position = consumed.position;
        let receipt_id =
            ReceiptId::of(&raw.receipt_id, position.epoch, position.partition, position.offset).to_string();
        let context = Context { source: &source, received_at, receipt_id: Some(&receipt_id) };
        self.elements(consumed, &raw, provider, &context, &receipt_id)
    }

    fn elements(
        &mut self,
        consumed: &Consumed,
        raw: &RawWebhook,
        provider: &'static dyn Provider,
        context: &Context<'_>,
        receipt_id: &str,
    ) -> Result<Verdict, StageError> {
        let header_map = header_map(&raw.headers);
        let request = Request { method: &raw.method, url: &raw.url, headers: &header_map, body: &raw.body };
        let elements: Vec<Element<'_>> = match provider.elements(&request) {
            Ok(elements) => elements,
            Err(Malformed { reason }) => return self.whole_dead(consumed, Some(raw), "malformed", reason),
        };
        let is_of_trace =
            |header: &&Header| [headers::TRACEPARENT, headers::TRACESTATE].contains(&header.name.as_ref());
        let record_headers = vec![Header { name: headers::RECEIPT_ID.into(), value: receipt_id.to_owned().into() }]
            .into_iter()
            .chain(consumed.record.headers.iter().filter(is_of_trace).cloned())
            .collect::<Vec<_>>();
        let (mut outputs, mut emitted, mut dead, mut ignored) = (Vec::new(), false, None, None);
        for element in &elements {
            for fate in provider.parse(&request, element, context) {
                match fate {
                    ElementFate::Event(mut event) => {
                        self.rules.apply(&mut event);
                        self.tally.event(provider.name(), &event);
                        emitted = true;
                        outputs.push(event_output(*event, &record_headers, consumed.record.timestamp_ms)?);
                    }
                    // It has a receipt; were it not told, nothing of it would be lost.
                    ElementFate::Found => {
                        return self.whole_dead(consumed, Some(raw), "no_receipt", "no event without one".to_owned());
                    }
                    ElementFate::Ignored(reason) => {
                        self.tally.ignored(provider.name(), reason);
                        ignored = Some(reason);
                    }
                    ElementFate::Dead(reason) => {
                        self.tally.dead(provider.name(), &reason);
                        dead = Some("bad_element");
                        let index = i32::try_from(element.index).ok();
                        let mut letter = dead_letter(consumed, Some(raw), "bad_element", reason, index);
                        letter.value = Some(alone(raw, element)?);
                        outputs.push(letter_output(consumed, &letter)?);
                    }
                }
            }
        }
        let fate = match (emitted, dead) {
            (true, _) => Fate::Emitted,
            (false, Some(reason)) => Fate::Dead(reason),
            (false, None) => Fate::Ignored(ignored.unwrap_or("no_events")),
        };
        Ok(Verdict { fate, outputs })
    }

    fn whole_dead(
        &mut self,
        consumed: &Consumed,
        raw: Option<&RawWebhook>,
        reason: &'static str,
        detail: String,
    ) -> Result<Verdict, StageError> {
        let known =
            |raw: &RawWebhook| self.providers.by_name(&raw.provider).map_or("unknown", |provider| provider.name());
        // What a parser says of a malformed body begins with a tag of its own.
        let tag = if reason == "malformed" { detail.as_str() } else { reason };
        self.tally.dead(raw.map_or("unknown", known), tag);
        let letter = dead_letter(consumed, raw, reason, detail, None);
        Ok(Verdict { fate: Fate::Dead(reason), outputs: vec![letter_output(consumed, &letter)?] })
    }
}

#[async_trait]
impl Stage for Normalizer {
    fn name(&self) -> &'static str {
        "normalizer"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let values = batch.records.iter().filter_map(|consumed| consumed.record.value.as_deref());
        schemas::ready(values).await.map_err(|error| StageError::Unavailable(error.to_string()))?;
        self.tally.begin();
        let verdicts: Result<Vec<Verdict>, StageError> =
            batch.records.iter().map(|consumed| self.webhook(consumed)).collect();
        Ok(Outputs { verdicts: verdicts? })
    }

    async fn committed(&mut self, _batch: &Batch) -> Result<(), StageError> {
        self.tally.committed();
        Ok(())
    }
}

/// A webhook that holds one element of another: what a replay of its dead letter appends.
fn alone(raw: &RawWebhook, element: &Element<'_>) -> Result<Vec<u8>, StageError> {
    let batch = raw.body.trim_ascii_start().starts_with(b"[");
    let body = if batch { [b"[", element.bytes, b"]"].concat() } else { element.bytes.to_vec() };
    let webhook = RawWebhook { body, ..raw.clone() };
    Ok(encode(&webhook).map_err(|error| StageError::Broken(error.to_string()))?.to_vec())
}

fn header_map(headers: &BTreeMap<String, String>) -> http::HeaderMap {
    let mut map = http::HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>()) {
            map.insert(name, value);
        }
    }
    map
}

fn event_output(event: CanonicalEvent, headers: &[Header], timestamp_ms: i64) -> Result<Output, StageError> {
    let key = event.key().to_log_key();
    let value = encode(&EventRecord::from(event)).map_err(|error| StageError::Broken(error.to_string()))?;
    let record = Record { key: Some(key.into()), value: Some(value), headers: headers.to_vec(), timestamp_ms };
    Ok(Output { topic: topics::EVENTS.into(), partition: None, record })
}

fn dead_letter(
    consumed: &Consumed,
    raw: Option<&RawWebhook>,
    reason: &str,
    detail: String,
    element: Option<i32>,
) -> DeadLetter {
    let text = |header: &Header| (header.name.to_string(), String::from_utf8_lossy(&header.value).into_owned());
    DeadLetter {
        stage: "normalizer".to_owned(),
        reason: reason.to_owned(),
        detail: detail.chars().take(512).collect(),
        topic: consumed.topic.to_string(),
        partition: i32::try_from(consumed.position.partition).unwrap_or(-1),
        offset: i64::try_from(consumed.position.number()).unwrap_or(-1),
        element,
        attempt: 1,
        receipt_id: raw.map(|raw| raw.receipt_id.clone()).unwrap_or_default(),
        provider: raw.map(|raw| raw.provider.clone()).unwrap_or_default(),
        tenant: raw.map(|raw| raw.tenant.clone()).unwrap_or_default(),
        key: consumed.record.key.as_ref().map(|key| key.to_vec()),
        value: consumed.record.value.as_ref().map(|value| value.to_vec()),
        headers: consumed.record.headers.iter().map(text).collect(),
        dead_at: consumed.record.timestamp_ms.saturating_mul(1_000),
    }
}

fn letter_output(consumed: &Consumed, letter: &DeadLetter) -> Result<Output, StageError> {
    let value = encode(letter).map_err(|error| StageError::Broken(error.to_string()))?;
    let record = Record {
        key: consumed.record.key.clone(),
        value: Some(value),
        headers: consumed.record.headers.clone(),
        timestamp_ms: consumed.record.timestamp_ms,
    };
    Ok(Output { topic: topics::DEAD_LETTER.into(), partition: None, record })
}
