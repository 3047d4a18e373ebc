//! The one thread that writes: group commit, and deleting what is drained.

use super::{
    disk::Disk,
    queue::{PushError, Put, Segment, Shared, State},
    segment::{self, MAGIC, MAGIC_BYTES, Progress},
};
use std::{
    fs::{self, File},
    io,
    sync::Arc,
};

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Box<dyn Disk>,
    progress: Progress,
    /// The newest segment, where it was begun by this process.
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    file: File,
    bytes: u64,
}

impl Writer {
    pub(super) const fn new(shared: Arc<Shared>, disk: Box<dyn Disk>, progress: Progress) -> Self {
        Self { shared, disk, progress, active: None }
    }

    /// Runs until the queue is closed and nothing is left to do.
    pub(super) fn run(mut self) {
        while let Some(work) = self.shared.take() {
            if let Some(drained) = work.drained {
                self.trim(drained);
            }
            // Who no longer waits is not told, so nothing was promised.
            let (puts, gone): (Vec<_>, Vec<_>) = work.puts.into_iter().partition(|put| !put.answer.is_closed());
            self.shared.lock().waiting_bytes -= bytes_of(&gone);
            if !puts.is_empty() {
                let written = self.write(&puts);
                self.finish(puts, written);
            }
        }
    }

    /// Puts a group on disk.
    fn write(&mut self, puts: &[Put]) -> Result<(), PushError> {
        if let Some(detail) = self.shared.lock().failed.clone() {
            return Err(PushError::Failed(detail));
        }
        let group: Vec<u8> = puts.iter().flat_map(|put| &put.frame).copied().collect();
        let mut active = match self.active.take() {
            Some(active) if active.bytes < self.shared.segment_bytes => active,
            _ => self.begin().map_err(refusal)?,
        };
        if let Err(error) = self.disk.write(&mut active.file, &group) {
            // A part may be there: without it, the segment is as it was.
            let cut = active.file.set_len(active.bytes);
            self.active = Some(active);
            return Err(cut.map_or_else(|error| failed(&error), |()| refusal(error)));
        }
        // After a failed sync nobody knows what is on disk, and a second one may lie.
        self.disk.sync(&active.file).map_err(|error| failed(&error))?;
        active.bytes += group.len() as u64;
        self.active = Some(active);
        Ok(())
    }

    /// Tells who waits, and lets the reader see what is new.
    fn finish(&self, puts: Vec<Put>, written: Result<(), PushError>) {
        let (bytes, n_records) = (bytes_of(&puts), puts.len() as u64);
        let mut state = self.shared.lock();
        state.waiting_bytes -= bytes;
        state.disk_is_full = written == Err(PushError::Full);
        match &written {
            Ok(()) => grow(&mut state, n_records, bytes, puts.first().map(|put| put.timestamp_ms)),
            Err(PushError::Full) => tracing::warn!("the disk of the spool is full"),
            Err(PushError::Failed(detail)) => {
                tracing::error!(detail, "the spool cannot be written any more: mend its disk and restart the process");
                state.failed = Some(detail.clone());
            }
        }
        drop(state);
        self.shared.grown.notify_one();
        for put in puts {
            // Who went away meanwhile needs no answer.
            let _ = put.answer.send(written.clone());
        }
    }

    /// Begins a segment; its name is durable before any record in it.
    fn begin(&self) -> io::Result<Active> {
        let first = {
            let state = self.shared.lock();
            let after = |newest: &Segment| newest.end.max(newest.first + 1);
            state.segments.back().map_or(0, after).max(state.drained)
        };
        let path = segment::path(&self.shared.directory, first);
        let mut file = File::options().append(true).create_new(true).open(&path)?;
        let made = io::Write::write_all(&mut file, MAGIC)
            .and_then(|()| file.sync_all())
            .and_then(|()| segment::sync_directory(&self.shared.directory));
        if let Err(error) = made {
            // The next try makes it anew; should it stay, it is empty and goes at the next start.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let begun = Segment { first, end: first, bytes: MAGIC_BYTES, damaged: false };
        self.shared.lock().segments.push_back(begun);
        Ok(Active { file, bytes: MAGIC_BYTES })
    }

    /// Remembers how far records are drained, and deletes segments that hold nothing else.
    fn trim(&mut self, drained: u64) {
        if let Err(error) = self.progress.write(drained) {
            tracing::warn!(%error, "cannot note how far the spool is drained: a restart would append some records again");
        }
        loop {
            let spent = {
                let mut state = self.shared.lock();
                if state.segments.front().is_none_or(|oldest| oldest.end > drained) {
                    break;
                }
                let spent = state.segments.pop_front();
                if state.segments.is_empty() {
                    self.active = None;
                }
                spent
            };
            let Some(spent) = spent else { break };
            let path = segment::path(&self.shared.directory, spent.first);
            let gone =
                if spent.damaged { fs::rename(&path, path.with_extension("damaged")) } else { fs::remove_file(&path) };
            if let Err(error) = gone {
                tracing::warn!(%error, path = %path.display(), "cannot delete a drained file of the spool: delete it");
            }
        }
    }
}

/// Whatever ends the thread, nobody is left waiting.
impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.failed.get_or_insert_with(|| "the spool's writer ended".to_owned());
        let waiting = std::mem::take(&mut state.waiting);
        state.waiting_bytes = 0;
        drop(state);
        drop(waiting);
    }
}

fn grow(state: &mut State, n_records: u64, bytes: u64, first_ms: Option<i64>) {
    if state.records() == 0 {
        state.oldest_ms = first_ms;
    }
    if let Some(newest) = state.segments.back_mut() {
        newest.end += n_records;
        newest.bytes += bytes;
    }
}

fn bytes_of(puts: &[Put]) -> u64 {
    puts.iter().map(|put| put.frame.len() as u64).sum()
}

/// A disk without room may have some later; anything else is a fault.
fn refusal(error: io::Error) -> PushError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PushError::Full,
        _ => failed(&error),
    }
}

fn failed(error: &io::Error) -> PushError {
    PushError::Failed(error.to_string())
}
