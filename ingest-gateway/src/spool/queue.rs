//! The durable queue: segment files that are appended to, read in order, and deleted once they are drained.
//!
//! One thread writes. All that waits goes into the newest segment with one `fdatasync`, and only then is anybody
//! answered; so an append costs a share of a sync. A segment is deleted once all its records are drained, the newest one
//! too, so an empty spool takes no room. If a sync fails, what is on disk is not known: all who wait are told, and
//! nothing more is taken until the process starts again; what was answered before is drained all the same.

use super::{
    disk::{Disk, RealDisk},
    frame,
    reader::Reader,
    segment::{self, MAGIC_BYTES, Progress},
    writer::Writer,
};
use event_log::Record;
use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use tokio::sync::{Notify, oneshot};

/// Bytes that may wait in memory for the disk.
const WAITING_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
const GROUP_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// So many segments make a full spool: the share of it that a drained prefix may still take.
const SEGMENTS: u64 = 64;
const SEGMENT_BYTES_MIN: u64 = 64 * 1_024;
const SEGMENT_BYTES_MAX: u64 = 16 * 1_024 * 1_024;
/// With less room than this, a spool counts as full.
const ROOM_BYTES_MIN: u64 = 64 * 1_024;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolOpenError {
    /// The disk.
    #[error("the spool in {} cannot be opened: {error}", directory.display())]
    Io {
        /// Where it lies.
        directory: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Another process has it.
    #[error("the spool in {} is in use by another process: give each process a directory of its own", .0.display())]
    InUse(PathBuf),
    /// A file that this release cannot read.
    #[error("{} is no spool segment of this release: drain it with the release that wrote it, or move it away", .0.display())]
    Foreign(PathBuf),
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PushError {
    /// No room.
    Full,
    /// The disk failed; nothing is taken until a restart.
    Failed(String),
}

/// How much lies in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Depth {
    /// Records not yet drained.
    pub(super) records: u64,
    /// Bytes of files, drained records among them until their segment is deleted.
    pub(super) bytes: u64,
    /// When the oldest record came, about.
    pub(super) oldest_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// One after its last record on disk.
    pub(super) end: u64,
    pub(super) bytes: u64,
    /// Some of it cannot be read: it is kept aside, not deleted.
    pub(super) damaged: bool,
}

/// A record on its way to the disk.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) frame: Vec<u8>,
    pub(super) timestamp_ms: i64,
    pub(super) answer: oneshot::Sender<Result<(), PushError>>,
}

/// What the writing thread is to do.
#[derive(Debug)]
pub(super) struct Work {
    /// The new number of the first record not drained.
    pub(super) drained: Option<u64>,
    pub(super) puts: Vec<Put>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) segments: VecDeque<Segment>,
    pub(super) waiting: VecDeque<Put>,
    /// Of frames that wait or are being written.
    pub(super) waiting_bytes: u64,
    /// Of records in files of their own, which take from the same room.
    aside_bytes: u64,
    /// All before it are done with.
    pub(super) drained: u64,
    drained_is_new: bool,
    pub(super) oldest_ms: Option<i64>,
    /// The disk has no room, as the last write learned.
    pub(super) disk_is_full: bool,
    pub(super) failed: Option<String>,
    is_closed: bool,
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.aside_bytes
    }

    pub(super) fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end.saturating_sub(segment.first.max(self.drained))).sum()
    }

    fn has_room(&self, bytes: u64, bytes_max: u64) -> bool {
        self.bytes() + self.waiting_bytes + bytes + MAGIC_BYTES <= bytes_max
            && self.waiting_bytes + bytes <= WAITING_BYTES_MAX
    }
}

/// What the queue, its writer and its reader share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: PathBuf,
    pub(super) bytes_max: u64,
    pub(super) segment_bytes: u64,
    state: Mutex<State>,
    wake: Condvar,
    /// Something new can be drained.
    pub(super) grown: Notify,
    /// Held as long as this is open.
    _lock: File,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done next; `None` once closed with nothing left.
    pub(super) fn take(&self) -> Option<Work> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.drained_is_new && !state.is_closed;
        let mut state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let drained = std::mem::take(&mut state.drained_is_new).then_some(state.drained);
        let (mut puts, mut bytes) = (Vec::new(), 0);
        while let Some(put) = state.waiting.front() {
            bytes += put.frame.len() as u64;
            if bytes > GROUP_BYTES_MAX && !puts.is_empty() {
                break;
            }
            puts.extend(state.waiting.pop_front());
        }
        (drained.is_some() || !puts.is_empty()).then_some(Work { drained, puts })
    }
}

/// A handle on the queue. Dropped, it writes what waits and closes.
#[derive(Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl Queue {
    /// Opens what is there and cuts off what a crash left unfinished.
    pub(super) fn open(directory: &Path, bytes_max: u64) -> Result<(Self, Reader), SpoolOpenError> {
        Self::open_on(directory, bytes_max, Box::new(RealDisk))
    }

    pub(super) fn open_on(
        directory: &Path,
        bytes_max: u64,
        disk: Box<dyn Disk>,
    ) -> Result<(Self, Reader), SpoolOpenError> {
        let io = |error| SpoolOpenError::Io { directory: directory.to_owned(), error };
        fs::create_dir_all(directory).map_err(io)?;
        let lock = File::create(directory.join("lock")).map_err(io)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SpoolOpenError::InUse(directory.to_owned()))?;
        let (progress, known) = Progress::open(directory).map_err(io)?;
        let (segments, oldest_ms) = recover(directory, known)?;
        let drained = segments.front().map_or(known, |segment| segment.first.max(known));
        progress.write(drained).map_err(io)?;
        segment::sync_directory(directory).map_err(io)?;
        let state = State {
            segments,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            aside_bytes: 0,
            drained,
            drained_is_new: false,
            oldest_ms,
            disk_is_full: false,
            failed: None,
            is_closed: false,
        };
        let segment_bytes = (bytes_max / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            bytes_max,
            segment_bytes,
            state: Mutex::new(state),
            wake: Condvar::new(),
            grown: Notify::new(),
            _lock: lock,
        });
        let writer = Writer::new(Arc::clone(&shared), disk, progress);
        let thread = std::thread::Builder::new().name("spool-writer".to_owned()).spawn(|| writer.run()).map_err(io)?;
        let reader = Reader::new(Arc::clone(&shared), drained);
        Ok((Self { shared, writer: Some(thread) }, reader))
    }

    /// Returns once the record is on disk. What is no longer waited for may or may not be written.
    pub(super) async fn push(&self, record: &Record) -> Result<(), PushError> {
        let (answer, answered) = oneshot::channel();
        let put = Put { frame: frame::encode(record), timestamp_ms: record.timestamp_ms, answer };
        {
            let mut state = self.shared.lock();
            if let Some(detail) = &state.failed {
                return Err(PushError::Failed(detail.clone()));
            }
            let bytes = put.frame.len() as u64;
            if !state.has_room(bytes, self.shared.bytes_max) {
                return Err(PushError::Full);
            }
            state.waiting_bytes += bytes;
            state.waiting.push_back(put);
        }
        self.shared.wake.notify_one();
        answered.await.unwrap_or_else(|_| Err(PushError::Failed("the spool's writer ended".to_owned())))
    }

    /// All records before `next` are drained; the oldest that is left came at `oldest_ms`, if that is known.
    pub(super) fn mark(&self, next: u64, oldest_ms: Option<i64>) {
        let mut state = self.shared.lock();
        if next > state.drained {
            (state.drained, state.drained_is_new) = (next, true);
        }
        if state.records() == 0 {
            state.oldest_ms = None;
        } else if oldest_ms.is_some() {
            state.oldest_ms = oldest_ms;
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Files of refused records take so many bytes.
    pub(super) fn set_aside(&self, bytes: u64) {
        self.shared.lock().aside_bytes = bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shared.lock().records() == 0
    }

    pub(super) fn depth(&self) -> Depth {
        let state = self.shared.lock();
        Depth { records: state.records(), bytes: state.bytes(), oldest_ms: state.oldest_ms }
    }

    /// The most its files may take on the disk.
    pub(super) fn bytes_max(&self) -> u64 {
        self.shared.bytes_max
    }

    /// Whether a record of common size would be taken now.
    pub(super) fn has_room(&self) -> bool {
        let state = self.shared.lock();
        state.failed.is_none() && !state.disk_is_full && state.has_room(ROOM_BYTES_MIN, self.shared.bytes_max)
    }

    /// Waits until there may be something new to drain.
    pub(super) async fn grown(&self) {
        self.shared.grown.notified().await;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // Its panics were told already.
            let _ = writer.join();
        }
    }
}

/// The segments that hold something still to drain, and when the oldest record in them came. Only the newest can end in
/// a torn record: every other was synced before the next was begun.
fn recover(directory: &Path, drained: u64) -> Result<(VecDeque<Segment>, Option<i64>), SpoolOpenError> {
    let io = |error| SpoolOpenError::Io { directory: directory.to_owned(), error };
    let firsts = segment::list(directory).map_err(io)?;
    let (mut segments, mut oldest_ms) = (VecDeque::new(), None);
    for first in &firsts {
        let path = segment::path(directory, *first);
        let Some(scan) = segment::scan(&path, *first, drained).map_err(io)? else {
            return Err(SpoolOpenError::Foreign(path));
        };
        let (end, cut) = (first + scan.n_records, scan.file_bytes - scan.good_bytes);
        let is_newest = Some(first) == firsts.last();
        let damaged = cut > 0 && !is_newest;
        if damaged {
            tracing::error!(path = %path.display(), bytes = cut, "records in the spool cannot be read; the file is kept");
        } else if end <= drained || scan.n_records == 0 {
            fs::remove_file(&path).map_err(io)?;
            continue;
        } else if cut > 0 {
            tracing::info!(path = %path.display(), bytes = cut, "cut off what a crash left unfinished in the spool");
            let file = File::options().write(true).open(&path).map_err(io)?;
            file.set_len(scan.good_bytes).and_then(|()| file.sync_all()).map_err(io)?;
        }
        oldest_ms = oldest_ms.or(scan.oldest_ms);
        let bytes = if damaged { scan.file_bytes } else { scan.good_bytes };
        segments.push_back(Segment { first: *first, end, bytes, damaged });
    }
    Ok((segments, oldest_ms))
}
