//! The embedded log and store: one database, one process.

use super::{Engine, Member};
use crate::config::Config;
use anyhow::Context as _;
use event_log::{
    Append as _, TopicSpec,
    embedded::{EmbeddedLog, EmbeddedSession, Limits, SegmentOptions, open_database, segment_span_ms},
};
use schemas::topics;
use suppressor::store::embedded::EmbeddedStore;

/// In `data_dir`, beside the database's own files.
const SEGMENTS: &str = "segments";
/// Days for which the store tells repetitions of events without evidence: longer than any provider goes on repeating a webhook.
pub(crate) const SEEN_DAYS: u32 = 30;

#[derive(Clone)]
pub(crate) struct Embedded {
    log: EmbeddedLog,
    store: EmbeddedStore,
}

impl Embedded {
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("cannot make data_dir {}", config.data_dir.display()))?;
        let db = open_database(&config.data_dir, config.engine.cache_mib << 20)
            .with_context(|| format!("cannot open data_dir {}", config.data_dir.display()))?;
        let segments = SegmentOptions::new(config.data_dir.join(SEGMENTS), &[topics::RAW]);
        let log = EmbeddedLog::open_with_segments(db.clone(), &topic_specs(config), Limits::default(), &segments)?;
        let store = EmbeddedStore::open(db)?;
        Ok(Self { log, store })
    }

    /// Every topic, and how long it keeps records, in milliseconds; `None` where it keeps the newest of each key.
    pub(crate) fn topics(config: &Config) -> Vec<(String, Option<u64>)> {
        topic_specs(config).into_iter().map(|spec| (spec.name.to_string(), spec.retention_ms)).collect()
    }

    /// How much longer than its topic keeps it a record may lie on disk, in milliseconds.
    pub(crate) fn adds_ms(topic: &str, retention_ms: u64) -> u64 {
        if topic == topics::RAW { segment_span_ms(retention_ms) } else { 0 }
    }

    /// How long a compacted topic keeps tombstones.
    pub(crate) fn tombstone_keep_ms() -> u64 {
        Limits::default().tombstone_keep_ms
    }
}

impl Engine for Embedded {
    type Log = EmbeddedLog;
    type Store = EmbeddedStore;
    type Session = EmbeddedSession;

    fn log(&self) -> &EmbeddedLog {
        &self.log
    }

    fn store(&self) -> &EmbeddedStore {
        &self.store
    }

    /// The only process has every partition; its workers share them out.
    fn session(&self, member: &Member<'_>) -> anyhow::Result<EmbeddedSession> {
        let all = 0..self.log.partitions(member.topic)?;
        let own: Vec<u32> = all.filter(|partition| partition % member.workers.max(1) == member.worker).collect();
        Ok(self.log.session(member.group, member.topic, &own)?)
    }
}

fn topic_specs(config: &Config) -> Vec<TopicSpec> {
    const DAY_MS: u64 = 86_400_000;
    /// Longer than the guard's memory reaches back.
    const STATISTICS_DAYS: u64 = 7;
    let spec = |topic: topics::Topic| {
        let days = match topic.name {
            topics::RAW => config.engine.raw_days,
            topics::EVENTS => config.engine.events_days,
            topics::STATISTICS => STATISTICS_DAYS,
            _ => config.engine.deltas_days,
        };
        TopicSpec {
            name: topic.name.into(),
            partitions: config.engine.partitions,
            retention_ms: topic.retention_ms.map(|_| days.saturating_mul(DAY_MS)),
        }
    };
    topics::all().into_iter().map(spec).collect()
}
