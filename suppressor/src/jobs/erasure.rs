//! Erased recipients are forgotten (R5).
//!
//! Once an erasure's position is committed, and what it kept has had time to reach the disks of the store, an event that names
//! the position is appended; at its own position the stage takes everything below the erasure away. Appended twice it is one
//! event, and one that is too many changes nothing.

use super::{InnerEvent, JobError, inner_event};
use crate::{
    evidence::inner,
    store::{ErasedAt, Store},
};
use domain::{Kind, RecipientKey, Timestamp};
use event_log::{Append, Browse, Position};
use schemas::topics;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Erasures of a partition that are looked at in one step, and are under way at once.
const PAGE: usize = 200;
/// Longer than a store takes until what it answered for lies on its disks (Cassandra's and ScyllaDB's commit log: 10 s), for
/// stores that may lose their newest writes.
const SETTLES_IN: Duration = Duration::from_secs(60);

/// The job. Keeps how far each partition's erasures are done, so that it does not look at them for ever.
#[derive(Debug, Default)]
pub struct Erasures {
    done: BTreeMap<u32, u64>,
    /// Erasures whose event is on its way.
    appended: BTreeSet<ErasedAt>,
}

impl Erasures {
    /// Appends an event for every erasure that is ripe. Returns how many were appended.
    pub async fn step(
        &mut self,
        store: &dyn Store,
        append: &dyn Append,
        browse: &dyn Browse,
        now: Timestamp,
    ) -> Result<usize, JobError> {
        let mut count = 0;
        for (partition, newest) in store.erased_up_to().await? {
            if self.done.get(&partition).is_none_or(|done| *done < newest) {
                count += self.partition(partition, store, append, browse, now).await?;
            }
        }
        Ok(count)
    }

    async fn partition(
        &mut self,
        partition: u32,
        store: &dyn Store,
        append: &dyn Append,
        browse: &dyn Browse,
        now: Timestamp,
    ) -> Result<usize, JobError> {
        let rows = store.erased(partition, self.done.get(&partition).copied(), PAGE).await?;
        let (mut count, mut all_done) = (0, true);
        for (position, row) in rows {
            let at = ErasedAt { position, partition, pseudonym: row.pseudonym };
            let Some(recipient) = row.recipient else {
                self.appended.remove(&at);
                if all_done {
                    self.done.insert(partition, position);
                }
                continue;
            };
            all_done = false;
            let settles_in = if store.sync_window() == 0 { Duration::ZERO } else { SETTLES_IN };
            let is_settled = row.erased_at.plus_seconds(i64::try_from(settles_in.as_secs()).unwrap_or(0)) <= now;
            if self.appended.contains(&at) || !is_settled || !is_committed(store, browse, partition, position).await? {
                continue;
            }
            inner_event::append(append, forgets(recipient, position, row.erased_at, now).into_event()).await?;
            self.appended.insert(at);
            count += 1;
        }
        Ok(count)
    }
}

/// Whether the suppressors are past a position. Those of earlier epochs were moved here once they were.
async fn is_committed(store: &dyn Store, browse: &dyn Browse, partition: u32, number: u64) -> Result<bool, JobError> {
    if partition >= browse.partitions(topics::EVENTS)? {
        return Ok(true);
    }
    let at = Position::from_number(number, partition);
    let applied = store.applied(partition).await?.map(|applied| Position::from_number(applied, partition));
    match applied {
        Some(applied) if applied.epoch > at.epoch => Ok(true),
        Some(_) => {
            let committed = browse.committed(topics::SUPPRESSORS, topics::EVENTS, partition).await?;
            Ok(committed.is_some_and(|next| next > at.offset))
        }
        None => Ok(false),
    }
}

/// Its id comes from recipient and position, so that every run makes the same event.
fn forgets(key: RecipientKey, position: u64, erased_at: Timestamp, now: Timestamp) -> InnerEvent {
    InnerEvent {
        key,
        kind: Kind::Erased,
        occurred_at: erased_at,
        received_at: now,
        provider: "quell",
        source: "erasure".to_owned(),
        scope: None,
        identity: position.to_string(),
        metadata: BTreeMap::from([(inner::FORGETS.to_owned(), position.to_string())]),
    }
}
