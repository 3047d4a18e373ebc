//! The cases, each run against the memory log and the embedded one, and where a cluster promises the same, against Kafka.

use crate::harness::*;
use event_log::{
    AppendError, Browse, BrowseError, CommitError, NextOffset, Polled, Position, Session, memory::MemoryLog,
};
use std::time::Duration;

/// Runs a case against Kafka too. Compaction and retention are the broker's there, in its own time; an epoch is
/// configuration.
macro_rules! kafka_cases {
    ($($name:ident),* $(,)?) => {
        mod kafka_log {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::kafka_bed::Bed::new().await.log()).await; })*
        }
    };
}

kafka_cases!(
    a_record_comes_back_whole,
    a_key_decides_the_partition,
    offsets_count_up_in_each_partition,
    what_is_wrong_is_refused,
    the_first_poll_assigns,
    a_look_takes_no_records,
    limits_bound_a_poll,
    a_full_partition_starves_no_other,
    a_commit_moves_positions_and_appends,
    a_commit_of_nothing_but_positions,
    rewind_goes_back_to_the_committed,
    a_wrong_output_commits_nothing,
    read_back_stays_below_the_committed,
    browse_reads_anywhere,
    lag_is_what_was_not_polled,
);

/// Runs a case against every log.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        mod memory_log {
            $(#[tokio::test] async fn $name() { super::$name(super::MemoryLog::new(&super::topics())).await; })*
        }
        mod embedded_log {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                super::$name(super::open_embedded(directory.path())).await;
            })*
        }
        mod segmented_log {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let directory = tempfile::tempdir().unwrap();
                super::$name(super::open_segmented(directory.path(), &["single", "events"])).await;
            })*
        }
    };
}

cases!(
    a_record_comes_back_whole,
    a_key_decides_the_partition,
    offsets_count_up_in_each_partition,
    what_is_wrong_is_refused,
    the_first_poll_assigns,
    a_look_takes_no_records,
    limits_bound_a_poll,
    a_full_partition_starves_no_other,
    a_commit_moves_positions_and_appends,
    a_commit_of_nothing_but_positions,
    rewind_goes_back_to_the_committed,
    a_wrong_output_commits_nothing,
    read_back_stays_below_the_committed,
    browse_reads_anywhere,
    compaction_keeps_the_newest_of_each_key,
    a_tombstone_stays_a_day,
    retention_takes_the_old,
    an_emptied_partition_goes_on_where_it_was,
    an_epoch_is_for_what_comes_after,
    changed_wakes_and_times_out,
    lag_is_what_was_not_polled,
);

async fn a_record_comes_back_whole(log: impl Log) {
    let [early, late] = log.odd_timestamps();
    let mut whole = at(early, "key", "value");
    whole.headers = vec![header("traceparent", "00-ab"), header("receipt-id", "")];
    let bare = event_log::Record { key: None, value: None, headers: vec![], timestamp_ms: late };
    for record in [whole, bare] {
        let position = log.append("single", None, record.clone()).await.unwrap();
        let read = log.read("single", 0, position.offset, 1).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((&*read[0].topic, read[0].position), ("single", position));
        assert_eq!(read[0].record, record);
    }
}

async fn a_key_decides_the_partition(log: impl Log) {
    for n in 0..20 {
        let key = format!("key{n}");
        let position = append(&log, "events", record(&key, "v")).await;
        assert_eq!(position.partition, event_log::partition::partition_of(key.as_bytes(), 4));
    }
    let asked = log.append("events", Some(3), record("key1", "v")).await.unwrap();
    assert_eq!(asked.partition, 3);
    let mut spread = Vec::new();
    for _ in 0..8 {
        spread.push(append(&log, "events", record("", "v")).await.partition);
    }
    assert_eq!(spread, [0, 1, 2, 3, 0, 1, 2, 3], "without a key, in turn");
}

async fn offsets_count_up_in_each_partition(log: impl Log) {
    for offset in 0..5 {
        for partition in 0..4 {
            let position = log.append("events", Some(partition), record("", "v")).await.unwrap();
            assert_eq!(position, Position { epoch: 0, partition, offset });
        }
    }
}

async fn what_is_wrong_is_refused(log: impl Log) {
    let refused = |error| matches!(error, Err(AppendError::Unavailable(_)));
    assert!(refused(log.append("nowhere", None, record("k", "v")).await));
    assert!(refused(log.append("events", Some(4), record("k", "v")).await));
    assert!(refused(log.append("state", None, record("", "v")).await), "a compacted topic needs keys");
    assert!(event_log::Append::partitions(&log, "nowhere").is_err());
    assert_eq!(event_log::Append::partitions(&log, "events"), Ok(4));
    assert_eq!(Browse::partitions(&log, "events"), Ok(4));
    let unknown = |error| matches!(error, Err(BrowseError::Unknown(_)));
    assert!(unknown(log.read("nowhere", 0, 0, 1).await));
    assert!(unknown(log.read("events", 4, 0, 1).await));
    assert!(matches!(log.range("events", 4).await, Err(BrowseError::Unknown(_))));
    assert!(matches!(log.committed(GROUP, "events", 4).await, Err(BrowseError::Unknown(_))));
}

async fn the_first_poll_assigns(log: impl Log) {
    append(&log, "single", record("k", "a")).await;
    append(&log, "single", record("k", "b")).await;
    let mut session = log.session("single");
    let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
    assert_eq!(assigned.len(), 1);
    assert_eq!((&*assigned[0].topic, assigned[0].partition, assigned[0].committed), ("single", 0, None));
    let batch = poll(&mut session, &limits(1, 100)).unwrap();
    session.commit(&batch, &nothing_for(&batch)).unwrap();
    drop(session);

    let mut session = log.session("single");
    let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
    assert_eq!(assigned[0].committed, Some(NextOffset::from_stored(1)));
    assert_eq!(values(&poll(&mut session, &LIMITS).unwrap()), ["b"], "the next owner goes on where the last stood");
}

async fn a_look_takes_no_records(log: impl Log) {
    for value in ["a", "b"] {
        append(&log, "single", record("k", value)).await;
    }
    let mut session = log.session("single");
    let assigned = (0..1_000).find_map(|_| {
        let seen = session.look().unwrap();
        if seen.is_none() {
            session.idle(Duration::from_millis(20)).unwrap();
        }
        seen
    });
    assert!(matches!(&assigned, Some(Polled::Assigned(assigned)) if assigned.len() == 1), "{assigned:?}");
    for _ in 0..3 {
        assert_eq!(session.look().unwrap(), None);
    }
    let batch = poll(&mut session, &limits(2, 100)).unwrap();
    assert_eq!(values(&batch), ["a", "b"], "nothing is passed over");
    session.commit(&batch, &nothing_for(&batch)).unwrap();
}

async fn limits_bound_a_poll(log: impl Log) {
    for value in ["aaaa", "bbbb", "cccc", "dddd"] {
        append(&log, "single", record("", value)).await;
    }
    let check = |records_max, bytes_max, expected: &[&str]| {
        let mut session = log.session("single");
        assert_eq!(values(&poll(&mut session, &limits(records_max, bytes_max)).unwrap()), expected);
    };
    check(2, 1_000, &["aaaa", "bbbb"]);
    check(100, 12, &["aaaa", "bbbb", "cccc"]);
    check(100, 11, &["aaaa", "bbbb"]);
    check(100, 3, &["aaaa"]);
    check(100, 0, &["aaaa"]);
    check(0, 1_000, &["aaaa"]);
    let mut session = log.session("single");
    let mut seen = Vec::new();
    while let Some(batch) = poll(&mut session, &limits(3, 9)) {
        seen.extend(values(&batch));
    }
    assert_eq!(seen, ["aaaa", "bbbb", "cccc", "dddd"], "what did not fit comes with the next poll");
}

async fn a_full_partition_starves_no_other(log: impl Log) {
    for _ in 0..200 {
        log.append("events", Some(0), record("", "busy")).await.unwrap();
    }
    for partition in 1..4 {
        log.append("events", Some(partition), record("", "rare")).await.unwrap();
    }
    let mut session = log.session("events");
    // A broker may hand over some partitions before others: what the test is about is a batch that all have a part in.
    let mut batch = poll(&mut session, &limits(20, 1 << 20)).unwrap();
    for _ in 0..100 {
        if batch.records.len() == 20 {
            break;
        }
        session.rewind().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        batch = poll(&mut session, &limits(20, 1 << 20)).unwrap();
    }
    assert_eq!(batch.records.len(), 20, "the batch is full");
    let rare = batch.records.iter().filter(|consumed| consumed.position.partition != 0).count();
    assert_eq!(rare, 3, "every partition is in it");
    let offsets: Vec<u64> =
        batch.records.iter().filter(|c| c.position.partition == 0).map(|c| c.position.offset).collect();
    assert_eq!(offsets, (0..17).collect::<Vec<_>>(), "in order within a partition");
    let mut partitions = Vec::new();
    session.rewind().unwrap();
    for _ in 0..4 {
        session.rewind().unwrap();
        partitions.push(poll(&mut session, &limits(1, 100)).unwrap().records[0].position.partition);
    }
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2, 3], "each comes first in turn");
}

async fn a_commit_moves_positions_and_appends(log: impl Log) {
    for n in 0..10 {
        append(&log, "events", record(&format!("key{n}"), &format!("v{n}"))).await;
    }
    let mut session = log.session("events");
    let mut n_seen = 0;
    while let Some(batch) = poll(&mut session, &limits(3, 1_000)) {
        n_seen += batch.records.len();
        session.commit(&batch, &copy_to("state", &batch)).unwrap();
    }
    assert_eq!(n_seen, 10);
    for partition in 0..4 {
        let (_, end) = log.range("events", partition).await.unwrap();
        let committed = log.committed(GROUP, "events", partition).await.unwrap();
        assert_eq!(committed.unwrap_or(0), end, "partition {partition}");
        let values = |kept: Vec<(u64, String)>| kept.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(values(kept(&log, "state", partition).await), values(kept(&log, "events", partition).await));
    }
    assert_eq!(log.committed("other", "events", 0).await.unwrap(), None, "groups do not share positions");
}

async fn a_commit_of_nothing_but_positions(log: impl Log) {
    append(&log, "single", record("k", "v")).await;
    let mut session = log.session("single");
    let batch = poll(&mut session, &LIMITS).unwrap();
    session.commit(&batch, &nothing_for(&batch)).unwrap();
    assert_eq!(log.committed(GROUP, "single", 0).await.unwrap(), Some(1));
    assert_eq!(poll(&mut session, &LIMITS), None);
}

async fn rewind_goes_back_to_the_committed(log: impl Log) {
    for value in ["a", "b", "c", "d"] {
        append(&log, "single", record("k", value)).await;
    }
    let mut session = log.session("single");
    let first = poll(&mut session, &limits(1, 100)).unwrap();
    session.commit(&first, &nothing_for(&first)).unwrap();
    let once = poll(&mut session, &limits(2, 100)).unwrap();
    session.rewind().unwrap();
    let again = poll(&mut session, &limits(2, 100)).unwrap();
    assert_eq!(values(&once), ["b", "c"]);
    assert_eq!(once.records, again.records, "the same records at the same positions");
    session.idle(Duration::ZERO).unwrap();
    session.commit(&again, &copy_to("state", &again)).unwrap();
    assert_eq!(values(&poll(&mut session, &LIMITS).unwrap()), ["d"]);
}

async fn a_wrong_output_commits_nothing(log: impl Log) {
    append(&log, "single", record("k", "v")).await;
    let mut session = log.session("single");
    let batch = poll(&mut session, &LIMITS).unwrap();
    let mut outputs = copy_to("state", &batch);
    outputs.verdicts[0].outputs.extend(copy_to("nowhere", &batch).verdicts.remove(0).outputs);
    assert!(matches!(session.commit(&batch, &outputs), Err(CommitError::Fatal(_))));
    assert_eq!(log.committed(GROUP, "single", 0).await.unwrap(), None);
    for partition in 0..4 {
        assert_eq!(kept(&log, "state", partition).await, []);
    }
}

async fn read_back_stays_below_the_committed(log: impl Log) {
    for value in ["a", "b", "c", "d", "e"] {
        append(&log, "single", record("k", value)).await;
    }
    let mut session = log.session("single");
    let batch = poll(&mut session, &limits(3, 100)).unwrap();
    session.commit(&batch, &nothing_for(&batch)).unwrap();
    let mut read = |from, to| session.read_back("single", 0, from, to).unwrap().iter().map(value).collect::<Vec<_>>();
    assert_eq!(read(0, 3), ["a", "b", "c"]);
    assert_eq!(read(1, 2), ["b"]);
    assert_eq!(read(2, u64::MAX), ["c"], "never beyond the committed position");
    assert_eq!(read(3, 3), [""; 0]);
    assert!(session.read_back("single", 1, 0, 3).is_err());
    assert!(session.read_back("events", 0, 0, 3).is_err());
    assert_eq!(values(&poll(&mut session, &LIMITS).unwrap()), ["d", "e"], "polls go on where they were");
}

async fn browse_reads_anywhere(log: impl Log) {
    assert_eq!(log.range("single", 0).await.unwrap(), (0, 0));
    assert_eq!(log.read("single", 0, 0, 10).await.unwrap(), []);
    for value in ["a", "b", "c"] {
        append(&log, "single", record("k", value)).await;
    }
    assert_eq!(log.range("single", 0).await.unwrap(), (0, 3));
    let read = |offset, records_max| {
        let log = log.clone();
        async move { log.read("single", 0, offset, records_max).await.unwrap().iter().map(value).collect::<Vec<_>>() }
    };
    assert_eq!(read(0, 10).await, ["a", "b", "c"]);
    assert_eq!(read(1, 1).await, ["b"]);
    assert_eq!(read(3, 10).await, [""; 0]);
    assert_eq!(read(u64::MAX, 10).await, [""; 0]);
    assert_eq!(read(0, 0).await, [""; 0]);
}

async fn compaction_keeps_the_newest_of_each_key(log: impl Log) {
    for (key, value) in [("x", "x1"), ("y", "y1"), ("x", "x2"), ("z", "z1"), ("x", "x3")] {
        append(&log, "tiny", record(key, value)).await;
    }
    let of = |offset, value: &str| (offset, value.to_owned());
    assert_eq!(kept(&log, "tiny", 0).await, [of(1, "y1"), of(3, "z1"), of(4, "x3")]);
    assert_eq!(log.range("tiny", 0).await.unwrap(), (1, 5));
    append(&log, "tiny", tombstone(0, "y")).await;
    append(&log, "tiny", record("y", "y2")).await;
    assert_eq!(kept(&log, "tiny", 0).await, [of(3, "z1"), of(4, "x3"), of(6, "y2")]);

    // The same within one commit, where records of one key meet in one write.
    for n in 0..6 {
        append(&log, "single", record(if n % 2 == 0 { "x" } else { "w" }, &format!("n{n}"))).await;
    }
    let mut session = log.session("single");
    let batch = poll(&mut session, &LIMITS).unwrap();
    session.commit(&batch, &copy_to("tiny", &batch)).unwrap();
    assert_eq!(kept(&log, "tiny", 0).await, [of(3, "z1"), of(6, "y2"), of(11, "n4"), of(12, "n5")]);
    assert_eq!(log.enforce_retention(i64::MAX).unwrap(), 6, "values are never too old, only the 6 of `single` are");
    assert_eq!(kept(&log, "tiny", 0).await.len(), 4);
}

async fn a_tombstone_stays_a_day(log: impl Log) {
    append(&log, "tiny", at(0, "x", "x1")).await;
    append(&log, "tiny", at(0, "y", "y1")).await;
    append(&log, "tiny", tombstone(1_000, "x")).await;
    append(&log, "tiny", tombstone(2_000, "y")).await;
    let of = |offset, value: &str| (offset, value.to_owned());
    assert_eq!(log.enforce_retention(1_000 + DAY_MS).unwrap(), 0);
    assert_eq!(kept(&log, "tiny", 0).await, [of(2, "-"), of(3, "-")], "one who lags still sees them");
    assert_eq!(log.enforce_retention(1_001 + DAY_MS).unwrap(), 1);
    assert_eq!(kept(&log, "tiny", 0).await, [of(3, "-")]);
    append(&log, "tiny", at(3_000, "y", "y2")).await;
    assert_eq!(log.enforce_retention(10 * DAY_MS).unwrap(), 0, "a tombstone that was overridden is gone already");
    append(&log, "tiny", tombstone(4_000, "y")).await;
    assert_eq!(log.enforce_retention(10 * DAY_MS).unwrap(), 1);
    assert_eq!(kept(&log, "tiny", 0).await, []);
    assert_eq!(append(&log, "tiny", at(5_000, "y", "y3")).await.offset, 6, "offsets are never given twice");
}

async fn retention_takes_the_old(log: impl Log) {
    for (timestamp, value) in [(0, "a"), (500, "b"), (1_500, "c"), (600, "d")] {
        append(&log, "single", at(timestamp, "k", value)).await;
    }
    log.append("events", Some(2), at(0, "", "e")).await.unwrap();
    let keep = RETENTION_MS as i64;
    assert_eq!(log.enforce_retention(keep).unwrap(), 0);
    assert_eq!(log.enforce_retention(keep + 501).unwrap(), 3);
    let of = |offset, value: &str| (offset, value.to_owned());
    assert_eq!(kept(&log, "single", 0).await, [of(2, "c"), of(3, "d")]);
    assert_eq!(log.range("single", 0).await.unwrap(), (2, 4));
    assert_eq!(kept(&log, "events", 2).await, []);
    assert_eq!(log.enforce_retention(keep + 1_000).unwrap(), 0, "an old record behind a young one stays");
    let mut session = log.session("single");
    let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
    assert_eq!(assigned[0].oldest, 2, "and is told of it");
    assert_eq!(values(&poll(&mut session, &LIMITS).unwrap()), ["c", "d"], "a group begins at the oldest kept");
}

async fn an_emptied_partition_goes_on_where_it_was(log: impl Log) {
    for _ in 0..3 {
        append(&log, "single", at(0, "k", "old")).await;
    }
    assert_eq!(log.enforce_retention(i64::MAX).unwrap(), 3);
    assert_eq!(log.range("single", 0).await.unwrap(), (3, 3));
    assert_eq!(append(&log, "single", at(0, "k", "new")).await.offset, 3);
    let mut session = log.session("single");
    assert_eq!(values(&poll(&mut session, &LIMITS).unwrap()), ["new"]);
}

async fn an_epoch_is_for_what_comes_after(log: impl Log) {
    append(&log, "single", record("k", "a")).await;
    assert_eq!(log.raise_epoch().unwrap(), 1);
    assert_eq!(append(&log, "single", record("k", "b")).await, Position { epoch: 1, partition: 0, offset: 1 });
    let mut session = log.session("single");
    let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
    assert_eq!(assigned[0].epoch, 1);
    let batch = poll(&mut session, &LIMITS).unwrap();
    let epochs: Vec<u16> = batch.records.iter().map(|consumed| consumed.position.epoch).collect();
    assert_eq!(epochs, [0, 1], "a record keeps its position");
}

async fn changed_wakes_and_times_out(log: impl Log) {
    let began = std::time::Instant::now();
    log.changed("single", Duration::from_millis(20)).await;
    assert!(began.elapsed() >= Duration::from_millis(20));
    let changed = log.changed("single", Duration::from_secs(60));
    let appended = async {
        tokio::task::yield_now().await;
        append(&log, "single", record("k", "v")).await
    };
    tokio::join!(changed, appended);
    assert!(began.elapsed() < Duration::from_secs(50), "it was woken");
}

async fn lag_is_what_was_not_polled(log: impl Log) {
    for n in 0..10 {
        append(&log, "events", record(&n.to_string(), "v")).await;
    }
    let mut session = log.session("events");
    session.poll(&LIMITS).unwrap();
    assert_eq!(session.lag(), Some(10));
    poll(&mut session, &limits(4, 1_000)).unwrap();
    assert_eq!(session.lag(), Some(6));
    session.rewind().unwrap();
    assert_eq!(session.lag(), Some(10));
}
