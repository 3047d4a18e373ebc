//! What was fetched of each partition and not handed out, and where each partition stands.

use crate::{
    Consumed,
    gather::{Cursor, Room, size_of_record},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

/// A partition that is ours.
#[derive(Debug)]
pub(super) struct Buffer {
    records: VecDeque<Consumed>,
    /// The offset after the newest fetched.
    pub(super) fetched: u64,
    /// Where a rewind goes: the committed position, or the oldest kept record where there is none that is kept.
    pub(super) start: u64,
    /// Where the group stands at the brokers, if it ever committed.
    pub(super) committed: Option<u64>,
    /// The end when it was last heard of.
    pub(super) end: u64,
    /// Going back, and nothing came since: what is told of the partition is from before.
    pub(super) is_behind: bool,
    /// There are records, and none came yet since the partition was taken or rewound.
    pub(super) is_awaited: bool,
    /// When to look whether nothing but markers lies between `start` and the end.
    pub(super) look_at: Instant,
}

impl Buffer {
    /// Of a partition that begins at `start` and ends at `end` at the moment.
    pub(super) fn new(start: u64, committed: Option<u64>, end: u64, look_at: Instant) -> Self {
        Self {
            records: VecDeque::new(),
            fetched: start,
            start,
            committed,
            end,
            is_behind: false,
            is_awaited: end > start,
            look_at,
        }
    }

    /// The group stands at `next` now.
    pub(super) fn commit(&mut self, next: u64, look_at: Instant) {
        (self.start, self.committed, self.look_at) = (next, Some(next), look_at);
    }

    /// The group stands at `end`, before which there is nothing left to fetch.
    pub(super) fn commit_drained(&mut self, end: u64, look_at: Instant) {
        self.commit(end, look_at);
        self.fetched = self.fetched.max(end);
        self.end = self.end.max(end);
        (self.is_behind, self.is_awaited) = (false, false);
    }

    /// Goes back to the start. Whether there is a way to go: what was never fetched from stands where it was told to begin.
    pub(super) fn rewind(&mut self) -> bool {
        let is_moved = self.fetched != self.start;
        if is_moved {
            self.fetched = self.start;
            (self.is_behind, self.is_awaited) = (true, true);
        }
        is_moved
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The partitions that are ours, by number.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    of: BTreeMap<u32, Buffer>,
    n: usize,
    bytes: usize,
}

impl Buffers {
    pub(super) fn n_records(&self) -> usize {
        self.n
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, partition: u32) -> Option<&Buffer> {
        self.of.get(&partition)
    }

    pub(super) fn get_mut(&mut self, partition: u32) -> Option<&mut Buffer> {
        self.of.get_mut(&partition)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Buffer> {
        self.of.values_mut()
    }

    pub(super) fn insert(&mut self, partition: u32, buffer: Buffer) {
        self.remove(partition);
        self.of.insert(partition, buffer);
    }

    pub(super) fn remove(&mut self, partition: u32) {
        if let Some(buffer) = self.of.remove(&partition) {
            self.n -= buffer.records.len();
            self.bytes -= buffer.records.iter().map(size_of_record).sum::<usize>();
        }
    }

    /// Takes in what was fetched; what is not ours, or was fetched before, is left out.
    pub(super) fn push(&mut self, consumed: Consumed) {
        let Some(buffer) = self.of.get_mut(&consumed.position.partition) else { return };
        let offset = consumed.position.offset;
        if offset < buffer.fetched {
            return;
        }
        buffer.fetched = offset + 1;
        (buffer.is_behind, buffer.is_awaited) = (false, false);
        buffer.end = buffer.end.max(buffer.fetched);
        self.n += 1;
        self.bytes += size_of_record(&consumed);
        buffer.records.push_back(consumed);
    }

    /// Hands out what there is room for, and moves the cursor past it.
    pub(super) fn pop(&mut self, cursor: &mut Cursor, room: Room) -> Vec<Consumed> {
        let Some(buffer) = self.of.get_mut(&cursor.partition) else { return Vec::new() };
        let (mut records, mut bytes) = (Vec::new(), 0usize);
        while records.len() < room.records {
            let Some(size) = buffer.records.front().map(size_of_record) else { break };
            let is_first = room.first && records.is_empty();
            if !is_first && bytes + size > room.bytes {
                break;
            }
            bytes += size;
            records.extend(buffer.records.pop_front());
        }
        if let Some(last) = records.last() {
            cursor.next = last.position.offset + 1;
        }
        self.n -= records.len();
        self.bytes -= bytes;
        records
    }

    /// Drops the records, not the places.
    pub(super) fn drop_records(&mut self) {
        self.of.values_mut().for_each(|buffer| buffer.records.clear());
        (self.n, self.bytes) = (0, 0);
    }

    /// Whether a partition has records of which none came yet.
    pub(super) fn are_awaited(&self) -> bool {
        self.of.values().any(|buffer| buffer.is_awaited)
    }
}
