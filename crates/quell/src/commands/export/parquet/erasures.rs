//! Who was erased, and at which position. The log says it itself: an erasure is an event like any other, and lies behind all
//! that it is about.

use super::tables::Told;
use ring::digest;
use std::collections::HashMap;

/// The newest erasure of each recipient, by its position's number. Some 40 bytes each, whatever their address is.
#[derive(Debug, Default)]
pub(super) struct Erasures(HashMap<[u8; 16], u64>);

impl Erasures {
    /// A record; only what erases is remembered.
    pub(super) fn note(&mut self, record: &impl Told, number: u64) {
        if record.erases() {
            let newest = self.0.entry(fingerprint(record)).or_default();
            *newest = number.max(*newest);
        }
    }

    /// Whether a record of this position is of somebody who was erased since. What is told of an erasure goes with it: it has
    /// the address, and says nothing else.
    pub(super) fn cover(&self, record: &impl Told, number: u64) -> bool {
        record.tells_of_erasure() || self.0.get(&fingerprint(record)).is_some_and(|erased| number <= *erased)
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
