//! Lanes over the log: crashes, resuming, and beginning from `state`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{
    Limits, Record, TopicSpec,
    memory::{CommitFault, MemoryLog},
    runner::{PhaseName, Runner, RunnerOptions},
};
use schemas::{
    decode, encode, topics,
    wire::{OutcomeRecord, StandingRecord, StateRecord},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{Direct, config, fake_of, lane_with, pair, record};
use syncer::{Bootstrap, Lane};
use testkit::{Fault, builders::delta, fake::FakeApi};

fn log() -> MemoryLog {
    log_keeping(30 * 24 * 3_600 * 1_000)
}

fn log_keeping(deltas_ms: u64) -> MemoryLog {
    let spec = |topic: schemas::topics::Topic| TopicSpec {
        name: Arc::from(topic.name),
        partitions: 2,
        retention_ms: if topic.name == topics::DELTAS { Some(deltas_ms) } else { topic.retention_ms },
    };
    MemoryLog::new(&topics::all().into_iter().map(spec).collect::<Vec<_>>())
}

fn on(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[(Scope::All, Reason::HardBounce)], ("drip", Kind::BouncedHard), position)
}

fn off(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

fn limits() -> Limits {
    Limits { records_max: 40, bytes_max: 1 << 20, wait: Duration::ZERO }
}

/// Runs until the lane has committed everything, or `crash` says to stop.
async fn run(log: &MemoryLog, lane: Lane, mut crash: impl FnMut(PhaseName) -> bool) {
    let group = lane.account().group();
    let session = log.join(&group, topics::DELTAS).unwrap();
    let mut runner = Runner::new(session, lane, RunnerOptions::new(limits()));
    for _ in 0..10_000 {
        let done = (0..2).all(|partition| {
            let committed = log.committed_offset(&group, topics::DELTAS, partition).unwrap_or(0);
            log.read_now(topics::DELTAS, partition, committed, 1).unwrap().is_empty()
        });
        if done {
            return;
        }
        if crash(runner.phase()) || runner.step().await.is_err() {
            let (session, _lane) = runner.into_parts();
            log.expel(session.crash());
            return;
        }
    }
    panic!("the lane does not come to an end");
}

fn outcomes(log: &MemoryLog) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for consumed in (0..2).flat_map(|partition| log.records(topics::OUTCOMES, partition)) {
        let outcome: OutcomeRecord = decode(consumed.record.value.as_ref().unwrap()).unwrap();
        found.entry(outcome.delta_id).or_default().push(outcome.result);
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_loses_nothing_and_records_each_delta_once() {
    for provider in support::PROVIDERS {
        let (log, fake) = (log(), FakeApi::new(fake_of(provider)));
        let mut deltas = Vec::new();
        for number in 0..120 {
            let address = format!("user{}@example.com", number % 50);
            deltas.push(if number % 3 == 0 { off(&address, number) } else { on(&address, number) });
        }
        for delta in &deltas {
            log.append_now(topics::DELTAS, None, record(delta)).unwrap();
        }
        for phase in [PhaseName::Process, PhaseName::Commit, PhaseName::Commit, PhaseName::Process] {
            let mut count = 0;
            let lane = lane_with(config(provider), Arc::new(Direct(fake.clone())));
            run(&log, lane, |at| {
                count += usize::from(at == phase);
                count == 2
            })
            .await;
        }
        for fault in [CommitFault::Aborted, CommitFault::HappenedUntold, CommitFault::FailedUntold] {
            log.next_commit(fault);
            run(&log, lane_with(config(provider), Arc::new(Direct(fake.clone()))), |_| false).await;
        }
        run(&log, lane_with(config(provider), Arc::new(Direct(fake.clone()))), |_| false).await;
        let mut last: BTreeMap<&str, bool> = BTreeMap::new();
        for delta in &deltas {
            last.insert(&delta.address, delta.now.is_some());
        }
        let wanted: Vec<&str> = last.iter().filter(|(_, on)| **on).map(|(address, _)| *address).collect();
        assert_eq!(fake.addresses(&support::dead_list(provider)), wanted, "{provider}");
        let outcomes = outcomes(&log);
        assert_eq!(outcomes.len(), deltas.len(), "{provider}");
        assert!(outcomes.values().all(|results| results.len() == 1), "{provider}: {outcomes:?}");
        assert_eq!(fake.in_flight_max(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_outage_of_one_delays_no_other() {
    let log = log();
    for number in 0..100 {
        log.append_now(topics::DELTAS, None, record(&on(&format!("user{number}@example.com"), number))).unwrap();
    }
    let (down, broken) = pair("sendgrid");
    let (up, works) = pair("mailgun");
    broken.set_fault(Fault::Status(503));
    let mut steps = 0;
    run(&log, down, |_| {
        steps += 1;
        steps == 200
    })
    .await;
    run(&log, up, |_| false).await;
    assert_eq!((broken.held(), works.held()), (0, 100));
    assert_eq!(log.committed_offset("quell.syncer.sendgrid-main", topics::DELTAS, 0), None);
    broken.set_fault(Fault::None);
    run(&log, lane_with(config("sendgrid"), Arc::new(Direct(broken.clone()))), |_| false).await;
    assert_eq!(broken.held(), 100);
}

fn state(address: &str, scope: &Scope, position: u64, in_force: bool) -> Record {
    let delta = delta(address, scope, &[(scope.clone(), Reason::HardBounce)], ("drip", Kind::BouncedHard), position);
    let value = StateRecord {
        tenant: delta.key.tenant.to_string(),
        channel: delta.key.recipient.channel().to_string(),
        recipient: delta.key.recipient.as_str().to_owned(),
        address: delta.address.clone(),
        scope: scope.to_string(),
        standing: StandingRecord::from(delta.now.clone().unwrap()),
        position: i64::try_from(position).unwrap(),
    };
    Record {
        key: Some(StateRecord::log_key(&delta.key, scope).into_bytes().into()),
        value: in_force.then(|| encode(&value).unwrap()),
        headers: Vec::new(),
        timestamp_ms: delta.decided_at.as_millis(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_lane_begins_from_state() {
    for provider in support::PROVIDERS {
        let log = log();
        let put = |topic: &str, record: Record| log.append_now(topic, None, record).unwrap();
        // Deltas of long ago, some of them undone since.
        for number in 0..30 {
            put(topics::DELTAS, record(&on(&format!("user{number}@example.com"), number)));
            put(topics::STATE, state(&format!("user{number}@example.com"), &Scope::All, number, true));
        }
        for number in 0..10 {
            put(topics::STATE, state(&format!("user{number}@example.com"), &Scope::All, number, false));
        }
        put(topics::STATE, state("user0@example.com", &Scope::All, 90, true));
        put(topics::STATE, state("user1@example.com", &Scope::Marketing, 91, true));
        let (mut lane, fake) = pair(provider);
        // What the provider did by itself for a recipient who was released since.
        fake.bounced_by_itself(
            if provider == "mailgun" { support::DOMAIN } else { support::STREAM },
            "user2@example.com",
        );
        assert!(Bootstrap::is_needed(&lane, &log).await.unwrap());
        let mut bootstrap = Bootstrap::default();
        fake.next_faults([Fault::Status(500); 5]);
        assert!(bootstrap.run(&mut lane, &log).await.is_err());
        bootstrap.run(&mut lane, &log).await.unwrap();
        // What came while state was read is told by the deltas.
        put(topics::DELTAS, record(&off("user20@example.com", 100)));
        put(topics::DELTAS, record(&on("user2@example.com", 101)));
        run(&log, lane, |_| false).await;
        let mut wanted: Vec<String> = (10..30).filter(|n| *n != 20).map(|n| format!("user{n}@example.com")).collect();
        wanted.extend(["user0@example.com".to_owned(), "user2@example.com".to_owned()]);
        if provider == "mailgun" {
            assert_eq!(fake.addresses("mg.example.com/unsubscribes"), ["user1@example.com"]);
        } else {
            wanted.push("user1@example.com".to_owned());
        }
        wanted.sort();
        assert_eq!(fake.addresses(&support::dead_list(provider)), wanted, "{provider}");
        let lane = lane_with(config(provider), Arc::new(Direct(fake.clone())));
        assert!(!Bootstrap::is_needed(&lane, &log).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_behind_what_the_log_keeps_begins_from_state() {
    let log = log_keeping(5_000);
    let (lane, fake) = pair("mailgun");
    for number in 0..20 {
        log.append_now(topics::DELTAS, None, record(&on(&format!("user{number}@example.com"), number))).unwrap();
    }
    run(&log, lane, |_| false).await;
    assert_eq!(fake.held(), 20);
    // More changes happen while it is away, and are kept no longer; the compacted state still tells of them.
    for number in 0..20 {
        log.append_now(topics::DELTAS, None, record(&off(&format!("user{number}@example.com"), 50 + number))).unwrap();
        log.append_now(topics::STATE, None, state(&format!("user{number}@example.com"), &Scope::All, 50, false))
            .unwrap();
    }
    log.append_now(topics::STATE, None, state("new@example.com", &Scope::All, 70, true)).unwrap();
    for number in 0..10 {
        log.append_now(topics::DELTAS, None, record(&on(&format!("late{number}@example.com"), 80))).unwrap();
    }
    let mut lane = lane_with(config("mailgun"), Arc::new(Direct(fake.clone())));
    assert!(!Bootstrap::is_needed(&lane, &log).await.unwrap());
    log.enforce_retention(on("late0@example.com", 80).decided_at.as_millis() + 4_000).unwrap();
    assert!(Bootstrap::is_needed(&lane, &log).await.unwrap());
    Bootstrap::default().run(&mut lane, &log).await.unwrap();
    assert_eq!(fake.addresses("mg.example.com/bounces"), ["new@example.com"]);
    log.append_now(topics::DELTAS, None, record(&off("new@example.com", 90))).unwrap();
    run(&log, lane, |_| false).await;
    assert!(!fake.holds("mg.example.com/bounces", "new@example.com"));
}
