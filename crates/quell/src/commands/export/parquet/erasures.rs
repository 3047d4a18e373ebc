//! Who was erased, and at which position. The log says it itself: an erasure is an event like any other, and lies behind all
//! that it is about, but for what our own jobs were about to say meanwhile.

use super::tables::Told;
use ring::digest;
use std::collections::HashMap;

/// The newest erasure of each recipient. Some 50 bytes each, whatever their address is.
#[derive(Debug, Default)]
pub(super) struct Erasures(HashMap<[u8; 16], Erased>);

#[derive(Debug)]
struct Erased {
    /// The number of its position.
    at: u64,
    /// That of the first record behind it that somebody else told us: new data begins there.
    told_again: Option<u64>,
}

impl Erasures {
    /// A record, in the order of positions. Remembered is only what erases, and what is new behind it.
    pub(super) fn note(&mut self, record: &impl Told, number: u64) {
        if record.erases() {
            let fresh = || Erased { at: number, told_again: None };
            let newest = self.0.entry(fingerprint(record)).or_insert_with(fresh);
            if newest.at < number {
                *newest = fresh();
            }
        } else if !record.tells_of_erasure()
            && !record.is_our_own()
            && let Some(erased) = self.0.get_mut(&fingerprint(record))
            && erased.at < number
        {
            erased.told_again = Some(erased.told_again.map_or(number, |first| first.min(number)));
        }
    }

    /// Whether a record of this position is of somebody who was erased since, or says only what was known before. What is told
    /// of an erasure goes with it: it has the address, and says nothing else.
    pub(super) fn cover(&self, record: &impl Told, number: u64) -> bool {
        record.tells_of_erasure()
            || self.0.get(&fingerprint(record)).is_some_and(|erased| {
                let begins_anew = erased.told_again.is_some_and(|first| first <= number);
                number <= erased.at || (record.is_our_own() && !begins_anew)
            })
    }
}

fn fingerprint(record: &impl Told) -> [u8; 16] {
    let (channel, recipient) = record.recipient();
    let mut digest = digest::Context::new(&digest::SHA256);
    for text in [record.tenant(), "/", channel, "/", recipient] {
        digest.update(text.as_bytes());
    }
    let mut half = [0; 16];
    half.copy_from_slice(&digest.finish().as_ref()[..16]);
    half
}
