//! What a record is about, for traces and log lines: ids and words of ours, never an address.

use event_log::Consumed;
use schemas::{
    ReceiptId, codec, decode, headers, topics,
    wire::{DeltaRecord, EventRecord},
};

/// What is known of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) receipt_id: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) delta_id: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) source: Option<String>,
    pub(super) kind: Option<String>,
}

impl Ids {
    /// Of a record that was read. A raw webhook is not: its body may be large, and its header says enough.
    pub(super) fn of(consumed: &Consumed) -> Self {
        let value = consumed.record.value.as_deref().filter(|_| &*consumed.topic != topics::RAW);
        let ids = value.map(Self::of_value).unwrap_or_default();
        Self { receipt_id: receipt(consumed).or(ids.receipt_id), ..ids }
    }

    /// Of a record's value.
    pub(super) fn of_value(value: &[u8]) -> Self {
        if codec::is::<EventRecord>(value) {
            decode::<EventRecord>(value).map(Self::from).unwrap_or_default()
        } else if codec::is::<DeltaRecord>(value) {
            decode::<DeltaRecord>(value).map(Self::from).unwrap_or_default()
        } else {
            Self::default()
        }
    }
}

impl From<EventRecord> for Ids {
    fn from(event: EventRecord) -> Self {
        Self {
            receipt_id: Some(event.receipt_id),
            event_id: Some(event.event_id),
            delta_id: None,
            tenant: Some(event.tenant),
            provider: Some(event.provider),
            source: Some(event.source),
            kind: Some(event.kind),
        }
    }
}

impl From<DeltaRecord> for Ids {
    fn from(delta: DeltaRecord) -> Self {
        Self {
            receipt_id: Some(delta.trigger.receipt_id),
            event_id: Some(delta.trigger.event_id),
            delta_id: Some(delta.delta_id),
            tenant: Some(delta.tenant),
            provider: Some(delta.trigger.provider),
            source: Some(delta.trigger.source),
            kind: Some(delta.trigger.kind),
        }
    }
}

/// The receipt as its sender knows it: a raw webhook's record carries the inner id alone.
fn receipt(consumed: &Consumed) -> Option<String> {
    let header = consumed.record.headers.iter().find(|header| header.name == headers::RECEIPT_ID)?;
    let text = std::str::from_utf8(&header.value).ok()?;
    let at = consumed.position;
    let is_raw = &*consumed.topic == topics::RAW;
    Some(if is_raw { ReceiptId::of(text, at.epoch, at.partition, at.offset).to_string() } else { text.to_owned() })
}
