//! The queue on disk: what was answered is there, whatever happened.

use super::bed::{Fault, TestDisk, id_of, record, until};
use crate::spool::{
    queue::{Depth, PushError, Queue},
    reader::Reader,
    segment,
};
use futures_util::future::join_all;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

const BYTES_MAX: u64 = 4 * 1_024 * 1_024;

fn open(directory: &Path) -> (Queue, Reader) {
    Queue::open(directory, BYTES_MAX).unwrap()
}

async fn push(queue: &Queue, ids: impl IntoIterator<Item = usize>) {
    for id in ids {
        queue.push(&record(&id.to_string(), 1_000, 0)).await.unwrap();
    }
}

fn read(reader: &mut Reader) -> Vec<String> {
    let entries = reader.read(usize::MAX, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.record.as_ref().map_or_else(|| "lost".to_owned(), id_of)).collect()
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

/// As after `kill -9`: the files as they are, and nobody told the process.
fn crashed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    segment::list(directory).unwrap().into_iter().map(|first| segment::path(directory, first)).collect()
}

#[tokio::test]
async fn what_was_pushed_is_read_once_in_order_and_again_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut reader) = open(folder.path());
    push(&queue, 0..5).await;
    assert_eq!(read(&mut reader), ids(0..5));
    push(&queue, 5..7).await;
    assert_eq!(read(&mut reader), ids(5..7));
    assert_eq!(read(&mut reader), ids(0..0));
    assert_eq!(queue.depth().records, 7);

    let copy = crashed(folder.path());
    let (queue, mut reader) = open(copy.path());
    assert_eq!(queue.depth().records, 7);
    push(&queue, 7..9).await;
    assert_eq!(read(&mut reader), ids(0..9));
}

#[tokio::test]
async fn reads_within_bounds_but_at_least_one() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut reader) = open(folder.path());
    push(&queue, 0..5).await;
    assert_eq!(reader.read(2, usize::MAX).unwrap().len(), 2);
    assert_eq!(reader.read(9, 1).unwrap().len(), 1);
    assert_eq!(reader.read(0, 9).unwrap().len(), 0);
    assert_eq!(read(&mut reader), ids(3..5));
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _reader) = open(folder.path());
    push(&queue, 0..3).await;
    let whole = fs::metadata(&segments(folder.path())[0]).unwrap().len();
    push(&queue, 3..4).await;
    for (torn, garbage) in [(1, 0), (900, 0), (0, 1), (0, 5_000), (3, 200)] {
        let copy = crashed(folder.path());
        let newest = &segments(copy.path())[0];
        let mut file = fs::File::options().append(true).open(newest).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - torn).unwrap();
        file.write_all(&vec![0; garbage]).unwrap();
        let expected = if torn > 0 { 3 } else { 4 };
        let (queue, mut reader) = open(copy.path());
        assert_eq!(queue.depth().records as usize, expected, "{torn} {garbage}");
        if torn > 0 {
            assert_eq!(fs::metadata(newest).unwrap().len(), whole);
        }
        push(&queue, expected..expected + 2).await;
        assert_eq!(read(&mut reader), ids(0..expected + 2));
    }
}

#[tokio::test]
async fn drained_files_are_deleted_and_the_rest_survives() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut reader) = open(folder.path());
    // Segments of 64 KiB: several of them.
    push(&queue, 0..300).await;
    let n_files = segments(folder.path()).len();
    assert!(n_files >= 4, "{n_files}");
    let before = queue.depth();
    assert!(before.bytes > 300_000 && before.bytes < 340_000, "{before:?}");
    assert_eq!(read(&mut reader).len(), 300);
    queue.mark(200, Some(5));
    // What is left, and a segment's length at most that is drained.
    until(|| queue.depth().bytes < 105_000 + 66_000).await;
    assert_eq!((queue.depth().records, queue.depth().oldest_ms), (100, Some(5)));
    assert!(segments(folder.path()).len() < n_files);
    // The mark is noted before files are deleted.
    let copy = crashed(folder.path());
    let (again, mut reader) = open(copy.path());
    assert_eq!(again.depth().records, 100);
    assert_eq!(read(&mut reader), ids(200..300));

    queue.mark(300, None);
    until(|| segments(folder.path()).is_empty()).await;
    until(|| queue.depth() == Depth::default()).await;
    push(&queue, 300..302).await;
    drop(queue);
    let copy = crashed(folder.path());
    assert_eq!(read(&mut open(copy.path()).1), ids(300..302));
}

#[tokio::test]
async fn forgotten_progress_only_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _reader) = open(folder.path());
    push(&queue, 0..10).await;
    queue.mark(4, None);
    drop(queue);
    for (bytes, expected) in [(None, 4..10), (Some(vec![]), 0..10), (Some(vec![1; 12]), 0..10)] {
        let copy = crashed(folder.path());
        if let Some(bytes) = bytes {
            fs::write(copy.path().join("drained"), bytes).unwrap();
        }
        assert_eq!(read(&mut open(copy.path()).1), ids(expected));
    }
}

#[tokio::test]
async fn a_full_spool_takes_no_more_until_it_is_drained() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, _reader) = Queue::open(folder.path(), 100_000).unwrap();
    let mut taken = 0;
    while queue.push(&record("x", 10_000, 0)).await.is_ok() {
        taken += 1;
    }
    assert_eq!((taken, queue.push(&record("x", 10_000, 0)).await), (9, Err(PushError::Full)));
    assert!(!queue.has_room());
    let on_disk: u64 = segments(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(queue.depth().bytes, on_disk);
    assert!(on_disk <= 100_000);
    queue.mark(9, None);
    until(|| queue.has_room()).await;
    assert_eq!(queue.push(&record("x", 10_000, 0)).await, Ok(()));
    // Refused records lie on the same disk.
    queue.set_aside(95_000);
    assert_eq!(queue.push(&record("x", 10_000, 0)).await, Err(PushError::Full));
}

#[tokio::test]
async fn many_at_once_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (queue, mut reader) = Queue::open_on(folder.path(), BYTES_MAX, Box::new(disk.clone())).unwrap();
    disk.hold(true);
    let records: Vec<_> = (0..200).map(|id| record(&id.to_string(), 100, 0)).collect();
    let pushes = join_all(records.iter().map(|record| queue.push(record)));
    // All are waiting before the first sync ends.
    let (pushed, ()) = tokio::join!(pushes, async { disk.hold(false) });
    assert!(pushed.iter().all(Result::is_ok));
    assert!(disk.syncs() <= 2, "{}", disk.syncs());
    assert_eq!(read(&mut reader), ids(0..200));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_taken_until_a_restart() {
    for fault in [Fault::Sync, Fault::Write] {
        let folder = tempfile::tempdir().unwrap();
        let disk = TestDisk::default();
        let (queue, mut reader) = Queue::open_on(folder.path(), BYTES_MAX, Box::new(disk.clone())).unwrap();
        push(&queue, 0..2).await;
        disk.fault(Some(fault));
        let refused = queue.push(&record("2", 1_000, 0)).await;
        if fault == Fault::Sync {
            disk.fault(None);
            assert_eq!(refused, Err(PushError::Failed("planted".to_owned())));
            assert_eq!(queue.push(&record("3", 1_000, 0)).await, refused);
            assert!(!queue.has_room());
        }
        assert!(refused.is_err());
        // What was answered is drained all the same.
        assert_eq!(read(&mut reader), ids(0..2));
        queue.mark(1, None);
        drop((queue, reader));
        let (queue, mut reader) = open(folder.path());
        let left = read(&mut reader);
        // What was not answered may be there too.
        assert_eq!(left[0], "1");
        assert!(left.len() <= 2);
        assert_eq!(queue.push(&record("4", 1_000, 0)).await, Ok(()));
    }
}

#[tokio::test]
async fn a_disk_without_room_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (queue, mut reader) = Queue::open_on(folder.path(), BYTES_MAX, Box::new(disk.clone())).unwrap();
    push(&queue, 0..2).await;
    disk.fault(Some(Fault::NoRoom));
    assert_eq!(queue.push(&record("x", 1_000, 0)).await, Err(PushError::Full));
    assert!(!queue.has_room());
    disk.fault(None);
    push(&queue, 2..4).await;
    assert!(queue.has_room());
    assert_eq!(read(&mut reader), ids(0..4));
    let copy = crashed(folder.path());
    assert_eq!(read(&mut open(copy.path()).1), ids(0..4));
}

#[tokio::test]
async fn who_went_away_takes_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (queue, mut reader) = Queue::open_on(folder.path(), BYTES_MAX, Box::new(disk.clone())).unwrap();
    disk.hold(true);
    let records: Vec<_> = (0..50).map(|id| record(&id.to_string(), 100, 0)).collect();
    let pushes = join_all(records.iter().map(|record| queue.push(record)));
    assert!(futures_util::FutureExt::now_or_never(pushes).is_none());
    disk.hold(false);
    push(&queue, 50..51).await;
    // Those of the first group were under way already.
    let left = read(&mut reader);
    assert_eq!(left.last().unwrap(), "50");
    drop(queue);
    let (queue, _reader) = open(crashed(folder.path()).path());
    assert_eq!(queue.depth().records as usize, left.len());
}

#[tokio::test]
async fn a_record_that_the_disk_lost_blocks_nothing_and_its_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, mut reader) = open(folder.path());
    push(&queue, 0..200).await;
    let oldest = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&oldest).unwrap();
    bytes[30_000] ^= 1;
    fs::write(&oldest, bytes).unwrap();

    // Found while it is open ...
    let entries = reader.read(usize::MAX, usize::MAX).unwrap();
    let lost: Vec<_> = entries.iter().filter(|entry| entry.record.is_none()).map(|entry| entry.next).collect();
    let [next] = lost[..] else { panic!("{lost:?}") };
    assert!(entries.iter().all(|entry| entry.record.is_some() || entry.next == next));
    assert_eq!(entries.last().unwrap().next, 200);
    assert!(entries.len() > 130, "{}", entries.len());

    // ... and at the next start.
    let copy = crashed(folder.path());
    let (again, mut reader) = open(copy.path());
    assert_eq!(read(&mut reader).len(), entries.len() - 1);
    again.mark(200, None);
    drop(again);
    let left: Vec<_> = fs::read_dir(copy.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.iter().filter(|path| path.extension().is_some_and(|end| end == "damaged")).count(), 1);
    assert!(segments(copy.path()).is_empty());
}

#[tokio::test]
async fn one_process_at_a_time_and_no_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, reader) = open(folder.path());
    let told = |directory: &Path| Queue::open(directory, BYTES_MAX).unwrap_err().to_string();
    assert!(told(folder.path()).contains("in use by another process"));
    push(&queue, 0..1).await;
    drop((queue, reader));
    drop(open(folder.path()));
    fs::write(segment::path(folder.path(), 9), b"something else").unwrap();
    assert!(told(folder.path()).contains("no spool segment of this release"));
}
