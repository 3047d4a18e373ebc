//! What is known of topics: how many partitions, and where they begin and end.

use super::{Shared, client::Common, lock, said};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// After a look-up found no such topic, the next looks again only after so long.
const MISSING_FOR: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Names remembered as missing, at most.
const MISSING_MAX: usize = 1_024;

/// What is told of each partition, or why nobody can tell.
pub(super) type Told<T> = BTreeMap<u32, Result<T, String>>;

/// A topic with its number of partitions.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) partitions: u32,
    /// Whose turn it is among records without a key, and since when.
    turn: AtomicU32,
    since_micros: AtomicU64,
    made: Instant,
}

impl Topic {
    fn new(name: &str, partitions: u32) -> Self {
        let (turn, since_micros) = (AtomicU32::new(0), AtomicU64::new(u64::MAX));
        Self { name: name.into(), partitions, turn, since_micros, made: Instant::now() }
    }

    /// The partition of a record. Those without a key take turns: for as long as a batch is being gathered they go to
    /// one, then to the next, so that batches are as large as with one partition.
    pub(super) fn choose(&self, key: Option<&[u8]>, linger: Duration) -> u32 {
        match key {
            Some(key) => crate::partition::partition_of(key, self.partitions),
            None => self.turn(linger),
        }
    }

    fn turn(&self, linger: Duration) -> u32 {
        let now = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since = self.since_micros.load(Ordering::Relaxed);
        let linger = u64::try_from(linger.as_micros()).unwrap_or(u64::MAX);
        let is_over = since == u64::MAX || now.saturating_sub(since) >= linger;
        // Whoever loses the race stays with the partition of the winner.
        let is_ours = is_over
            && self.since_micros.compare_exchange(since, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && since != u64::MAX;
        let turn = if is_ours {
            self.turn.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
        } else {
            self.turn.load(Ordering::Relaxed)
        };
        turn % self.partitions.max(1)
    }
}

/// Why a topic is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TopicError {
    /// The cluster says that there is none.
    Missing,
    /// Nobody could say.
    Unavailable(String),
}

/// The topics that were asked for so far.
#[derive(Debug, Default)]
pub(super) struct Topics {
    known: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    missing: Mutex<HashMap<String, Instant>>,
}

impl Topics {
    /// What is known already.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn put(&self, name: &str, partitions: u32) -> Arc<Topic> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = known.get(name).filter(|topic| topic.partitions == partitions) {
            return Arc::clone(topic);
        }
        let topic = Arc::new(Topic::new(name, partitions));
        known.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        topic
    }

    fn forget(&self, name: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Shared {
    /// The topic, asked of the cluster where it is not known. Blocks then.
    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        match self.topics.get(name) {
            Some(topic) => Ok(topic),
            None => self.look_up(name),
        }
    }

    /// Asks the cluster about a topic, known or not. Blocks.
    pub(super) fn look_up(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        if lock(&self.topics.missing).get(name).is_some_and(|since| since.elapsed() < MISSING_FOR) {
            return Err(TopicError::Missing);
        }
        // Metadata asked of no topic in particular would be that of all.
        if name.is_empty() || name.contains('\0') {
            return Err(TopicError::Missing);
        }
        serve(&self.asker);
        let asked = self.asker.fetch_metadata(Some(name), self.config.request_timeout());
        let metadata = asked.map_err(|error| TopicError::Unavailable(said(&error)))?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name);
        match found.map(|topic| (topic.error(), topic.partitions().len())) {
            Some((None, n)) if n > 0 => {
                lock(&self.topics.missing).remove(name);
                Ok(self.topics.put(name, u32::try_from(n).unwrap_or(u32::MAX)))
            }
            None
            | Some((
                Some(
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                    | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                    | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
                ),
                _,
            )) => {
                self.topics.forget(name);
                let mut missing = lock(&self.topics.missing);
                if missing.len() >= MISSING_MAX {
                    missing.clear();
                }
                missing.insert(name.to_owned(), Instant::now());
                Err(TopicError::Missing)
            }
            Some((error, _)) => {
                let why = error.map_or_else(
                    || "no partition has a leader".to_owned(),
                    |error| RDKafkaErrorCode::from(error).to_string(),
                );
                Err(TopicError::Unavailable(format!("topic {name}: {why}")))
            }
        }
    }

    /// The oldest kept offset of each of the partitions. Blocks.
    pub(super) fn oldest(&self, topic: &str, partitions: &[u32]) -> Result<Vec<u64>, KafkaError> {
        self.offsets(topic, partitions, Offset::Beginning)
    }

    /// The offset after the newest of each of the partitions that a reader of what is committed gets to. Blocks.
    pub(super) fn ends(&self, topic: &str, partitions: &[u32]) -> Result<Vec<u64>, KafkaError> {
        self.offsets(topic, partitions, Offset::End)
    }

    /// One request a broker, for all partitions.
    fn offsets(&self, topic: &str, partitions: &[u32], which: Offset) -> Result<Vec<u64>, KafkaError> {
        self.offsets_each(topic, partitions, which, self.config.request_timeout())?.into_iter().collect()
    }

    /// An answer for each of the partitions. One without a leader leaves all without an answer, see [`Self::bounds_each`].
    /// Blocks, for `wait` and one request more.
    pub(super) fn offsets_each(
        &self,
        topic: &str,
        partitions: &[u32],
        which: Offset,
        wait: Duration,
    ) -> Result<Vec<Result<u64, KafkaError>>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + wait;
        loop {
            serve(&self.asker);
            let told = self.ask_offsets(topic, partitions, which, wait);
            let passes = match &told {
                Err(error) => is_passing(error),
                Ok(told) => told.iter().any(|told| told.as_ref().is_err_and(is_passing)),
            };
            if !passes || Instant::now() >= deadline {
                return told;
            }
            // A partition has another leader, or a later term of the same one: learn of it, and ask again.
            drop(self.asker.fetch_metadata(Some(topic), wait)?);
            std::thread::sleep(ASK_AGAIN);
        }
    }

    fn ask_offsets(
        &self,
        topic: &str,
        partitions: &[u32],
        which: Offset,
        wait: Duration,
    ) -> Result<Vec<Result<u64, KafkaError>>, KafkaError> {
        // The "times" -1 and -2 are the end and the beginning (Kafka protocol, ListOffsets).
        let asked = list(topic, partitions.iter().map(|partition| (*partition, which)))?;
        let told = self.asker.offsets_for_times(asked, wait)?;
        let of = |partition: &u32| {
            let found = told.find_partition(topic, number(*partition));
            let element = found.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition))?;
            element.error()?;
            match element.offset() {
                Offset::Offset(offset) => Ok(u64::try_from(offset).unwrap_or(0)),
                _ => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition)),
            }
        };
        Ok(partitions.iter().map(of).collect())
    }

    /// Where each of the partitions begins and ends, or why nobody can tell. One without a leader holds up no other.
    /// Blocks, for a few times `wait`.
    pub(super) fn bounds_each(
        &self,
        topic: &str,
        partitions: &[u32],
        wait: Duration,
    ) -> Result<Told<(u64, u64)>, KafkaError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        serve(&self.asker);
        let metadata = self.asker.fetch_metadata(Some(topic), wait)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let leaders: BTreeMap<i32, i32> = found
            .into_iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| (partition.id(), partition.leader()))
            .collect();
        let (led, mut told) = led(partitions, &leaders);
        let oldest = self.offsets_each(topic, &led, Offset::Beginning, wait)?;
        let ends = self.offsets_each(topic, &led, Offset::End, wait)?;
        for (partition, (oldest, end)) in led.into_iter().zip(oldest.into_iter().zip(ends)) {
            let bounds = oldest.and_then(|oldest| Ok((oldest, end?)));
            told.insert(partition, bounds.map_err(|error| said(&error)));
        }
        Ok(told)
    }
}

/// Those of the partitions that have a leader to ask, and what is wrong with the others.
fn led<T>(partitions: &[u32], leaders: &BTreeMap<i32, i32>) -> (Vec<u32>, Told<T>) {
    let (mut led, mut others) = (Vec::new(), BTreeMap::new());
    for partition in partitions {
        let why = match leaders.get(&number(*partition)) {
            Some(leader) if *leader >= 0 => {
                led.push(*partition);
                continue;
            }
            Some(_) => "it has no leader",
            None => "the cluster does not know of it",
        };
        others.insert(*partition, Err(why.to_owned()));
    }
    (led, others)
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::ReplicaNotAvailable
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::KafkaStorageError
                | RDKafkaErrorCode::BrokerTransportFailure
        )
    )
}

/// Takes what a client has to say while nobody reads from it.
pub(super) fn serve(consumer: &BaseConsumer<Common>) {
    for _ in 0..1_000 {
        if consumer.poll(Duration::ZERO).is_none() {
            return;
        }
    }
}

/// A partition's number as librdkafka wants it.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// An offset as librdkafka wants it.
pub(super) fn place(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

/// A list of partitions of one topic.
pub(super) fn list(
    topic: &str,
    partitions: impl IntoIterator<Item = (u32, Offset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(topic, number(partition), offset)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_without_a_key_take_turns() {
        let topic = Topic::new("t", 3);
        let turns: Vec<u32> = (0..7).map(|_| topic.choose(None, Duration::ZERO)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
        let topic = Topic::new("t", 3);
        let turns: Vec<u32> = (0..7).map(|_| topic.choose(None, Duration::from_secs(60))).collect();
        assert_eq!(turns, [0; 7], "while a batch is gathered they stay together");
        assert_eq!(topic.choose(Some(b"key"), Duration::ZERO), crate::partition::partition_of(b"key", 3));
    }
    #[test]
    fn a_partition_without_a_leader_is_not_asked_about() {
        let leaders = BTreeMap::from([(0, 1), (1, -1), (2, 0), (4, 1)]);
        let (led, others) = led::<()>(&[0, 1, 2, 3], &leaders);
        assert_eq!(led, [0, 2]);
        let says = |why: &str| Err(why.to_owned());
        assert_eq!(
            others,
            BTreeMap::from([(1, says("it has no leader")), (3, says("the cluster does not know of it"))])
        );
    }
}
