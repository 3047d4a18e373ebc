//! Reading the spool in order, for draining it.

use super::{
    frame::{self, Broken},
    queue::{Segment, Shared},
    segment::{self, MAGIC_BYTES},
};
use bytes::Bytes;
use event_log::Record;
use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

/// A record of the spool.
#[derive(Debug)]
pub(super) struct Entry {
    /// The number of the one after it.
    pub(super) next: u64,
    /// None where the disk lost it.
    pub(super) record: Option<Record>,
}

/// Reads each record once, as far as they are on disk.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    /// The number of the record to read next.
    next: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    first: u64,
    file: File,
    /// The record that begins at `offset`.
    at: u64,
    offset: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, next: u64) -> Self {
        Self { shared, next, open: None }
    }

    /// The next records: so many, of so many bytes, but at least one where there is one. Blocks.
    pub(super) fn read(&mut self, records_max: usize, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < records_max && bytes < bytes_max {
            let Some(segment) = self.segment() else { break };
            let payload = match self.payload(&segment) {
                Ok(payload) => payload,
                // What was read before is not held up by it.
                Err(_) if !entries.is_empty() => break,
                Err(error) => return Err(error),
            };
            let record = payload.and_then(|payload| {
                bytes += payload.len();
                frame::decode(payload)
            });
            if record.is_err() {
                self.give_up(&segment);
            }
            entries.push(Entry { next: self.next, record: record.ok() });
        }
        Ok(entries)
    }

    /// The segment of the next record, as far as it is on disk.
    fn segment(&mut self) -> Option<Segment> {
        let state = self.shared.lock();
        let segment = state.segments.iter().find(|segment| segment.end > self.next).copied()?;
        drop(state);
        self.next = self.next.max(segment.first);
        Some(segment)
    }

    /// Reads the next record's payload and moves past it.
    fn payload(&mut self, segment: &Segment) -> io::Result<Result<Bytes, Broken>> {
        let mut open = match self.open.take() {
            Some(open) if open.first == segment.first => open,
            _ => {
                let file = File::open(segment::path(&self.shared.directory, segment.first))?;
                Open { first: segment.first, file, at: segment.first, offset: MAGIC_BYTES }
            }
        };
        loop {
            let mut head = [0; frame::HEAD_BYTES];
            let left = segment.bytes.saturating_sub(open.offset);
            if left < head.len() as u64 {
                return Ok(Err(Broken));
            }
            open.file.read_exact_at(&mut head, open.offset)?;
            let Ok(length) = frame::payload_bytes(head) else { return Ok(Err(Broken)) };
            let frame_bytes = (frame::HEAD_BYTES + length) as u64;
            if frame_bytes > left {
                return Ok(Err(Broken));
            }
            let (at, offset) = (open.at, open.offset);
            open.at += 1;
            open.offset += frame_bytes;
            if at < self.next {
                continue;
            }
            let mut payload = vec![0; length];
            open.file.read_exact_at(&mut payload, offset + head.len() as u64)?;
            if frame::check(head, &payload).is_err() {
                return Ok(Err(Broken));
            }
            self.next = open.at;
            self.open = Some(open);
            return Ok(Ok(Bytes::from(payload)));
        }
    }

    /// Passes over what of a segment cannot be read; it is kept for whoever can.
    fn give_up(&mut self, segment: &Segment) {
        let lost = segment.end - self.next.min(segment.end);
        tracing::error!(segment = segment.first, lost, "records in the spool cannot be read; the file is kept");
        if let Some(segment) = self.shared.lock().segments.iter_mut().find(|other| other.first == segment.first) {
            segment.damaged = true;
        }
        let path = segment::path(&self.shared.directory, segment.first);
        let open = |file| Open { first: segment.first, file, at: segment.end, offset: segment.bytes };
        self.open = File::open(path).map(open).ok();
        self.next = segment.end;
    }
}
