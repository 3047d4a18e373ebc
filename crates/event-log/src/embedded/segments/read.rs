//! Reading a partition's records from the segments.

use super::{
    Damage, SegmentError, Segments,
    file::{self, Segment},
    frame::{HEAD_BYTES, Head},
};
use bytes::Bytes;
use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    sync::Arc,
};

/// Small, as records of other partitions are passed over.
const BUFFER_BYTES: usize = 8 * 1_024;
/// Room made at once for a record.
const ROOM_MAX: usize = 64 * 1_024;

/// Gives the records of a partition one after another. Offsets up to the end must be on disk.
pub(in crate::embedded) struct Reader<'a> {
    segments: &'a Segments,
    partition: u32,
    next: u64,
    end: u64,
    open: Option<Open>,
}

/// A segment that is being read.
struct Open {
    segment: Arc<Segment>,
    until: Option<u64>,
    reader: BufReader<File>,
    at: u64,
}

impl<'a> Reader<'a> {
    pub(in crate::embedded) fn new(segments: &'a Segments, partition: u32, from: u64, end: u64) -> Self {
        Self { segments, partition, next: from, end, open: None }
    }

    /// The next record and its offset; none at the end, or where retention took what was to come.
    pub(in crate::embedded) fn read(&mut self) -> Result<Option<(u64, Bytes)>, SegmentError> {
        if self.next >= self.end {
            return Ok(None);
        }
        if self.open.as_ref().is_none_or(|open| open.until.is_some_and(|until| self.next >= until)) {
            self.open = self.open()?;
        }
        let Some(open) = &mut self.open else { return Ok(None) };
        let found = open.find(self.partition, self.next);
        let record = found.map_err(|error| open.told(self.segments, error))?;
        self.next += 1;
        Ok(Some((self.next - 1, record)))
    }

    /// The offset to read next.
    pub(in crate::embedded) fn next(&self) -> u64 {
        self.next
    }

    fn open(&self) -> Result<Option<Open>, SegmentError> {
        let Some(mut place) = self.segments.find(self.partition, self.next) else { return Ok(None) };
        if place.at.is_none() && place.until.is_some() {
            let scan = match file::scan(self.segments.directory(), &place.segment) {
                Ok(scan) => scan,
                Err(_) if !self.segments.has(place.segment.number) => return Ok(None),
                Err(error) => return Err(error),
            };
            let first = place.segment.firsts.get(self.partition as usize).copied().unwrap_or_default();
            place.at = scan.index.place(self.partition, self.next.saturating_sub(first));
            self.segments.remember(place.segment.number, Arc::new(scan.index));
        }
        let path = place.segment.path(self.segments.directory());
        let at = place.at.unwrap_or_else(|| place.segment.header_bytes());
        let opened = File::open(&path).and_then(|file| {
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
            skip(&mut reader, at).map(|()| reader)
        });
        match opened {
            Ok(reader) => Ok(Some(Open { segment: place.segment, until: place.until, reader, at })),
            Err(_) if !self.segments.has(place.segment.number) => Ok(None),
            Err(error) => Err(SegmentError::Io(path, error)),
        }
    }
}

/// What was met instead of a record.
enum Unread {
    Io(io::Error),
    Bad(Damage),
}

impl Open {
    /// The record of an offset, which is this one's or a later one.
    fn find(&mut self, partition: u32, offset: u64) -> Result<Bytes, Unread> {
        loop {
            let at = self.at;
            let mut head = [0; HEAD_BYTES];
            self.reader.read_exact(&mut head).map_err(|error| Unread::of(error, at))?;
            let head = Head::decode(&head);
            self.at += head.frame_bytes();
            if head.partition == partition && head.offset > offset {
                return Err(Unread::Bad(Damage::Order { at }));
            }
            if head.partition != partition || head.offset < offset {
                skip(&mut self.reader, u64::from(head.length)).map_err(Unread::Io)?;
                continue;
            }
            // Bounded by what is there, whatever the length says.
            let length = u64::from(head.length);
            let mut record = Vec::with_capacity((head.length as usize).min(ROOM_MAX));
            let n_read = (&mut self.reader).take(length).read_to_end(&mut record).map_err(Unread::Io)?;
            return match n_read as u64 == length && head.fits(self.segment.salt, &record) {
                true => Ok(Bytes::from(record)),
                false => Err(Unread::Bad(Damage::Frame { at })),
            };
        }
    }

    fn told(&self, segments: &Segments, unread: Unread) -> SegmentError {
        let path = self.segment.path(segments.directory());
        match unread {
            Unread::Io(error) => SegmentError::Io(path, error),
            Unread::Bad(damage) => SegmentError::Damaged(path, damage),
        }
    }
}

impl Unread {
    fn of(error: io::Error, at: u64) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Bad(Damage::Short { at }),
            _ => Self::Io(error),
        }
    }
}

fn skip(reader: &mut BufReader<File>, bytes: u64) -> io::Result<()> {
    reader.seek_relative(i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData)?)
}
