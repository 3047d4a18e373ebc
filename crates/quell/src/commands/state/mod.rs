//! Moving up: what a store knows of every recipient, from one pair of engines to another, under a new epoch of positions.
//!
//! A file of JSON lines: a [`Head`], then policies and incidents, what erasures kept, then recipients. Evidence keeps its positions: all of
//! them lie below the new epoch's, so that every decision goes on where it was and no delta is told twice. What is in force also goes to
//! the state topic, from which subscribers and accounts begin. Nothing that is still under way is moved: the old log is
//! drained first. Message timelines, and what tells repetitions of events of which no evidence is kept, stay behind.

mod bring;
mod take;

pub(crate) use bring::{bring, is_whole};
pub(crate) use take::take;

use crate::{
    config::Config,
    engine::{Cluster, Embedded},
    kafka_tokens, registry,
};
use anyhow::Context as _;
use clap::ValueEnum;
use domain::{RecipientKey, Scope};
use event_log::kafka::KafkaLog;
use serde::{Deserialize, Serialize};
use suppressor::{
    History,
    erasure::Erased,
    store::{InForce, IncidentRow, PolicyRow, cql::CqlStore},
};
use tokio_util::sync::CancellationToken;

const FORM: &str = "quell-state-1";

/// Which engines of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engines {
    /// Log and store in `data_dir`; no other process may have it open
    Embedded,
    /// Kafka and the CQL store
    Cluster,
}

impl Engines {
    /// Those asked for; else the cluster, where the configuration has one.
    pub(crate) fn choose(asked: Option<Self>, config: &Config) -> Self {
        let is_cluster = !config.kafka.brokers.is_empty();
        asked.unwrap_or(if is_cluster { Self::Cluster } else { Self::Embedded })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    form: String,
    /// When it was taken, RFC 3339: names the move.
    taken_at: String,
    /// The highest epoch of any position in it.
    epoch: u16,
    /// Of the key under which recipients were erased, if any were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erasure_key: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
enum Line {
    Head(Head),
    Policy { position: u64, row: PolicyRow },
    Incident { position: u64, row: IncidentRow },
    Erased { partition: u32, position: u64, row: Box<Erased> },
    Recipient(Box<Known>),
}

/// What is known of a recipient.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    key: RecipientKey,
    history: History,
    in_force: Option<InForce>,
    audit: Vec<Audit>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Audit {
    position: u64,
    scope: Scope,
    /// The delta as Avro, base64, under the ids that every build knows.
    delta: String,
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Moved {
    pub(crate) policies: u64,
    pub(crate) recipients: u64,
    pub(crate) suppressions: u64,
    pub(crate) erased: u64,
    pub(crate) epoch: u16,
}

fn embedded(config: &Config) -> anyhow::Result<Embedded> {
    Embedded::open(config).context("stop the process that has it open first")
}

async fn cluster(config: &Config) -> anyhow::Result<Cluster> {
    config.check_cluster()?;
    if let Some(registry) = &config.registry {
        std::fs::create_dir_all(&config.data_dir)?;
        registry::start(registry, &config.data_dir, "", CancellationToken::new()).await?;
    }
    let log = KafkaLog::connect_with(config.kafka.clone(), kafka_tokens::of(&config.kafka)?)?;
    log.probe(schemas::topics::EVENTS).await?;
    let store = CqlStore::connect(&config.store).await?;
    Ok(Cluster { log, store, instance: config.instance()? })
}
