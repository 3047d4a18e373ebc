//! A store that was restored from a backup, over a log that went on meanwhile (R4).

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use domain::Kind;
use event_log::{
    Limits, Record, TopicSpec,
    memory::{MemoryLog, MemorySession},
    runner::{Fatal, Runner, RunnerEvent, RunnerOptions},
};
use schemas::{encode, topics, wire::EventRecord};
use std::{sync::Arc, time::Duration};
use suppressor::{Suppressor, stage::NoMetrics, store::memory::MemoryStore};
use testkit::builders::event;

const GROUP: &str = "suppressor";
const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn log() -> MemoryLog {
    let spec =
        |topic: topics::Topic| TopicSpec { name: topic.name.into(), partitions: 1, retention_ms: topic.retention_ms };
    MemoryLog::new(&topics::all().into_iter().map(spec).collect::<Vec<_>>())
}

/// One bounce a day.
fn tell(log: &MemoryLog, days: std::ops::Range<i64>) {
    for day in days {
        let event = event(Kind::BouncedHard, &format!("day{day}@example.com"), day);
        let record = Record {
            key: Some(event.key().to_log_key().into()),
            value: Some(encode(&EventRecord::from(event)).unwrap()),
            headers: Vec::new(),
            timestamp_ms: day * DAY_MS,
        };
        log.append_now(topics::EVENTS, None, record).unwrap();
    }
}

/// Runs a suppressor over a store until nothing is left.
async fn run(log: &MemoryLog, store: &MemoryStore) -> Result<(), Fatal> {
    run_as(GROUP, log, store).await
}

async fn run_as(group: &str, log: &MemoryLog, store: &MemoryStore) -> Result<(), Fatal> {
    let session: MemorySession = log.join(group, topics::EVENTS).unwrap();
    let limits = Limits { records_max: 100, bytes_max: 1 << 20, wait: Duration::ZERO };
    let mut runner =
        Runner::new(session, Suppressor::new(store.clone(), Arc::new(NoMetrics)), RunnerOptions::new(limits));
    loop {
        if runner.step().await? == RunnerEvent::Nothing {
            return Ok(());
        }
    }
}

fn deltas(log: &MemoryLog) -> usize {
    log.records(topics::DELTAS, 0).len()
}

/// A log of 200 days of which the last 90 are kept, and the state that was made of it; a backup has so many days.
async fn restored(days: i64) -> (MemoryLog, MemoryStore) {
    let (log, live, backup) = (log(), MemoryStore::default(), MemoryStore::default());
    if days > 0 {
        tell(&log, 0..days);
        run(&log, &backup).await.unwrap();
    }
    tell(&log, days..200);
    run(&log, &live).await.unwrap();
    assert_eq!(deltas(&log), 200);
    log.enforce_retention(200 * DAY_MS).unwrap();
    (log, backup)
}

#[tokio::test]
async fn a_backup_that_the_log_reaches_back_to_is_made_up_to_date() {
    let (log, store) = restored(150).await;
    run(&log, &store).await.unwrap();
    assert_eq!((store.all_in_force().len(), deltas(&log)), (200, 200), "and nobody is told twice");
    tell(&log, 200..201);
    run(&log, &store).await.unwrap();
    assert_eq!((store.all_in_force().len(), deltas(&log)), (201, 201));
}

#[tokio::test]
async fn a_backup_that_is_older_than_what_the_log_keeps_is_refused() {
    let (log, store) = restored(50).await;
    for _ in 0..2 {
        let refused = run(&log, &store).await;
        let said = match &refused {
            Err(Fatal::Stage(said)) => said.as_str(),
            _ => "",
        };
        assert!(said.contains("before offset 50") && said.contains("keeps nothing before 110"), "{refused:?}");
        assert!(said.contains("Restore a newer backup") && said.contains("raise the log's epoch"), "{said}");
    }
    assert_eq!((store.all_in_force().len(), deltas(&log)), (50, 200), "nothing was made of what is left");
    // Who accepts that says so.
    log.raise_epoch().unwrap();
    run(&log, &store).await.unwrap();
    assert_eq!((store.all_in_force().len(), deltas(&log)), (140, 200), "what is kept was applied again");
}

#[tokio::test]
async fn an_empty_store_is_refused_too() {
    let (log, store) = restored(0).await;
    let refused = run(&log, &store).await;
    assert!(
        matches!(&refused, Err(Fatal::Stage(said)) if said.contains("delete the group's positions")),
        "{refused:?}"
    );
    assert!(store.all_in_force().is_empty());
    // A group without positions, as one is whose positions were deleted.
    run_as("another", &log, &store).await.unwrap();
    assert_eq!((store.all_in_force().len(), deltas(&log)), (90, 290), "what is kept was told anew");
}

/// The log is empty, and the group was moved over what is no record.
#[tokio::test]
async fn a_partition_in_which_nothing_came_for_long_is_not_refused() {
    let (log, store) = (log(), MemoryStore::default());
    tell(&log, 0..3);
    run(&log, &store).await.unwrap();
    log.enforce_retention(200 * DAY_MS).unwrap();
    run(&log, &store).await.unwrap();
    tell(&log, 200..201);
    run(&log, &store).await.unwrap();
    assert_eq!((store.all_in_force().len(), deltas(&log)), (4, 4));
}
