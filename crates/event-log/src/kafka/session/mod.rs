//! A member of a consumer group whose outputs and positions are committed as one transaction.
//!
//! The order of things is what makes it exactly-once:
//!
//! 1. `init_transactions` before joining: what a former self of the same name left open is ended, so that the positions
//!    read afterwards are final. Both happen in the first polls and are tried for as long as the brokers are away: a
//!    service may start before its cluster. Until then nothing is assigned.
//! 2. Polling only while no transaction is open: a change of assignment never meets one. The callbacks only note the
//!    change; the session answers it in its own poll.
//! 3. The group's metadata is taken right after the last poll of a batch and then used for its commit. A member that was
//!    replaced meanwhile is fenced by it: the broker refuses the positions, and the transaction aborts.
//! 4. A new partition begins at its committed position, told explicitly. Only a partition in which the group never
//!    committed begins at the oldest kept record; a position that is no longer kept is an error, never moved in silence.
//!
//! Members are static (KIP-345): a restart within the session timeout moves no partition. Partitions move cooperatively
//! (KIP-429): a member that comes or goes takes nothing from those who stay, so that their caches live on. The price is
//! that a change takes two rounds, each of which may abort a batch that was in work.

mod assign;
mod commit;
mod context;

use super::{
    KafkaLog, OpenError,
    client::{self, slice},
    lock, message,
    reader::{Ended, Piece, Reader},
    said,
    topics::{list, number, place},
};
use crate::{
    Batch, CommitError, Consumed, Limits, Outputs, Polled, Session, SessionError,
    gather::{Cursor, Room, gather, size_of_record},
};
use context::{Deliveries, Listener, Told};
use rdkafka::{
    Message, Offset,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    producer::{Producer, ThreadedProducer},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

/// One call into librdkafka blocks at most so long, so that a shutdown is noticed.
const SLICE: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_millis(100);
const NAME_BYTES_MAX: usize = 200;

/// Who a member is, over restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The instance's name: stable over its restarts, unique among those that live.
    pub instance: String,
    /// Which of the instance's workers for this group.
    pub worker: u32,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A name cannot be used.
    #[error("{what} {name:?}: use 1 to 200 letters, digits, dots, dashes and underscores")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A client cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
}

fn check_name(what: &'static str, name: &str) -> Result<(), JoinError> {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_sound) {
        return Ok(());
    }
    Err(JoinError::Name { what, name: name.to_owned() })
}

/// How far the session got with joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// A former self's transaction may still be open.
    No,
    /// The group is joined in the background; assignments come with the polls.
    Yes,
}

/// What was fetched of one partition and not handed out.
#[derive(Debug, Default)]
struct Buffer {
    records: VecDeque<Consumed>,
    /// The offset after the newest fetched.
    fetched: u64,
    /// Where a rewind goes: the committed position, or the oldest kept record where there is none.
    start: u64,
    /// The end when it was last heard of.
    end: u64,
    /// Going back, and nothing came since: what is told of the partition is from before.
    is_behind: bool,
    /// There are records, and none came yet since the partition was taken or rewound.
    is_awaited: bool,
}

/// A member of a group. Its calls block: it belongs on a thread of its own. Dropped, it stops; being a static member, its
/// partitions wait for it until the session timeout.
pub struct KafkaSession {
    log: KafkaLog,
    group: String,
    topic: Arc<str>,
    consumer: BaseConsumer<Listener>,
    producer: ThreadedProducer<Deliveries>,
    told: Arc<Told>,
    /// Why the last output was not delivered.
    failed: Arc<Mutex<Option<String>>>,
    joined: Joined,
    /// Begin at the oldest kept record where the committed position is no longer kept.
    from_oldest: bool,
    cursors: Vec<Cursor>,
    buffers: BTreeMap<u32, Buffer>,
    n_buffered: usize,
    bytes_buffered: usize,
    /// Answered changes that no poll told yet.
    untold: VecDeque<Polled>,
    /// Since when a change could not be answered.
    unanswered_since: Option<Instant>,
    /// Raised by every change of assignment.
    generation: u64,
    /// As it was right after the last poll of the batch that is out.
    metadata: Option<ConsumerGroupMetadata>,
    turn: usize,
    is_paused: bool,
    /// Nothing works any more, and why.
    ended: Option<String>,
    reader: Option<Reader>,
}

impl std::fmt::Debug for KafkaSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSession")
            .field("group", &self.group)
            .field("topic", &self.topic)
            .field("joined", &self.joined)
            .field("cursors", &self.cursors)
            .field("generation", &self.generation)
            .field("changes", &*lock(&self.told.changes))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// A member of a group that reads a topic; its partitions come with the polls. Two living sessions of a group must
    /// not be the same member: the broker then ends the older one.
    pub fn session(&self, group: &str, topic: &str, member: &Member) -> Result<KafkaSession, JoinError> {
        check_name("group", group)?;
        check_name("topic", topic)?;
        check_name("instance", &member.instance)?;
        let (config, common) = (&self.shared.config, &self.shared.common);
        let Member { instance, worker } = member;
        let topic: Arc<str> = topic.into();
        let (told, failed) = (Told::new(), Arc::new(Mutex::new(None)));
        let listener = Listener { common: common.clone(), topic: Arc::clone(&topic), told: Arc::clone(&told) };
        let native = client::member(config, group, &format!("{instance}-{worker}"))?;
        let consumer = BaseConsumer::from_config_and_context(&native, listener).map_err(OpenError::from)?;
        let deliveries = Deliveries { common: common.clone(), failed: Arc::clone(&failed) };
        let native = client::transactional(config, &format!("{group}-{instance}-{worker}"))?;
        let producer = ThreadedProducer::from_config_and_context(&native, deliveries).map_err(OpenError::from)?;
        Ok(KafkaSession {
            log: self.clone(),
            group: group.to_owned(),
            topic,
            consumer,
            producer,
            told,
            failed,
            joined: Joined::No,
            from_oldest: false,
            cursors: Vec::new(),
            buffers: BTreeMap::new(),
            n_buffered: 0,
            bytes_buffered: 0,
            untold: VecDeque::new(),
            unanswered_since: None,
            generation: 0,
            metadata: None,
            turn: 0,
            is_paused: false,
            ended: None,
            reader: None,
        })
    }
}

/// Whether an error passes by itself.
fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
        _ => false,
    }
}

impl KafkaSession {
    /// Begins at the oldest kept record where the group's position is no longer kept, rather than refusing: for a consumer
    /// that makes up for the records in between from elsewhere.
    #[must_use]
    pub fn from_oldest(mut self) -> Self {
        self.from_oldest = true;
        self
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> Vec<u32> {
        self.cursors.iter().map(|cursor| cursor.partition).collect()
    }

    /// Records that were fetched and not handed out.
    pub fn n_buffered(&self) -> usize {
        self.n_buffered
    }

    fn alive(&self) -> Result<(), SessionError> {
        self.ended.as_ref().map_or(Ok(()), |why| Err(SessionError(why.clone())))
    }

    fn end(&mut self, why: String) -> SessionError {
        self.ended = Some(why.clone());
        SessionError(why)
    }

    /// Ends a former self's transaction and joins the group. While no broker answers there is nothing to poll.
    fn join(&mut self, wait: Duration) -> Result<bool, SessionError> {
        if self.joined == Joined::Yes {
            return Ok(true);
        }
        match self.producer.init_transactions(wait.clamp(POLL_MAX, SLICE)) {
            Ok(()) => {}
            Err(error) if is_retriable(&error) => {
                tracing::debug!(group = self.group, error = said(&error), "not joined yet");
                return Ok(false);
            }
            Err(error) => return Err(self.end(format!("transactions cannot begin: {}", said(&error)))),
        }
        let topic = Arc::clone(&self.topic);
        if let Err(error) = self.consumer.subscribe(&[&topic]) {
            return Err(self.end(said(&error)));
        }
        self.joined = Joined::Yes;
        Ok(true)
    }

    /// Takes one thing from the consumer: a record into its buffer, a change, an error.
    fn take(&mut self, wait: Duration) -> Result<bool, SessionError> {
        let taken = match self.consumer.poll(wait) {
            None => return Ok(false),
            Some(Ok(native)) => Ok(read(&native, &self.topic, self.log.epoch())),
            Some(Err(error)) => Err(error),
        };
        match taken {
            Ok(Some(consumed)) => self.buffer(consumed),
            Ok(None) => {}
            Err(error) => self.listen(&error)?,
        }
        Ok(true)
    }

    fn buffer(&mut self, consumed: Consumed) {
        let Some(buffer) = self.buffers.get_mut(&consumed.position.partition) else { return };
        let offset = consumed.position.offset;
        if offset < buffer.fetched {
            return;
        }
        buffer.fetched = offset + 1;
        buffer.is_behind = false;
        buffer.is_awaited = false;
        buffer.end = buffer.end.max(buffer.fetched);
        self.n_buffered += 1;
        self.bytes_buffered += size_of_record(&consumed);
        buffer.records.push_back(consumed);
    }

    fn listen(&mut self, error: &KafkaError) -> Result<(), SessionError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                let why = self.consumer.client().fatal_error().map_or_else(|| said(error), |(_, why)| why);
                Err(self.end(format!("the consumer was ended: {why}")))
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                let why = self.what_is_not_kept();
                Err(self.end(why))
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::PollExceeded,
            ) => {
                tracing::warn!(group = self.group, topic = &*self.topic, error = said(error), "cannot poll");
                Ok(())
            }
            // The client goes on trying by itself.
            error => {
                tracing::debug!(group = self.group, topic = &*self.topic, error = said(error), "while polling");
                Ok(())
            }
        }
    }

    /// Fetches ahead of the batch, so that a full partition starves no other: as much again as a batch may hold.
    fn fill(&mut self, limits: &Limits) -> Result<(), SessionError> {
        let records_max = limits.records_max.max(1).saturating_mul(2).max(256);
        let bytes_max = limits.bytes_max.saturating_mul(2).max(1 << 16);
        while self.n_buffered < records_max && self.bytes_buffered < bytes_max {
            if !self.take(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.n_buffered >= limits.records_max.max(1) || self.bytes_buffered >= limits.bytes_max
    }

    /// Whether a batch had better wait a moment although it could be full: partitions that begin at the same time are not
    /// fetched at the same time, and the first to come must not be all there is.
    fn is_lopsided(&self) -> bool {
        self.buffers.values().any(|buffer| buffer.is_awaited)
    }

    fn hand_out(&mut self, limits: &Limits) -> Result<Vec<Consumed>, SessionError> {
        let Self { cursors, buffers, turn, n_buffered, bytes_buffered, .. } = self;
        gather(cursors, turn, limits, |cursor, room| {
            let Some(buffer) = buffers.get_mut(&cursor.partition) else { return Ok(Vec::new()) };
            let records = from_buffer(&mut buffer.records, room);
            if let Some(last) = records.last() {
                cursor.next = last.position.offset + 1;
            }
            *n_buffered -= records.len();
            *bytes_buffered -= records.iter().map(size_of_record).sum::<usize>();
            Ok(records)
        })
    }

    fn drop_buffers(&mut self) {
        for buffer in self.buffers.values_mut() {
            buffer.records.clear();
        }
        (self.n_buffered, self.bytes_buffered) = (0, 0);
    }

    fn set_paused(&mut self, is_paused: bool) -> Result<(), SessionError> {
        if self.is_paused == is_paused {
            return Ok(());
        }
        let ours = list(&self.topic, self.cursors.iter().map(|cursor| (cursor.partition, Offset::Invalid)));
        let done =
            ours.and_then(|ours| if is_paused { self.consumer.pause(&ours) } else { self.consumer.resume(&ours) });
        if let Err(error) = done {
            return Err(self.end(said(&error)));
        }
        self.is_paused = is_paused;
        Ok(())
    }

    /// A batch, with the group's metadata as it is right now. `None` where the assignment was lost meanwhile.
    fn batch(&mut self, limits: &Limits) -> Result<Option<Batch>, SessionError> {
        let metadata = self.consumer.group_metadata();
        // In this order: where the metadata was already emptied, the loss is already told.
        if self.consumer.assignment_lost() || metadata.is_none() || !lock(&self.told.changes).is_empty() {
            return Ok(None);
        }
        let records = self.hand_out(limits)?;
        self.metadata = metadata;
        Ok(Some(Batch { records, generation: self.generation }))
    }
}

fn read(native: &BorrowedMessage<'_>, topic: &Arc<str>, epoch: u16) -> Option<Consumed> {
    if native.topic() != &**topic {
        return None;
    }
    message::consumed(native, topic, epoch)
}

fn from_buffer(buffer: &mut VecDeque<Consumed>, room: Room) -> Vec<Consumed> {
    let mut records = Vec::new();
    let mut bytes = 0usize;
    while records.len() < room.records {
        let Some(size) = buffer.front().map(size_of_record) else { break };
        let is_first = room.first && records.is_empty();
        if !is_first && bytes + size > room.bytes {
            break;
        }
        bytes += size;
        records.extend(buffer.pop_front());
    }
    records
}

impl Session for KafkaSession {
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError> {
        self.alive()?;
        let began = Instant::now();
        if let Some(told) = self.untold.pop_front() {
            return Ok(told);
        }
        if !self.join(limits.wait)? {
            return Ok(Polled::Nothing);
        }
        self.set_paused(false)?;
        let batch_wait = Duration::from_millis(self.log.shared.config.batch_wait_ms);
        let mut first_at = None;
        loop {
            self.fill(limits)?;
            self.answer_changes()?;
            if let Some(told) = self.untold.pop_front() {
                return Ok(told);
            }
            let left = if self.n_buffered == 0 {
                limits.wait.saturating_sub(began.elapsed())
            } else {
                batch_wait.saturating_sub(first_at.get_or_insert_with(Instant::now).elapsed())
            };
            if self.n_buffered > 0 && (left.is_zero() || (self.is_full(limits) && !self.is_lopsided())) {
                self.buffers.values_mut().for_each(|buffer| buffer.is_awaited = false);
                if let Some(batch) = self.batch(limits)? {
                    return Ok(Polled::Batch(batch));
                }
                // The change that is on its way is told by a poll.
                self.take(POLL_MAX)?;
                if began.elapsed() < limits.wait.max(POLL_MAX) {
                    continue;
                }
            }
            if left.is_zero() {
                return Ok(Polled::Nothing);
            }
            self.take(slice(left, POLL_MAX))?;
        }
    }

    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        self.commit_batch(batch, outputs)
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        self.alive()?;
        self.drop_buffers();
        self.metadata = None;
        // They speak of places that are ahead now.
        lock(&self.told.seen).clear();
        let mut moved = Vec::new();
        for cursor in &mut self.cursors {
            let Some(buffer) = self.buffers.get_mut(&cursor.partition) else { continue };
            cursor.next = buffer.start;
            // What was never fetched from stands where it was told to begin.
            if buffer.fetched != buffer.start {
                buffer.fetched = buffer.start;
                buffer.is_behind = true;
                buffer.is_awaited = true;
                moved.push((cursor.partition, place(buffer.start)));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let sought = list(&self.topic, moved)
            .and_then(|moved| self.consumer.seek_partitions(moved, self.log.shared.config.request_timeout()))
            .and_then(|sought| sought.elements().iter().try_for_each(|element| element.error()));
        sought.map_err(|error| self.end(format!("cannot go back to the committed positions: {}", said(&error))))
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SessionError> {
        self.alive()?;
        let until = Instant::now() + wait;
        if self.joined == Joined::No {
            self.join(wait)?;
            return Ok(());
        }
        self.set_paused(true)?;
        loop {
            self.answer_changes()?;
            let left = until.saturating_duration_since(Instant::now());
            self.take(left.min(POLL_MAX))?;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError> {
        self.alive()?;
        let ours = self.buffers.get(&partition).filter(|_| topic == &*self.topic);
        let Some(start) = ours.map(|buffer| buffer.start) else {
            return Err(SessionError(format!("partition {partition} of {topic} does not belong to this session")));
        };
        let failed = |why: String| SessionError(format!("cannot read back partition {partition} of {topic}: {why}"));
        let shared = &self.log.shared;
        let oldest = shared.oldest(topic, &[partition]).map_err(|error| failed(said(&error)))?;
        let from = from.max(oldest.first().copied().unwrap_or(0));
        let to = to.min(start);
        if from >= to {
            return Ok(Vec::new());
        }
        let topic = Arc::clone(&self.topic);
        let piece = Piece { topic, partition, from, to, records_max: usize::MAX, bytes_max: usize::MAX };
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::new(shared).map_err(|error| failed(error.to_string()))?,
        };
        let deadline = Instant::now() + shared.config.request_timeout();
        let read = reader.read(&piece, self.log.epoch(), deadline);
        match read.map_err(failed)? {
            (records, Ended::AtEnd) => {
                self.reader = Some(reader);
                Ok(records)
            }
            (_, Ended::Full | Ended::Late) => Err(failed("no broker brought the records in time".to_owned())),
        }
    }

    fn lag(&self) -> Option<u64> {
        let seen = lock(&self.told.seen);
        let behind = |cursor: &Cursor| {
            let buffer = self.buffers.get(&cursor.partition)?;
            let seen = seen.get(&cursor.partition);
            // At the very end nothing but markers may be left, which are no records.
            let is_drained = seen.is_some_and(|seen| seen.is_drained && seen.end >= buffer.end);
            if is_drained && buffer.records.is_empty() && !buffer.is_behind {
                return Some(0);
            }
            Some(seen.map_or(buffer.end, |seen| seen.end.max(buffer.end)).saturating_sub(cursor.next))
        };
        self.cursors.iter().map(behind).sum()
    }
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        // Leaving asks for changes of its own, and would wait for ever for an answer to them.
        self.told.is_closing.store(true, Ordering::Release);
        let changes: Vec<_> = lock(&self.told.changes).drain(..).collect();
        for change in changes {
            self.acknowledge(&change);
        }
    }
}

/// Whether this is one of our partitions.
fn has(cursors: &[Cursor], partition: u32) -> bool {
    cursors.iter().any(|cursor| cursor.partition == partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check_name("group", "normalizer-1.a_B").is_ok());
        for name in ["", "a b", "a/b", &"x".repeat(201)] {
            assert!(matches!(check_name("group", name), Err(JoinError::Name { .. })), "{name}");
        }
    }
}
