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
//!    Each begins as soon as somebody tells where; one that waits, say for a leader, holds up no other.
//! 5. Where nothing is left to read, the group is moved past the last transaction's marker, to the end: see `drained`.
//! 6. A commit takes at most twice `commit_timeout_ms` and ten seconds, whatever the brokers do, and ten seconds from when
//!    the process is to stop: see `commit`.
//!
//! Members are static (KIP-345): a restart within the session timeout moves no partition. Partitions move cooperatively
//! (KIP-429): a member that comes or goes takes nothing from those who stay, so that their caches live on. The price is
//! that a change takes two rounds, each of which may abort a batch that was in work.

mod assign;
mod buffers;
mod commit;
mod context;
mod drained;
mod ended;
mod lag;
mod member;
mod positions;
mod starts;
mod waits;

pub use member::{JoinError, Member};

use super::{
    KafkaLog, OpenError,
    client::{self, slice},
    lock, message,
    reader::{Ended, Piece},
    said,
    topics::{list, number, place},
};
use crate::{
    Batch, CommitError, Consumed, Limits, Outputs, Polled, Session, SessionError,
    gather::{Cursor, gather},
};
use buffers::Buffers;
use context::{Change, Deliveries, Listener, Told};
use drained::Pace;
use member::check_name;
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
use tokio_util::sync::CancellationToken;
use waits::Wait;

/// One call into librdkafka blocks at most so long, so that a shutdown is noticed.
const SLICE: Duration = Duration::from_secs(1);
/// One call of a commit blocks at most so long, then it is called again.
const CALL_MAX: Duration = Duration::from_secs(5);
const POLL_MAX: Duration = Duration::from_millis(100);

/// How far the session got with joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// A former self's transaction may still be open.
    No,
    /// The group is joined in the background; assignments come with the polls.
    Yes,
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
    buffers: Buffers,
    /// Partitions that were given to us and cannot begin yet; since when the group's position lies beyond the end.
    unbegun: BTreeMap<u32, Option<Instant>>,
    /// From when on is asked again where they begin.
    ask_starts_at: Option<Instant>,
    /// When was asked last where the partitions end.
    ends_asked: Option<Instant>,
    pace: Pace,
    waits_to_join: Wait,
    waits_for_starts: Wait,
    /// Answered changes that no poll told yet.
    untold: VecDeque<Polled>,
    /// Raised by every change of assignment.
    generation: u64,
    /// As it was right after the last poll of the batch that is out.
    metadata: Option<ConsumerGroupMetadata>,
    turn: usize,
    is_paused: bool,
    /// Nothing works any more, and why.
    ended: Option<String>,
    /// Cancelled when the process is to stop.
    stop: CancellationToken,
}

impl std::fmt::Debug for KafkaSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSession")
            .field("group", &self.group)
            .field("topic", &self.topic)
            .field("joined", &self.joined)
            .field("cursors", &self.cursors)
            .field("unbegun", &self.unbegun.keys())
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
        let topic: Arc<str> = topic.into();
        let (told, failed) = (Told::new(), Arc::new(Mutex::new(None)));
        let listener = Listener { common: common.clone(), topic: Arc::clone(&topic), told: Arc::clone(&told) };
        let native = client::member(config, group, &member.instance_id())?;
        let consumer = BaseConsumer::from_config_and_context(&native, listener).map_err(OpenError::from)?;
        let deliveries = Deliveries { common: common.clone(), failed: Arc::clone(&failed) };
        let native = client::transactional(config, &member.transactional_id(group))?;
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
            buffers: Buffers::default(),
            unbegun: BTreeMap::new(),
            ask_starts_at: None,
            ends_asked: None,
            pace: Pace::default(),
            waits_to_join: Wait::default(),
            waits_for_starts: Wait::default(),
            untold: VecDeque::new(),
            generation: 0,
            metadata: None,
            turn: 0,
            is_paused: false,
            ended: None,
            stop: CancellationToken::new(),
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
        self.buffers.n_records()
    }

    /// Ends a former self's transaction and joins the group. While no broker answers there is nothing to poll.
    fn join(&mut self, wait: Duration) -> Result<bool, SessionError> {
        if self.joined == Joined::Yes {
            return Ok(true);
        }
        match self.producer.init_transactions(wait.clamp(POLL_MAX, SLICE)) {
            Ok(()) => {}
            Err(error) if is_retriable(&error) => {
                let (group, error) = (&self.group, said(&error));
                tracing::debug!(group, error, "not joined yet");
                if let Some(waited) = self.waits_to_join.lasts(Instant::now()) {
                    tracing::warn!(group, error, ?waited, "the group cannot be joined, and is tried again");
                }
                return Ok(false);
            }
            Err(error) => return Err(self.end(format!("transactions cannot begin: {}", said(&error)))),
        }
        let topic = Arc::clone(&self.topic);
        if let Err(error) = self.consumer.subscribe(&[&topic]) {
            return Err(self.end(said(&error)));
        }
        self.joined = Joined::Yes;
        if let Some(waited) = self.waits_to_join.ends(Instant::now()) {
            tracing::info!(group = self.group, ?waited, "the group could be joined");
        }
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
            Ok(Some(consumed)) => self.buffers.push(consumed),
            Ok(None) => {}
            Err(error) => self.listen(&error)?,
        }
        Ok(true)
    }

    fn listen(&mut self, error: &KafkaError) -> Result<(), SessionError> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                let why = self.ended_client().unwrap_or_else(|| format!("the consumer was ended: {}", said(error)));
                Err(self.end(why))
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
        while self.buffers.n_records() < records_max && self.buffers.n_bytes() < bytes_max {
            if !self.take(Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    fn is_full(&self, limits: &Limits) -> bool {
        self.buffers.n_records() >= limits.records_max.max(1) || self.buffers.n_bytes() >= limits.bytes_max
    }

    fn hand_out(&mut self, limits: &Limits) -> Result<Vec<Consumed>, SessionError> {
        let Self { cursors, buffers, turn, .. } = self;
        gather(cursors, turn, limits, |cursor, room| Ok(buffers.pop(cursor, room)))
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

    /// Reads what is committed at these offsets of a partition of ours, by a client of its own: polls go on where they were.
    fn read_piece(
        &self,
        partition: u32,
        (from, to): (u64, u64),
        records_max: usize,
        wait: Duration,
    ) -> Result<(Vec<Consumed>, Ended), String> {
        let shared = &self.log.shared;
        let topic = Arc::clone(&self.topic);
        let piece = Piece { topic, partition, from, to, records_max, bytes_max: usize::MAX };
        let mut reader = shared.readers.take(shared).map_err(|error| error.to_string())?;
        reader.afresh();
        // A reader that failed is not used again.
        let read = reader.read(&piece, self.log.epoch(), Instant::now() + wait)?;
        shared.readers.put(reader);
        Ok(read)
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
        self.commit_drained()?;
        let batch_wait = Duration::from_millis(self.log.shared.config.batch_wait_ms);
        let mut first_at = None;
        loop {
            self.fill(limits)?;
            self.answer_changes()?;
            if let Some(told) = self.untold.pop_front() {
                return Ok(told);
            }
            let left = if self.buffers.n_records() == 0 {
                limits.wait.saturating_sub(began.elapsed())
            } else {
                batch_wait.saturating_sub(first_at.get_or_insert_with(Instant::now).elapsed())
            };
            // A batch had better wait a moment although it could be full: partitions that begin at the same time are not
            // fetched at the same time, and the first to come must not be all there is.
            let is_ready = left.is_zero() || (self.is_full(limits) && !self.buffers.are_awaited());
            if self.buffers.n_records() > 0 && is_ready {
                self.buffers.all_mut().for_each(|buffer| buffer.is_awaited = false);
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
        self.buffers.drop_records();
        self.look_later();
        self.metadata = None;
        // They speak of places that are ahead now.
        lock(&self.told.seen).clear();
        let mut moved = Vec::new();
        for cursor in &mut self.cursors {
            let Some(buffer) = self.buffers.get_mut(cursor.partition) else { continue };
            cursor.next = buffer.start;
            if buffer.rewind() {
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

    fn look(&mut self) -> Result<Option<Polled>, SessionError> {
        if self.untold.is_empty() {
            self.idle(Duration::ZERO)?;
        }
        Ok(self.untold.pop_front())
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SessionError> {
        self.alive()?;
        let until = Instant::now() + wait;
        if self.joined == Joined::No {
            self.join(wait)?;
            return Ok(());
        }
        self.set_paused(true)?;
        self.ask_ends();
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
        let ours = self.buffers.get(partition).filter(|_| topic == &*self.topic);
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
        match self.read_piece(partition, (from, to), usize::MAX, shared.config.request_timeout()).map_err(failed)? {
            (records, Ended::AtEnd) => Ok(records),
            (_, Ended::Full | Ended::Late) => Err(failed("no broker brought the records in time".to_owned())),
        }
    }

    fn stop_with(&mut self, stop: CancellationToken) {
        self.stop = stop;
    }

    fn lag(&self) -> Option<u64> {
        self.records_behind()
    }
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        // Leaving asks for changes of its own, and would wait for ever for an answer to them.
        self.told.is_closing.store(true, Ordering::Release);
        // librdkafka takes back all that it gave, and only what it was told is begun.
        if !self.unbegun.is_empty() {
            self.acknowledge(&Change::Assign(self.unbegun.keys().copied().collect()));
        }
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
