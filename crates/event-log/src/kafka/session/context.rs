//! What librdkafka tells a session's clients: only translated, and left for the session's own thread to act upon.

use super::super::{client::Common, lock, said};
use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// A change of assignment that the session has to answer, by assigning or unassigning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Assign(Vec<u32>),
    Revoke(Vec<u32>),
}

/// What the last statistics said of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The end, as a reader of what is committed sees it.
    pub(super) end: u64,
    /// Whether everything before it was fetched and handed on.
    pub(super) is_drained: bool,
}

/// Told to the consumer, left for the session.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) changes: Mutex<VecDeque<Change>>,
    pub(super) seen: Mutex<BTreeMap<u32, Seen>>,
    /// The session ends: nobody will answer a change but the callback.
    pub(super) is_closing: AtomicBool,
}

impl Told {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { changes: Mutex::default(), seen: Mutex::default(), is_closing: AtomicBool::new(false) })
    }
}

/// Listens on the consumer.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) common: Common,
    pub(super) topic: Arc<str>,
    pub(super) told: Arc<Told>,
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.common.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.common.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&*self.topic) else { return };
        let mut seen = lock(&self.told.seen);
        for partition in topic.partitions.values() {
            // Before the first fetch these are -1001.
            let (Ok(number), Ok(end)) = (u32::try_from(partition.partition), u64::try_from(partition.ls_offset)) else {
                continue;
            };
            let is_drained = partition.fetchq_cnt == 0 && partition.next_offset >= partition.ls_offset;
            seen.insert(number, Seen { end, is_drained });
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.common.generate_oauth_token(config)
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assign = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.told.is_closing.load(Ordering::Acquire) {
            let answered =
                if is_assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answered {
                tracing::debug!(error = said(&error), "a change of assignment while leaving");
            }
            return;
        }
        let partitions = list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        let change = if is_assign { Change::Assign(partitions) } else { Change::Revoke(partitions) };
        lock(&self.told.changes).push_back(change);
    }
}

/// Listens on the producer: the last reason why an output was not delivered, for the error of the commit.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub(super) common: Common,
    pub(super) failed: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.common.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.common.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.common.generate_oauth_token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *lock(&self.failed) = Some(said(error));
        }
    }
}
