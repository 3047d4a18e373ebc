//! What only the embedded log has: a directory that is opened again, bounds, one writer.

use crate::harness::*;
use event_log::{
    Append, AppendError, Browse, Limits, NextOffset, Polled, Session, TopicSpec,
    embedded::{self, EmbeddedLog, JoinError, OpenError, open_database},
};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    {
        let log = open_embedded(directory.path());
        for n in 0..10 {
            append(&log, "single", record(&format!("k{n}"), &format!("v{n}"))).await;
        }
        log.raise_epoch().unwrap();
        let mut session = log.session(GROUP, "single", &[0]).unwrap();
        let batch = poll(&mut session, &limits(4, 1_000)).unwrap();
        session.commit(&batch, &copy_to("tiny", &batch)).unwrap();
        // Begun and not committed: it leaves nothing.
        poll(&mut session, &limits(4, 1_000)).unwrap();
    }
    let log = open_embedded(directory.path());
    assert_eq!(log.epoch(), 1);
    assert_eq!(log.range("single", 0).await.unwrap(), (0, 10));
    assert_eq!(kept(&log, "tiny", 0).await.len(), 4);
    let mut session = log.session(GROUP, "single", &[0]).unwrap();
    let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
    assert_eq!(assigned[0].committed, Some(NextOffset::from_stored(4)));
    assert_eq!(values(&poll(&mut session, &limits(1, 100)).unwrap()), ["v4"]);
    // Compaction knows the keys of before.
    append(&log, "tiny", record("k0", "newer")).await;
    let expected: Vec<_> = [(1, "v1"), (2, "v2"), (3, "v3"), (4, "newer")].map(|(o, v)| (o, v.to_owned())).into();
    assert_eq!(kept(&log, "tiny", 0).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_go_on_after_opening_an_emptied_log() {
    let directory = tempfile::tempdir().unwrap();
    {
        let log = open_embedded(directory.path());
        for _ in 0..5 {
            append(&log, "single", record("k", "v")).await;
        }
        append(&log, "tiny", tombstone(0, "x")).await;
        assert_eq!(log.enforce_retention(i64::MAX).unwrap(), 6);
    }
    let log = open_embedded(directory.path());
    assert_eq!(append(&log, "single", record("k", "v")).await.offset, 5);
    assert_eq!(append(&log, "tiny", record("x", "v")).await.offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_is_bounded_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let limits = embedded::Limits { retention_records_max: 1_500, ..embedded::Limits::default() };
    let log = open_embedded_with(directory.path(), limits);
    let appends: Vec<_> = (0..4_000)
        .map(|n| {
            let log = log.clone();
            tokio::spawn(async move { log.append("events", Some(n % 4), record("", "old")).await.unwrap() })
        })
        .collect();
    for append in appends {
        append.await.unwrap();
    }
    let removed: Vec<u64> = (0..4).map(|_| log.enforce_retention(i64::MAX).unwrap()).collect();
    assert_eq!(removed, [1_500, 1_500, 1_000, 0]);
    for partition in 0..4 {
        assert_eq!(log.range("events", partition).await.unwrap(), (1_000, 1_000));
    }
}

#[test]
fn there_is_a_last_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let db = open_database(directory.path(), 1 << 20).unwrap();
    let meta = db.keyspace("log.meta", fjall::KeyspaceCreateOptions::default).unwrap();
    meta.insert("epoch", (event_log::position::EPOCH_MAX - 1).to_be_bytes()).unwrap();
    let log = EmbeddedLog::open(db, &topics(), embedded::Limits::default()).unwrap();
    assert_eq!(log.raise_epoch(), Ok(event_log::position::EPOCH_MAX));
    assert!(log.raise_epoch().is_err());
    assert_eq!(log.epoch(), event_log::position::EPOCH_MAX);
    assert_eq!(log.writable(), Ok(()), "a refusal breaks nothing");
}

#[test]
fn another_shape_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let spec = |name: &str, partitions, retention_ms| TopicSpec { name: name.into(), partitions, retention_ms };
    let open = |topics: &[TopicSpec]| {
        EmbeddedLog::open(open_database(directory.path(), 1 << 20).unwrap(), topics, embedded::Limits::default())
    };
    open(&[spec("t", 4, Some(5))]).unwrap();
    let error = open(&[spec("t", 8, Some(5))]).unwrap_err();
    assert!(matches!(error, OpenError::PartitionsChanged { stored: 4, asked: 8, .. }), "{error}");
    let error = open(&[spec("t", 4, None)]).unwrap_err();
    assert_eq!(error.to_string(), "topic t was made with compaction off: set it back, or make a new topic");
    open(&[spec("t", 4, Some(6))]).expect("retention may change");
    assert!(matches!(open(&[spec("t", 0, None)]).unwrap_err(), OpenError::NoPartitions(_)));
    assert!(matches!(open(&[spec("a/b", 1, None)]).unwrap_err(), OpenError::TopicName(_)));
    assert!(matches!(open(&[spec("u", 1, None), spec("u", 1, None)]).unwrap_err(), OpenError::Twice(_)));
}

#[tokio::test]
async fn a_partition_has_one_session_of_a_group() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_embedded(directory.path());
    let first = log.session(GROUP, "events", &[0, 1]).unwrap();
    let error = log.session(GROUP, "events", &[2, 1]).unwrap_err();
    assert!(matches!(error, JoinError::Taken { partition: 1, .. }), "{error}");
    log.session(GROUP, "events", &[2, 3]).expect("what the refused one took was given back");
    log.session("other", "events", &[0, 1]).expect("another group");
    drop(first);
    log.session(GROUP, "events", &[0, 1]).expect("the first is gone");
    assert!(matches!(log.session(GROUP, "nowhere", &[0]).unwrap_err(), JoinError::Unknown { .. }));
    assert!(matches!(log.session(GROUP, "events", &[4]).unwrap_err(), JoinError::Unknown { .. }));
    assert!(matches!(log.session("", "events", &[0]).unwrap_err(), JoinError::GroupName));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_queue_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let limits = embedded::Limits { queue_records_max: 4, record_bytes_max: 100, ..embedded::Limits::default() };
    let log = open_embedded_with(directory.path(), limits);
    let big = log.append("single", None, record("k", &"x".repeat(100))).await;
    assert_eq!(big, Err(AppendError::TooLarge { bytes: 101, bytes_max: 100 }));
    let appends: Vec<_> = (0..500)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.append("single", None, record("k", "v")).await })
        })
        .collect();
    let (mut n_taken, mut n_busy) = (0, 0);
    for append in appends {
        match append.await.unwrap() {
            Ok(_) => n_taken += 1,
            Err(AppendError::Busy) => n_busy += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(n_taken + n_busy, 500);
    assert!(n_busy > 0, "a queue of 4 takes not 500 at once");
    assert_eq!(log.range("single", 0).await.unwrap(), (0, n_taken), "what was refused is not there");
    assert_eq!(log.n_waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_wakes_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_embedded(directory.path());
    let mut session = log.session(GROUP, "single", &[0]).unwrap();
    session.poll(&LIMITS).unwrap();
    let waiting = std::thread::spawn(move || {
        let began = Instant::now();
        let polled = session.poll(&Limits { wait: Duration::from_secs(60), ..LIMITS }).unwrap();
        (polled, began.elapsed())
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    append(&log, "single", record("k", "v")).await;
    let (polled, took) = waiting.join().unwrap();
    let Polled::Batch(batch) = polled else { panic!("{polled:?}") };
    assert_eq!(values(&batch), ["v"]);
    assert!(took < Duration::from_secs(30), "woken by the append, not by the wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_wrote_before_a_commit_is_on_disk_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let db = open_database(directory.path(), 1 << 20).unwrap();
    let store = db.keyspace("store", || fjall::KeyspaceCreateOptions::default().manual_journal_persist(true)).unwrap();
    let log = EmbeddedLog::open(db, &topics(), embedded::Limits::default()).unwrap();
    store.insert("row", "written, not synced").unwrap();
    append(&log, "single", record("k", "v")).await;
    // A copy of the files as they are now is what a killed process leaves: nothing is closed, no buffer is flushed.
    let killed = tempfile::tempdir().unwrap();
    copy(directory.path(), killed.path());
    let db = open_database(killed.path(), 1 << 20).unwrap();
    let store = db.keyspace("store", fjall::KeyspaceCreateOptions::default).unwrap();
    assert_eq!(store.get("row").unwrap().as_deref(), Some(&b"written, not synced"[..]));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_lose_nothing_and_share_syncs() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_embedded(directory.path());
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut last = None;
                for n in 0..50 {
                    let position = append(&log, "events", record(&format!("w{writer}"), &format!("{n}"))).await;
                    assert!(last < Some(position.offset), "a writer's records keep their order");
                    last = Some(position.offset);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut n_records = 0;
    for partition in 0..4 {
        n_records += kept(&log, "events", partition).await.len();
    }
    assert_eq!(n_records, 32 * 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_failed_takes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let db = open_database(&path, 1 << 20).unwrap();
    let log = EmbeddedLog::open(db.clone(), &topics(), embedded::Limits::default()).unwrap();
    append(&log, "single", record("k", "before")).await;
    let mut session = log.session(GROUP, "single", &[0]).unwrap();
    let batch = poll(&mut session, &LIMITS).unwrap();
    assert_eq!(log.writable(), Ok(()));

    // The disk goes away: the next table cannot be written, and the database refuses whatever comes.
    std::fs::remove_dir_all(&path).unwrap();
    let records = db.keyspace("log.records.single.0", fjall::KeyspaceCreateOptions::default).unwrap();
    records.rotate_memtable().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        match log.append("single", None, record("k", "after")).await {
            Ok(_) => assert!(Instant::now() < deadline, "it never failed"),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let is_told = |error: &AppendError| matches!(error, AppendError::Unavailable(why) if why.contains("restart"));
    assert!(is_told(&error), "{error}");
    assert!(is_told(&log.append("single", None, record("k", "later")).await.unwrap_err()));
    assert!(log.writable().is_err() && log.raise_epoch().is_err());
    let committed = session.commit(&batch, &copy_to("state", &batch));
    assert!(matches!(committed, Err(event_log::CommitError::Fatal(_))), "whoever runs the stage ends the process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_record_is_appended_copied_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let bytes_max = embedded::Limits::default().record_bytes_max;
    assert!(bytes_max >= 16 << 20, "a webhook of ten mebibytes, as a record, with a dead letter's headers around it");
    let big = |bytes: usize| event_log::Record { value: Some(vec![7; bytes].into()), ..record("k", "") };
    {
        let log = open_embedded(directory.path());
        let too_large = log.append("single", None, big(bytes_max)).await;
        assert!(matches!(too_large, Err(AppendError::TooLarge { .. })), "the key counts too");
        append(&log, "single", big(bytes_max - 1)).await;
        let mut session = log.session(GROUP, "single", &[0]).unwrap();
        let batch = poll(&mut session, &LIMITS).unwrap();
        session.commit(&batch, &copy_to("state", &batch)).unwrap();
    }
    let log = open_embedded(directory.path());
    let partition = event_log::partition::partition_of(b"k", 4);
    for (topic, partition) in [("single", 0), ("state", partition)] {
        let read = log.read(topic, partition, 0, 10).await.unwrap();
        assert_eq!(read.len(), 1, "{topic}");
        assert_eq!(read[0].record.value.as_ref().map(bytes::Bytes::len), Some(bytes_max - 1), "{topic}");
    }
}
