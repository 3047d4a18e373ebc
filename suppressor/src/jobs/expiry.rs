//! Ends that have passed become `expired` events (R7).
//!
//! A due row goes only once the event it led to is applied (R5); until then a second scan appends the same event again,
//! which its id makes a duplicate.
//!
//! A look begins at the earliest end that was there the last time, and not at those spent since; an end that was set behind
//! that, as one of an event that came late, is found by the look through everything that is taken every minute.

use super::{InnerEvent, JobError, inner_event};
use crate::store::{Due, Store};
use domain::{Kind, Timestamp};
use event_log::{Append, Position};
use std::collections::{BTreeMap, VecDeque};

/// Ends that wait to be applied at once: they stand in one queue with what providers told just now, which must not wait for
/// them long. Nobody waits for these, since lookups compare ends with the clock.
const SCAN_MAX: usize = 128;
const APPENDS_AT_ONCE: usize = 64;
const WHOLE_EVERY_MICROS: i64 = 60 * 1_000_000;

/// The scanner. Keeps which ends it has turned into events that are not applied yet.
#[derive(Debug)]
pub struct Expiry {
    waiting: VecDeque<(Due, Position)>,
    appended: BTreeMap<Due, ()>,
    /// Nothing was due before this when last looked at.
    from: Timestamp,
    /// When everything was looked through last.
    whole_at: Option<Timestamp>,
    is_behind: bool,
}

impl Default for Expiry {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            appended: BTreeMap::new(),
            from: Timestamp::EPOCH,
            whole_at: None,
            is_behind: false,
        }
    }
}

impl Expiry {
    /// Appends an event for every end at or before `now`, at most a page of them, and drops the rows of those applied.
    /// Returns how many were appended.
    pub async fn run(&mut self, store: &dyn Store, log: &dyn Append, now: Timestamp) -> Result<usize, JobError> {
        self.is_behind = false;
        self.drop_applied(store).await?;
        if self.waiting.len() >= SCAN_MAX {
            self.is_behind = true;
            return Ok(0);
        }
        let is_whole = self.whole_at.is_none_or(|at| {
            let since = now.as_micros().saturating_sub(at.as_micros());
            !(0..WHOLE_EVERY_MICROS).contains(&since)
        });
        let from = if is_whole { None } else { Some(self.from.min(now)) };
        let due = store.due(from, now, SCAN_MAX).await?;
        self.is_behind = due.len() >= SCAN_MAX;
        self.from = due.first().map_or(now, |due| due.at);
        if is_whole {
            self.whole_at = Some(now);
        }
        let fresh: Vec<Due> = due.into_iter().filter(|due| !self.appended.contains_key(due)).collect();
        let mut count = 0;
        for chunk in fresh.chunks(APPENDS_AT_ONCE) {
            let appends = chunk.iter().map(|due| inner_event::append(log, expired(due, now).into_event()));
            for (due, appended) in chunk.iter().zip(futures_util::future::join_all(appends).await) {
                let (_, position) = appended?;
                self.waiting.push_back((due.clone(), position));
                self.appended.insert(due.clone(), ());
                count += 1;
            }
        }
        Ok(count)
    }

    /// Whether the last run met a whole page: there may be more, once it is applied.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    async fn drop_applied(&mut self, store: &dyn Store) -> Result<(), JobError> {
        let mut applied: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        for (_, Position { partition, .. }) in &self.waiting {
            if !applied.contains_key(partition) {
                applied.insert(*partition, store.applied(*partition).await?);
            }
        }
        let is_applied = |(_, position): &&(Due, Position)| {
            let reached = applied.get(&position.partition).copied().flatten();
            reached.is_some_and(|reached| reached >= position.number())
        };
        let spent: Vec<Due> = self.waiting.iter().filter(is_applied).map(|(due, _)| due.clone()).collect();
        // Nothing is forgotten before the store has dropped it: it may be away, and the next run tries again.
        store.spent(&spent).await?;
        self.waiting.retain(|waiting| !is_applied(&waiting));
        for due in &spent {
            self.appended.remove(due);
        }
        Ok(())
    }
}

/// Its id comes from recipient, scope and end, so that every scan of the same row makes the same event.
fn expired(due: &Due, now: Timestamp) -> InnerEvent {
    InnerEvent {
        key: due.key.clone(),
        kind: Kind::Expired,
        occurred_at: due.at,
        received_at: now,
        provider: "quell",
        source: "expiry".to_owned(),
        scope: Some(due.scope.clone()),
        identity: String::new(),
        metadata: BTreeMap::new(),
    }
}
