//! The one thread that writes: group commit.
//!
//! All that waits is written as one batch of the database, with one `fdatasync`, and only then do readers see it and
//! waiters hear of it. The batch goes into the journal whole or not at all, so each request in it is atomic.
//!
//! Records of topics in segments are single appends: they go to their file, with an `fdatasync` of its own. A group that has
//! both does both at once, unless the records must not be on disk before what the database learns.

use super::{
    Shared, aside,
    codec::Encoded,
    keys,
    queue::{Note, Put, Removal, Request},
    segments::Segments,
    topic::{Newest, encode_bounds},
};
use crate::{AppendError, Position, position::EPOCH_MAX};
use fjall::{OwnedWriteBatch, PersistMode};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Runs until the queue is closed and empty, or a write fails.
pub(super) fn run(shared: &Arc<Shared>, epoch: u16) {
    // Whatever ends this thread, nobody is left waiting.
    let _guard = FailOnDrop(Arc::clone(shared));
    let mut committer = Committer::new(shared, epoch);
    while let Some(requests) = shared.queue.take() {
        if let Err(error) = committer.write(requests) {
            tracing::error!(%error, "the log cannot be written any more: restart the process");
            shared.queue.fail(&error);
            return;
        }
    }
}

struct FailOnDrop(Arc<Shared>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.queue.fail(&AppendError::Unavailable("the log's writer ended: restart the process".to_owned()));
        for topic in &self.0.topics {
            topic.appended.raise();
        }
    }
}

struct Committer<'a> {
    shared: &'a Shared,
    epoch: u16,
    /// Per topic and partition, the offset of the next record.
    next: Vec<Vec<u64>>,
}

/// Records by topic.
type InSegments = BTreeMap<usize, Vec<(Position, Encoded)>>;

/// A record staged in the group; `None` once a newer one of its key is staged too.
type Staged = Option<(usize, Position, Encoded)>;

/// What the group writes, gathered so that no key is written twice in one batch: the order of two writes of one key in
/// a batch is not defined.
#[derive(Default)]
struct Group {
    puts: Vec<Staged>,
    /// Records of topics that lie in segments.
    segments: InSegments,
    /// Topics whose last segment is to be closed.
    closes: BTreeMap<usize, ()>,
    /// Per compacted topic and index key: the newest record and, where it is in this group, its place in `puts`.
    newest: HashMap<(usize, Vec<u8>), (Newest, usize)>,
    offsets: BTreeMap<Vec<u8>, u64>,
    /// New starts of partitions.
    starts: BTreeMap<(usize, u32), u64>,
    /// Partitions that lose records and so must remember their end.
    floors: BTreeMap<(usize, u32), ()>,
    epoch: Option<u16>,
    /// Changes beside the log, by keyspace.
    notes: Vec<Notes>,
}

/// What changes in one keyspace beside the log: the last note of each key.
struct Notes {
    aside: Arc<aside::Inner>,
    last: HashMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
}

impl Group {
    fn note(&mut self, note: Note) {
        let Note { aside, key, value, number } = note;
        let known = self.notes.iter_mut().find(|notes| Arc::ptr_eq(&notes.aside, &aside));
        match known {
            Some(notes) => drop(notes.last.insert(key, (number, value))),
            None => self.notes.push(Notes { aside, last: HashMap::from([(key, (number, value))]) }),
        }
    }
}

impl Notes {
    fn stage(&mut self, batch: &mut OwnedWriteBatch) {
        for (key, (_, value)) in &mut self.last {
            match value.take() {
                Some(value) => batch.insert(&self.aside.keyspace, key.as_slice(), value),
                None => batch.remove(&self.aside.keyspace, key.as_slice()),
            }
        }
    }

    fn written(self) {
        self.aside.written(self.last.into_iter().map(|(key, (number, _))| (key, number)));
    }
}

/// A request that is written, with what to answer.
enum Done {
    Append(tokio::sync::oneshot::Sender<Result<Position, AppendError>>, Position),
    Plain(super::queue::Answer<()>),
    Epoch(super::queue::Answer<u16>, Result<u16, AppendError>),
    /// Nobody waits for it.
    Note,
}

impl<'a> Committer<'a> {
    fn new(shared: &'a Shared, epoch: u16) -> Self {
        let end = |topic: &super::topic::Topic, p| topic.bounds(p).map_or(0, |bounds| bounds.end);
        let next = shared.topics.iter().map(|topic| (0..topic.spec.partitions).map(|p| end(topic, p)).collect());
        Self { shared, epoch, next: next.collect() }
    }

    /// Writes one group. An error means that the log is broken: what is on disk is not known.
    fn write(&mut self, requests: Vec<Request>) -> Result<(), AppendError> {
        let mut batch = self.shared.db.batch().durability(Some(PersistMode::SyncData));
        let mut group = Group::default();
        let mut done = Vec::with_capacity(requests.len());
        let mut removals = Vec::new();
        let mut failed = None;
        for request in requests {
            let answer = match &failed {
                Some(error) => {
                    request.fail(error);
                    continue;
                }
                None => self.stage(request, &mut batch, &mut group, &mut removals),
            };
            match answer {
                Ok(answer) => done.push(answer),
                Err(error) => failed = Some(unavailable(&error)),
            }
        }
        let written = match failed {
            Some(error) => Err(error),
            None => self.commit(batch, group, removals).map_err(|error| unavailable(&error)),
        };
        for answer in done {
            let result = written.clone();
            // A waiter that went away needs no answer.
            match answer {
                Done::Append(answer, position) => drop(answer.send(result.map(|()| position))),
                Done::Plain(answer) => drop(answer.send(result)),
                Done::Epoch(answer, epoch) => drop(answer.send(result.and(epoch))),
                Done::Note => {}
            }
        }
        written
    }

    fn stage(
        &mut self,
        request: Request,
        batch: &mut OwnedWriteBatch,
        group: &mut Group,
        removals: &mut Vec<Removal>,
    ) -> Result<Done, fjall::Error> {
        Ok(match request {
            Request::Append { put, answer } => {
                let position = self.stage_put(put, batch, group)?;
                Done::Append(answer, position)
            }
            Request::Commit { puts, offsets, answer } => {
                for put in puts {
                    self.stage_put(put, batch, group)?;
                }
                group.offsets.extend(offsets);
                Done::Plain(answer)
            }
            Request::Remove { removal, answer } => {
                removals.push(removal);
                Done::Plain(answer)
            }
            Request::Note(note) => {
                group.note(note);
                Done::Note
            }
            Request::RaiseEpoch { answer } if self.epoch >= EPOCH_MAX => {
                let full = format!("the epoch is at its highest, {EPOCH_MAX}");
                Done::Epoch(answer, Err(AppendError::Unavailable(full)))
            }
            Request::RaiseEpoch { answer } => {
                self.epoch += 1;
                group.epoch = Some(self.epoch);
                Done::Epoch(answer, Ok(self.epoch))
            }
        })
    }

    fn stage_put(
        &mut self,
        put: Put,
        batch: &mut OwnedWriteBatch,
        group: &mut Group,
    ) -> Result<Position, fjall::Error> {
        let Put { topic, partition, mut encoded, key, tombstone_ms } = put;
        let next = &mut self.next[topic][partition as usize];
        let offset = *next;
        *next += 1;
        encoded.set_epoch(self.epoch);
        let position = Position { epoch: self.epoch, partition, offset };
        if self.shared.topics[topic].segments.is_some() {
            group.segments.entry(topic).or_default().push((position, encoded));
            return Ok(position);
        }
        let place = group.puts.len();
        group.puts.push(Some((topic, position, encoded)));
        let compacted = self.shared.topics[topic].compacted.as_ref();
        if let (Some(compacted), Some(key)) = (compacted, key) {
            let index = (topic, keys::newest(partition, &key));
            match group.newest.get(&index) {
                Some((_, place)) => group.puts[*place] = None,
                None => {
                    let before = compacted.newest.get(&index.1)?.and_then(|bytes| Newest::decode(&bytes));
                    if let Some(before) = before {
                        batch.remove(
                            self.shared.topics[topic].records(partition),
                            keys::record(partition, before.offset),
                        );
                        if let Some(timestamp) = before.tombstone_ms {
                            batch.remove(&compacted.tombstones, keys::tombstone(timestamp, partition, before.offset));
                        }
                    }
                }
            }
            group.newest.insert(index, (Newest { offset, tombstone_ms }, place));
        }
        Ok(position)
    }

    fn commit(&self, mut batch: OwnedWriteBatch, mut group: Group, removals: Vec<Removal>) -> Result<(), WriteError> {
        let Shared { topics, groups, meta, .. } = self.shared;
        for removal in removals {
            self.remove(removal, &mut batch, &mut group)?;
        }
        let mut appended = vec![false; topics.len()];
        for (topic, Position { partition, offset, .. }, encoded) in group.puts.into_iter().flatten() {
            appended[topic] = true;
            batch.insert(topics[topic].records(partition), keys::record(partition, offset), encoded.into_whole());
        }
        for ((topic, key), (newest, _)) in group.newest {
            let Some(compacted) = &topics[topic].compacted else { continue };
            if let (Some(timestamp), Some((partition, of))) = (newest.tombstone_ms, key.split_first_chunk::<4>()) {
                let partition = u32::from_be_bytes(*partition);
                batch.insert(&compacted.tombstones, keys::tombstone(timestamp, partition, newest.offset), of);
            }
            batch.insert(&compacted.newest, key, newest.encode());
        }
        for (key, next) in group.offsets {
            batch.insert(groups, key, next.to_be_bytes());
        }
        for (topic, partition) in group.floors.keys() {
            let start = group.starts.get(&(*topic, *partition)).copied();
            let start = start.or_else(|| Some(topics[*topic].bounds(*partition)?.start)).unwrap_or_default();
            // Segments know their own end, and this group's records are not in them yet.
            let is_in_segments = topics[*topic].segments.is_some();
            let floor = if is_in_segments { start } else { self.next[*topic][*partition as usize] };
            batch.insert(meta, keys::bounds(&topics[*topic].spec.name, *partition), encode_bounds(start, floor));
        }
        if let Some(epoch) = group.epoch {
            batch.insert(meta, keys::EPOCH, epoch.to_be_bytes());
        }
        group.notes.iter_mut().for_each(|notes| notes.stage(&mut batch));
        // A note, and an epoch, are on disk no later than what is appended after them. Else neither needs the other: nothing in
        // the database depends on a record that nobody has read yet.
        let is_ordered = !group.notes.is_empty() || group.epoch.is_some();
        let segments = std::mem::take(&mut group.segments);
        segments.keys().for_each(|topic| appended[*topic] = true);
        if is_ordered || batch.is_empty() || segments.is_empty() {
            write_batch(batch)?;
            self.write_segments(&segments)?;
        } else {
            self.write_both(batch, &segments)?;
        }
        group.notes.into_iter().for_each(Notes::written);
        if let Some(epoch) = group.epoch {
            self.shared.epoch.store(epoch, std::sync::atomic::Ordering::Release);
        }
        for topic in group.closes.into_keys() {
            topics[topic].segments.as_ref().map_or(Ok(()), Segments::close_last)?;
        }
        self.show(&group.starts, &appended);
        Ok(())
    }

    /// At once, each with its own `fdatasync`; one after the other where the system has no thread to give.
    fn write_both(&self, batch: OwnedWriteBatch, segments: &InSegments) -> Result<(), WriteError> {
        std::thread::scope(|scope| {
            let named = std::thread::Builder::new().name("log-segments".to_owned());
            let spawned = named.spawn_scoped(scope, || self.write_segments(segments));
            let batch = write_batch(batch);
            let segments = match spawned {
                Ok(writing) => writing.join().map_err(|_| std::io::Error::other("their writer ended"))?,
                Err(_) => self.write_segments(segments),
            };
            batch.and(segments)
        })
    }

    fn write_segments(&self, segments: &InSegments) -> Result<(), WriteError> {
        for (topic, records) in segments {
            self.shared.topics[*topic].segments.as_ref().map_or(Ok(()), |segments| segments.append(records))?;
        }
        Ok(())
    }

    /// Lets readers see what is on disk.
    fn show(&self, starts: &BTreeMap<(usize, u32), u64>, appended: &[bool]) {
        let topics = &self.shared.topics;
        for ((topic, partition), start) in starts {
            topics[*topic].set_start(*partition, *start);
        }
        for (index, topic) in topics.iter().enumerate().filter(|(index, _)| appended[*index]) {
            for (partition, end) in self.next[index].iter().enumerate() {
                topic.set_end(partition as u32, *end);
            }
            topic.appended.raise();
        }
        for topic in starts.keys().map(|(topic, _)| &topics[*topic]) {
            topic.delete_old_segments();
        }
    }

    fn remove(&self, removal: Removal, batch: &mut OwnedWriteBatch, group: &mut Group) -> Result<(), fjall::Error> {
        match removal {
            Removal::Expired { topic, partition, offsets, to } => {
                let records = self.shared.topics[topic].records(partition);
                offsets.iter().for_each(|offset| batch.remove(records, keys::record(partition, *offset)));
                group.starts.insert((topic, partition), to);
                group.floors.insert((topic, partition), ());
            }
            Removal::Close { topic } => drop(group.closes.insert(topic, ())),
            Removal::Tombstones { topic, tombstones } => {
                let open = &self.shared.topics[topic];
                let Some(compacted) = &open.compacted else { return Ok(()) };
                for (timestamp, partition, offset, key) in tombstones {
                    batch.remove(&compacted.tombstones, keys::tombstone(timestamp, partition, offset));
                    let index = keys::newest(partition, &key);
                    // A newer record of the key took the tombstone away already.
                    if group.newest.contains_key(&(topic, index.clone())) {
                        continue;
                    }
                    let newest = compacted.newest.get(&index)?.and_then(|bytes| Newest::decode(&bytes));
                    if newest.is_some_and(|newest| newest.offset == offset) {
                        batch.remove(open.records(partition), keys::record(partition, offset));
                        batch.remove(&compacted.newest, index);
                        group.floors.insert((topic, partition), ());
                    }
                }
            }
        }
        Ok(())
    }
}

/// One without changes costs nothing.
fn write_batch(batch: OwnedWriteBatch) -> Result<(), WriteError> {
    if batch.is_empty() { Ok(()) } else { Ok(batch.commit()?) }
}

/// Why a group is not on disk, as far as is known.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Database(#[from] fjall::Error),
    #[error("a segment cannot be written: {0}")]
    Segments(#[from] std::io::Error),
}

fn unavailable(error: &dyn std::fmt::Display) -> AppendError {
    AppendError::Unavailable(format!("{error}; restart the process"))
}
