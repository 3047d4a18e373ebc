//! What is written down about a delta that a subscriber never got.

use crate::Subscriber;
use domain::Delta;
use event_log::{Consumed, Fate, Header, Output, Record, Verdict};
use schemas::{EncodeError, encode, headers, topics, wire::DeadLetter};
use std::{collections::BTreeMap, sync::Arc};

/// The record cannot be read.
pub(crate) const MALFORMED: &str = "malformed_delta";
/// Offered for as long as the schedule says, and not taken.
pub(crate) const UNDELIVERED: &str = "undelivered";
/// Refused while others were taken.
pub(crate) const REFUSED: &str = "refused_by_subscriber";

/// The dead letter of a delta; `delta` where it could be read.
pub(crate) fn dead_letter(
    subscriber: &Subscriber,
    consumed: &Consumed,
    delta: Option<&Delta>,
    reason: &'static str,
    detail: &str,
    now_micros: i64,
) -> Result<Verdict, EncodeError> {
    let mut kept: BTreeMap<String, String> = consumed
        .record
        .headers
        .iter()
        .map(|header| (header.name.to_string(), String::from_utf8_lossy(&header.value).into_owned()))
        .collect();
    let attempt = kept.get(headers::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1);
    kept.insert(headers::SUBSCRIBER.to_owned(), subscriber.name.clone());
    let letter = DeadLetter {
        stage: headers::NOTIFIER.to_owned(),
        reason: reason.to_owned(),
        detail: format!("subscriber {}: {detail}", subscriber.name),
        topic: consumed.topic.to_string(),
        partition: i32::try_from(consumed.position.partition).unwrap_or(i32::MAX),
        offset: i64::try_from(consumed.position.number()).unwrap_or(i64::MAX),
        element: None,
        attempt,
        receipt_id: kept.get(headers::RECEIPT_ID).cloned().unwrap_or_default(),
        provider: delta.map(|delta| delta.trigger.provider.clone()).unwrap_or_default(),
        tenant: delta.map(|delta| delta.key.tenant.as_str().to_owned()).unwrap_or_default(),
        key: consumed.record.key.as_ref().map(|key| key.to_vec()),
        value: consumed.record.value.as_ref().map(|value| value.to_vec()),
        headers: kept,
        dead_at: now_micros,
    };
    let carried = |header: &&Header| headers::CARRIED.contains(&header.name.as_ref());
    let record = Record {
        key: consumed.record.key.clone(),
        value: Some(encode(&letter)?),
        headers: consumed.record.headers.iter().filter(carried).cloned().collect(),
        timestamp_ms: now_micros / 1_000,
    };
    let output = Output { topic: Arc::from(topics::DEAD_LETTER), partition: None, record };
    Ok(Verdict { fate: Fate::Dead(reason), outputs: vec![output] })
}
