//! The bounded queue between those who write and the one thread that commits.

use super::{Limits, aside, codec::Encoded};
use crate::{AppendError, Position};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
};
use tokio::sync::oneshot;

/// Changes beside the log that may wait for a record to go with.
pub(super) const NOTES_MAX: usize = 1_024;

/// A record on its way into a partition.
#[derive(Debug)]
pub(super) struct Put {
    /// Index of the topic.
    pub(super) topic: usize,
    pub(super) partition: u32,
    /// The epoch is not yet set.
    pub(super) encoded: Encoded,
    /// Its key, where the topic is compacted.
    pub(super) key: Option<Bytes>,
    /// Its timestamp, where it is a tombstone.
    pub(super) tombstone_ms: Option<i64>,
}

/// Records to take away.
#[derive(Debug)]
pub(super) enum Removal {
    /// All offsets of a partition from `start` up to, not including, `to`; `offsets` are those that the database holds.
    Expired { topic: usize, partition: u32, offsets: Vec<u64>, to: u64 },
    /// The last segment of a topic is closed, so that it can be deleted once all in it is too old.
    Close { topic: usize },
    /// Tombstones that are still the newest of their key: timestamp, partition, offset, key.
    Tombstones { topic: usize, tombstones: Vec<(i64, u32, u64, Vec<u8>)> },
}

/// A change of a keyspace beside the log. Nobody waits for it.
pub(super) struct Note {
    pub(super) aside: Arc<aside::Inner>,
    pub(super) key: Vec<u8>,
    /// `None` removes.
    pub(super) value: Option<Vec<u8>>,
    /// Counts the changes of its keyspace.
    pub(super) number: u64,
}

/// What a waiter is told when its write is on disk, or never will be.
pub(super) type Answer<T> = mpsc::SyncSender<Result<T, AppendError>>;

#[derive(Debug)]
pub(super) enum Request {
    Append {
        put: Put,
        answer: oneshot::Sender<Result<Position, AppendError>>,
    },
    /// Group positions as key and next offset.
    Commit {
        puts: Vec<Put>,
        offsets: Vec<(Vec<u8>, u64)>,
        answer: Answer<()>,
    },
    Remove {
        removal: Removal,
        answer: Answer<()>,
    },
    RaiseEpoch {
        answer: Answer<u16>,
    },
    Note(Note),
}

impl Request {
    fn n_records(&self) -> usize {
        match self {
            Self::Append { .. } => 1,
            Self::Commit { puts, .. } => puts.len().max(1),
            Self::Remove { removal: Removal::Expired { offsets, .. }, .. } => offsets.len(),
            Self::Remove { removal: Removal::Tombstones { tombstones, .. }, .. } => tombstones.len(),
            Self::Remove { removal: Removal::Close { .. }, .. } | Self::RaiseEpoch { .. } | Self::Note(_) => 1,
        }
    }

    fn n_bytes(&self) -> usize {
        match self {
            Self::Append { put, .. } => put.encoded.len(),
            Self::Commit { puts, .. } => puts.iter().map(|put| put.encoded.len()).sum(),
            Self::Note(note) => note.key.len() + note.value.as_ref().map_or(0, Vec::len),
            Self::Remove { .. } | Self::RaiseEpoch { .. } => 0,
        }
    }

    pub(super) fn fail(self, error: &AppendError) {
        // A waiter that went away needs no answer.
        match self {
            Self::Append { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Commit { answer, .. } | Self::Remove { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::RaiseEpoch { answer } => drop(answer.send(Err(error.clone()))),
            Self::Note(_) => {}
        }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Of appends alone: a stage's large commit must not make the gateway refuse.
    n_records: usize,
    /// Of appends alone.
    n_bytes: usize,
    /// Notes at the head of the queue: while nothing else waits, they wait for a record to go with.
    n_notes_alone: usize,
    /// No more is taken: the last handle is gone, or the log broke.
    closed: Option<AppendError>,
}

impl State {
    /// Whether there is something for the writer to do.
    fn is_due(&self) -> bool {
        self.waiting.len() > self.n_notes_alone || self.n_notes_alone >= NOTES_MAX
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), wake: Condvar::new() }
    }

    /// Puts a request in, or refuses it. The writer is woken for it, but for a note only once [`NOTES_MAX`] of them wait
    /// alone. Appends are bounded by the limits; the others by the number of sessions, each
    /// of which waits for its answer before it asks again.
    pub(super) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if let Request::Append { put, .. } = &request {
            let (n_records, n_bytes) = (state.n_records + 1, state.n_bytes + put.encoded.len());
            // One record always fits an empty queue.
            let is_full = n_records > self.limits.queue_records_max || n_bytes > self.limits.queue_bytes_max;
            if is_full && state.n_records > 0 {
                return Err(AppendError::Busy);
            }
            (state.n_records, state.n_bytes) = (n_records, n_bytes);
        }
        let is_due_before = state.is_due();
        if matches!(request, Request::Note(_)) && state.n_notes_alone == state.waiting.len() {
            state.n_notes_alone += 1;
        }
        state.waiting.push_back(request);
        let became_due = !is_due_before && state.is_due();
        drop(state);
        if became_due {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Everything that waits, up to the limits of a group but at least one request. `None` once closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Request>> {
        let state = self.lock();
        let waited = self.wake.wait_while(state, |state| !state.is_due() && state.closed.is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let mut group = Vec::with_capacity(state.waiting.len().min(self.limits.group_records_max));
        let (mut n_records, mut n_bytes) = (0, 0);
        while let Some(request) = state.waiting.front() {
            let (records, bytes) = (request.n_records(), request.n_bytes());
            n_records += records;
            n_bytes += bytes;
            let is_full = n_records > self.limits.group_records_max || n_bytes > self.limits.group_bytes_max;
            if is_full && !group.is_empty() {
                break;
            }
            if matches!(request, Request::Append { .. }) {
                state.n_records -= records;
                state.n_bytes -= bytes;
            }
            group.extend(state.waiting.pop_front());
        }
        state.n_notes_alone = state.waiting.iter().take_while(|request| matches!(request, Request::Note(_))).count();
        (!group.is_empty()).then_some(group)
    }

    /// An error once no more is taken.
    pub(super) fn open(&self) -> Result<(), AppendError> {
        self.lock().closed.clone().map_or(Ok(()), Err)
    }

    /// How many appended records wait.
    pub(super) fn n_waiting(&self) -> usize {
        self.lock().n_records
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed.get_or_insert(AppendError::Unavailable("the log is closed".to_owned()));
        self.wake.notify_all();
    }

    /// Takes no more, and answers all who wait with the error.
    pub(super) fn fail(&self, error: &AppendError) {
        let mut state = self.lock();
        state.closed = Some(error.clone());
        let waiting = std::mem::take(&mut state.waiting);
        (state.n_records, state.n_bytes, state.n_notes_alone) = (0, 0, 0);
        drop(state);
        waiting.into_iter().for_each(|request| request.fail(error));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn put(bytes: usize) -> Put {
        let record = Record { key: None, value: Some(vec![0; bytes].into()), headers: Vec::new(), timestamp_ms: 0 };
        Put { topic: 0, partition: 0, encoded: Encoded::whole(&record), key: None, tombstone_ms: None }
    }

    fn append(queue: &Queue, bytes: usize) -> Result<(), AppendError> {
        queue.push(Request::Append { put: put(bytes), answer: oneshot::channel().0 })
    }

    fn queue() -> Queue {
        Queue::new(Limits { queue_records_max: 3, queue_bytes_max: 100, ..Limits::default() })
    }

    #[test]
    fn a_stages_commit_makes_no_webhook_wait_outside() {
        let queue = queue();
        let answer = mpsc::sync_channel(1).0;
        let puts = (0..50).map(|_| put(1_000)).collect();
        queue.push(Request::Commit { puts, offsets: Vec::new(), answer }).unwrap();
        assert_eq!(append(&queue, 10), Ok(()));
        assert_eq!(queue.n_waiting(), 1);
    }

    #[test]
    fn appends_are_bounded_in_records_and_bytes_and_room_comes_back() {
        let queue = queue();
        assert_eq!(append(&queue, 1_000), Ok(()), "one record always fits an empty queue");
        assert_eq!(append(&queue, 1), Err(AppendError::Busy), "bytes");
        assert_eq!(queue.take().map(|group| group.len()), Some(1));
        for _ in 0..3 {
            assert_eq!(append(&queue, 1), Ok(()));
        }
        assert_eq!(append(&queue, 1), Err(AppendError::Busy), "records");
        assert_eq!(queue.take().map(|group| group.len()), Some(3));
        assert_eq!((append(&queue, 1), queue.n_waiting()), (Ok(()), 1));
    }
}
