//! Lanes over the log: crashes, and resuming.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{
    Limits,
    memory::{CommitFault, MemoryLog},
    runner::{PhaseName, Runner, RunnerOptions},
};
use schemas::{decode, topics, wire::OutcomeRecord};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{Direct, config, fake_of, lane_on, log_keeping, record};
use syncer::Lane;
use testkit::{Fault, builders::delta, fake::FakeApi};

fn log() -> MemoryLog {
    log_keeping(30 * 24 * 3_600 * 1_000)
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
            let lane = lane_on(&log, config(provider), Arc::new(Direct(fake.clone())));
            run(&log, lane, |at| {
                count += usize::from(at == phase);
                count == 2
            })
            .await;
        }
        for fault in [CommitFault::Aborted, CommitFault::HappenedUntold, CommitFault::FailedUntold] {
            log.next_commit(fault);
            run(&log, lane_on(&log, config(provider), Arc::new(Direct(fake.clone()))), |_| false).await;
        }
        run(&log, lane_on(&log, config(provider), Arc::new(Direct(fake.clone()))), |_| false).await;
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
    let pair = |provider| {
        let fake = FakeApi::new(fake_of(provider));
        (lane_on(&log, config(provider), Arc::new(Direct(fake.clone()))), fake)
    };
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
    run(&log, lane_on(&log, config("sendgrid"), Arc::new(Direct(broken.clone()))), |_| false).await;
    assert_eq!(broken.held(), 100);
}
