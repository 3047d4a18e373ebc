//! What only the memory log has: members that come and go, faults.

use crate::harness::*;
use event_log::{
    Append, AppendError, Batch, CommitError, Limits, Polled, Session,
    memory::{AppendFault, CommitFault, Faults, MemoryLog, MemorySession, Rates, SeededFaults, SplitMix64},
};
use std::collections::BTreeSet;

fn log_with(n_records: u32) -> MemoryLog {
    let log = MemoryLog::new(&topics());
    for n in 0..n_records {
        log.append_now("events", Some(n % 4), record("", &format!("v{n}"))).unwrap();
    }
    log
}

/// Polls and tells what came: `+` assigned, `-` revoked, `b` a batch of so many, `0` nothing.
fn told(session: &mut MemorySession) -> String {
    match session.poll(&LIMITS).unwrap() {
        Polled::Assigned(assigned) => format!("+{:?}", assigned.iter().map(|a| a.partition).collect::<Vec<_>>()),
        Polled::Revoked(partitions) => format!("-{partitions:?}"),
        Polled::Batch(batch) => format!("b{}", batch.records.len()),
        Polled::Nothing => "0".to_owned(),
    }
}

fn batch(session: &mut MemorySession) -> Batch {
    poll(session, &LIMITS).unwrap()
}

#[test]
fn members_share_the_partitions() {
    let log = log_with(8);
    let mut first = log.join(GROUP, "events").unwrap();
    assert_eq!(told(&mut first), "+[0, 1, 2, 3]");
    let mut second = log.join(GROUP, "events").unwrap();
    assert_eq!(told(&mut second), "+[1, 3]");
    assert_eq!(told(&mut first), "-[1, 3]");
    assert_eq!(told(&mut first), "b4");
    assert_eq!(told(&mut second), "b4");
    drop(second);
    assert_eq!(told(&mut first), "+[1, 3]");
    assert_eq!((told(&mut first), told(&mut first)), ("b4".to_owned(), "0".to_owned()));
}

#[test]
fn a_crashed_member_keeps_its_partitions_until_expelled() {
    let log = log_with(4);
    let mut first = log.join(GROUP, "events").unwrap();
    told(&mut first);
    let lost = batch(&mut first);
    let id = first.crash();
    let mut second = log.join(GROUP, "events").unwrap();
    assert_eq!(told(&mut second), "+[1, 3]");
    log.expel(id);
    assert_eq!(told(&mut second), "+[0, 2]");
    assert_eq!(batch(&mut second).records.len(), lost.records.len(), "what was not committed comes again");
}

#[test]
fn a_zombie_commits_nothing() {
    let log = log_with(4);
    let mut zombie = log.join(GROUP, "events").unwrap();
    told(&mut zombie);
    let old = batch(&mut zombie);
    // Another joins: the group moves on.
    let second = log.join(GROUP, "events").unwrap();
    assert!(matches!(zombie.commit(&old, &copy_to("events", &old)), Err(CommitError::Aborted(_))));
    drop(second);
    // Back to where it was, but under a later generation: the old batch stays refused.
    assert!(matches!(zombie.commit(&old, &copy_to("events", &old)), Err(CommitError::Aborted(_))));
    log.expel(zombie.id());
    assert!(matches!(zombie.commit(&old, &copy_to("events", &old)), Err(CommitError::Aborted(_))));
    let committed = (0..4).filter_map(|partition| log.committed_offset(GROUP, "events", partition)).count();
    let n_records: usize = (0..4).map(|partition| log.records("events", partition).len()).sum();
    assert_eq!((committed, n_records), (0, 4));
    // It learns that it lost all, and joins again.
    assert_eq!(told(&mut zombie), "-[0, 1, 2, 3]");
    assert_eq!(told(&mut zombie), "+[0, 1, 2, 3]");
    let new = batch(&mut zombie);
    zombie.commit(&new, &copy_to("events", &new)).unwrap();
}

#[test]
fn a_partition_that_was_away_is_revoked_and_assigned_again() {
    let log = log_with(4);
    let mut first = log.join(GROUP, "events").unwrap();
    told(&mut first);
    let mut second = log.join(GROUP, "events").unwrap();
    told(&mut second);
    let theirs = batch(&mut second);
    second.commit(&theirs, &nothing_for(&theirs)).unwrap();
    drop(second);
    // It never knew that 1 and 3 were away, but what it remembers of them is old.
    assert_eq!(told(&mut first), "-[1, 3]");
    assert_eq!(told(&mut first), "+[1, 3]");
    assert_eq!(told(&mut first), "b2");
}

#[test]
fn there_is_a_last_epoch() {
    let log = log_with(0);
    for epoch in 1..=event_log::position::EPOCH_MAX {
        assert_eq!(log.raise_epoch(), Ok(epoch));
    }
    assert!(log.raise_epoch().is_err());
}

#[test]
fn faults_of_a_commit() {
    let check = |fault, expected: fn(&Result<(), CommitError>) -> bool, happens: bool| {
        let log = log_with(4);
        let mut session = log.join(GROUP, "events").unwrap();
        let batch = batch(&mut session);
        log.next_commit(fault);
        let result = session.commit(&batch, &copy_to("events", &batch));
        assert!(expected(&result), "{fault:?}: {result:?}");
        let n_records: usize = (0..4).map(|partition| log.records("events", partition).len()).sum();
        assert_eq!(n_records, if happens { 8 } else { 4 }, "{fault:?}");
        let n_committed = (0..4).filter_map(|partition| log.committed_offset(GROUP, "events", partition)).count();
        assert_eq!(n_committed, if happens { 4 } else { 0 }, "{fault:?}");
        let is_dead = matches!(result, Err(CommitError::Fatal(_)));
        assert_eq!(session.poll(&LIMITS).is_err(), is_dead, "after an unclear answer nothing works");
    };
    check(CommitFault::None, |result| result.is_ok(), true);
    check(CommitFault::Aborted, |result| matches!(result, Err(CommitError::Aborted(_))), false);
    check(CommitFault::HappenedUntold, |result| matches!(result, Err(CommitError::Fatal(_))), true);
    check(CommitFault::FailedUntold, |result| matches!(result, Err(CommitError::Fatal(_))), false);
}

#[test]
fn aborted_records_leave_gaps() {
    let log = log_with(1);
    let mut session = log.join(GROUP, "events").unwrap();
    let once = batch(&mut session);
    log.next_commit(CommitFault::Aborted);
    session.commit(&once, &copy_to("single", &once)).unwrap_err();
    session.rewind().unwrap();
    let again = batch(&mut session);
    session.commit(&again, &copy_to("single", &again)).unwrap();
    let offsets: Vec<u64> = log.records("single", 0).iter().map(|consumed| consumed.position.offset).collect();
    assert_eq!(offsets, [1]);
    let mut reader = log.join(GROUP, "single").unwrap();
    assert_eq!(batch(&mut reader).next_offsets()[0].2.offset(), 2);
}

#[test]
fn faults_of_an_append() {
    #[derive(Debug)]
    struct Always(AppendFault);
    impl Faults for Always {
        fn append(&mut self) -> AppendFault {
            self.0
        }
    }
    let check = |fault, expected: fn(&Result<event_log::Position, AppendError>) -> bool, n_records| {
        let log = MemoryLog::with_faults(&topics(), Always(fault));
        let result = log.append_now("single", None, record("k", "v"));
        assert!(expected(&result), "{fault:?}: {result:?}");
        assert_eq!(log.records("single", 0).len(), n_records, "{fault:?}");
    };
    check(AppendFault::None, |result| result.is_ok(), 1);
    check(AppendFault::Busy, |result| *result == Err(AppendError::Busy), 0);
    check(AppendFault::Unavailable, |result| matches!(result, Err(AppendError::Unavailable(_))), 0);
    check(AppendFault::HappenedUntold, |result| matches!(result, Err(AppendError::Unavailable(_))), 1);
}

/// Copies `single` to `events` under a storm of faults, and tells what the log looks like at the end.
async fn storm(seed: u64) -> (Vec<Vec<String>>, usize) {
    let rates = Rates {
        poll_nothing: 100,
        cut: 500,
        commit_aborted: 200,
        commit_happened_untold: 50,
        commit_failed_untold: 50,
        marker: 500,
        ..Rates::default()
    };
    let log = MemoryLog::new(&topics());
    let mut random = SplitMix64::new(seed);
    for n in 0..60 {
        log.append("single", None, record(&format!("k{}", random.below(7)), &format!("{n}"))).await.unwrap();
    }
    log.set_faults(SeededFaults::new(seed, rates));
    let mut session = log.join(GROUP, "single").unwrap();
    let mut n_faults = 0;
    let limits = Limits { records_max: 9, ..LIMITS };
    for _ in 0..2_000 {
        if log.committed_offset(GROUP, "single", 0) == Some(60) {
            break;
        }
        let Ok(polled) = session.poll(&limits) else {
            let dead = session.crash();
            log.expel(dead);
            session = log.join(GROUP, "single").unwrap();
            continue;
        };
        let Polled::Batch(batch) = polled else { continue };
        if session.commit(&batch, &copy_to("events", &batch)).is_err() {
            n_faults += 1;
            let _ = session.rewind();
        }
    }
    let values = |partition| log.records("events", partition).iter().map(value).collect();
    ((0..4).map(values).collect(), n_faults)
}

#[tokio::test]
async fn whatever_fails_a_copy_is_exact_and_the_same_for_a_seed() {
    let mut n_faults = 0;
    for seed in 0..50 {
        let (copied, faults) = storm(seed).await;
        n_faults += faults;
        let all: BTreeSet<u32> = copied.iter().flatten().map(|value| value.parse().unwrap()).collect();
        assert_eq!(copied.iter().flatten().count(), 60, "seed {seed}: none twice");
        assert_eq!(all, (0..60).collect(), "seed {seed}: none missing");
        assert_eq!(storm(seed).await, (copied, faults), "seed {seed}: the same again");
    }
    assert!(n_faults > 100, "the storm was one: {n_faults}");
}
