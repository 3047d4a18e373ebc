//! Sending a transaction's positions, within a time.
//!
//! librdkafka (2.12) hands no limit on to this one call: it waits until the group's coordinator has answered
//! (`rd_kafka_send_offsets_to_transaction`: "Timeout is enforced by op_send_offsets_to_transaction()"), and while no broker
//! tells who that is, or that broker is away, nothing ends the wait (`rd_kafka_coord_req`: `creq_ts_timeout` is set and never
//! looked at). It goes on only when a broker comes back. So it is called on a thread of its own, and given up after a time.
//! Given up, the call is still under way, and the library takes no other for that producer, not even an abort: the
//! session ends. Its heir fences the producer, which ends the transaction and the call.

use super::{CALL_MAX, Deliveries, is_retriable, waits::LONG};
use crate::kafka::{client::slice, said};
use rdkafka::{
    TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::KafkaError,
    producer::{Producer, ThreadedProducer},
};
use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::Instant,
};

/// Why positions were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The call was not made: nothing of the positions is at the brokers.
    NotCalled(String),
    /// The brokers, or the library, said so.
    Said(KafkaError),
    /// There was no answer.
    GivenUp,
}

/// Sends positions, and tries again until the deadline what passes by itself. Blocks until one more call after it at most.
pub(super) fn send(
    producer: &ThreadedProducer<Deliveries>,
    positions: TopicPartitionList,
    metadata: ConsumerGroupMetadata,
    deadline: Instant,
) -> Result<(), Refused> {
    let (answer, answered) = mpsc::sync_channel(1);
    let producer = producer.clone();
    let thread = std::thread::Builder::new().name("kafka-positions".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may be waiting any more.
        drop(answer.send(send_until(&producer, &positions, &metadata, deadline).map_err(Refused::Said)));
    });
    if let Err(error) = spawned {
        return Err(Refused::NotCalled(format!("no thread for the positions: {error}")));
    }
    let until = deadline + CALL_MAX;
    let left = || until.saturating_duration_since(Instant::now());
    let mut told = answered.recv_timeout(left().min(LONG));
    if told == Err(RecvTimeoutError::Timeout) && !left().is_zero() {
        tracing::warn!(waited = ?LONG, "no broker takes the group's positions yet");
        told = answered.recv_timeout(left());
        if told.is_ok() {
            tracing::info!("a broker answered about the group's positions");
        }
    }
    told.unwrap_or(Err(Refused::GivenUp))
}

fn send_until(
    producer: &ThreadedProducer<Deliveries>,
    positions: &TopicPartitionList,
    metadata: &ConsumerGroupMetadata,
    deadline: Instant,
) -> Result<(), KafkaError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match producer.send_offsets_to_transaction(positions, metadata, slice(left, CALL_MAX)) {
            Err(error) if is_retriable(&error) && !left.is_zero() => {
                tracing::debug!(error = said(&error), "positions are not taken yet");
            }
            told => return told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{
        KafkaConfig,
        client::{self, Common},
        lock,
        topics::{list, place},
    };
    use rdkafka::{
        config::FromClientConfigAndContext,
        consumer::{BaseConsumer, Consumer},
        mocking::{MockCluster, MockCoordinator},
        producer::{BaseRecord, DefaultProducerContext},
    };
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    const WAIT: Duration = Duration::from_secs(10);

    /// What librdkafka alone would wait for without an end: the coordinator of the group is away, that of transactions is not.
    #[test]
    fn a_coordinator_that_is_away_does_not_hold_a_commit_for_ever() {
        let cluster = MockCluster::<DefaultProducerContext>::new(2).unwrap();
        cluster.create_topic("in", 1, 1).unwrap();
        cluster.create_topic("out", 1, 1).unwrap();
        cluster.partition_leader("out", 0, Some(1)).unwrap();
        cluster.coordinator(MockCoordinator::Transaction("id".to_owned()), 1).unwrap();
        cluster.coordinator(MockCoordinator::Group("group".to_owned()), 2).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        let common = Common::default();
        let native = client::observer(&config, "group").unwrap();
        let consumer: BaseConsumer<Common> = BaseConsumer::from_config_and_context(&native, common.clone()).unwrap();
        let metadata = || consumer.group_metadata().unwrap();
        let deliveries = Deliveries { common, failed: Arc::new(Mutex::new(None)) };
        let failed = Arc::clone(&deliveries.failed);
        let native = client::transactional(&config, "id").unwrap();
        let producer = ThreadedProducer::from_config_and_context(&native, deliveries).unwrap();
        producer.init_transactions(WAIT).unwrap();
        let positions = || list("in", [(0, place(7))]).unwrap();
        let begin = || {
            producer.begin_transaction().unwrap();
            producer.send(BaseRecord::<'_, str, str>::to("out").payload("value").partition(0)).map_err(|_| ()).unwrap();
        };
        begin();
        assert_eq!(send(&producer, positions(), metadata(), Instant::now() + WAIT), Ok(()));
        producer.commit_transaction(WAIT).unwrap();

        cluster.broker_down(2).unwrap();
        begin();
        let began = Instant::now();
        let sent = send(&producer, positions(), metadata(), Instant::now() + Duration::from_millis(500));
        assert_eq!(sent, Err(Refused::GivenUp), "{:?}", lock(&failed));
        let took = began.elapsed();
        assert!((CALL_MAX..CALL_MAX * 2).contains(&took), "{took:?}");
        // It is still under way: nothing else can be done with the producer.
        let conflict = producer.abort_transaction(Duration::from_millis(100)).unwrap_err();
        assert!(said(&conflict).contains("already in progress"), "{conflict}");
        cluster.broker_up(2).unwrap();
    }
}
