//! `quell export --parquet`: events, deltas and what is in force, as Parquet files for a warehouse or a lake.
//!
//! Read from the log itself, so that a cluster is exported while it runs. Events and deltas are added to: a run writes what
//! was appended since the run before it. What is in force is written anew, as it is now. Whatever is interrupted is done
//! again by the next run, and no row comes twice: see [`folder`].

mod buffers;
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
use event_log::{Browse, Consumed, kafka::KafkaLog};
use folder::Folder;
use newest::Newest;
use schemas::{DecodeError, Wire, codec, topics, wire::StateRecord};
use serde::Serialize;
use std::{fmt::Write as _, path::Path};
use tables::Owned;
use tokio_util::sync::CancellationToken;

/// Records of one read; it also has a bound in bytes.
const READ_RECORDS: usize = 5_000;

/// What was written.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    run: u64,
    events: u64,
    deltas: u64,
    in_force: u64,
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
    for partition in 0..log.partitions(topics::EVENTS)? {
        export.report.events += export.append(topics::EVENTS, partition, tables::event).await?;
    }
    for partition in 0..log.partitions(topics::DELTAS)? {
        export.report.deltas += export.append(topics::DELTAS, partition, tables::delta).await?;
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

impl Export<'_> {
    /// Writes what a partition got since the last run; returns how many rows.
    async fn append<T: Wire + Owned>(
        &mut self,
        topic: &'static str,
        partition: u32,
        row: fn(&mut Buffers, &T, &Consumed),
    ) -> anyhow::Result<u64> {
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
        let (mut offset, mut count) = (known.unwrap_or(0).max(oldest), 0);
        while offset < end {
            let records = read(self.log, topic, partition, offset, end).await?;
            offset = records.last().map_or(end, |last| last.position.offset + 1);
            for consumed in &records {
                let Some(record) = self.decode::<T>(consumed)? else { continue };
                if self.is_wanted(&record) {
                    row(&mut self.buffers, &record, consumed);
                    count += 1;
                }
            }
            self.buffers.bound(&mut self.folder)?;
        }
        self.folder.reached(topic, partition, end);
        Ok(count)
    }

    /// Writes what a partition of state says is in force. Read twice, so that only places are held in memory.
    async fn snapshot(&mut self, partition: u32, now_us: i64) -> anyhow::Result<()> {
        let (oldest, end) = self.log.range(topics::STATE, partition).await?;
        let mut newest = Newest::default();
        let mut offset = oldest;
        while offset < end {
            let records = read(self.log, topics::STATE, partition, offset, end).await?;
            offset = records.last().map_or(end, |last| last.position.offset + 1);
            records.iter().for_each(|consumed| newest.note(consumed));
        }
        let mut offset = oldest;
        while offset < end {
            let records = read(self.log, topics::STATE, partition, offset, end).await?;
            offset = records.last().map_or(end, |last| last.position.offset + 1);
            for consumed in records.iter().filter(|consumed| newest.is_newest(consumed)) {
                let Some(record) = self.decode::<StateRecord>(consumed)? else { continue };
                if self.is_wanted(&record) {
                    tables::state(&mut self.buffers, &record, consumed, self.folder.date(), now_us);
                    self.report.in_force += 1;
                }
            }
            self.buffers.bound(&mut self.folder)?;
        }
        Ok(())
    }

    /// A record of this type; `None` for tombstones, for records of other types, and for what nobody can read.
    fn decode<T: Wire + Owned>(&mut self, consumed: &Consumed) -> anyhow::Result<Option<T>> {
        let Some(value) = consumed.record.value.as_deref().filter(|value| codec::is::<T>(value)) else {
            return Ok(None);
        };
        match schemas::decode::<T>(value) {
            // Its name becomes a folder's.
            Ok(record) if Tenant::new(record.tenant()).is_ok() => Ok(Some(record)),
            Err(error @ DecodeError::Unresolved { .. }) => Err(error.into()),
            _ => {
                self.report.unreadable += 1;
                Ok(None)
            }
        }
    }

    fn is_wanted(&self, record: &impl Owned) -> bool {
        self.tenant.is_none_or(|tenant| tenant == record.tenant())
    }
}

/// Records before `end`; none only where there are none, though transactions may have ended there.
async fn read(log: &dyn Browse, topic: &str, partition: u32, offset: u64, end: u64) -> anyhow::Result<Vec<Consumed>> {
    let mut records = log.read(topic, partition, offset, READ_RECORDS).await?;
    records.retain(|consumed| consumed.position.offset < end);
    schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await?;
    Ok(records)
}

fn show(out: &mut String, report: &Report, dir: &Path) -> std::fmt::Result {
    let Report { run, events, deltas, in_force, files, missed, unreadable } = report;
    writeln!(
        out,
        "{}, {} and {} in force, in {} below {} (run {run})",
        counted(*events, "event", "events"),
        counted(*deltas, "delta", "deltas"),
        counted(*in_force, "suppression", "suppressions"),
        counted(*files, "new file", "new files"),
        dir.display(),
    )?;
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
