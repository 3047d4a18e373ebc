//! A cluster as it is now: its brokers, the protocol they speak, and how the partitions of topics stand.

use super::{
    KafkaConfig, OpenError, Tokens,
    client::{self, Common},
    said,
};
use rdkafka::{
    ClientContext,
    client::OAuthToken,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicI16, Ordering},
    },
    time::{Duration, Instant},
};

/// How librdkafka's log, told to speak of features, names the request that commits positions within a transaction.
const POSITIONS: &str = " (28) Versions ";
/// How long to listen for what the library has to say.
const LISTEN: Duration = Duration::from_secs(2);
const LISTEN_STEP: Duration = Duration::from_millis(50);
const UNKNOWN: i16 = i16::MAX;

/// A cluster as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNow {
    /// Its id.
    pub id: String,
    /// Brokers that it tells of.
    pub brokers: usize,
    /// The newest version of the request that commits positions within a transaction (`TxnOffsetCommit`), of the broker
    /// that knows the oldest among those that were spoken to. `None` where none told. Each release of Kafka raised it:
    /// 3 in 2.5 (KIP-447: the group's metadata fences a zombie), 4 in 3.8, 5 in 4.0.
    pub positions_version: Option<i16>,
    /// Every partition of the topics that were asked about and that there are.
    pub partitions: Vec<PartitionNow>,
}

/// A partition as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNow {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Whether a broker leads it.
    pub has_leader: bool,
    /// Brokers that should have its records.
    pub replicas: usize,
    /// Brokers that do.
    pub in_sync: usize,
}

/// Listens to what the library says of the brokers.
#[derive(Debug, Clone)]
struct Listening {
    common: Common,
    positions: Arc<AtomicI16>,
}

impl ClientContext for Listening {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match (level, newest_version(message)) {
            (_, Some(version)) => {
                self.positions.fetch_min(version, Ordering::Relaxed);
            }
            // What it says beside that was only asked for here.
            (RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info, None) => {}
            (level, None) => self.common.log(level, facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.common.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.common.generate_oauth_token(config)
    }
}

impl ConsumerContext for Listening {}

/// `…  ApiKey TxnOffsetCommit (28) Versions 0..5`.
fn newest_version(line: &str) -> Option<i16> {
    let (before, versions) = line.split_once(POSITIONS)?;
    before.contains("ApiKey ").then_some(())?;
    versions.split_once("..")?.1.trim().parse().ok()
}

/// Looks at a cluster; changes nothing. Blocks, for as long as `request_timeout_ms` a question.
pub fn look(config: &KafkaConfig, tokens: Option<Arc<dyn Tokens>>, topics: &[&str]) -> Result<ClusterNow, LookError> {
    config.validate().map_err(OpenError::from)?;
    let mut config = config.clone();
    config.properties.insert("debug".to_owned(), "feature".to_owned());
    let positions = Arc::new(AtomicI16::new(UNKNOWN));
    let has_tokens = tokens.is_some();
    let context = Listening { common: Common { tokens }, positions: positions.clone() };
    let asker = BaseConsumer::from_config_and_context(&client::asker(&config)?, context).map_err(OpenError::from)?;
    // What the library has to say is handed over where the client is polled: tokens that it asks for, too.
    let listen = |is_enough: &dyn Fn() -> bool| {
        let until = Instant::now() + LISTEN;
        while !is_enough() && Instant::now() < until {
            drop(asker.poll(LISTEN_STEP));
        }
    };
    let began = Instant::now();
    listen(&|| !has_tokens || began.elapsed() > LISTEN_STEP * 4);
    let wait = config.request_timeout();
    let id = asker.client().fetch_cluster_id(wait).ok_or(LookError::Away)?;
    let mut found = ClusterNow { id, brokers: 0, positions_version: None, partitions: Vec::new() };
    for topic in topics {
        let metadata = asker.fetch_metadata(Some(topic), wait).map_err(|error| LookError::Asked(said(&error)))?;
        found.brokers = found.brokers.max(metadata.brokers().len());
        for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
            found.partitions.extend(topic.partitions().iter().map(|partition| PartitionNow {
                topic: topic.name().to_owned(),
                partition: partition.id(),
                has_leader: partition.leader() >= 0,
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
            }));
        }
    }
    listen(&|| positions.load(Ordering::Relaxed) != UNKNOWN);
    found.positions_version = Some(positions.load(Ordering::Relaxed)).filter(|version| *version != UNKNOWN);
    Ok(found)
}

/// Why a cluster could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No client can be made of the configuration.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No broker answers.
    #[error("no broker told the cluster's id")]
    Away,
    /// A broker answered no more.
    #[error("the cluster cannot be asked: {0}")]
    Asked(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_library_are_read() {
        let read = newest_version;
        assert_eq!(read("127.0.0.1:9092/bootstrap:   ApiKey TxnOffsetCommit (28) Versions 0..5"), Some(5));
        assert_eq!(read("127.0.0.1:9092/bootstrap:   ApiKey Produce (0) Versions 0..13"), None);
        assert_eq!(read("something else (28) Versions 0..5"), None);
        assert_eq!(read("ApiKey TxnOffsetCommit (28) Versions 0..many"), None);
    }
}
