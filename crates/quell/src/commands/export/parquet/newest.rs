//! The newest record of each key, as a compacted topic means it, with places for records.

use event_log::Consumed;
use ring::digest;
use std::collections::HashMap;

/// Where each key's newest record lies. Some 40 bytes a key that is in force, whatever its record is.
#[derive(Debug, Default)]
pub(super) struct Newest(HashMap<[u8; 16], u64>);

impl Newest {
    /// A record, in the order of offsets. A tombstone ends what was there.
    pub(super) fn note(&mut self, consumed: &Consumed) {
        let Some(key) = fingerprint(consumed) else { return };
        if consumed.record.value.is_some() {
            self.0.insert(key, consumed.position.offset);
        } else {
            self.0.remove(&key);
        }
    }

    /// Whether it is its key's newest one, and no tombstone.
    pub(super) fn is_newest(&self, consumed: &Consumed) -> bool {
        fingerprint(consumed).is_some_and(|key| self.0.get(&key) == Some(&consumed.position.offset))
    }
}

fn fingerprint(consumed: &Consumed) -> Option<[u8; 16]> {
    let key = consumed.record.key.as_deref()?;
    digest::digest(&digest::SHA256, key).as_ref().first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{Position, Record};

    #[test]
    fn the_last_one_counts_and_a_tombstone_ends_it() {
        let record = |offset, key: &'static str, value: Option<&'static str>| Consumed {
            topic: "t".into(),
            position: Position { epoch: 0, partition: 0, offset },
            record: Record {
                key: Some(key.into()),
                value: value.map(Into::into),
                headers: Vec::new(),
                timestamp_ms: 0,
            },
        };
        let records = [
            record(0, "a", Some("1")),
            record(3, "b", Some("2")),
            record(4, "a", Some("3")),
            record(7, "b", None),
            record(9, "c", None),
            record(10, "c", Some("4")),
        ];
        let mut newest = Newest::default();
        records.iter().for_each(|record| newest.note(record));
        let found: Vec<u64> =
            records.iter().filter(|record| newest.is_newest(record)).map(|record| record.position.offset).collect();
        assert_eq!(found, [4, 10]);
    }
}
