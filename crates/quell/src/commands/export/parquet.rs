//! `quell export --parquet`: events, deltas and what is in force, as Parquet files for a warehouse or a lake.
//!
//! Read from the log itself, so that a cluster is exported while it runs. Events and deltas are added to: a run writes what
//! was appended since the run before it. What is in force is written anew, as it is now. Whatever is interrupted is done
//! again by the next run, and no row comes twice: see [`folder`]. Of who was erased, nothing from before it is written: see
//! [`erasures`].

mod buffers;
mod erasures;
mod folder;
mod newest;
mod rows;
mod tables;

use super::super::{
    Output, Verdict, moment,
    show::{counted, print},
    state::Engines,
};
use crate::{
    config::Config,
    engine::{Embedded, Engine as _},
    kafka_tokens, registry,
};
use anyhow::{Context as _, bail};
use buffers::Buffers;
use domain::Tenant;
use erasures::Erasures;
use event_log::{Browse, Consumed, Position, kafka::KafkaLog};
use folder::Folder;
use newest::Newest;
use schemas::{
    DecodeError, Wire, codec, topics,
    wire::{DeltaRecord, EventRecord, StateRecord},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};
use tables::{Owned, Told};
use tokio_util::sync::CancellationToken;

/// Records of one read; it also has a bound in bytes.
const READ_RECORDS: usize = 5_000;
/// How long behind an erasure our own jobs may still speak of what was known before it, in milliseconds: the hour that its
/// receipt adds for what is on its way.
const ERASURE_ECHOES_MS: i64 = 60 * 60 * 1_000;

/// What was written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    run: u64,
    events: u64,
    deltas: u64,
    in_force: u64,
    /// Events and deltas that were left out, as whom they tell of was erased since.
    erased: u64,
    files: u64,
    /// Records that the log no longer kept when this run came for them.
    missed: u64,
    /// Records that no build of this version can read.
    unreadable: u64,
}

/// Where it goes, and what of it.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) dir: &'a Path,
    /// Only of this tenant.
    pub(super) tenant: Option<&'a str>,
}

/// Runs it and says what was done.
pub(super) async fn run(
    config: &Config,
    engines: Engines,
    wanted: &Wanted<'_>,
    output: Output,
) -> anyhow::Result<Verdict> {
    let report = match engines {
        Engines::Embedded => {
            let engine = Embedded::open(config).context("stop the process that has it open first")?;
            export(engine.log(), engine.log().epoch(), wanted).await?
        }
        Engines::Cluster => {
            config.check_cluster()?;
            if let Some(registry) = &config.registry {
                std::fs::create_dir_all(&config.data_dir)?;
                registry::start(registry, &config.data_dir, "", CancellationToken::new()).await?;
            }
            let log = KafkaLog::connect_with(config.kafka.clone(), kafka_tokens::of(&config.kafka)?)?;
            log.probe(topics::EVENTS).await?;
            export(&log, log.epoch(), wanted).await?
        }
    };
    print(output, &report, |out| show(out, &report, wanted.dir))?;
    Ok(if report.missed == 0 && report.unreadable == 0 { Verdict::Yes } else { Verdict::No })
}

async fn export(log: &dyn Browse, epoch: u16, wanted: &Wanted<'_>) -> anyhow::Result<Report> {
    let now = moment::now()?;
    let folder = Folder::open(wanted.dir, epoch, wanted.tenant, &tables::date(now.as_micros()))?;
    let mut export =
        Export { log, tenant: wanted.tenant, buffers: Buffers::default(), folder, report: Report::default() };
    let events = export.pending(topics::EVENTS).await?;
    let deltas = export.pending(topics::DELTAS).await?;
    let erasures = export.erasures(&events, &deltas, now.as_millis().saturating_sub(ERASURE_ECHOES_MS)).await?;
    for span in &events {
        export.report.events += export.append(span, &erasures, tables::event).await?;
    }
    for span in &deltas {
        export.report.deltas += export.append(span, &erasures, tables::delta).await?;
    }
    for partition in 0..log.partitions(topics::STATE)? {
        export.snapshot(partition, now.as_micros()).await?;
    }
    let Export { mut buffers, mut folder, mut report, .. } = export;
    buffers.flush(&mut folder)?;
    report.run = folder.run();
    report.files = folder.finish()?;
    Ok(report)
}

struct Export<'a> {
    log: &'a dyn Browse,
    tenant: Option<&'a str>,
    buffers: Buffers,
    folder: Folder,
    report: Report,
}

/// What a run has to write of a partition.
struct Span {
    topic: &'static str,
    partition: u32,
    from: u64,
    end: u64,
}

impl Span {
    /// Records from `offset` on, which is moved behind them; none only where there are none, though transactions may have
    /// ended there.
    async fn read(&self, log: &dyn Browse, offset: &mut u64) -> anyhow::Result<Vec<Consumed>> {
        let mut records = log.read(self.topic, self.partition, *offset, READ_RECORDS).await?;
        records.retain(|consumed| consumed.position.offset < self.end);
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await?;
        *offset = records.last().map_or(self.end, |last| last.position.offset + 1);
        Ok(records)
    }
}

impl Export<'_> {
    /// What each partition got since the last run.
    async fn pending(&mut self, topic: &'static str) -> anyhow::Result<Vec<Span>> {
        let mut spans = Vec::new();
        for partition in 0..self.log.partitions(topic)? {
            let (oldest, end) = self.log.range(topic, partition).await?;
            let known = self.folder.next(topic, partition);
            if known.is_some_and(|known| known > end) {
                bail!(
                    "{} was written from another log: partition {partition} of {topic} ends before where the last run came to; \
                     export into another folder",
                    self.folder.root().display()
                );
            }
            self.report.missed += known.map_or(0, |known| oldest.saturating_sub(known));
            spans.push(Span { topic, partition, from: known.unwrap_or(0).max(oldest), end });
        }
        Ok(spans)
    }

    /// Who was erased behind anything that is to be written. Read before it, so that it is written only once all of them are
    /// known. A delta may come later than the run that wrote its event: then its recipient's erasure lies in what was
    /// exported, and events are read from the delta's position on. So they are from the oldest erasure on that is no older
    /// than `echoes_ms` was at the run before, as our own jobs may still speak of what it is about. Events and deltas of a
    /// recipient are in partitions of the same number.
    async fn erasures(&mut self, events: &[Span], deltas: &[Span], echoes_ms: i64) -> anyhow::Result<Erasures> {
        let mut erasures = Erasures::default();
        let from = |span: &Span| self.folder.erased(span.partition).map_or(span.from, |erased| erased.min(span.from));
        let mut since: BTreeMap<u32, u64> = events.iter().map(|span| (span.partition, from(span))).collect();
        for span in deltas {
            let mut offset = span.from;
            while offset < span.end {
                let records = span.read(self.log, &mut offset).await?;
                for consumed in &records {
                    let Some(delta) = decode::<DeltaRecord>(consumed, &mut 0)? else { continue };
                    let number = delta.number(consumed);
                    erasures.note(&delta, number);
                    let at = Position::from_number(number, span.partition);
                    let offset = if at.epoch == consumed.position.epoch { at.offset } else { 0 };
                    since.entry(span.partition).and_modify(|since| *since = offset.min(*since));
                }
            }
        }
        for span in events {
            let mut offset = since.get(&span.partition).copied().unwrap_or(span.from);
            let mut oldest = None;
            while offset < span.end {
                let records = span.read(self.log, &mut offset).await?;
                for consumed in &records {
                    let Some(event) = decode::<EventRecord>(consumed, &mut 0)? else { continue };
                    erasures.note(&event, event.number(consumed));
                    if event.erases() && consumed.record.timestamp_ms >= echoes_ms {
                        oldest.get_or_insert(consumed.position.offset);
                    }
                }
            }
            self.folder.leave_erased(span.partition, oldest);
        }
        Ok(erasures)
    }

    /// Writes what a partition got since the last run; returns how many rows.
    async fn append<T: Wire + Told>(
        &mut self,
        span: &Span,
        erasures: &Erasures,
        row: fn(&mut Buffers, &T, &Consumed),
    ) -> anyhow::Result<u64> {
        let (mut offset, mut count) = (span.from, 0);
        while offset < span.end {
            let records = span.read(self.log, &mut offset).await?;
            for consumed in &records {
                let Some(record) = decode::<T>(consumed, &mut self.report.unreadable)? else { continue };
                if !self.is_wanted(&record) {
                    continue;
                }
                if erasures.cover(&record, record.number(consumed)) {
                    self.report.erased += 1;
                } else {
                    row(&mut self.buffers, &record, consumed);
                    count += 1;
                }
            }
            self.buffers.bound(&mut self.folder)?;
        }
        self.folder.reached(span.topic, span.partition, span.end);
        Ok(count)
    }

    /// Writes what a partition of state says is in force. Read twice, so that only places are held in memory.
    async fn snapshot(&mut self, partition: u32, now_us: i64) -> anyhow::Result<()> {
        let (oldest, end) = self.log.range(topics::STATE, partition).await?;
        let span = Span { topic: topics::STATE, partition, from: oldest, end };
        let mut newest = Newest::default();
        let mut offset = span.from;
        while offset < span.end {
            let records = span.read(self.log, &mut offset).await?;
            records.iter().for_each(|consumed| newest.note(consumed));
        }
        let mut offset = span.from;
        while offset < span.end {
            let records = span.read(self.log, &mut offset).await?;
            for consumed in records.iter().filter(|consumed| newest.is_newest(consumed)) {
                let Some(record) = decode::<StateRecord>(consumed, &mut self.report.unreadable)? else { continue };
                if self.is_wanted(&record) {
                    tables::state(&mut self.buffers, &record, consumed, self.folder.date(), now_us);
                    self.report.in_force += 1;
                }
            }
            self.buffers.bound(&mut self.folder)?;
        }
        Ok(())
    }

    fn is_wanted(&self, record: &impl Owned) -> bool {
        self.tenant.is_none_or(|tenant| tenant == record.tenant())
    }
}

/// A record of this type; `None` for tombstones, for records of other types, and for what nobody can read, which is counted.
fn decode<T: Wire + Owned>(consumed: &Consumed, unreadable: &mut u64) -> anyhow::Result<Option<T>> {
    let Some(value) = consumed.record.value.as_deref().filter(|value| codec::is::<T>(value)) else {
        return Ok(None);
    };
    match schemas::decode::<T>(value) {
        // Its name becomes a folder's.
        Ok(record) if Tenant::new(record.tenant()).is_ok() => Ok(Some(record)),
        Err(error @ DecodeError::Unresolved { .. }) => Err(error.into()),
        _ => {
            *unreadable += 1;
            Ok(None)
        }
    }
}

fn show(out: &mut String, report: &Report, dir: &Path) -> std::fmt::Result {
    let Report { run, events, deltas, in_force, erased, files, missed, unreadable } = report;
    writeln!(
        out,
        "{}, {} and {} in force, in {} below {} (run {run})",
        counted(*events, "event", "events"),
        counted(*deltas, "delta", "deltas"),
        counted(*in_force, "suppression", "suppressions"),
        counted(*files, "new file", "new files"),
        dir.display(),
    )?;
    if *erased > 0 {
        writeln!(
            out,
            "{} left out, being of people who were erased; files of earlier runs may hold more of them",
            counted(*erased, "event or delta", "events and deltas")
        )?;
    }
    if *missed > 0 {
        writeln!(
            out,
            "{} gone before this run came for them: export more often than the topics are kept",
            counted(*missed, "record was", "records were")
        )?;
    }
    if *unreadable > 0 {
        writeln!(out, "{} be read and left out", counted(*unreadable, "record could not", "records could not"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{CanonicalEvent, Kind, Reason, Scope};
    use event_log::{Record, TopicSpec, memory::MemoryLog};
    use suppressor::evidence::inner;
    use testkit::builders;

    const JANE: &str = "jane@example.com";

    fn put(log: &MemoryLog, topic: &str, value: &impl Wire) {
        let value = Some(schemas::encode(value).unwrap());
        let record = Record { key: Some("k".into()), value, headers: Vec::new(), timestamp_ms: 0 };
        log.append_now(topic, Some(0), record).unwrap();
    }

    fn event(log: &MemoryLog, kind: Kind, address: &str, more: impl FnOnce(&mut CanonicalEvent)) {
        let mut event = builders::event(kind, address, 0);
        more(&mut event);
        put(log, topics::EVENTS, &EventRecord::from(event));
    }

    fn delta(log: &MemoryLog, address: &str, position: u64) {
        let in_force = [(Scope::All, Reason::HardBounce)];
        let delta = builders::delta(address, &Scope::All, &in_force, ("sendgrid", Kind::BouncedHard), position);
        put(log, topics::DELTAS, &DeltaRecord::from(delta));
    }

    #[tokio::test]
    async fn who_was_erased_is_left_out_up_to_their_erasure() {
        let spec = |name: &str| TopicSpec { name: name.into(), partitions: 1, retention_ms: Some(1_000) };
        let log = MemoryLog::new(&[topics::EVENTS, topics::DELTAS, topics::STATE].map(spec));
        let dir = tempfile::tempdir().unwrap();
        let run = async || {
            let wanted = Wanted { dir: dir.path(), tenant: None };
            let Report { events, deltas, erased, .. } = export(&log, 0, &wanted).await.unwrap();
            (events, deltas, erased)
        };
        event(&log, Kind::BouncedHard, JANE, |_| {});
        event(&log, Kind::BouncedHard, "joe@example.com", |_| {});
        event(&log, Kind::Erased, JANE, |_| {});
        assert_eq!(run().await, (1, 0, 2), "Joe's stays");

        // The suppressor comes to them only now, and the erasure was exported before.
        delta(&log, JANE, 0);
        delta(&log, "joe@example.com", 1);
        assert_eq!(run().await, (0, 1, 1), "Joe's stays");

        // What came after the erasure is new data, also once it is made whole.
        event(&log, Kind::Complaint, JANE, |_| {});
        event(&log, Kind::Erased, JANE, |event| {
            event.metadata.insert(inner::FORGETS.to_owned(), "2".to_owned());
        });
        delta(&log, JANE, 3);
        assert_eq!(run().await, (1, 1, 1), "but not the event that makes it whole, which has the address");

        // Of another tenant: somebody else.
        event(&log, Kind::BouncedHard, JANE, |event| event.tenant = "acme".parse().unwrap());
        event(&log, Kind::Erased, JANE, |_| {});
        assert_eq!(run().await, (1, 0, 1));
        assert_eq!(run().await, (0, 0, 0));
    }

    /// Jobs read the store, where a person is until the suppressor comes to their erasure: what they say then lies behind it
    /// and has the address.
    #[tokio::test]
    async fn what_our_own_jobs_say_behind_an_erasure_is_no_new_data() {
        const JOBS: [Kind; 3] = [Kind::Expired, Kind::Reconsidered, Kind::Unengaged];
        let spec = |name: &str| TopicSpec { name: name.into(), partitions: 1, retention_ms: Some(1_000) };
        for (erased_ago_ms, is_known) in [(0, true), (2 * ERASURE_ECHOES_MS, false)] {
            for is_apart in [false, true] {
                let log = MemoryLog::new(&[topics::EVENTS, topics::DELTAS, topics::STATE].map(spec));
                let dir = tempfile::tempdir().unwrap();
                let run = async || {
                    let wanted = Wanted { dir: dir.path(), tenant: None };
                    let Report { events, deltas, erased, .. } = export(&log, 0, &wanted).await.unwrap();
                    (events, deltas, erased)
                };
                let erased = EventRecord::from(builders::event(Kind::Erased, JANE, 0));
                let at = moment::now().unwrap().as_millis() - erased_ago_ms;
                let record = Record {
                    key: Some("k".into()),
                    value: Some(schemas::encode(&erased).unwrap()),
                    headers: Vec::new(),
                    timestamp_ms: at,
                };
                log.append_now(topics::EVENTS, Some(0), record).unwrap();
                let mut before = 1;
                if is_apart {
                    assert_eq!(run().await, (0, 0, 1));
                    before = 0;
                }
                JOBS.iter().for_each(|kind| event(&log, *kind, JANE, |_| {}));
                put_delta_of(&log, JANE, Kind::Expired, 1);
                let covered = if is_known || !is_apart { (0, 0, before + 4) } else { (3, 1, 0) };
                assert_eq!(run().await, covered, "{erased_ago_ms} ms ago, in a run of its own: {is_apart}");

                // The suppressor comes to one more of them only now; then somebody else speaks of her.
                put_delta_of(&log, JANE, Kind::Reconsidered, 2);
                event(&log, Kind::BouncedHard, JANE, |_| {});
                event(&log, Kind::Expired, JANE, |_| {});
                put_delta_of(&log, JANE, Kind::Expired, 5);
                if is_known {
                    assert_eq!(run().await, (2, 1, 1), "new data, and what our jobs say of that");
                }
            }
        }
    }

    fn put_delta_of(log: &MemoryLog, address: &str, trigger: Kind, position: u64) {
        let in_force = [(Scope::All, Reason::HardBounce)];
        let delta = builders::delta(address, &Scope::All, &in_force, ("quell", trigger), position);
        put(log, topics::DELTAS, &DeltaRecord::from(delta));
    }
}
