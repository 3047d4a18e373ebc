//! What is kept for a while only: events seen for dedupe, and message timelines.

use super::{EmbeddedStore, engine, read_value};
use crate::{StoreError, store::MessageEntry};
use domain::Timestamp;

/// How long, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events that are no evidence, by event time. A repetition later than this is counted as new; it decides nothing.
    pub seen_days: u32,
    /// Entries of message timelines, by receipt.
    pub messages_days: u32,
}

/// Where the sweep over the timelines is. It looks at every entry once in a round, a bounded piece at a time.
#[derive(Debug, Default)]
pub struct Sweep {
    after: Option<Vec<u8>>,
}

impl EmbeddedStore {
    /// Takes away what is older, looking at no more than `rows_max` rows of each table. Returns how many it took. Call it at
    /// intervals: seen events go oldest first; timelines are ordered by message, so their sweep goes round.
    pub fn retain(
        &self,
        sweep: &mut Sweep,
        kept: Retention,
        now: Timestamp,
        rows_max: usize,
    ) -> Result<usize, StoreError> {
        let before = |days: u32| now.plus_seconds(-i64::from(days) * 86_400);
        let mut batch = self.db.batch();
        let mut gone = 0;
        let end = before(kept.seen_days).as_micros().to_be_bytes();
        for guard in self.seen.range::<&[u8], _>(..end.as_slice()).take(rows_max) {
            batch.remove(&self.seen, guard.key().map_err(engine)?);
            gone += 1;
        }
        let oldest = before(kept.messages_days);
        let from = match &sweep.after {
            Some(after) => std::ops::Bound::Excluded(after.as_slice()),
            None => std::ops::Bound::Unbounded,
        };
        let range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) = (from, std::ops::Bound::Unbounded);
        let (mut looked, mut last) = (0, None);
        for guard in self.messages.range::<&[u8], _>(range).take(rows_max) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            looked += 1;
            if read_value::<MessageEntry>(&value)?.received_at < oldest {
                batch.remove(&self.messages, key.clone());
                gone += 1;
            }
            last = Some(key.to_vec());
        }
        batch.commit().map_err(engine)?;
        sweep.after = if looked == rows_max { last } else { None };
        Ok(gone)
    }
}
