//! A topic's records in files of their own: segments that are appended to, read, and deleted whole.
//!
//! For topics that are only ever appended to, such as raw webhooks: their records are large, are read once or twice, and
//! leave in the order in which they came. The database would write each several times over. A commit's outputs never lie
//! here, as they must be in one write with its positions.
//!
//! All partitions of a topic share one file at a time, so that a group costs one write and one `fdatasync`. A segment's
//! header says where each partition stands at its beginning; headers alone tell which file holds an offset.

mod file;
mod frame;
mod index;
mod open;
mod read;
mod tail;

pub(super) use read::Reader;

use super::lock;
use file::Segment;
use index::Index;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tail::Tail;

/// Indexes of closed segments that are kept in memory; others are made again when they are read.
const INDEXES_MAX: usize = 8;
/// Places in a file are kept as 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Which topics lie in segments, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Where they lie: a folder for each topic. Belongs to the database beside which it is opened.
    pub directory: PathBuf,
    /// Names of topics. They are kept by time, and only ever appended to.
    pub topics: Vec<String>,
    /// A file that is larger is closed, and another begun. At most a gibibyte.
    pub segment_bytes: u64,
}

impl SegmentOptions {
    /// Files of 64 MiB.
    pub fn new(directory: PathBuf, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Self { directory, topics, segment_bytes: 64 * 1_024 * 1_024 }
    }
}

/// What is wrong with a segment file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its header.
    #[error("its header cannot be read")]
    Header,
    /// A record that was acknowledged.
    #[error("what lies at byte {at} is not the record that was written there")]
    Frame {
        /// Where.
        at: u64,
    },
    /// A record where another belongs.
    #[error("the record at byte {at} does not follow the one before")]
    Order {
        /// Where.
        at: u64,
    },
    /// It ends before the records that it is to hold.
    #[error("it ends at byte {at}, before its last record")]
    Short {
        /// Where.
        at: u64,
    },
    /// Files that do not follow each other.
    #[error("it does not follow the segment before it: files are missing")]
    Missing,
    /// Files beside a database that knows nothing of them.
    #[error("it belongs to another database than the one beside it")]
    Foreign,
}

/// Why segments cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The disk.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// What is on it.
    #[error("segment {0} is damaged: {1}; restore data from one backup")]
    Damaged(PathBuf, Damage),
}

/// The segments of one topic.
pub(super) struct Segments {
    directory: PathBuf,
    segment_bytes: u64,
    files: Mutex<Files>,
    /// Locked by whoever writes, before `files`.
    tail: Mutex<Tail>,
}

/// What readers share with the writer.
struct Files {
    /// Oldest first.
    closed: VecDeque<Arc<Segment>>,
    /// The one that is written.
    last: Arc<Segment>,
    last_index: Index,
    /// Indexes of closed segments, newest use last.
    indexes: VecDeque<(u64, Arc<Index>)>,
}

/// Where to find a record.
struct Place {
    segment: Arc<Segment>,
    /// The first offset of the partition in the next segment; none in the last.
    until: Option<u64>,
    /// Where to begin to read; none where the segment's index is to be made first.
    at: Option<u64>,
}

impl Segments {
    /// The first offset of a partition that lies, or ever will lie, in the segments that are there.
    pub(super) fn first(&self, partition: u32) -> u64 {
        let files = lock(&self.files);
        let oldest = files.closed.front().unwrap_or(&files.last);
        oldest.firsts.get(partition as usize).copied().unwrap_or_default()
    }

    /// One after the last record of a partition.
    pub(super) fn end(&self, partition: u32) -> u64 {
        lock(&self.tail).end(partition)
    }

    fn find(&self, partition: u32, offset: u64) -> Option<Place> {
        let index = partition as usize;
        let mut files = lock(&self.files);
        let files = &mut *files;
        let is_before = |segment: &Arc<Segment>| segment.firsts.get(index).is_some_and(|first| *first <= offset);
        if is_before(&files.last) {
            let first = files.last.firsts.get(index)?;
            let at = files.last_index.place(partition, offset - first);
            return Some(Place { segment: Arc::clone(&files.last), until: None, at });
        }
        let after = files.closed.partition_point(is_before);
        let segment = Arc::clone(files.closed.get(after.checked_sub(1)?)?);
        let until = files.closed.get(after).unwrap_or(&files.last).firsts.get(index).copied();
        let known = files.indexes.iter().position(|(number, _)| *number == segment.number);
        let at = match known.and_then(|known| files.indexes.remove(known)) {
            None => None,
            Some((number, places)) => {
                let at = places.place(partition, offset - segment.firsts.get(index)?);
                files.indexes.push_back((number, places));
                at
            }
        };
        Some(Place { segment, until, at })
    }

    fn remember(&self, number: u64, index: Arc<Index>) {
        lock(&self.files).remember(number, index);
    }

    /// Whether a segment is still there.
    fn has(&self, number: u64) -> bool {
        let files = lock(&self.files);
        files.last.number == number || files.closed.iter().any(|segment| segment.number == number)
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    /// Deletes the segments of which every record lies below the starts of its partitions.
    pub(super) fn delete_below(&self, start: impl Fn(u32) -> u64) {
        loop {
            let gone = {
                let mut files = lock(&self.files);
                let next = files.closed.get(1).unwrap_or(&files.last);
                let is_over = (0..).zip(&next.firsts).all(|(partition, first)| *first <= start(partition));
                if !is_over || files.closed.is_empty() {
                    return;
                }
                files.closed.pop_front()
            };
            let Some(gone) = gone else { return };
            let path = gone.path(&self.directory);
            // What stays is found and deleted when the log is opened again.
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a segment whose records are too old");
            }
        }
    }
}

impl Files {
    fn remember(&mut self, number: u64, index: Arc<Index>) {
        self.indexes.retain(|(of, _)| *of != number);
        self.indexes.push_back((number, index));
        if self.indexes.len() > INDEXES_MAX {
            self.indexes.pop_front();
        }
    }
}
