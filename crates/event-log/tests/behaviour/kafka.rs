//! What only Kafka has: groups over the network, fencing, markers, limits of a broker.

use crate::{
    harness::*,
    kafka_bed::{Bed, PATIENCE, PrefixedLog, PrefixedSession, all_values, config, counted},
};
use async_trait::async_trait;
use event_log::{
    Append, AppendError, Batch, Browse, CommitError, Fate, Limits, NextOffset, Outputs, Polled, Session, Stage,
    StageError, Verdict,
    kafka::{KafkaConfig, KafkaLog, KafkaSession, Member},
    spawn_runner,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_millis(50);

pub(crate) async fn fill(log: &PrefixedLog, topic: &str, n: u32) {
    let appends: Vec<_> = (0..n)
        .map(|n| {
            let (log, topic) = (log.clone(), topic.to_owned());
            tokio::spawn(async move { append(&log, &topic, record(&format!("k{n}"), &format!("v{n}"))).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap();
    }
}

pub(crate) fn next_batch(session: &mut PrefixedSession, limits: &Limits) -> Batch {
    poll(session, limits).unwrap()
}

/// Asserts that `topic` holds each of `v0`, `v1`, … exactly once.
pub(crate) async fn assert_each_once(log: &PrefixedLog, topic: &str, n: usize) {
    // A commit is answered before its markers are written: what it holds is seen a moment later.
    let deadline = Instant::now() + PATIENCE;
    let mut values = all_values(log, topic).await;
    while counted(&values).len() < n && Instant::now() < deadline {
        values = all_values(log, topic).await;
    }
    let counted = counted(&values);
    let doubled: BTreeMap<_, _> = counted.iter().filter(|(_, n)| **n != 1).collect();
    assert!(doubled.is_empty(), "more than once: {doubled:?}");
    assert_eq!(counted.len(), n, "none missing");
}

pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_aborted_is_never_seen() {
    let log = Bed::new().await.log();
    fill(&log, "single", 3).await;
    let mut session = log.session("single");
    let batch = next_batch(&mut session, &LIMITS);
    let mut outputs = copy_to("events", &batch);
    // The broker refuses a record without a key in a compacted topic, after it took the others.
    let mut keyless = copy_to("state", &batch).verdicts.remove(0);
    keyless.outputs[0].record.key = None;
    outputs.verdicts[2].outputs.extend(keyless.outputs);
    let result = tokio::task::block_in_place(|| session.commit(&batch, &outputs));
    assert!(matches!(result, Err(CommitError::Aborted(_))), "{result:?}");
    assert_eq!(all_values(&log, "events").await, [""; 0]);
    assert_eq!(log.committed(GROUP, "single", 0).await.unwrap(), None);
    let mut ends = 0;
    for partition in 0..4 {
        ends += log.range("events", partition).await.unwrap().1;
    }
    assert!(ends >= 3, "they lie in the log, unseen");

    session.rewind().unwrap();
    let again = next_batch(&mut session, &LIMITS);
    assert_eq!(again.records, batch.records);
    session.commit(&again, &copy_to("events", &again)).unwrap();
    assert_each_once(&log, "events", 3).await;
    assert_eq!(log.committed(GROUP, "single", 0).await.unwrap(), Some(3));
    for partition in 0..4 {
        let (first, end) = log.range("events", partition).await.unwrap();
        let Some((offset, _)) = kept(&log, "events", partition).await.pop() else { continue };
        assert!(first < offset && offset + 1 < end, "aborted records before it, a marker after it");
        let read = log.read("events", partition, first, 1).await.unwrap();
        assert_eq!(read.len(), 1, "a gap is not the end");
        assert_eq!(log.read("events", partition, end, 1).await.unwrap(), []);
        assert_eq!(log.read("events", partition, end - 1, 1).await.unwrap(), [], "only a marker is left");
    }
    // Lag counts records, and markers are none.
    let mut reader = log.session("events");
    while let Some(batch) = poll(&mut reader, &LIMITS) {
        reader.commit(&batch, &nothing_for(&batch)).unwrap();
    }
    assert_eq!(reader.lag(), Some(0));
}

/// Copies `events` to `single` in small batches until told to stop, as a runner would.
struct Copier {
    thread: std::thread::JoinHandle<PrefixedSession>,
    stop: Arc<AtomicBool>,
    n_copied: Arc<AtomicUsize>,
    n_revoked: Arc<AtomicUsize>,
}

impl Copier {
    fn new(mut session: PrefixedSession) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (n_copied, n_revoked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (stop, n_copied, n_revoked) = (Arc::clone(&stop), Arc::clone(&n_copied), Arc::clone(&n_revoked));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let batch = match session.poll_few(5, SOON).unwrap() {
                        Polled::Batch(batch) => batch,
                        Polled::Revoked(partitions) => {
                            n_revoked.fetch_add(partitions.len(), Ordering::Relaxed);
                            continue;
                        }
                        Polled::Nothing | Polled::Assigned(_) => continue,
                    };
                    match session.commit(&batch, &copy_to("single", &batch)) {
                        Ok(()) => drop(n_copied.fetch_add(batch.records.len(), Ordering::Relaxed)),
                        Err(CommitError::Aborted(_)) => session.rewind().unwrap(),
                        Err(error) => panic!("{error}"),
                    }
                }
                session
            }
        });
        Self { thread, stop, n_copied, n_revoked }
    }

    fn n_copied(&self) -> usize {
        self.n_copied.load(Ordering::Relaxed)
    }

    fn stop(self) -> PrefixedSession {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_no_output_is_doubled_or_lost() {
    let bed = Bed::with(KafkaConfig { batch_wait_ms: 5, ..config(&crate::kafka_bed::bootstrap()) }).await;
    let log = bed.log();
    fill(&log, "events", 300).await;
    let first = Copier::new(log.member("events", "first"));
    eventually("the first works", || first.n_copied() >= 20);
    let second = Copier::new(log.member("events", "second"));
    eventually("the second works", || second.n_copied() >= 20 || first.n_copied() + second.n_copied() == 300);
    eventually("the first gave partitions away", || first.n_revoked.load(Ordering::Relaxed) > 0);
    fill_more(&log, 300, 600).await;
    eventually("both work", || second.n_copied() >= 20);
    drop(first.stop());
    // A static member's partitions wait for it; nobody comes, so they go to the other.
    eventually("the second took over", || second.n_copied() > 0 && second_has_all(&log));
    drop(second.stop());
    assert_each_once(&log, "single", 600).await;
}

async fn fill_more(log: &PrefixedLog, from: u32, to: u32) {
    for n in from..to {
        let key = format!("k{n}");
        append(log, "events", record(&key, &format!("v{n}"))).await;
    }
}

fn second_has_all(log: &PrefixedLog) -> bool {
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        handle.block_on(async {
            for partition in 0..4 {
                let (_, end) = log.range("events", partition).await.unwrap();
                if log.committed(GROUP, "events", partition).await.unwrap() != Some(end) {
                    return false;
                }
            }
            true
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_self_fences_the_first() {
    let log = Bed::new().await.log();
    fill(&log, "single", 4).await;
    let mut zombie = log.member("single", "same");
    let old = next_batch(&mut zombie, &limits(2, 1_000));
    let mut heir = log.member("single", "same");
    let new = next_batch(&mut heir, &LIMITS);
    heir.commit(&new, &copy_to("events", &new)).unwrap();
    let result = tokio::task::block_in_place(|| zombie.commit(&old, &copy_to("events", &old)));
    assert!(matches!(result, Err(CommitError::Fatal(_) | CommitError::Aborted(_))), "{result:?}");
    assert_each_once(&log, "events", 4).await;
    assert_eq!(log.committed(GROUP, "single", 0).await.unwrap(), Some(4));
    // It ends, rather than fighting for the name.
    eventually("the first ends", || zombie.poll_once(SOON).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_given_up_commits_nothing() {
    let base = config(&crate::kafka_bed::bootstrap());
    let bed = Bed::with(KafkaConfig { session_timeout_ms: 2_000, poll_interval_max_ms: 2_000, ..base }).await;
    let log = bed.log();
    fill(&log, "single", 4).await;
    let mut zombie = log.member("single", "zombie");
    let old = next_batch(&mut zombie, &LIMITS);
    // It does not poll while another waits: it is given up.
    let mut heir = log.member("single", "heir");
    let new = tokio::task::block_in_place(|| next_batch(&mut heir, &LIMITS));
    assert_eq!(new.records, old.records);
    heir.commit(&new, &copy_to("events", &new)).unwrap();
    let result = zombie.commit(&old, &copy_to("events", &old));
    assert!(matches!(result, Err(CommitError::Aborted(_))), "{result:?}");
    assert_each_once(&log, "events", 4).await;
    zombie.rewind().unwrap();
    let mut told = None;
    eventually("it learns of it", || {
        assert_ne!(heir.poll_once(Duration::ZERO), Ok(Polled::Revoked(vec![])));
        match zombie.poll_once(SOON).unwrap() {
            Polled::Revoked(partitions) => told = Some(partitions),
            Polled::Batch(batch) => panic!("records of another's partition: {batch:?}"),
            Polled::Nothing | Polled::Assigned(_) => {}
        }
        told.is_some()
    });
    assert_eq!(told, Some(vec![0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_moves_no_partition() {
    let log = Bed::new().await.log();
    let mut stays = log.member("events", "stays");
    stays.until_assigned(4);
    let mut restarts = log.member("events", "restarts");
    let deadline = Instant::now() + PATIENCE;
    while stays.session.partitions().len() != 2 || restarts.session.partitions().len() != 2 {
        assert!(Instant::now() < deadline);
        stays.poll_once(SOON).unwrap();
        restarts.poll_once(SOON).unwrap();
    }
    let (theirs, others) = (stays.session.partitions(), restarts.session.partitions());
    drop(restarts);
    let mut restarts = log.member("events", "restarts");
    while restarts.session.partitions().len() != 2 {
        assert!(Instant::now() < deadline);
        restarts.poll_once(SOON).unwrap();
        assert_eq!(stays.poll_once(SOON), Ok(Polled::Nothing), "who stays notices nothing");
    }
    let sorted = |mut partitions: Vec<u32>| {
        partitions.sort_unstable();
        partitions
    };
    assert_eq!(sorted(restarts.session.partitions()), sorted(others));
    assert_eq!(stays.session.partitions(), theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_is_not_kept_is_refused() {
    let bed = Bed::new().await;
    let log = bed.log();
    fill(&log, "single", 6).await;
    let mut session = log.session("single");
    let batch = next_batch(&mut session, &limits(2, 1_000));
    session.commit(&batch, &nothing_for(&batch)).unwrap();
    drop(session);
    bed.admin().delete_records(&log.name("single"), 0, 4).await.unwrap();
    assert_eq!(log.range("single", 0).await.unwrap(), (4, 6));

    let mut session = log.session("single");
    let mut refused = None;
    eventually("it is refused", || match session.poll_once(SOON) {
        Ok(Polled::Nothing) => false,
        Ok(polled) => panic!("{polled:?}"),
        Err(error) => {
            refused = Some(error.to_string());
            true
        }
    });
    let refused = refused.unwrap();
    assert!(
        refused.contains("stands at 2 in partition 0 of") && refused.contains("oldest kept record is 4"),
        "{refused}"
    );
    assert!(session.poll_once(SOON).is_err(), "and stays so");
    drop(session);

    let PrefixedLog { log: inner, .. } = &log;
    let member = Member { instance: "only".to_owned(), worker: 0 };
    let mut session: KafkaSession =
        inner.session(&log.name(GROUP), &log.name("single"), &member).unwrap().from_oldest();
    let mut assigned = None;
    eventually("it begins at the oldest", || {
        if let Polled::Assigned(told) = session.poll(&Limits { wait: SOON, ..LIMITS }).unwrap() {
            assigned = Some(told);
        }
        assigned.is_some()
    });
    assert_eq!(assigned.unwrap()[0].committed, Some(NextOffset::from_stored(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_that_overtakes_a_reader_is_told() {
    let bed = Bed::new().await;
    let log = bed.log();
    fill(&log, "single", 6).await;
    let mut session = log.session("single");
    session.until_assigned(1);
    session.idle(Duration::from_millis(500)).unwrap();
    bed.admin().delete_records(&log.name("single"), 0, 4).await.unwrap();
    session.rewind().unwrap();
    let mut refused = None;
    eventually("it is told", || match session.poll_once(SOON) {
        Ok(Polled::Batch(batch)) => panic!("skipped to {:?}", values(&batch)),
        Ok(_) => false,
        Err(error) => {
            refused = Some(error.to_string());
            true
        }
    });
    let refused = refused.unwrap();
    assert!(refused.contains("stands at 0 in partition 0 of"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_ahead_comes_once_after_a_rewind() {
    let log = Bed::new().await.log();
    fill(&log, "events", 500).await;
    let mut session = log.session("events");
    let mut n_seen = BTreeMap::<u32, u64>::new();
    let mut turn = 0;
    while let Some(batch) = poll(&mut session, &limits(40, 1 << 20)) {
        turn += 1;
        if turn % 3 == 0 {
            session.rewind().unwrap();
            if turn % 2 == 0 {
                session.idle(Duration::from_millis(30)).unwrap();
            }
            continue;
        }
        for consumed in &batch.records {
            let next = n_seen.entry(consumed.position.partition).or_default();
            assert_eq!(consumed.position.offset, *next, "in order, none left out, none twice");
            *next += 1;
        }
        session.commit(&batch, &nothing_for(&batch)).unwrap();
    }
    assert_eq!(n_seen.values().sum::<u64>(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_wakes() {
    let log = Bed::new().await.log();
    let began = Instant::now();
    log.changed("single", Duration::from_millis(20)).await;
    assert!(began.elapsed() >= Duration::from_millis(20));
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.changed("single", PATIENCE).await }
    });
    // What is appended before the first look does not count: append until it wakes.
    while !waiting.is_finished() {
        append(&log, "single", record("k", "v")).await;
    }
    assert!(began.elapsed() < PATIENCE / 2, "it was woken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_bounded() {
    let bed = Bed::new().await;
    let config = KafkaConfig { record_bytes_max: 4 << 20, ..bed.config.clone() };
    let log = Bed { config, ..bed.clone() }.log();
    let noise = |n: usize| -> bytes::Bytes {
        let mut random = event_log::memory::SplitMix64::new(1);
        (0..n).map(|_| (random.next() & 0xff) as u8).collect::<Vec<_>>().into()
    };
    let big = |n| event_log::Record { value: Some(noise(n)), ..record("k", "") };
    let too_large = |result: Result<_, AppendError>| matches!(result, Err(AppendError::TooLarge { .. }));
    assert!(too_large(log.append("single", None, big(4 << 20)).await), "for us");
    assert!(too_large(log.append("single", None, big(2 << 20)).await), "for the broker");
    assert_eq!(log.log.writable(), Ok(()), "that says nothing about the log");
    append(&log, "single", big(1 << 19)).await;
    assert_eq!(log.range("single", 0).await.unwrap(), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_appends_fail_in_time_and_sessions_wait() {
    let config = KafkaConfig { request_timeout_ms: 300, ..config("127.0.0.1:1") };
    let log = KafkaLog::connect(config).unwrap();
    assert!(matches!(log.append("t", None, record("k", "v")).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(log.read("t", 0, 0, 1).await, Err(event_log::BrowseError::Unavailable(_))));
    assert!(log.probe("t").await.is_err());
    let member = Member { instance: "only".to_owned(), worker: 0 };
    let mut session = log.session("group", "t", &member).unwrap();
    for _ in 0..3 {
        assert_eq!(session.poll(&Limits { wait: SOON, ..LIMITS }), Ok(Polled::Nothing));
        session.idle(SOON).unwrap();
    }
}

/// Fails on a batch of several with a poisoned record in it; alone, the record is dead.
#[derive(Debug, Default)]
struct Touchy {
    n_failed: Arc<AtomicUsize>,
}

#[async_trait]
impl Stage for Touchy {
    fn name(&self) -> &'static str {
        "touchy"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let is_poison = |verdict: &Verdict| verdict.outputs[0].record.value.as_deref() == Some(b"poison");
        let mut outputs = copy_to("events", batch);
        if let Some(verdict) = outputs.verdicts.iter_mut().find(|verdict| is_poison(verdict)) {
            if batch.records.len() > 1 {
                self.n_failed.fetch_add(1, Ordering::Relaxed);
                return Err(StageError::Unavailable("something in it".to_owned()));
            }
            verdict.fate = Fate::Dead("poison");
        }
        Ok(outputs)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_isolated() {
    let log = Bed::new().await.log();
    for n in 0..8 {
        append(&log, "single", record("k", &if n == 5 { "poison".to_owned() } else { format!("v{n}") })).await;
    }
    let (stage, shutdown) = (Touchy::default(), CancellationToken::new());
    let n_failed = Arc::clone(&stage.n_failed);
    let limits = Limits { records_max: 8, bytes_max: 1 << 20, wait: SOON };
    let handle =
        spawn_runner("touchy-0", log.session("single"), stage, limits, shutdown.clone(), Arc::new(())).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // A coordinator that is only just found may still say that it is none.
    while log.committed(GROUP, "single", 0).await.ok().flatten() != Some(8) {
        assert!(Instant::now() < deadline, "the others wait for ever");
        log.changed("events", SOON).await;
    }
    shutdown.cancel();
    assert_eq!(handle.ended().await, Ok(()));
    assert!(n_failed.load(Ordering::Relaxed) > 0);
    let values = all_values(&log, "events").await;
    assert_eq!(values, ["v0", "v1", "v2", "v3", "v4", "poison", "v6", "v7"], "each once, in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_described_and_changed() {
    let bed = Bed::new().await;
    let admin = bed.admin();
    let name = bed.name("state");
    let now = admin.describe(&name).await.unwrap().unwrap();
    assert_eq!((now.partitions, now.replication), (4, 1));
    assert_eq!(now.configs["cleanup.policy"], "compact");
    assert!(now.own.contains("cleanup.policy") && !now.own.contains("segment.bytes"));
    let change = BTreeMap::from([("retention.ms".to_owned(), "5000".to_owned())]);
    admin.alter_configs(&name, &change).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = admin.describe(&name).await.unwrap().unwrap();
        if now.configs["retention.ms"] == "5000" {
            assert_eq!(now.configs["cleanup.policy"], "compact", "what was not named stays");
            break;
        }
        assert!(Instant::now() < deadline);
    }
    assert_eq!(admin.describe(&bed.name("nowhere")).await.unwrap(), None);
    let bad = BTreeMap::from([("retention.ms".to_owned(), "soon".to_owned())]);
    assert!(admin.alter_configs(&name, &bad).await.is_err());
    let log = bed.log();
    assert_eq!(log.log.cluster_id().unwrap(), admin.cluster_id().unwrap());
    admin.delete(&[&name]).await.unwrap();
    admin.delete(&[&name]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_carry_the_epoch() {
    let bed = Bed::new().await;
    let log = Bed { config: KafkaConfig { epoch: 3, ..bed.config.clone() }, ..bed }.log();
    assert_eq!(append(&log, "single", record("k", "v")).await.epoch, 3);
    assert_eq!(log.read("single", 0, 0, 1).await.unwrap()[0].position.epoch, 3);
    let mut session = log.session("single");
    assert_eq!(next_batch(&mut session, &LIMITS).records[0].position.epoch, 3);
}
