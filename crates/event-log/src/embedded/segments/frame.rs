//! How a record lies in a segment.
//!
//! ```text
//! frame = crc32 u32 | length u32 | partition u32 | since u32 | offset u64 | record      (numbers little-endian)
//! ```
//!
//! `since` is where in the file the frame's group begins: all before it was on disk when this frame was written. So a bad
//! frame that a later frame calls older than its group is damage, and one that none does was perhaps never acknowledged.
//!
//! The checksum (CRC-32 as gzip has it) begins from the segment's salt and is over all that follows it, so that neither
//! zeros, nor what lay on the disk before, nor the inside of a record is taken for a frame.

use crc32fast::Hasher;

pub(super) const HEAD_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// What stands before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    crc: u32,
    /// Of the record.
    pub(super) length: u32,
    pub(super) partition: u32,
    pub(super) since: u32,
    pub(super) offset: u64,
}

impl Head {
    /// The head of a record that is given in pieces.
    pub(super) fn seal(salt: u32, partition: u32, since: u32, offset: u64, record: [&[u8]; 3]) -> [u8; HEAD_BYTES] {
        // A record's size is bounded far below; should one not be, its frame does not check.
        let length = u32::try_from(record.iter().map(|piece| piece.len()).sum::<usize>()).unwrap_or(u32::MAX);
        let mut head = Self { crc: 0, length, partition, since, offset };
        let mut hasher = head.hasher(salt);
        record.iter().for_each(|piece| hasher.update(piece));
        head.crc = hasher.finalize();
        head.encode()
    }

    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let offset = u64::from(number(16)) | u64::from(number(20)) << 32;
        Self { crc: number(0), length: number(4), partition: number(8), since: number(12), offset }
    }

    /// Whether head and record belong together.
    pub(super) fn fits(&self, salt: u32, record: &[u8]) -> bool {
        let mut hasher = self.hasher(salt);
        hasher.update(record);
        self.length as usize == record.len() && hasher.finalize() == self.crc
    }

    /// Head and record.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.length)
    }

    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut out = [0; HEAD_BYTES];
        let numbers = [self.crc, self.length, self.partition, self.since];
        for (place, number) in out.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        out[16..].copy_from_slice(&self.offset.to_le_bytes());
        out
    }

    fn hasher(&self, salt: u32) -> Hasher {
        let mut hasher = Hasher::new_with_initial(salt);
        hasher.update(&self.encode()[CRC_BYTES..]);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_flipped_bit_or_another_salt_is_told(
            salt in any::<u32>(),
            offset in any::<u64>(),
            record in prop::collection::vec(any::<u8>(), 1..200),
            at in any::<usize>(),
            bit in 0u8..8,
        ) {
            let cut = record.len() / 2;
            let head = Head::seal(salt, 3, 77, offset, [&record[..cut], &record[cut..], &[]]);
            let decoded = Head::decode(&head);
            prop_assert_eq!((decoded.partition, decoded.since, decoded.offset), (3, 77, offset));
            prop_assert!(decoded.fits(salt, &record));
            prop_assert!(!decoded.fits(salt ^ 1, &record));
            let mut whole = [head.as_slice(), &record].concat();
            let at = at % whole.len();
            whole[at] ^= 1 << bit;
            let (head, record) = whole.split_first_chunk().unwrap();
            prop_assert!(!Head::decode(head).fits(salt, record));
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert!(!Head::decode(&[0; HEAD_BYTES]).fits(0, &[]));
    }
}
