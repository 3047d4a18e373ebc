//! Ids for receipts: unique without asking anybody, in the order of time, and readable aloud.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::atomic::{AtomicU64, Ordering};

/// Crockford's base 32 in lower case: no i, l, o or u.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 48;
const COUNTER_BITS: u32 = 32;
/// Digits of an id, of five bits each.
const PLACES: usize = 26;

/// Makes inner receipt ids: 48 bits of milliseconds, 48 random bits of this process, and a counter of 32 bits; 26
/// letters and digits.
#[derive(Debug)]
pub(crate) struct Receipts {
    process: u64,
    counter: AtomicU64,
}

impl Receipts {
    /// Draws this process's random part; fails only where the system has no randomness.
    pub(crate) fn new() -> Option<Self> {
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).ok()?;
        let process = u64::from_be_bytes(random) & ((1 << RANDOM_BITS) - 1);
        Some(Self { process, counter: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self, now_ms: i64) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & ((1 << COUNTER_BITS) - 1);
        let time = u128::from(u64::try_from(now_ms).unwrap_or_default()) & ((1 << 48) - 1);
        let mut id =
            (time << (RANDOM_BITS + COUNTER_BITS)) | (u128::from(self.process) << COUNTER_BITS) | u128::from(count);
        let mut digits = [0; PLACES];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[(id & 31) as usize];
            id >>= 5;
        }
        String::from_utf8_lossy(&digits).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_ordered_by_time_and_of_one_length() {
        let (one, other) = (Receipts::new().unwrap(), Receipts::new().unwrap());
        let mut ids: Vec<String> = (0..1_000).map(|n| one.next(1_790_000_000_000 + n / 100)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.len() == 26));
        ids.extend((0..1_000).map(|n| other.next(1_790_000_000_000 + n / 100)));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 2_000);
    }

    #[test]
    fn an_id_stands_in_an_answered_receipt_unchanged() {
        let id = Receipts::new().unwrap().next(1_790_000_000_000);
        assert_eq!(schemas::ReceiptId::of(&id, 1, 2, 3).inner(), id);
    }
}
