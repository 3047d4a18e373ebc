//! A broker that dies, comes back, or does not answer, under a session that goes on.

use crate::{
    harness::*,
    kafka::{assert_each_once, eventually, fill},
    kafka_bed::{Bed, PATIENCE, PrefixedLog, PrefixedSession, config},
};
use event_log::{Append, AppendError, CommitError, Polled, Session, kafka::KafkaConfig};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, Producer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::servers::{JvmKafka, KafkaOptions};

const SOON: Duration = Duration::from_millis(50);

/// Copies `events` to `single` for as long as told, starting again after whatever is fatal, as a supervisor would.
fn copy_on(log: &PrefixedLog, stop: &Arc<AtomicBool>, n_restarts: &Arc<AtomicUsize>) -> std::thread::JoinHandle<()> {
    let (log, stop, n_restarts) = (log.clone(), Arc::clone(stop), Arc::clone(n_restarts));
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            copy_until_fatal(&mut log.member("events", "only"), &stop);
            n_restarts.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn copy_until_fatal(session: &mut PrefixedSession, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(polled) = session.poll_few(5, SOON) else { return };
        let Polled::Batch(batch) = polled else { continue };
        match session.commit(&batch, &copy_to("single", &batch)) {
            Ok(()) => {}
            Err(CommitError::Aborted(_)) => {
                if session.rewind().is_err() {
                    return;
                }
            }
            Err(CommitError::Fatal(_)) => return,
        }
    }
}

fn n_copied(log: &PrefixedLog) -> u64 {
    let handle = tokio::runtime::Handle::current();
    let n = tokio::task::block_in_place(|| handle.block_on(crate::kafka_bed::all_values(log, "single")));
    n.len() as u64
}

/// After so long the controller gives a killed broker up.
const MISSED_AFTER: Duration = Duration::from_secs(3);

/// For a broker that is killed though there is no other. Started again before it was given up, it takes itself for the leader
/// until its former self is; a transaction that ends within that time ends without a marker in the partitions ("likely
/// deleted already and hence can be skipped", `TransactionMarkerChannelManager` of Kafka 4.3): its positions stay open for
/// ever, and the next commit of the same producer makes rolled back records visible. So: a controller that lives on and soon
/// misses it, and nobody who looks for timeouts early. With several brokers a partition has another leader by then.
fn alone_and_killed() -> KafkaOptions {
    let session_timeout = MISSED_AFTER.as_millis().to_string();
    let settings = [
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "60000"),
        ("broker.session.timeout.ms", &session_timeout),
        ("broker.heartbeat.interval.ms", "1000"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    KafkaOptions { settings, controller_apart: true, ..KafkaOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_dies_and_comes_back_loses_and_doubles_nothing() {
    let kafka = JvmKafka::start(&alone_and_killed()).unwrap();
    let log = Bed::with(KafkaConfig { batch_wait_ms: 1, ..config(kafka.bootstrap()) }).await.log();
    fill(&log, "events", 2_000).await;
    let (stop, n_restarts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let copier = copy_on(&log, &stop, &n_restarts);
    eventually("it copies", || n_copied(&log) >= 20);
    kafka.kill().unwrap();
    let killed = Instant::now();
    // In flight while nobody is there: it waits, or is told that it may not have arrived.
    let unsure = log.append("events", None, record("late", "late")).await;
    assert!(matches!(unsure, Err(AppendError::Unavailable(_))), "{unsure:?}");
    assert!(log.log.writable().is_err(), "readiness follows");
    assert!(killed.elapsed() > MISSED_AFTER * 2, "the controller may take it for alive");
    kafka.start_again().unwrap();
    let mut sent = 0;
    while log.append("events", None, record("again", "again")).await.is_err() {
        sent += 1;
        assert!(sent < 10, "the log never came back");
    }
    assert_eq!(log.log.writable(), Ok(()));
    eventually("all is copied", || n_copied(&log) >= 2_001);
    stop.store(true, Ordering::Relaxed);
    copier.join().unwrap();
    let values = crate::kafka_bed::all_values(&log, "single").await;
    let counted = crate::kafka_bed::counted(&values);
    let doubled: Vec<_> = counted.iter().filter(|(value, n)| **n != 1 && value.starts_with('v')).collect();
    assert!(doubled.is_empty(), "{doubled:?} after {n_restarts:?} restarts");
    assert_eq!(counted.keys().filter(|value| value.starts_with('v')).count(), 2_000);
}

/// How long a commit may take whatever the broker does, with the commit timeout below: that time and one call more, and the
/// same again to undo it; and a little for a busy machine.
const FROZEN_MAX: Duration = Duration::from_millis(2 * (1_500 + 5_000) + 2_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_cannot_begin_holds_up_no_other() {
    let kafka = JvmKafka::start(&alone_and_killed()).unwrap();
    let bed = Bed::with(config(kafka.bootstrap())).await;
    let log = bed.log();
    for _ in 0..3 {
        for partition in 0..4 {
            log.append("events", Some(partition), record("", &format!("old{partition}"))).await.unwrap();
        }
    }
    let mut session = log.session("events");
    while let Some(batch) = poll(&mut session, &LIMITS) {
        session.commit(&batch, &nothing_for(&batch)).unwrap();
    }
    drop((session, log));
    // A broker that comes back with less than it had: for a while nobody can tell whether it is only late.
    kafka.kill().unwrap();
    let data = kafka.log_path().parent().unwrap().join("data");
    std::fs::remove_dir_all(data.join(format!("{}-2", bed.name("events")))).unwrap();
    kafka.start_again().unwrap();

    let log = bed.log();
    let mut leaves = log.session("events");
    leaves.until_assigned(3);
    let began = Instant::now();
    drop(leaves);
    assert!(began.elapsed() < Duration::from_secs(10), "who leaves with a partition that waits does not hang");

    let mut session = log.session("events");
    session.until_assigned(3);
    let mut ours = session.session.partitions();
    ours.sort_unstable();
    assert_eq!((ours, session.lag()), (vec![0, 1, 3], None));
    log.append("events", Some(0), record("", "new0")).await.unwrap();
    let mut next = || {
        let mut batch = None;
        eventually("the next batch comes", || {
            if let Polled::Batch(came) = session.poll_once(SOON).unwrap() {
                batch = Some(came);
            }
            batch.is_some()
        });
        let batch = batch.unwrap();
        session.commit(&batch, &nothing_for(&batch)).unwrap();
        values(&batch)
    };
    assert_eq!(next(), ["new0"], "the others work");
    for n in 0..4 {
        log.append("events", Some(2), record("", &format!("new2-{n}"))).await.unwrap();
    }
    assert_eq!(next(), ["new2-3"], "it begins at the group's position once it is there");
    assert_eq!(session.session.partitions().len(), 4);
    log.append("events", Some(2), record("", "last")).await.unwrap();
    assert_eq!(poll(&mut session, &LIMITS).map(|batch| values(&batch)), Some(vec!["last".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_unknown_result_ends_the_session_and_the_next_owner_reads_the_truth() {
    // The pauses are no death: the broker must not be given up for them, see above.
    let settings = vec![("broker.session.timeout.ms".to_owned(), "60000".to_owned())];
    let kafka = JvmKafka::start(&KafkaOptions { settings, ..KafkaOptions::default() }).unwrap();
    let base = config(kafka.bootstrap());
    let bed = Bed::with(base.clone()).await;
    fill(&bed.log(), "events", 40).await;
    let short = KafkaConfig { commit_timeout_ms: 1_500, delivery_timeout_ms: 1_000, ..base };
    let log = Bed { config: KafkaConfig { transaction_timeout_ms: 4_000, ..short }, ..bed }.log();
    let mut n_fatal = 0;
    for n in 0..4_u64 {
        let mut session = log.member("events", "only");
        let batch = poll(&mut session, &limits(5, 1 << 20)).unwrap();
        // Somewhere in the commit the broker stops answering.
        let result = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let commit = scope.spawn(|| session.commit(&batch, &copy_to("single", &batch)));
                let until = Instant::now() + Duration::from_millis(2 * n);
                while Instant::now() < until && !commit.is_finished() {
                    std::thread::yield_now();
                }
                kafka.pause().unwrap();
                let began = Instant::now();
                while began.elapsed() < FROZEN_MAX && !commit.is_finished() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let is_finished = commit.is_finished();
                kafka.resume().unwrap();
                assert!(is_finished, "the commit waits for as long as the broker is silent");
                kafka.resume().unwrap();
                commit.join().unwrap()
            })
        });
        n_fatal += usize::from(matches!(result, Err(CommitError::Fatal(_))));
        if result.is_err() {
            assert!(session.poll_once(SOON).is_err() || matches!(result, Err(CommitError::Aborted(_))), "{result:?}");
        }
    }
    assert!(n_fatal > 0, "not one was unclear");
    let stop = AtomicBool::new(false);
    let mut session = log.member("events", "only");
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| copy_until_fatal(&mut session, &stop));
            let handle = tokio::runtime::Handle::current();
            eventually("the rest is copied", || {
                handle.block_on(crate::kafka_bed::all_values(&log, "single")).len() >= 40
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
    assert_each_once(&log, "single", 40).await;
}

/// A transaction of somebody else over the group's positions: where they stand is not known before it has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_in_an_open_transaction_are_waited_for() {
    let bed = Bed::new().await;
    let log = bed.log();
    fill(&log, "events", 40).await;
    let (group, topic) = (log.name(GROUP), log.name("events"));
    let mut native = ClientConfig::new();
    native.set("bootstrap.servers", &bed.config.brokers);
    let consumer: BaseConsumer = native.clone().set("group.id", &group).create().unwrap();
    native.set("transactional.id", format!("{group}-other")).set("transaction.timeout.ms", "600000");
    let other: BaseProducer = native.create().unwrap();
    other.init_transactions(PATIENCE).unwrap();
    other.begin_transaction().unwrap();
    let mut positions = TopicPartitionList::new();
    positions.add_partition_offset(&topic, 0, Offset::Offset(1)).unwrap();
    other.send_offsets_to_transaction(&positions, &consumer.group_metadata().unwrap(), PATIENCE).unwrap();

    let mut session = log.session("events");
    session.until_assigned(3);
    let mut ours = session.session.partitions();
    ours.sort_unstable();
    assert_eq!(ours, [1, 2, 3], "it holds up no other");
    let (mut read, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    let in_others = kept(&log, "events", 1).await.len() + kept(&log, "events", 2).await.len();
    let in_others = in_others + kept(&log, "events", 3).await.len();
    while read.len() < in_others {
        assert!(Instant::now() < deadline, "{} of {in_others}: {session:?}", read.len());
        let Polled::Batch(batch) = session.poll_once(SOON).unwrap() else { continue };
        session.commit(&batch, &nothing_for(&batch)).unwrap();
        read.extend(values(&batch));
    }
    assert!(in_others > 0 && session.session.partitions().len() == 3, "{session:?}");
    other.abort_transaction(PATIENCE).unwrap();
    session.until_assigned(4);
    while read.len() < 40 {
        let batch = poll(&mut session, &LIMITS).unwrap();
        session.commit(&batch, &nothing_for(&batch)).unwrap();
        read.extend(values(&batch));
    }
    read.sort_unstable();
    read.dedup();
    assert_eq!(read.len(), 40, "each once");
}
