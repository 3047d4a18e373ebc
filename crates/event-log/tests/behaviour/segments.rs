//! Topics in segment files: what a crash, a damaged disk, an older release and retention leave of them.

use crate::harness::*;
use event_log::{
    Append, AppendError, Browse, CommitError, NextOffset, Polled, Session,
    embedded::{Change, Damage, EmbeddedLog, OpenError, SegmentError, SegmentOptions, open_database},
    memory::SplitMix64,
};
use proptest::prelude::*;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const SINGLE: &[&str] = &["single"];

/// One large file, so that what was appended lies in the last one.
fn one_file(directory: &Path) -> SegmentOptions {
    SegmentOptions::new(directory.join("segments"), SINGLE)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory.join("segments/single")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What a killed process leaves: nothing is closed, no buffer is flushed.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn expected(offsets: std::ops::Range<u64>) -> Vec<(u64, String)> {
    offsets.map(|n| (n, format!("v{n}"))).collect()
}

async fn fill(log: &EmbeddedLog, n: u64) {
    for _ in 0..n {
        let (_, end) = log.range("single", 0).await.unwrap();
        append(log, "single", record("k", &format!("v{end}"))).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The damage that stands in the way.
fn refused(directory: &Path) -> Damage {
    match try_segmented(directory, &one_file(directory)).unwrap_err() {
        OpenError::Segments(SegmentError::Damaged(_, damage)) => damage,
        error => panic!("{error}"),
    }
}

/// A log of some groups, and how long the file was when each of them was acknowledged: records, bytes.
fn acknowledged(directory: &Path, sizes: &[usize]) -> (Vec<String>, Vec<u64>) {
    let log = try_segmented(directory, &one_file(directory)).unwrap();
    let file = &files(directory)[0];
    let (mut values, mut lengths) = (vec![], vec![fs::metadata(file).unwrap().len()]);
    runtime().block_on(async {
        for (n, size) in sizes.iter().enumerate() {
            values.push(format!("{n}").repeat(*size));
            append(&log, "single", record("k", &values[n])).await;
            lengths.push(fs::metadata(file).unwrap().len());
        }
    });
    (values, lengths)
}

#[derive(Debug, Clone, Copy)]
enum Tear {
    Cut,
    Zeros,
    Noise,
}

/// Tears the last group from a place on and opens the log: what came before is there, and the group only if the tear left it
/// as it was, for a record may end in zeros.
fn torn(directory: &Path, values: &[String], n_kept: usize, tear: Tear) {
    let file = &files(directory)[0];
    let whole = fs::read(file).unwrap();
    let mut bytes = whole.clone();
    match tear {
        Tear::Cut => bytes.truncate(n_kept),
        Tear::Zeros => bytes[n_kept..].fill(0),
        Tear::Noise => bytes[n_kept..].iter_mut().for_each(|byte| *byte = !*byte),
    }
    let n_there = values.len() - usize::from(bytes != whole);
    fs::write(file, bytes).unwrap();
    // Twice: what was cut off stays cut off.
    for n_opened in 0..2 {
        let log = try_segmented(directory, &one_file(directory)).unwrap();
        runtime().block_on(async {
            let read = kept(&log, "single", 0).await;
            let offsets = 0..(n_there + n_opened) as u64;
            assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), offsets.collect::<Vec<_>>());
            assert!(read.iter().zip(&values[..n_there]).all(|((_, read), appended)| read == appended));
            append(&log, "single", record("k", "after")).await;
        });
    }
}

#[test]
fn a_group_torn_in_the_zeros_at_its_end_is_there_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let (values, lengths) = acknowledged(directory.path(), &[3, 2]);
    assert_eq!(fs::read(&files(directory.path())[0]).unwrap().last(), Some(&0), "a record that ends in zeros");
    for n_kept in lengths[2] as usize - 8..lengths[2] as usize {
        for tear in [Tear::Cut, Tear::Zeros, Tear::Noise] {
            let copied = tempfile::tempdir().unwrap();
            copy(directory.path(), copied.path());
            torn(copied.path(), &values, n_kept, tear);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A power failure while the last group is written leaves any part of it: nothing, its beginning, its length without
    /// its bytes. Whatever was acknowledged before is there, nothing else appears, and the log goes on.
    #[test]
    fn whatever_a_crash_leaves_of_the_last_group_what_was_acknowledged_is_there(
        sizes in prop::collection::vec(prop_oneof![1usize..40, 1_000usize..3_000], 1..6),
        place in any::<prop::sample::Index>(),
        tear in prop::sample::select(vec![Tear::Cut, Tear::Zeros, Tear::Noise]),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (values, lengths) = acknowledged(directory.path(), &sizes);
        let [.., begin, end] = lengths[..] else { unreachable!() };
        let n_kept = place.index((end - begin) as usize) + begin as usize;
        torn(directory.path(), &values, n_kept, tear);
    }

    /// The same of a file that lost its end altogether, wherever: whole records before the cut stay, none is made up.
    #[test]
    fn a_file_cut_anywhere_gives_the_records_before_the_cut(
        sizes in prop::collection::vec(1usize..300, 1..8),
        place in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (values, lengths) = acknowledged(directory.path(), &sizes);
        let file = &files(directory.path())[0];
        let n_kept = lengths[0] + place.index((lengths[lengths.len() - 1] - lengths[0]) as usize) as u64;
        fs::File::options().write(true).open(file).unwrap().set_len(n_kept).unwrap();
        let n_whole = lengths.iter().filter(|length| **length <= n_kept).count() - 1;
        let log = try_segmented(directory.path(), &one_file(directory.path())).unwrap();
        let read = runtime().block_on(kept(&log, "single", 0));
        let read: Vec<_> = read.into_iter().map(|(_, value)| value).collect();
        prop_assert_eq!(&read[..], &values[..n_whole]);
    }

    /// A flipped bit before the last group is never cut off in silence.
    #[test]
    fn damage_of_what_was_acknowledged_is_told(
        sizes in prop::collection::vec(1usize..300, 2..8),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (_, lengths) = acknowledged(directory.path(), &sizes);
        let file = &files(directory.path())[0];
        let mut bytes = fs::read(file).unwrap();
        // Anywhere from the header on to the begin of the last group.
        let at = place.index(lengths[lengths.len() - 2] as usize);
        bytes[at] ^= 1 << bit;
        fs::write(file, bytes).unwrap();
        let damage = refused(directory.path());
        match at as u64 >= lengths[0] {
            true => prop_assert!(matches!(damage, Damage::Frame { at: told } if told <= at as u64), "{damage}"),
            false => prop_assert_eq!(damage, Damage::Header),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_record_in_a_closed_file_is_told_to_whoever_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    fill(&log, 40).await;
    drop(log);
    let second = &files(directory.path())[1];
    let mut bytes = fs::read(second).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(second, bytes).unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    let mut offset = 0;
    let why = loop {
        match log.read("single", 0, offset, 1).await {
            Ok(read) => offset = read[0].position.offset + 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(offset > 4 && why.contains("00000000000000000001.segment is damaged"), "{offset}: {why}");
    assert_eq!(log.read("single", 0, 39, 1).await.unwrap().len(), 1, "what is whole is read");
    let mut session = log.session(GROUP, "single", &[0]).unwrap();
    session.poll(&LIMITS).unwrap();
    assert!(session.poll(&LIMITS).unwrap_err().to_string().contains("is damaged"), "nothing is passed over in silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_files_and_those_of_another_database_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    fill(&log, 40).await;
    drop(log);
    let all = files(directory.path());
    assert!(all.len() > 4);
    let away = directory.path().join("away");
    for gone in [&all[1..2], &all[..1], &all[..]] {
        fs::create_dir(&away).unwrap();
        gone.iter().for_each(|file| fs::rename(file, away.join(file.file_name().unwrap())).unwrap());
        assert_eq!(refused(directory.path()), Damage::Missing);
        // Nothing was begun in their place.
        assert_eq!(files(directory.path()).len(), all.len() - gone.len());
        gone.iter().for_each(|file| fs::rename(away.join(file.file_name().unwrap()), file).unwrap());
        fs::remove_dir(&away).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    drop(open_embedded(other.path()));
    fs::create_dir(other.path().join("segments")).unwrap();
    fs::rename(directory.path().join("segments/single"), other.path().join("segments/single")).unwrap();
    assert_eq!(refused(other.path()), Damage::Foreign);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_begun_and_never_used_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    fill(&log, 10).await;
    drop(log);
    let next = files(directory.path()).len();
    let whole = fs::read(&files(directory.path())[0]).unwrap()[..28].to_vec();
    for begun in [&whole[..0], &whole[..20], &[0; 28]] {
        fs::write(directory.path().join(format!("segments/single/{next:020}.segment")), begun).unwrap();
        let log = open_segmented(directory.path(), SINGLE);
        assert_eq!(kept(&log, "single", 0).await, expected(0..10));
    }
    let log = open_segmented(directory.path(), SINGLE);
    fill(&log, 10).await;
    drop(log);
    assert_eq!(kept(&open_segmented(directory.path(), SINGLE), "single", 0).await, expected(0..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_the_database_goes_on_in_segments() {
    let directory = tempfile::tempdir().unwrap();
    {
        let log = open_embedded(directory.path());
        fill(&log, 10).await;
        let mut session = log.session(GROUP, "single", &[0]).unwrap();
        let batch = poll(&mut session, &limits(4, 1_000)).unwrap();
        session.commit(&batch, &copy_to("state", &batch)).unwrap();
        assert_eq!(log.enforce_retention(0).unwrap(), 0);
    }
    for n_opened in 0..3 {
        let log = open_segmented(directory.path(), SINGLE);
        let n_there = 10 + n_opened * 10;
        assert_eq!(log.range("single", 0).await.unwrap(), (0, n_there));
        fill(&log, 10).await;
        assert_eq!(kept(&log, "single", 0).await, expected(0..n_there + 10));
        // One read goes over the border between the two.
        assert_eq!(log.read("single", 0, 5, 10).await.unwrap().len(), 10);
        let mut session = log.session(GROUP, "single", &[0]).unwrap();
        let Polled::Assigned(assigned) = session.poll(&LIMITS).unwrap() else { panic!("not assigned") };
        assert_eq!(assigned[0].committed, Some(NextOffset::from_stored(4)));
        assert_eq!(values(&poll(&mut session, &limits(8, 1_000)).unwrap())[..2], ["v4", "v5"]);
        assert_eq!(session.read_back("single", 0, 1, 3).unwrap().len(), 2);
    }
    let error = EmbeddedLog::open(open_database(directory.path(), 1 << 20).unwrap(), &topics(), Default::default());
    assert!(matches!(error, Err(OpenError::InSegments(_))), "offsets would be given twice");

    // Retention takes what is in the database, then files.
    let log = open_segmented(directory.path(), SINGLE);
    append(&log, "single", at(i64::MAX / 2, "k", "young")).await;
    assert_eq!(log.enforce_retention(1_000_000).unwrap(), 40);
    assert_eq!(log.range("single", 0).await.unwrap(), (40, 41));
    drop(log);
    let log = open_segmented(directory.path(), SINGLE);
    assert_eq!(kept(&log, "single", 0).await, [(40, "young".to_owned())]);
}

#[test]
fn a_compacted_topic_cannot_lie_in_segments() {
    let directory = tempfile::tempdir().unwrap();
    let error = try_segmented(directory.path(), &segment_options(directory.path(), &["tiny"])).unwrap_err();
    assert!(matches!(error, OpenError::CompactedInSegments(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_deletes_files() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), &["single", "events"]);
    for n in 0..100 {
        append(&log, "single", at(n * 10, "k", &format!("v{n}"))).await;
    }
    let n_files = files(directory.path()).len();
    assert!(n_files > 10, "{n_files}");
    let keep = RETENTION_MS as i64;
    assert_eq!(log.enforce_retention(keep + 500).unwrap(), 50);
    assert_eq!(log.range("single", 0).await.unwrap(), (50, 100));
    let left = files(directory.path()).len();
    // And the one that was begun when the last was closed.
    assert!(left <= n_files / 2 + 2, "{left} of {n_files}");
    drop(log);
    let log = open_segmented(directory.path(), &["single", "events"]);
    assert_eq!(log.range("single", 0).await.unwrap(), (50, 100));
    // Of what is too old altogether nothing stays on disk: the last file is closed in time.
    assert_eq!(log.enforce_retention(i64::MAX).unwrap(), 50);
    let left = files(directory.path());
    assert_eq!(left.len(), 1);
    assert!(fs::metadata(&left[0]).unwrap().len() < 40, "a header alone");
    assert_eq!(log.enforce_retention(i64::MAX).unwrap(), 0);
    assert_eq!(files(directory.path()), left, "no file is begun for nothing");
    drop(log);
    let log = open_segmented(directory.path(), &["single", "events"]);
    assert_eq!(append(&log, "single", at(0, "k", "new")).await.offset, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_little_traffic_is_closed_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = try_segmented(directory.path(), &one_file(directory.path())).unwrap();
    let keep = RETENTION_MS as i64;
    let mut n_removed = 0;
    for n in 0..400 {
        append(&log, "single", at(n * 10, "k", &format!("v{n}"))).await;
        n_removed += log.enforce_retention(n * 10).unwrap();
        let n_files = files(directory.path()).len() as i64;
        assert!(n_files <= 11, "{n_files}");
    }
    let kept = kept(&log, "single", 0).await;
    assert_eq!(kept.len() as u64 + n_removed, 400);
    let bytes: u64 = files(directory.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    // What is kept, and at most an eighth of the retention more.
    let of_one = 24 + 16 + 4;
    assert!(bytes < (keep as u64 / 10 * 10 / 8 + 10) * of_one, "{bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_place_of_any_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let options = SegmentOptions {
        segment_bytes: 200_000,
        ..SegmentOptions::new(directory.path().join("segments"), &["events"])
    };
    let size = |n: u64| [10usize, 900, 1_024, 5_000, 30_000][(n * 7 % 5) as usize];
    let log = try_segmented(directory.path(), &options).unwrap();
    let n_records = 400u64;
    for n in 0..n_records {
        // Partition 3 comes late and seldom.
        let partition = if n > 300 && n % 10 == 0 { 3 } else { (n * n % 3) as u32 };
        // Nothing that could be compressed.
        let mut noise = SplitMix64::new(n);
        let value: String = (0..size(n).div_ceil(16)).map(|_| format!("{:016x}", noise.next())).collect();
        log.append("events", Some(partition), record("", &value)).await.unwrap();
    }
    every_place(&log, n_records).await;
    drop(log);
    every_place(&try_segmented(directory.path(), &options).unwrap(), n_records).await;
}

async fn every_place(log: &EmbeddedLog, n_records: u64) {
    let mut n_seen = 0;
    for partition in [3, 0, 2, 1] {
        let (start, end) = log.range("events", partition).await.unwrap();
        assert_eq!(start, 0);
        let all = kept(log, "events", partition).await;
        assert_eq!(all.len() as u64, end);
        n_seen += end;
        for offset in (0..end).rev().step_by(7) {
            let read = log.read("events", partition, offset, 2).await.unwrap();
            assert_eq!(value(&read[0]), all[offset as usize].1, "offset {offset} of partition {partition}");
        }
    }
    assert_eq!(n_seen, n_records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_never_writes_to_segments() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    log.append("events", Some(0), record("k", "v")).await.unwrap();
    let mut session = log.session(GROUP, "events", &[0]).unwrap();
    let batch = poll(&mut session, &LIMITS).unwrap();
    let refused = session.commit(&batch, &copy_to("single", &batch)).unwrap_err();
    assert!(matches!(refused, CommitError::Fatal(why) if why.contains("no outputs of a stage")));
    assert_eq!(log.committed(GROUP, "events", 0).await.unwrap(), None);
    assert_eq!(log.range("single", 0).await.unwrap(), (0, 0));
    assert_eq!(log.writable(), Ok(()), "a refusal breaks nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_cannot_be_written_ends_all_writing() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    fill(&log, 3).await;
    // The next file cannot be made.
    fs::remove_dir_all(directory.path().join("segments")).unwrap();
    let mut n_taken = 0;
    let error = loop {
        match log.append("single", None, record("k", "after")).await {
            Ok(_) => n_taken += 1,
            Err(error) => break error,
        }
        assert!(n_taken < 20, "it never failed");
    };
    assert!(matches!(&error, AppendError::Unavailable(why) if why.contains("segment") && why.contains("restart")));
    assert!(log.append("events", None, record("k", "later")).await.is_err(), "of any topic");
    assert!(log.writable().is_err() && log.raise_epoch().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_is_on_disk_no_later_than_what_is_appended_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    let aside = log.aside("aside").unwrap();
    for n in 0..20u8 {
        aside.change(&[n], |_| (Change::Put(vec![n]), ())).unwrap();
        append(&log, "single", record("k", &format!("v{n}"))).await;
        let killed = tempfile::tempdir().unwrap();
        copy(directory.path(), killed.path());
        let log = open_segmented(killed.path(), SINGLE);
        assert_eq!(kept(&log, "single", 0).await.len(), usize::from(n) + 1);
        let known = log.aside("aside").unwrap().change(&[n], |known| (Change::Keep, known.map(<[u8]>::to_vec)));
        assert_eq!(known.unwrap(), Some(vec![n]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_retention_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_segmented(directory.path(), SINGLE);
    let reader = std::thread::spawn({
        let log = log.clone();
        move || {
            let mut session = log.session(GROUP, "single", &[0]).unwrap();
            let (mut last, limits) = (None, event_log::Limits { wait: Duration::from_millis(50), ..LIMITS });
            while last < Some(1_999) {
                if let Polled::Batch(batch) = session.poll(&limits).unwrap() {
                    for consumed in &batch.records {
                        let offset = consumed.position.offset;
                        assert!(last < Some(offset));
                        assert_eq!(value(consumed), format!("v{offset}"));
                        last = Some(offset);
                    }
                }
            }
        }
    });
    for n in 0..2_000 {
        append(&log, "single", at(n, "k", &format!("v{n}"))).await;
        if n % 50 == 0 {
            log.enforce_retention(RETENTION_MS as i64 + n - 3).unwrap();
        }
    }
    reader.join().unwrap();
}
