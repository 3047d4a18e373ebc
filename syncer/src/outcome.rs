//! What is written down about a delta.

use crate::{Account, plan::Plan};
use domain::{Change, Delta};
use event_log::{Consumed, Fate, Header, Output, Record, Verdict};
use schemas::{
    EncodeError, encode, headers, topics,
    wire::{DeadLetter, OutcomeRecord},
};
use std::{collections::BTreeMap, sync::Arc};

/// What became of one edit of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) refused: Option<String>,
    pub(crate) attempts: u32,
    /// When, in milliseconds since the epoch.
    pub(crate) at_ms: i64,
}

/// How a delta ended, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) result: &'static str,
    pub(crate) list: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) attempts: u32,
    /// When the last edit was settled, in milliseconds since the epoch.
    pub(crate) settled_ms: Option<i64>,
}

impl Ending {
    pub(crate) fn skipped(detail: &str) -> Self {
        Self { result: "skipped", list: None, detail: Some(detail.to_owned()), attempts: 0, settled_ms: None }
    }

    /// Of a delta that stands on edits of a target; `settled` finds what became of each, and is `None` in a dry run.
    pub(crate) fn of_work(
        plan: &Plan,
        target: usize,
        edits: &[usize],
        settled: Option<&dyn Fn(usize, usize) -> Option<Settled>>,
    ) -> Self {
        let wanted = plan.targets.get(target).map_or(&[][..], |target| &target.edits);
        let mut lists: Vec<&str> = edits.iter().filter_map(|edit| Some(wanted.get(*edit)?.list.as_str())).collect();
        lists.dedup();
        let list = Some(lists.join(","));
        let Some(settled) = settled else {
            let detail = Some("dry_run".to_owned());
            return Self { result: "skipped", list, detail, attempts: 0, settled_ms: None };
        };
        let mut ending = Self { result: "done", list, detail: None, attempts: 0, settled_ms: None };
        for edit in edits {
            let Some(one) = settled(target, *edit) else { continue };
            ending.attempts += one.attempts;
            ending.settled_ms = ending.settled_ms.max(Some(one.at_ms));
            if let Some(detail) = one.refused {
                ending.result = "refused";
                ending.detail.get_or_insert(detail);
            }
        }
        ending
    }
}

pub(crate) fn action(change: Change) -> &'static str {
    match change {
        // Who is erased stays suppressed.
        Change::Suppressed | Change::Updated | Change::Erased => "suppress",
        Change::Released => "release",
    }
}

/// The record of an outcome.
pub(crate) fn output(
    account: &Account,
    consumed: &Consumed,
    delta: &Delta,
    ending: Ending,
    now_micros: i64,
) -> Result<Verdict, EncodeError> {
    let record = OutcomeRecord {
        delta_id: delta.delta_id.to_string(),
        tenant: delta.key.tenant.as_str().to_owned(),
        channel: delta.key.recipient.channel().as_str().to_owned(),
        recipient: delta.key.recipient.as_str().to_owned(),
        account: account.name.clone(),
        provider: account.lists.provider().to_owned(),
        action: action(delta.change).to_owned(),
        result: ending.result.to_owned(),
        list: ending.list,
        detail: ending.detail,
        attempts: i32::try_from(ending.attempts).unwrap_or(i32::MAX),
        at: now_micros,
    };
    let record = Record {
        key: Some(delta.key.to_log_key().into_bytes().into()),
        value: Some(encode(&record)?),
        headers: carried(consumed),
        timestamp_ms: now_micros / 1_000,
    };
    let output = Output { topic: Arc::from(topics::OUTCOMES), partition: None, record };
    Ok(Verdict { fate: Fate::Emitted, outputs: vec![output] })
}

/// The dead letter of a delta that cannot be read.
pub(crate) fn dead_letter(account: &Account, consumed: &Consumed, detail: &str) -> Result<Verdict, EncodeError> {
    const REASON: &str = "malformed_delta";
    let text = |name: &str| {
        let header = consumed.record.headers.iter().find(|header| header.name == name);
        header.map(|header| String::from_utf8_lossy(&header.value).into_owned()).unwrap_or_default()
    };
    let letter = DeadLetter {
        stage: "syncer".to_owned(),
        reason: REASON.to_owned(),
        detail: detail.to_owned(),
        topic: consumed.topic.to_string(),
        partition: i32::try_from(consumed.position.partition).unwrap_or(i32::MAX),
        offset: i64::try_from(consumed.position.number()).unwrap_or(i64::MAX),
        element: None,
        attempt: 1,
        receipt_id: text(headers::RECEIPT_ID),
        provider: account.lists.provider().to_owned(),
        tenant: account.tenant.as_str().to_owned(),
        key: consumed.record.key.as_ref().map(|key| key.to_vec()),
        value: consumed.record.value.as_ref().map(|value| value.to_vec()),
        headers: consumed
            .record
            .headers
            .iter()
            .map(|header| (header.name.to_string(), String::from_utf8_lossy(&header.value).into_owned()))
            .collect::<BTreeMap<_, _>>(),
        dead_at: consumed.record.timestamp_ms.saturating_mul(1_000),
    };
    let record = Record {
        key: consumed.record.key.clone(),
        value: Some(encode(&letter)?),
        headers: carried(consumed),
        timestamp_ms: consumed.record.timestamp_ms,
    };
    let output = Output { topic: Arc::from(topics::DEAD_LETTER), partition: None, record };
    Ok(Verdict { fate: Fate::Dead(REASON), outputs: vec![output] })
}

/// The verdict on a delta that concerns somebody else.
pub(crate) const fn ignored(reason: &'static str) -> Verdict {
    Verdict { fate: Fate::Ignored(reason), outputs: Vec::new() }
}

fn carried(consumed: &Consumed) -> Vec<Header> {
    let kept = |header: &&Header| headers::CARRIED.contains(&header.name.as_ref());
    consumed.record.headers.iter().filter(kept).cloned().collect()
}
