//! Sending a transaction's positions, within a time.
//!
//! librdkafka (2.12) hands no limit on to this one call: it waits until the group's coordinator has answered
//! (`rd_kafka_send_offsets_to_transaction`: "Timeout is enforced by op_send_offsets_to_transaction()"), and while no broker
//! tells who that is, or that broker is away, nothing ends the wait (`rd_kafka_coord_req`: `creq_ts_timeout` is set and never
//! looked at). It goes on only when a broker comes back. So it is called on a thread of its own, and given up after a time.
//! Given up, the call is still under way, and the library takes no other for that producer, not even an abort: the
//! session ends. Its heir fences the producer, which ends the transaction and the call.
//!
//! The same holds with every broker up: a coordinator that nobody names, or a broker that was taken out, leaves the call
//! without an answer (librdkafka's issues 5456 and 5511) until a connection comes or goes. The producer therefore closes
//! connections that carry nothing (`client::IDLE_AFTER_DELIVERY_MS`), and whoever waits also looks whether a client was
//! ended meanwhile, as a fenced member is, and whether the process is to stop.

use super::{
    CALL_MAX, Deliveries, POLL_MAX, is_retriable,
    waits::{Patience, Wait},
};
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
    /// There was no answer, and why none was waited for any longer.
    GivenUp(String),
}

/// Sends positions, and tries again what passes by itself. Blocks until somebody answered, a client was ended for good or
/// the patience is over.
pub(super) fn send(
    producer: &ThreadedProducer<Deliveries>,
    positions: TopicPartitionList,
    metadata: ConsumerGroupMetadata,
    patience: &mut Patience,
    ended: impl Fn() -> Option<String>,
) -> Result<(), Refused> {
    let (answer, answered) = mpsc::sync_channel(1);
    let (producer, theirs) = (producer.clone(), patience.clone());
    let thread = std::thread::Builder::new().name("kafka-positions".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may be waiting any more.
        drop(answer.send(send_until(&producer, &positions, &metadata, theirs).map_err(Refused::Said)));
    });
    if let Err(error) = spawned {
        return Err(Refused::NotCalled(format!("no thread for the positions: {error}")));
    }
    let mut wait = Wait::default();
    loop {
        if let Some(waited) = wait.lasts(Instant::now()) {
            tracing::warn!(?waited, "no broker takes the group's positions yet");
        }
        let left = patience.left_for_answer();
        match answered.recv_timeout(left.min(POLL_MAX)) {
            Ok(told) => {
                if let Some(waited) = wait.ends(Instant::now()) {
                    tracing::info!(?waited, "a broker answered about the group's positions");
                }
                return told;
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => {
                return Err(Refused::GivenUp(format!("no broker took the group's positions {}", patience.when())));
            }
        }
        if let Some(why) = ended() {
            return Err(Refused::GivenUp(why));
        }
    }
}

fn send_until(
    producer: &ThreadedProducer<Deliveries>,
    positions: &TopicPartitionList,
    metadata: &ConsumerGroupMetadata,
    mut patience: Patience,
) -> Result<(), KafkaError> {
    loop {
        match producer.send_offsets_to_transaction(positions, metadata, slice(patience.left(), CALL_MAX)) {
            Err(error) if is_retriable(&error) && patience.tries_again() => {
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
    use tokio_util::sync::CancellationToken;

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
        let send = |most| {
            let mut patience = Patience::new(most, &CancellationToken::new());
            send(&producer, positions(), metadata(), &mut patience, || None)
        };
        assert_eq!(send(WAIT), Ok(()));
        producer.commit_transaction(WAIT).unwrap();

        cluster.broker_down(2).unwrap();
        // Asked before the client sees it, the library answers that the broker's handle is gone.
        std::thread::sleep(Duration::from_millis(500));
        begin();
        let began = Instant::now();
        let sent = send(Duration::from_millis(500));
        assert!(matches!(sent, Err(Refused::GivenUp(_))), "{sent:?} {:?}", lock(&failed));
        let took = began.elapsed();
        assert!((CALL_MAX..CALL_MAX * 2).contains(&took), "{took:?}");
        // It is still under way: nothing else can be done with the producer.
        let conflict = producer.abort_transaction(Duration::from_millis(100)).unwrap_err();
        assert!(said(&conflict).contains("already in progress"), "{conflict}");
        cluster.broker_up(2).unwrap();
    }
}
