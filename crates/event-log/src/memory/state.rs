//! What the log in memory holds.

use super::faults::Faults;
use crate::{
    AppendError, Consumed, Output, Position, Record, TopicSpec,
    gather::{Room, size_of_record},
    partition::partition_of,
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// As the embedded log's default.
const TOMBSTONE_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;

/// A member of a group, for as long as the log lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(super) u64);

#[derive(Debug)]
pub(super) struct State {
    pub(super) topics: Vec<Topic>,
    /// By group and topic.
    pub(super) groups: BTreeMap<(String, usize), Group>,
    pub(super) faults: Box<dyn Faults>,
    /// What becomes of the next commits, before the plan is asked.
    pub(super) next_commits: VecDeque<super::CommitFault>,
    pub(super) epoch: u16,
    pub(super) n_members: u64,
}

impl State {
    pub(super) fn topic(&self, name: &str) -> Option<(usize, &Topic)> {
        self.topics.iter().enumerate().find(|(_, topic)| &*topic.spec.name == name)
    }

    /// Where an output is to go, or why it cannot.
    pub(super) fn place(
        &mut self,
        topic: &str,
        asked: Option<u32>,
        record: &Record,
    ) -> Result<(usize, u32), AppendError> {
        let unavailable = |why: String| Err(AppendError::Unavailable(why));
        let Some((index, _)) = self.topic(topic) else { return unavailable(format!("no topic {topic}")) };
        let open = &mut self.topics[index];
        if open.spec.retention_ms.is_none() && record.key.is_none() {
            return unavailable(format!("topic {topic} is compacted: its records need a key"));
        }
        let n_partitions = open.spec.partitions;
        let partition = match (asked, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, n_partitions),
            (None, None) => {
                open.turn = (open.turn + 1) % n_partitions.max(1);
                open.turn
            }
        };
        if partition >= n_partitions {
            return unavailable(format!("no partition {partition} of topic {topic}"));
        }
        Ok((index, partition))
    }

    pub(super) fn places(&mut self, outputs: &[&Output]) -> Result<Vec<(usize, u32)>, AppendError> {
        outputs.iter().map(|output| self.place(&output.topic, output.partition, &output.record)).collect()
    }

    pub(super) fn push(&mut self, (topic, partition): (usize, u32), record: Record) -> Position {
        let epoch = self.epoch;
        self.topics[topic].push(epoch, partition, record)
    }

    /// Takes away what is too old; returns how many records.
    pub(super) fn enforce_retention(&mut self, now_ms: i64) -> u64 {
        let mut n_removed = 0;
        for topic in &mut self.topics {
            let keep_ms = topic.spec.retention_ms.unwrap_or(TOMBSTONE_KEEP_MS);
            let limit_ms = now_ms.saturating_sub(i64::try_from(keep_ms).unwrap_or(i64::MAX));
            let is_compacted = topic.spec.retention_ms.is_none();
            for partition in &mut topic.partitions {
                n_removed += partition.expire(limit_ms, is_compacted);
            }
        }
        n_removed
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    pub(super) partitions: Vec<Partition>,
    turn: u32,
}

impl Topic {
    pub(super) fn new(spec: &TopicSpec) -> Self {
        let partitions = (0..spec.partitions).map(|_| Partition::default()).collect();
        // So that the first record without a key goes to partition 0.
        Self { spec: spec.clone(), partitions, turn: spec.partitions.saturating_sub(1) }
    }

    fn push(&mut self, epoch: u16, partition: u32, record: Record) -> Position {
        let open = &mut self.partitions[partition as usize];
        let position = Position { epoch, partition, offset: open.end };
        open.end += 1;
        if let (None, Some(key)) = (self.spec.retention_ms, &record.key)
            && let Some(before) = open.newest.insert(key.clone(), open.history.len())
        {
            open.history[before].is_kept = false;
        }
        let consumed = Consumed { topic: Arc::clone(&self.spec.name), position, record };
        open.history.push(Entry { consumed, is_kept: true });
        position
    }

    /// Reads kept records from `from` on, below `to`; returns them with the offset to read next.
    pub(super) fn read(&self, partition: u32, from: u64, to: u64, room: Room) -> (Vec<Consumed>, u64) {
        let Some(open) = self.partitions.get(partition as usize) else { return (Vec::new(), from) };
        let first = open.history.partition_point(|entry| entry.consumed.position.offset < from);
        let (mut records, mut bytes): (Vec<Consumed>, usize) = (Vec::new(), 0);
        for entry in open.history[first..].iter().filter(|entry| entry.is_kept) {
            let offset = entry.consumed.position.offset;
            if offset >= to {
                break;
            }
            bytes += size_of_record(&entry.consumed);
            if bytes > room.bytes && !(room.first && records.is_empty()) {
                return (records, offset);
            }
            records.push(entry.consumed.clone());
            if records.len() >= room.records {
                return (records, offset + 1);
            }
        }
        (records, from.max(open.end.min(to)))
    }
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    /// All that ever was committed, in order.
    pub(super) history: Vec<Entry>,
    /// All below was taken away for its age.
    pub(super) start: u64,
    /// The offset of the next record.
    pub(super) end: u64,
    /// Where a compacted topic's newest record of a key lies in the history.
    newest: HashMap<Bytes, usize>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) consumed: Consumed,
    /// Whether readers still see it.
    pub(super) is_kept: bool,
}

impl Partition {
    pub(super) fn oldest(&self) -> u64 {
        let oldest = self.history.iter().find(|entry| entry.is_kept);
        oldest.map_or(self.end, |entry| entry.consumed.position.offset)
    }

    fn expire(&mut self, limit_ms: i64, is_compacted: bool) -> u64 {
        let mut n_removed = 0;
        for entry in self.history.iter_mut().filter(|entry| entry.is_kept) {
            let record = &entry.consumed.record;
            let is_old = record.timestamp_ms < limit_ms;
            if is_compacted && !(is_old && record.value.is_none()) {
                continue;
            }
            if !is_old {
                break;
            }
            if let (true, Some(key)) = (is_compacted, &record.key) {
                self.newest.remove(key);
            }
            if !is_compacted {
                self.start = entry.consumed.position.offset + 1;
            }
            entry.is_kept = false;
            n_removed += 1;
        }
        n_removed
    }
}

/// A group's members and positions in one topic.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Raised at every change of members.
    pub(super) generation: u64,
    pub(super) members: Vec<MemberId>,
    /// Per partition, its owner and the generation since which it has it.
    pub(super) owners: Vec<Option<(MemberId, u64)>>,
    pub(super) committed: BTreeMap<u32, u64>,
}

impl Group {
    pub(super) fn join(&mut self, member: MemberId, n_partitions: u32) {
        self.members.push(member);
        self.rebalance(n_partitions);
    }

    pub(super) fn leave(&mut self, member: MemberId, n_partitions: u32) {
        let n_before = self.members.len();
        self.members.retain(|other| *other != member);
        if self.members.len() != n_before {
            self.rebalance(n_partitions);
        }
    }

    /// Spreads the partitions over the members, in turn.
    fn rebalance(&mut self, n_partitions: u32) {
        self.generation += 1;
        self.owners.resize(n_partitions as usize, None);
        for (partition, owner) in self.owners.iter_mut().enumerate() {
            let member = self.members.get(partition % self.members.len().max(1)).copied();
            *owner = match (*owner, member) {
                (Some((same, since)), Some(member)) if same == member => Some((same, since)),
                (_, Some(member)) => Some((member, self.generation)),
                (_, None) => None,
            };
        }
    }

    /// The partitions of a member, each with the generation since which it has it.
    pub(super) fn owned(&self, member: MemberId) -> Vec<(u32, u64)> {
        let owned = self.owners.iter().enumerate();
        let owned = owned.filter_map(|(p, owner)| owner.filter(|(of, _)| *of == member).map(|(_, since)| (p, since)));
        owned.map(|(partition, since)| (partition as u32, since)).collect()
    }
}
