//! Reading committed records at any place, by clients that are in no group.

use super::{
    OpenError, Shared,
    client::{self, Common, slice},
    message, said,
    topics::{list, number, place, serve},
};
use crate::{BrowseError, Consumed, gather::size_of_record};
use rdkafka::{
    Message,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A client nobody used for so long is ended.
const IDLE_MAX: Duration = Duration::from_secs(30);
const POLL_MAX: Duration = Duration::from_millis(100);

/// What to read: a piece of one partition.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) topic: Arc<str>,
    pub(super) partition: u32,
    /// From this offset on, which is not below the oldest kept.
    pub(super) from: u64,
    /// Before this offset.
    pub(super) to: u64,
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
}

/// How a read ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// At the end of the partition, or at the piece's.
    AtEnd,
    /// A limit was reached.
    Full,
    /// Time ran out.
    Late,
}

/// A client in no group. It begins anywhere, and goes on at once where it stood.
pub(super) struct Reader {
    consumer: BaseConsumer<Common>,
    /// Where it stands, if it is reading anything.
    at: Option<(Arc<str>, u32, u64)>,
    used: Instant,
}

impl Reader {
    pub(super) fn new(shared: &Shared) -> Result<Self, OpenError> {
        let consumer = BaseConsumer::from_config_and_context(&client::reader(&shared.config)?, shared.common.clone())?;
        Ok(Self { consumer, at: None, used: Instant::now() })
    }

    /// Begins anew with the next read, even where it stands already. Standing there, it may have been told of the end before
    /// something was appended: whoever must know that nothing lies in a piece asks again.
    pub(super) fn afresh(&mut self) {
        self.at = None;
    }

    fn stands_at(&self, topic: &str, partition: u32, offset: u64) -> bool {
        self.at.as_ref().is_some_and(|(t, p, o)| (&**t, *p, *o) == (topic, partition, offset))
    }

    /// Reads a piece. Offsets without a record (compaction, ends of transactions, aborted records) are passed over: only
    /// the end of the partition ends a read early, and running out of time is told as such.
    pub(super) fn read(
        &mut self,
        piece: &Piece,
        epoch: u16,
        deadline: Instant,
    ) -> Result<(Vec<Consumed>, Ended), String> {
        let read = self.try_read(piece, epoch, deadline);
        self.used = Instant::now();
        let goes_on = matches!(read, Ok((_, Ended::Full))) && self.at.is_some();
        if !goes_on {
            self.at = None;
            // At the end it would ask the broker for more, for ever.
            self.consumer.unassign().map_err(|error| said(&error))?;
        }
        read
    }

    fn try_read(&mut self, piece: &Piece, epoch: u16, deadline: Instant) -> Result<(Vec<Consumed>, Ended), String> {
        let Piece { topic, partition, from, to, records_max, bytes_max } = piece;
        if !self.stands_at(topic, *partition, *from) {
            let assignment = list(topic, [(*partition, place(*from))]).map_err(|error| said(&error))?;
            self.consumer.assign(&assignment).map_err(|error| said(&error))?;
        }
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        let mut next = *from;
        let ended = loop {
            if next >= *to {
                break Ended::AtEnd;
            }
            if records.len() >= *records_max || bytes >= *bytes_max {
                break Ended::Full;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Ended::Late;
            }
            match self.consumer.poll(slice(left, POLL_MAX)) {
                None => {}
                Some(Ok(native)) => {
                    if native.partition() != number(*partition) || native.topic() != &**topic {
                        continue;
                    }
                    let Some(consumed) = message::consumed(&native, topic, epoch) else { continue };
                    let offset = consumed.position.offset;
                    if offset < next {
                        continue;
                    }
                    next = offset + 1;
                    if offset >= *to {
                        break Ended::AtEnd;
                    }
                    bytes += size_of_record(&consumed);
                    records.push(consumed);
                }
                Some(Err(KafkaError::PartitionEOF(at))) if at == number(*partition) => break Ended::AtEnd,
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    return Err("the records asked for were just taken away by retention".to_owned());
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(said(&error)),
                // The client goes on trying by itself.
                Some(Err(_)) => {}
            }
        };
        self.at = Some((Arc::clone(topic), *partition, next));
        Ok((records, ended))
    }
}

/// A bounded number of readers, kept while they are used.
pub(super) struct Readers {
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(max: usize) -> Self {
        Self { idle: Mutex::default(), permits: Arc::new(Semaphore::new(max)) }
    }

    /// The right to use a reader.
    pub(super) async fn permit(&self, wait: Duration) -> Result<OwnedSemaphorePermit, BrowseError> {
        let busy = || BrowseError::Unavailable("all readers are busy".to_owned());
        let permit = tokio::time::timeout(wait, Arc::clone(&self.permits).acquire_owned()).await;
        permit.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// The reader that stands there already, if any does.
    pub(super) fn take_at(&self, topic: &str, partition: u32, offset: u64) -> Option<Reader> {
        let mut idle = super::lock(&self.idle);
        let found = idle.iter().position(|reader| reader.stands_at(topic, partition, offset))?;
        Some(idle.swap_remove(found))
    }

    /// Any reader: one that reads nothing, else the one that was used longest ago.
    pub(super) fn take(&self, shared: &Shared) -> Result<Reader, OpenError> {
        let mut idle = super::lock(&self.idle);
        let found = (0..idle.len()).min_by_key(|index| (idle[*index].at.is_some(), idle[*index].used));
        match found {
            Some(found) => Ok(idle.swap_remove(found)),
            None => {
                drop(idle);
                Reader::new(shared)
            }
        }
    }

    pub(super) fn put(&self, reader: Reader) {
        super::lock(&self.idle).push(reader);
    }

    pub(super) fn care(&self) {
        let mut idle = super::lock(&self.idle);
        for reader in idle.iter().filter(|reader| reader.at.is_none()) {
            serve(&reader.consumer);
        }
        let (kept, ended) = idle.drain(..).partition(|reader| reader.used.elapsed() < IDLE_MAX);
        *idle = kept;
        drop(idle);
        // Ending one takes a moment.
        drop::<Vec<Reader>>(ended);
    }
}
