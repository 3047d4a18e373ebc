//! Partitions in which nothing is left: the group is moved past the markers, so that retention leaves no gap; and what a
//! session tells of partitions while it stands still.

use crate::{
    harness::*,
    kafka::{assert_each_once, eventually, fill},
    kafka_bed::{Bed, PATIENCE, PrefixedLog, PrefixedSession, config},
};
use async_trait::async_trait;
use event_log::{
    Batch, Browse, CommitError, NextOffset, Observer, Outputs, Polled, Session, Stage, StageError, kafka::KafkaConfig,
    memory::SplitMix64, spawn_runner,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::servers::{JvmKafka, KafkaOptions};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(3_600);

async fn committed(log: &PrefixedLog, group: &str, topic: &str, partition: u32) -> Option<u64> {
    log.committed(group, topic, partition).await.unwrap()
}

/// Copies all of `events` to `single`, a transaction a batch: each leaves a marker behind its records.
fn copy_all(log: &PrefixedLog, instance: &str, n: usize) {
    let mut session = log.member_of("copiers", "events", instance);
    let mut n_copied = 0;
    while n_copied < n {
        let batch = poll(&mut session, &limits(7, 1 << 20)).unwrap();
        n_copied += batch.records.len();
        session.commit(&batch, &copy_to("single", &batch)).unwrap();
    }
}

/// Reads and commits until it has seen so many records.
fn read_all(session: &mut PrefixedSession, n: usize) {
    let (mut n_read, deadline) = (0, Instant::now() + PATIENCE);
    while n_read < n {
        assert!(Instant::now() < deadline, "{n_read} of {n} came: {session:?}");
        let Polled::Batch(batch) = session.poll_once(SOON).unwrap() else { continue };
        session.commit(&batch, &nothing_for(&batch)).unwrap();
        n_read += batch.records.len();
    }
}

/// Polls, though nothing comes, until it is so.
fn idle_until(session: &mut PrefixedSession, what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || {
        let polled = session.poll_once(SOON).unwrap();
        assert!(!matches!(polled, Polled::Batch(_)), "{polled:?}");
        is_so()
    });
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| handle.block_on(future))
}

/// A broker that looks at retention all the time.
fn forgetful() -> KafkaOptions {
    let settings = [("log.retention.check.interval.ms", "200"), ("log.initial.task.delay.ms", "200")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    KafkaOptions { settings, ..KafkaOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_partition_outlives_retention() {
    let kafka = JvmKafka::start(&forgetful()).unwrap();
    let bed = Bed::with(config(kafka.bootstrap())).await;
    let log = bed.log();
    fill(&log, "events", 4).await;
    copy_all(&log, "one", 4);
    eventually("the markers are written", || now(log.range("single", 0)).unwrap().1 > 4);
    let (_, end) = log.range("single", 0).await.unwrap();

    let mut moves = log.member_of("moves", "single", "one").looking_at_drained(Duration::ZERO, Duration::ZERO);
    let mut stays = log.member_of("stays", "single", "one").looking_at_drained(NEVER, NEVER);
    read_all(&mut moves, 4);
    read_all(&mut stays, 4);
    idle_until(&mut moves, "the group is moved to the end", || now(committed(&log, "moves", "single", 0)) == Some(end));
    assert_eq!(moves.lag(), Some(0));
    idle_until(&mut stays, "the lag is known", || true);
    let stuck = committed(&log, "stays", "single", 0).await.unwrap();
    assert!(stuck < end, "the last record is not the last offset");
    drop((moves, stays));

    let change = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
    bed.admin().alter_configs(&log.name("single"), &change).await.unwrap();
    eventually("nothing is kept", || now(log.range("single", 0)).unwrap().0 == end);

    let mut stays = log.member_of("stays", "single", "one");
    eventually("a position below what is kept is refused", || match stays.poll_once(SOON) {
        Ok(polled) => panic_if_begun(&polled),
        Err(error) => error.to_string().contains(&format!("stands at {stuck} in partition 0 of")),
    });
    let mut moves = log.member_of("moves", "single", "one");
    let mut assigned = Vec::new();
    eventually("the other goes on", || {
        if let Polled::Assigned(told) = moves.poll_once(SOON).unwrap() {
            assigned = told;
        }
        !assigned.is_empty()
    });
    assert_eq!(assigned[0].committed, Some(NextOffset::from_stored(end)));
    append(&log, "single", at(1_700_000_000_000, "k", "new")).await;
    read_all(&mut moves, 1);
    assert_eq!(committed(&log, "moves", "single", 0).await, Some(end + 1));
}

fn panic_if_begun(polled: &Polled) -> bool {
    assert_eq!(*polled, Polled::Nothing);
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_while_the_group_is_moved_is_not_passed_over() {
    let log = Bed::with(KafkaConfig { batch_wait_ms: 1, ..config(&crate::kafka_bed::bootstrap()) }).await.log();
    let is_over = Arc::new(AtomicBool::new(false));
    // Two kinds of writers: one whose every record is followed by a marker, one without.
    let copier = std::thread::spawn({
        let (log, is_over) = (log.clone(), Arc::clone(&is_over));
        move || {
            let mut session = log.member_of("copiers", "events", "one");
            while !is_over.load(Ordering::Relaxed) {
                let Polled::Batch(batch) = session.poll_few(3, SOON).unwrap() else { continue };
                session.commit(&batch, &copy_to("single", &batch)).unwrap();
            }
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        async move {
            let mut n = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let topic = if n.is_multiple_of(2) { "events" } else { "single" };
                append(&log, topic, record(&format!("k{n}"), &format!("v{n}"))).await;
                // Pauses shorter and longer than a look takes.
                tokio::time::sleep(Duration::from_millis(u64::from(n % 11) * 12)).await;
                n += 1;
            }
            n as usize
        }
    });
    let mut session = log.member_of("moves", "single", "one").looking_at_drained(Duration::ZERO, Duration::ZERO);
    let (mut random, mut seen, mut n_moved) = (SplitMix64::new(7), Vec::new(), 0);
    let (mut last, mut n_written, deadline) = (0, usize::MAX, Instant::now() + PATIENCE);
    let mut writer = Some(writer);
    while seen.len() < n_written {
        assert!(Instant::now() < deadline, "{} came, moved {n_moved} times: {session:?}", seen.len());
        if n_moved >= 8 && seen.len() >= 60 {
            stop.store(true, Ordering::Relaxed);
            if let Some(writer) = writer.take() {
                n_written = writer.await.unwrap();
            }
        }
        let before = committed(&log, "moves", "single", 0).await.unwrap_or(0);
        let polled = tokio::task::block_in_place(|| session.poll_few(5, SOON)).unwrap();
        n_moved += usize::from(committed(&log, "moves", "single", 0).await.unwrap_or(0) > before);
        let Polled::Batch(batch) = polled else { continue };
        if random.next() % 3 == 0 {
            session.rewind().unwrap();
            continue;
        }
        match session.commit(&batch, &nothing_for(&batch)) {
            Ok(()) => {}
            Err(CommitError::Aborted(_)) => {
                session.rewind().unwrap();
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        for consumed in &batch.records {
            assert!(consumed.position.offset >= last, "in order, none twice");
            last = consumed.position.offset + 1;
            seen.push(value(consumed));
        }
    }
    is_over.store(true, Ordering::Relaxed);
    copier.join().unwrap();
    assert_each_once(&log, "single", n_written).await;
    assert_eq!(crate::kafka_bed::counted(&seen).len(), n_written, "each was read");
    idle_until(&mut session, "it is at the end", || {
        now(committed(&log, "moves", "single", 0)) == Some(now(log.range("single", 0)).unwrap().1)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_moved_only_where_nothing_is_left() {
    let bed = Bed::new().await;
    let log = bed.log();
    // Never committed, and nothing kept: it stands at the end from now on, so that a later loss is told.
    fill(&log, "single", 3).await;
    bed.admin().delete_records(&log.name("single"), 0, 3).await.unwrap();
    let mut emptied = log.session("single").looking_at_drained(Duration::ZERO, Duration::ZERO);
    idle_until(&mut emptied, "it stands at the end", || now(committed(&log, GROUP, "single", 0)) == Some(3));

    // Never committed, and never anything there: there is no end to stand at.
    let mut empty = log.member_of("empty", "tiny", "one").looking_at_drained(Duration::ZERO, Duration::ZERO);
    empty.until_assigned(1);
    for _ in 0..3 {
        assert_eq!(empty.poll_once(SOON), Ok(Polled::Nothing));
    }
    assert_eq!(committed(&log, "empty", "tiny", 0).await, None);

    // Records are left: in the buffer, in a batch, or only at the broker.
    fill(&log, "events", 40).await;
    let mut behind = log.member_of("behind", "events", "one").looking_at_drained(Duration::ZERO, Duration::ZERO);
    let mut n_batches = 0;
    while n_batches < 5 {
        if let Polled::Batch(_) = behind.poll_few(3, SOON).unwrap() {
            n_batches += 1;
            behind.rewind().unwrap();
        }
    }
    for partition in 0..4 {
        assert_eq!(committed(&log, "behind", "events", partition).await, None, "partition {partition}");
    }

    // A stage that goes back is left alone for a while.
    copy_all(&log, "one", 40);
    let mut unwell = log.member_of("unwell", "single", "one").looking_at_drained(NEVER, Duration::ZERO);
    unwell.until_assigned(1);
    read_all(&mut unwell, 40);
    unwell.rewind().unwrap();
    let before = committed(&log, "unwell", "single", 0).await;
    for _ in 0..5 {
        assert_eq!(unwell.poll_once(SOON), Ok(Polled::Nothing));
    }
    assert_eq!(committed(&log, "unwell", "single", 0).await, before);
    assert!(before < Some(log.range("single", 0).await.unwrap().1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_grows_while_the_session_waits() {
    let log = Bed::new().await.log();
    fill(&log, "events", 10).await;
    let mut session = log.session("events");
    let batch = poll(&mut session, &LIMITS).unwrap();
    assert!(!batch.records.is_empty());
    session.rewind().unwrap();
    for n in 0..15 {
        append(&log, "events", record(&format!("m{n}"), "v")).await;
    }
    eventually("what came meanwhile is told", || {
        session.idle(SOON).unwrap();
        session.lag() == Some(25)
    });
}

/// Never gets anything done.
#[derive(Debug)]
struct Helpless;

#[async_trait]
impl Stage for Helpless {
    fn name(&self) -> &'static str {
        "helpless"
    }

    async fn process(&mut self, _batch: &Batch) -> Result<Outputs, StageError> {
        Err(StageError::Unavailable("its store is away".to_owned()))
    }
}

#[derive(Debug, Default)]
struct Gauge(AtomicU64);

impl Observer for Gauge {
    fn lag(&self, _stage: &'static str, n_records: u64) {
        self.0.store(n_records, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_stands_still_tells_its_lag() {
    let log = Bed::new().await.log();
    fill(&log, "events", 10).await;
    let (gauge, shutdown) = (Arc::new(Gauge::default()), CancellationToken::new());
    let limits = event_log::Limits { wait: SOON, ..LIMITS };
    let session = log.session("events");
    let handle = spawn_runner("helpless-0", session, Helpless, limits, shutdown.clone(), gauge.clone()).unwrap();
    let is_told = |n| gauge.0.load(Ordering::Relaxed) == n;
    eventually("all is told", || is_told(10));
    for n in 0..5 {
        append(&log, "events", record(&format!("m{n}"), "v")).await;
    }
    eventually("what came meanwhile is told", || is_told(15));
    shutdown.cancel();
    handle.ended().await.unwrap();
}
