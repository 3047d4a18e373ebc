//! Commits that wait for brokers, and what ends the wait. The mock cluster inside librdkafka says what a broker says in
//! rare moments; what it makes of transactions is no proof of anything.

use crate::{
    harness::{copy_to, record},
    kafka::eventually,
    kafka_bed::config,
};
use event_log::{
    Append, Batch, CommitError, Limits, Polled, Session,
    kafka::{KafkaLog, KafkaSession, Member},
};
use rdkafka::{
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Far below `commit_timeout_ms`, which is a minute here, and above what one call may take.
const SOON: Duration = Duration::from_secs(9);
/// Two idle times, as a question may be refused again, and a little for a busy machine.
const NAMED_MAX: Duration = Duration::from_secs(2 * 20 + 5);
/// Until the commit certainly waits.
const A_MOMENT: Duration = Duration::from_millis(700);

/// Three brokers: one for topics and transactions, the group's coordinator, and one that is away.
struct Bed {
    cluster: MockCluster<'static, DefaultProducerContext>,
    session: KafkaSession,
    log: KafkaLog,
    n_sent: u32,
}

impl Bed {
    fn new() -> Self {
        let cluster = MockCluster::new(3).unwrap();
        for topic in ["in", "out"] {
            cluster.create_topic(topic, 1, 1).unwrap();
            cluster.partition_leader(topic, 0, Some(1)).unwrap();
        }
        cluster.coordinator(MockCoordinator::Transaction("group/only/0".to_owned()), 1).unwrap();
        cluster.coordinator(MockCoordinator::Group("group".to_owned()), 2).unwrap();
        cluster.broker_down(3).unwrap();
        let log = KafkaLog::connect(config(&cluster.bootstrap_servers())).unwrap();
        let session = log.session("group", "in", &Member { instance: "only".to_owned(), worker: 0 }).unwrap();
        Self { cluster, session, log, n_sent: 0 }
    }

    /// Appends one record; the batch that holds it.
    fn next(&mut self) -> Batch {
        let value = format!("v{}", self.n_sent);
        self.n_sent += 1;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.log.append("in", Some(0), record("", &value))).unwrap();
        self.poll()
    }

    fn poll(&mut self) -> Batch {
        let limits = Limits { records_max: 1, bytes_max: 1 << 20, wait: Duration::from_millis(250) };
        let mut batch = None;
        eventually("a batch comes", || {
            if let Polled::Batch(polled) = self.session.poll(&limits).unwrap() {
                batch = Some(polled);
            }
            batch.is_some()
        });
        batch.unwrap()
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        self.session.commit(batch, &copy_to("out", batch))
    }

    /// Commits a second batch to a group whose coordinator is away by then: the call that takes the positions never returns,
    /// though every other broker answers. What happens beside it, and how it ended, and after how long from then on.
    fn stuck(&mut self, beside: impl FnOnce(&MockCluster<'static, DefaultProducerContext>)) -> (CommitError, Duration) {
        let first = self.next();
        assert_eq!(self.commit(&first), Ok(()));
        let batch = self.next();
        self.cluster.coordinator(MockCoordinator::Group("group".to_owned()), 3).unwrap();
        let Self { cluster, session, .. } = self;
        let cluster = &*cluster;
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| session.commit(&batch, &copy_to("out", &batch)));
            std::thread::sleep(A_MOMENT);
            assert!(!commit.is_finished(), "nothing to wait for: {:?}", commit.join());
            beside(cluster);
            let began = Instant::now();
            (commit.join().unwrap().unwrap_err(), began.elapsed())
        })
    }
}

#[test]
fn a_member_that_is_fenced_ends_at_once_whatever_its_commit_waits_for() {
    let (error, took) = Bed::new().stuck(|cluster| {
        cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID; 9]);
    });
    let CommitError::Fatal(why) = error else { panic!("{error}") };
    assert!(why.contains("fenced") && why.contains("started again"), "{why}");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn a_commit_that_waits_gives_up_soon_after_the_process_is_to_stop() {
    let (mut bed, stop) = (Bed::new(), CancellationToken::new());
    bed.session.stop_with(stop.clone());
    let (error, took) = bed.stuck(|_| stop.cancel());
    assert!(error.to_string().contains("to stop"), "{error}");
    assert!(took < SOON, "{took:?}");
}

/// A broker that was started again answers before it knows who coordinates a group, and says so more often than librdkafka
/// asks; after that the library asks nobody until a connection comes or goes.
#[test]
fn a_coordinator_that_nobody_names_for_a_while_costs_seconds_and_not_the_session() {
    let mut bed = Bed::new();
    let batch = bed.next();
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 5];
    bed.cluster.request_errors(RDKafkaApiKey::FindCoordinator, &refusals);
    let began = Instant::now();
    assert_eq!(bed.commit(&batch), Ok(()));
    let took = began.elapsed();
    assert!(took < NAMED_MAX, "{took:?}");
    let next = bed.next();
    assert_eq!(bed.commit(&next), Ok(()));
}

/// The group gave the partitions away, or the member joined it anew while the batch was in work: nothing of the batch can be
/// committed, and everything can go on.
#[test]
fn positions_that_can_never_be_taken_are_not_tried_again() {
    let mut bed = Bed::new();
    for refusal in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    ] {
        let batch = bed.next();
        bed.cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[refusal]);
        let began = Instant::now();
        let error = bed.commit(&batch).unwrap_err();
        assert!(matches!(error, CommitError::Aborted(_)) && began.elapsed() < SOON, "{refusal:?}: {error}");
        bed.session.rewind().unwrap();
        let again = bed.poll();
        assert_eq!(again.records, batch.records, "{refusal:?}");
        assert_eq!(bed.commit(&again), Ok(()), "{refusal:?}");
    }
}
