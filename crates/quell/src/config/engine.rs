//! The embedded log and store, and how stages take their work.

use serde::{Deserialize, Serialize};

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineConfig {
    /// Partitions of every topic. Fixed once the data directory exists.
    pub(crate) partitions: u32,
    /// Workers of the suppressor; at most as many as partitions.
    pub(crate) suppressor_workers: u32,
    /// Block cache of the database, in MiB.
    pub(crate) cache_mib: u64,
    /// Most records in a batch.
    pub(crate) batch_records_max: usize,
    /// How long a record may wait in a stage, in milliseconds: batches are cut to it.
    pub(crate) latency_target_ms: u64,
    /// Days for which raw webhooks are kept.
    pub(crate) raw_days: u64,
    /// Days for which events are kept.
    pub(crate) events_days: u64,
    /// Days for which deltas, outcomes and dead letters are kept.
    pub(crate) deltas_days: u64,
    /// Days for which message timelines are kept.
    pub(crate) messages_days: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            partitions: 4,
            suppressor_workers: 2,
            cache_mib: 64,
            batch_records_max: 1_000,
            latency_target_ms: 1_000,
            raw_days: 7,
            events_days: 90,
            deltas_days: 30,
            messages_days: 90,
        }
    }
}
