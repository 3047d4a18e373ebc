//! Opening a topic's segments: what is whole is found again, what was never acknowledged is cut off, and damage is told.

use super::{
    Damage, Files, SEGMENT_BYTES_MAX, SegmentError, Segments,
    file::{self, Segment},
    index::Index,
    tail::Tail,
};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, Mutex},
};

impl Segments {
    /// Opens the segments in a folder. `begin` says where each partition begins where there are none yet; `is_known`,
    /// whether the database knows that there are some.
    pub(in crate::embedded) fn open(
        directory: &Path,
        segment_bytes: u64,
        begin: &[u64],
        is_known: bool,
    ) -> Result<Self, SegmentError> {
        let of = |error| SegmentError::Io(directory.to_owned(), error);
        make(directory).map_err(of)?;
        let mut numbers = file::list(directory).map_err(of)?;
        if !is_known {
            forget_unused(directory, &mut numbers, begin.len())?;
        }
        let mut segments = headers(directory, &numbers, begin.len(), is_known)?;
        let Some(last) = segments.pop_back() else {
            let tail = Tail::create(directory, Segment::new(0, begin.to_vec())).map_err(of)?;
            return Ok(Self::with(directory, segment_bytes, VecDeque::new(), Index::default(), tail));
        };
        let (tail, index) = reopen(directory, last)?;
        Ok(Self::with(directory, segment_bytes, segments.into_iter().map(Arc::new).collect(), index, tail))
    }

    fn with(
        directory: &Path,
        segment_bytes: u64,
        closed: VecDeque<Arc<Segment>>,
        last_index: Index,
        tail: Tail,
    ) -> Self {
        let files = Files { closed, last: Arc::clone(&tail.segment), last_index, indexes: VecDeque::new() };
        Self {
            directory: directory.to_owned(),
            segment_bytes: segment_bytes.min(SEGMENT_BYTES_MAX),
            files: Mutex::new(files),
            tail: Mutex::new(tail),
        }
    }
}

/// Makes a folder, and it and the one around it durable by name.
fn make(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for parent in directory.ancestors().skip(1).take(2).filter(|parent| !parent.as_os_str().is_empty()) {
        file::sync_directory(parent)?;
    }
    Ok(())
}

/// A process that ended while it opened the log for the first time may leave a file without a record. One with records is
/// somebody else's.
fn forget_unused(directory: &Path, numbers: &mut Vec<u64>, n_partitions: usize) -> Result<(), SegmentError> {
    for number in numbers.drain(..) {
        let path = file::path(directory, number);
        let length = fs::metadata(&path).map(|found| found.len());
        match length {
            Ok(length) if length <= file::header_bytes(n_partitions) => fs::remove_file(&path),
            Ok(_) => return Err(SegmentError::Damaged(path, Damage::Foreign)),
            Err(error) => Err(error),
        }
        .map_err(|error| SegmentError::Io(path, error))?;
    }
    Ok(())
}

/// Reads the headers of all segments. A last file that has none yet was never written to, and is deleted.
fn headers(
    directory: &Path,
    numbers: &[u64],
    n_partitions: usize,
    is_known: bool,
) -> Result<VecDeque<Segment>, SegmentError> {
    let mut segments: VecDeque<Segment> = VecDeque::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let path = file::path(directory, *number);
        let of = |error| SegmentError::Io(path.clone(), error);
        let damaged = |damage| Err(SegmentError::Damaged(path.clone(), damage));
        let Some(segment) = Segment::read(directory, *number, n_partitions as u32).map_err(of)? else {
            let is_new = fs::metadata(&path).map_err(of)?.len() <= file::header_bytes(n_partitions);
            if !is_new || place == 0 || place + 1 < numbers.len() {
                return damaged(Damage::Header);
            }
            fs::remove_file(&path).map_err(of)?;
            break;
        };
        let follows = segments.back().is_none_or(|before| {
            before.number + 1 == *number && before.firsts.iter().zip(&segment.firsts).all(|(a, b)| a <= b)
        });
        if !follows {
            return damaged(Damage::Missing);
        }
        segments.push_back(segment);
    }
    if segments.is_empty() && is_known {
        return Err(SegmentError::Damaged(directory.to_owned(), Damage::Missing));
    }
    Ok(segments)
}

/// Opens the last segment to append to it. Whatever is whole in it is on disk when this returns.
fn reopen(directory: &Path, segment: Segment) -> Result<(Tail, Index), SegmentError> {
    let path = segment.path(directory);
    let of = |error| SegmentError::Io(path.clone(), error);
    let scan = file::scan(directory, &segment)?;
    let file = File::options().append(true).open(&path).map_err(of)?;
    if scan.good_bytes < scan.file_bytes {
        if !file::is_torn(directory, &segment, &scan).map_err(of)? {
            return Err(SegmentError::Damaged(path, Damage::Frame { at: scan.good_bytes }));
        }
        let n_bytes = scan.file_bytes - scan.good_bytes;
        tracing::warn!(path = %path.display(), n_bytes, "cut off the end of a write that was never acknowledged");
        file.set_len(scan.good_bytes).map_err(of)?;
    }
    file.sync_all().map_err(of)?;
    file::sync_directory(directory).map_err(of)?;
    let tail =
        Tail { file, segment: Arc::new(segment), bytes: scan.good_bytes, ends: scan.ends, began_ms: scan.began_ms };
    Ok((tail, scan.index))
}
