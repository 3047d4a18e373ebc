//! The log in Apache Kafka, by librdkafka.
//!
//! - **Append**: one idempotent producer with `acks=all`; an append returns with its delivery report, so what is answered
//!   lies on every in-sync replica. An append whose future is dropped may still be delivered.
//! - **Session**: a static member of a consumer group with a transactional producer. A batch's outputs and positions are
//!   one transaction, fenced by the group's metadata as it was when the batch was polled (KIP-447).
//! - **Browse**: a few clients in no group, which read what is committed.
//!
//! Partitions are chosen here ([`crate::partition`]), not by librdkafka, so that every engine agrees. Positions carry the
//! configured epoch. Keys and values are never logged.

mod admin;
mod append;
mod browse;
mod client;
mod config;
mod look;
mod message;
mod observers;
mod reader;
mod session;
mod tail;
mod topics;

pub use admin::{Admin, AdminError, TopicNow, TopicWanted};
pub use append::Health;
pub use client::{Token, Tokens};
pub use config::{Compression, ConfigError, KafkaConfig, Mechanism, Oauth, Protocol, Redacted, Security};
pub use look::{ClusterNow, LookError, PartitionNow, look};
pub use session::{JoinError, KafkaSession, Member};

use append::Appender;
use client::Common;
use observers::Observers;
use rdkafka::{config::FromClientConfigAndContext, consumer::BaseConsumer, error::KafkaError};
use reader::Readers;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tail::Tails;
use topics::Topics;

/// How often clients that wait for work are looked after.
const CARE: Duration = Duration::from_secs(1);

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A path cannot be handed to librdkafka.
    #[error("the path {0:?} is no text: rename the file")]
    Path(PathBuf),
    /// The mechanism `oauthbearer` without a source of tokens.
    #[error("the mechanism oauthbearer needs a source of tokens")]
    NoTokens,
    /// Topics cannot be looked after by token.
    #[error("topics cannot be looked after over oauthbearer: use a listener with another mechanism for it")]
    AdminTokens,
    /// librdkafka refused the settings, or could not read a file that they name.
    #[error("a Kafka client cannot be made: {0}")]
    Client(String),
    /// A thread could not be started.
    #[error("the log's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<KafkaError> for OpenError {
    fn from(error: KafkaError) -> Self {
        Self::Client(said(&error))
    }
}

/// What an error says, without the value of a setting: it may be a secret.
fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, name, _) => format!("{name}: {why}"),
        KafkaError::Transaction(error) => format!("{} ({})", error.string(), error.name()),
        other => other.to_string(),
    }
}

struct Shared {
    config: KafkaConfig,
    common: Common,
    appender: Appender,
    /// Asks about topics and offsets.
    asker: BaseConsumer<Common>,
    topics: Topics,
    readers: Readers,
    observers: Observers,
    tails: Tails,
}

/// A handle on the log; clones share it. Making one needs no broker: what needs one waits for it, or says that it is away.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("brokers", &self.shared.config.brokers).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Opens the log of a cluster.
    pub fn connect(config: KafkaConfig) -> Result<Self, OpenError> {
        Self::connect_with(config, None)
    }

    /// As [`Self::connect`], with a source of tokens for the mechanism `oauthbearer`.
    pub fn connect_with(config: KafkaConfig, tokens: Option<Arc<dyn Tokens>>) -> Result<Self, OpenError> {
        config.validate()?;
        if config.security.mechanism == Some(Mechanism::Oauthbearer) && tokens.is_none() {
            return Err(OpenError::NoTokens);
        }
        let common = Common { tokens };
        let asker = BaseConsumer::from_config_and_context(&client::asker(&config)?, common.clone())?;
        let shared = Arc::new(Shared {
            appender: Appender::new(&config, &common)?,
            readers: Readers::new(config.readers_max),
            observers: Observers::default(),
            topics: Topics::default(),
            tails: Tails::default(),
            asker,
            common,
            config,
        });
        let cared_for = Arc::downgrade(&shared);
        std::thread::Builder::new().name("kafka-care".to_owned()).spawn(move || care(&cared_for))?;
        Ok(Self { shared })
    }

    /// The epoch of every position of this log.
    pub fn epoch(&self) -> u16 {
        self.shared.config.epoch
    }

    /// The cluster's id, for the store to remember. Blocks.
    pub fn cluster_id(&self) -> Result<String, crate::AppendError> {
        let found = rdkafka::consumer::Consumer::client(&self.shared.asker)
            .fetch_cluster_id(self.shared.config.request_timeout());
        found.ok_or_else(|| crate::AppendError::Unavailable("no broker told the cluster's id".to_owned()))
    }
}

/// Serves what librdkafka has to say to clients that nobody is using, and ends clients that nobody used for a while.
/// Without it their log lines and token requests would pile up.
fn care(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(CARE);
        let Some(shared) = shared.upgrade() else { return };
        topics::serve(&shared.asker);
        shared.readers.care();
        shared.observers.care();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
