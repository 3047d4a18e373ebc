//! Logs and stores filled before anything is measured.

use crate::{
    events::{self, Event, array},
    servers::{CACHE_BYTES, open_log},
};
use anyhow::Context as _;
use bytes::Bytes;
use domain::{Change, Delta, EventId, Kind, Trigger};
use event_log::{Append as _, Header, Record, embedded::open_database};
use schemas::{
    headers,
    wire::{DeltaRecord, RawWebhook},
};
use std::{path::Path, time::Duration};
use suppressor::{
    Evidence, History, Policy, Store as _,
    policy::decide,
    store::{InForce, MessageEntry, Write, embedded::EmbeddedStore},
};

/// Events of one webhook.
pub(crate) const EVENTS_PER_WEBHOOK: u64 = 10;
const WRITERS: u64 = 256;
/// Recipients of one batch.
const BATCH: u64 = 10_000;

/// Appends raw webhooks of SendGrid, ten events each.
pub(crate) fn log(directory: &Path, events: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let log = open_log(directory, open_database(directory, CACHE_BYTES)?)?;
    let webhooks = events / EVENTS_PER_WEBHOOK;
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let log = log.clone();
            writers.spawn(async move {
                for number in (writer..webhooks).step_by(WRITERS as usize) {
                    log.append(schemas::topics::RAW, None, raw(number, EVENTS_PER_WEBHOOK)?).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        Ok(())
    })
}

/// A webhook of SendGrid as the gateway appends it; its events are numbered from `number * events` on.
pub(crate) fn raw(number: u64, events: u64) -> anyhow::Result<Record> {
    let received_at = events::received_at();
    let receipt_id = format!("{number:026}");
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "SendGrid Event API"),
        ("x-twilio-email-event-webhook-timestamp", "1768867200"),
        (
            "x-twilio-email-event-webhook-signature",
            "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
        ),
    ];
    let webhook = RawWebhook {
        receipt_id: receipt_id.clone(),
        provider: "sendgrid".to_owned(),
        source: "default".to_owned(),
        tenant: "default".to_owned(),
        received_at: received_at.as_micros(),
        method: "POST".to_owned(),
        url: "/webhooks/sendgrid".to_owned(),
        headers: headers.into_iter().map(text).collect(),
        body: array(number * events, events, Event::sendgrid),
        verified: "ecdsa-p256-sha256".to_owned(),
        shadow: false,
    };
    let header = Header { name: headers::RECEIPT_ID.into(), value: Bytes::from(receipt_id) };
    let value = Some(schemas::encode(&webhook)?);
    Ok(Record { key: None, value, headers: vec![header], timestamp_ms: received_at.as_millis() })
}

/// Writes suppressed recipients as the suppressor would after one hard bounce each: history, what is in force, the
/// message's timeline, the delta for as-of answers.
pub(crate) fn store(directory: &Path, suppressions: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let db = open_database(directory, CACHE_BYTES)?;
    // The log's topics too, so that an instance that starts here finds all it makes.
    let log = open_log(directory, db.clone())?;
    let store = EmbeddedStore::open(db.clone())?;
    let policy = Policy::built_in();
    for first in (0..suppressions).step_by(BATCH as usize) {
        let batch = first..suppressions.min(first + BATCH);
        let writes = batch.map(|number| suppressed(number, &policy)).collect::<anyhow::Result<Vec<_>>>()?;
        runtime.block_on(store.apply(writes, &[]))?;
        if first % (BATCH * 50) == 0 {
            crate::say(&format!("  {first} of {suppressions} suppressions written"));
        }
    }
    db.persist(fjall::PersistMode::SyncAll)?;
    // What is measured is a store at rest.
    crate::say("  waiting for compaction");
    let mut quiet = 0;
    while quiet < 10 {
        std::thread::sleep(Duration::from_millis(200));
        quiet = if db.outstanding_flushes() == 0 && db.active_compactions() == 0 { quiet + 1 } else { 0 };
    }
    drop((store, log));
    Ok(())
}

fn suppressed(number: u64, policy: &Policy) -> anyhow::Result<Write> {
    let address = events::address(number);
    let mut event = testkit::builders::event(Kind::BouncedHard, &address, i64::try_from(number % 1_000_000)?);
    event.message_id = Some(format!("m{number:020}.filterdrecv-5f4c"));
    event.receipt_id = format!("r0.1.{number}.{number:026}");
    let event = testkit::builders::identified(event);
    let key = event.key();
    let row = Evidence::of(&event, number, 0).context("a bounce is evidence")?;
    let decision = decide([&row].into_iter(), event.channel, policy);
    let cause = decision.causes().first().context("a hard bounce suppresses")?;
    let delta = Delta {
        delta_id: EventId::derive(&["delta", &key.to_log_key(), &number.to_string()]),
        key: key.clone(),
        address: address.clone(),
        scope: cause.scope.clone(),
        change: Change::Suppressed,
        before: None,
        now: Some(cause.standing()),
        in_force: vec![(cause.scope.clone(), cause.reason)],
        provisional: Vec::new(),
        trigger: Trigger {
            event_id: event.event_id,
            kind: event.kind,
            provider: event.provider.clone(),
            source: event.source.clone(),
            receipt_id: event.receipt_id.clone(),
        },
        decided_at: event.received_at,
        position: number,
        policy: 0,
    };
    let audit = (number, cause.scope.clone(), schemas::encode(&DeltaRecord::from(delta))?.to_vec());
    let message = MessageEntry {
        key: key.clone(),
        provider: event.provider.clone(),
        message_id: event.message_id.clone().unwrap_or_default(),
        event_id: event.event_id,
        occurred_at: event.occurred_at,
        received_at: event.received_at,
        kind: event.kind,
        provider_kind: event.provider_kind.clone(),
        machine: false,
        failure: Some("unknown_recipient 5.1.1".to_owned()),
        campaign: None,
        receipt_id: event.receipt_id.clone(),
        position: number,
    };
    let mut history = History { address: address.clone(), ..History::default() };
    history.insert(row.clone());
    Ok(Write {
        key,
        rows: vec![row],
        trimmed: Vec::new(),
        history,
        in_force: Some(InForce { position: number, policy: 0, address, decision }),
        seen: Vec::new(),
        messages: vec![message],
        due: Vec::new(),
        audit: vec![audit],
        forget: None,
    })
}
