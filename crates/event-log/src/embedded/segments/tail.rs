//! The end of the segments: what the log's writer appends to.

use super::{
    Segments,
    file::{self, Segment},
    frame::{HEAD_BYTES, Head},
    lock,
};
use crate::{Position, embedded::codec::Encoded};
use std::{
    fs::File,
    io::{self, IoSlice, Write as _},
    ops::Range,
    path::Path,
    sync::Arc,
};

/// The file that is written.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: File,
    pub(super) segment: Arc<Segment>,
    /// How long it is.
    pub(super) bytes: u64,
    /// By partition: the offset of its next record.
    pub(super) ends: Vec<u64>,
    /// Timestamp of its first record.
    pub(super) began_ms: Option<i64>,
}

impl Tail {
    pub(super) fn end(&self, partition: u32) -> u64 {
        self.ends.get(partition as usize).copied().unwrap_or_default()
    }

    /// Begins a new file. On disk when this returns, name and all.
    pub(super) fn create(directory: &Path, segment: Segment) -> io::Result<Self> {
        let mut file = File::options().append(true).create_new(true).open(segment.path(directory))?;
        file.write_all(&segment.encode())?;
        file.sync_all()?;
        file::sync_directory(directory)?;
        let (bytes, ends) = (segment.header_bytes(), segment.firsts.clone());
        Ok(Self { file, segment: Arc::new(segment), bytes, ends, began_ms: None })
    }
}

/// A piece of a group's bytes, in order: heads and small records lie together, large values where they came.
enum Piece<'a> {
    Gathered(Range<usize>),
    Value(&'a [u8]),
}

impl Segments {
    /// Appends a group's records, whose offsets follow those that are there, with one write and one `fdatasync`. Readers find
    /// them as soon as the topic's bounds say so. After an error nothing is known of the file.
    pub(in crate::embedded) fn append(&self, group: &[(Position, Encoded)]) -> io::Result<()> {
        let tail = &mut *lock(&self.tail);
        if tail.bytes >= self.segment_bytes {
            self.roll(tail)?;
        }
        let since = u32::try_from(tail.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut places = Vec::with_capacity(group.len());
        let (mut gathered, mut pieces, mut from) = (Vec::with_capacity(group.len() * 512), Vec::new(), 0);
        for (position, record) in group {
            let Position { partition, offset, .. } = *position;
            let [before, value, after] = record.pieces();
            gathered.extend_from_slice(&Head::seal(
                tail.segment.salt,
                partition,
                since,
                offset,
                [before, value, after],
            ));
            gathered.extend_from_slice(before);
            if !value.is_empty() {
                pieces.push(Piece::Gathered(from..gathered.len()));
                pieces.push(Piece::Value(value));
                from = gathered.len();
            }
            gathered.extend_from_slice(after);
            let place = u32::try_from(tail.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let first = tail.segment.firsts.get(partition as usize).copied().unwrap_or_default();
            places.push((partition, (offset - first) as u32, place));
            tail.bytes += (HEAD_BYTES + record.len()) as u64;
            if let Some(end) = tail.ends.get_mut(partition as usize) {
                *end = offset + 1;
            }
            tail.began_ms = tail.began_ms.or_else(|| record.timestamp_ms());
        }
        pieces.push(Piece::Gathered(from..gathered.len()));
        write(&mut tail.file, &pieces, &gathered)?;
        tail.file.sync_data()?;
        let mut files = lock(&self.files);
        places.into_iter().for_each(|(partition, n_before, at)| files.last_index.note(partition, n_before, at));
        Ok(())
    }

    /// Whether the last segment holds a record older than this.
    pub(in crate::embedded) fn is_older_than(&self, limit_ms: i64) -> bool {
        lock(&self.tail).began_ms.is_some_and(|began_ms| began_ms < limit_ms)
    }

    /// Closes the last segment, if it holds anything, so that it can be deleted in its time.
    pub(in crate::embedded) fn close_last(&self) -> io::Result<()> {
        let tail = &mut *lock(&self.tail);
        if tail.began_ms.is_some() { self.roll(tail) } else { Ok(()) }
    }

    fn roll(&self, tail: &mut Tail) -> io::Result<()> {
        let next = Segment::new(tail.segment.number + 1, tail.ends.clone());
        *tail = Tail::create(&self.directory, next)?;
        let mut files = lock(&self.files);
        let closed = std::mem::replace(&mut files.last, Arc::clone(&tail.segment));
        let index = std::mem::take(&mut files.last_index);
        files.remember(closed.number, Arc::new(index));
        files.closed.push_back(closed);
        Ok(())
    }
}

fn write(file: &mut File, pieces: &[Piece<'_>], gathered: &[u8]) -> io::Result<()> {
    let slices = pieces.iter().map(|piece| match piece {
        Piece::Gathered(range) => IoSlice::new(&gathered[range.clone()]),
        Piece::Value(value) => IoSlice::new(value),
    });
    let mut slices: Vec<_> = slices.collect();
    let mut left = slices.as_mut_slice();
    while left.iter().any(|slice| !slice.is_empty()) {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
