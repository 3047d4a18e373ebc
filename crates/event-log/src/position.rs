//! Where a record stands.

/// Epochs fit in ten bits, so that a position's number stays below the present in microseconds (R3).
pub const EPOCH_MAX: u16 = 1_023;
const OFFSET_BITS: u32 = 40;

/// A record's place: the log's epoch, the partition and the offset in it. Positions compare only within one partition
/// of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Raised for every new, imported or re-partitioned log.
    pub epoch: u16,
    /// Partition of the topic.
    pub partition: u32,
    /// Offset in the partition, from 0.
    pub offset: u64,
}

impl Position {
    /// epoch × 2^40 + offset: one numbering over all the epochs of a partition (R3).
    pub const fn number(self) -> u64 {
        ((self.epoch as u64) << OFFSET_BITS) | (self.offset & ((1 << OFFSET_BITS) - 1))
    }

    /// The way back from [`Self::number`].
    pub const fn from_number(number: u64, partition: u32) -> Self {
        Self { epoch: (number >> OFFSET_BITS) as u16, partition, offset: number & ((1 << OFFSET_BITS) - 1) }
    }

    /// What to commit once the record here is done with.
    pub const fn next(self) -> NextOffset {
        NextOffset(self.offset + 1)
    }
}

/// The offset of the first record not yet done with. A type of its own, because committing the last one done instead
/// replays a record for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NextOffset(u64);

impl NextOffset {
    /// The start of a partition.
    pub const START: Self = Self(0);

    /// The offset to read next.
    pub const fn offset(self) -> u64 {
        self.0
    }

    /// From an offset that was stored as "next".
    pub const fn from_stored(offset: u64) -> Self {
        Self(offset)
    }
}
