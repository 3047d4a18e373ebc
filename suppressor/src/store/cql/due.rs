//! Ends to come, by hour and bucket, so that no partition grows without bound and the scanner reads only what is due.
//!
//! `due_hour` lists the hours that may have ends, so that one set in an hour that the scanner has passed is found like any
//! other (R7). An hour is listed in real time, together with its ends or at most a quarter of an hour before them; it is
//! taken off the list, at a time an hour ago, once it is over and found empty. Whoever lists it within that hour outlives
//! this.
//!
//! What was spent stays in a partition as tombstones until they are compacted, and reading over them costs as much as over
//! rows (Apache Cassandra gives up at 100,000 in one read, `tombstone_failure_threshold`). So a look that begins somewhere
//! reads from there, and one that looks through everything reads an hour in slices.

use super::{
    CqlStore,
    write::{Request, stamp},
};
use crate::{StoreError, store::Due};
use domain::{RecipientKey, Timestamp};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// Partitions of one hour.
const BUCKETS: u8 = 16;
const HOUR_MICROS: i64 = 3_600 * 1_000_000;
/// What one read covers at most.
const SLICE_MICROS: i64 = HOUR_MICROS / 12;
/// Longer than a write takes, clocks differ, and an hour that was listed is not listed again.
const UNLISTED_AFTER_MICROS: i64 = HOUR_MICROS;
/// An hour that this process listed is listed again after so long: all instances write to this one list.
const LISTED_AGAIN_MICROS: i64 = HOUR_MICROS / 4;
/// Hours that this process remembers to have listed.
const LISTED_MAX: usize = 10_000;
const ENDS_MAX: usize = 10_000;
/// Empty hours taken off the list by one look.
const UNLISTED_MAX: usize = 100;

type EndRow = (i64, String, String);

/// The hour a time falls in, since 1970.
pub fn hour_of(at: Timestamp) -> i32 {
    i32::try_from(at.as_micros() / HOUR_MICROS).unwrap_or(i32::MAX)
}

/// The partition of an hour that a recipient's ends go to.
pub fn bucket_of(recipient: &str) -> i32 {
    i32::from(Sha256::digest(recipient.as_bytes()).first().copied().unwrap_or(0) % BUCKETS)
}

fn end((at, recipient, scope): EndRow) -> Result<Due, StoreError> {
    let unreadable = || StoreError::Corrupt("an end to come".to_owned());
    Ok(Due {
        at: Timestamp::from_micros(at).map_err(|_| unreadable())?,
        key: RecipientKey::from_log_key(&recipient).ok_or_else(unreadable)?,
        scope: scope.parse().map_err(|_| unreadable())?,
    })
}

impl CqlStore {
    pub(super) async fn ends(
        &self,
        from: Option<Timestamp>,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let max = max.clamp(1, ENDS_MAX);
        let last = hour_of(until);
        let unlisted_at = now_micros() - UNLISTED_AFTER_MICROS;
        let hours: Vec<(i32,)> = self.rows(self.bound(|statements| &statements.due_hours, &(last,))?).await?;
        let (mut found, mut over) = (Vec::new(), Vec::new());
        for (hour,) in hours {
            let begin = i64::from(hour).saturating_mul(HOUR_MICROS);
            let end = begin.saturating_add(HOUR_MICROS - 1).min(until.as_micros());
            let since = from.map_or(begin, |from| from.as_micros().max(begin));
            let mut ends = self.ends_of(hour, since, end, max).await?;
            if ends.is_empty() && since == begin && hour < last {
                over.push(hour);
            }
            found.append(&mut ends);
            if found.len() >= max {
                break;
            }
        }
        found.truncate(max);
        let unlist =
            |hour: &i32| Ok(Request::One(self.bound(|statements| &statements.drop_due_hour, &(unlisted_at, *hour))?));
        let unlisted = over.iter().take(UNLISTED_MAX).map(unlist).collect::<Result<_, StoreError>>()?;
        self.write_all(unlisted).await?;
        Ok(found)
    }

    /// The ends of an hour between two times, of all its partitions, earliest first: at least `max`, if there are as many.
    async fn ends_of(&self, hour: i32, since: i64, until: i64, max: usize) -> Result<Vec<Due>, StoreError> {
        let limit = i32::try_from(max).unwrap_or(i32::MAX);
        let (mut ends, mut since) = (Vec::new(), since);
        while since <= until && ends.len() < max {
            let last = since.saturating_add(SLICE_MICROS - since.rem_euclid(SLICE_MICROS) - 1).min(until);
            let read = |store: Self, bucket: usize| async move {
                let bucket = i32::try_from(bucket).unwrap_or(0);
                let values = (hour, bucket, since, last, limit);
                store.rows::<EndRow>(store.bound(|statements| &statements.due, &values)?).await
            };
            let rows = self.each(usize::from(BUCKETS), read).await?;
            let mut slice: Vec<Due> = rows.into_iter().flatten().map(end).collect::<Result<_, _>>()?;
            slice.sort();
            ends.append(&mut slice);
            since = last.saturating_add(1);
        }
        Ok(ends)
    }

    /// Deletes ends at the positions they were written at: what was set again at a later one stays.
    pub(super) async fn spend(&self, due: &[Due]) -> Result<(), StoreError> {
        let spend = |store: Self, at: usize| {
            let due = due[at].clone();
            async move {
                let recipient = due.key.to_log_key();
                let (hour, bucket, scope) = (hour_of(due.at), bucket_of(&recipient), due.scope.to_string());
                let (ends_at, recipient, scope) = (due.at.as_micros(), recipient.as_str(), scope.as_str());
                let key = (hour, bucket, ends_at, recipient, scope);
                let found: Vec<(i64,)> = store.rows(store.bound(|statements| &statements.due_position, &key)?).await?;
                let Some((position,)) = found.first() else { return Ok(()) };
                let values = (stamp(super::number(*position)?), hour, bucket, ends_at, recipient, scope);
                store.write(Request::One(store.bound(|statements| &statements.spend, &values)?)).await
            }
        };
        self.each(due.len(), spend).await.map(|_| ())
    }
}

/// The hours that this process listed, and when: by the clock that hours are taken off the list by, which goes on while a
/// machine sleeps.
#[derive(Debug, Default)]
pub(super) struct Listed(Mutex<HashMap<i32, i64>>);

impl Listed {
    /// The hours of these ends that are to be listed, or listed again.
    pub(super) fn missing<'a>(&self, due: impl Iterator<Item = &'a Due>, now: i64) -> BTreeSet<i32> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = |hour: &i32| listed.get(hour).is_some_and(|at| (0..LISTED_AGAIN_MICROS).contains(&(now - at)));
        due.map(|due| hour_of(due.at)).filter(|hour| !is_listed(hour)).collect()
    }

    /// These were listed, at the earliest at that time.
    pub(super) fn add(&self, hours: BTreeSet<i32>, at: i64) {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.len() + hours.len() > LISTED_MAX {
            listed.clear();
        }
        listed.extend(hours.into_iter().map(|hour| (hour, at)));
    }
}

pub(super) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_ends_never_move() {
        // They are keys of what is stored: another function would not find it again.
        assert_eq!(hour_of(Timestamp::from_seconds(3_599).unwrap()), 0);
        assert_eq!(hour_of(Timestamp::from_seconds(3_600).unwrap()), 1);
        assert_eq!(bucket_of("default/email/a@example.com"), bucket_of("default/email/a@example.com"));
        let used: std::collections::BTreeSet<i32> = (0..500).map(|n| bucket_of(&format!("{n}"))).collect();
        assert_eq!(used, (0..16).collect());
    }

    #[test]
    fn an_hour_is_listed_once_in_a_quarter_of_an_hour() {
        let (listed, began) = (Listed::default(), now_micros());
        let ends: Vec<Due> = [10, 20, 3_700].map(due_at).into();
        let missing = |now| listed.missing(ends.iter(), now).into_iter().collect::<Vec<_>>();
        assert_eq!(missing(began), [0, 1]);
        assert_eq!(missing(began), [0, 1], "not written yet");
        listed.add([0].into(), began);
        assert_eq!(missing(began + LISTED_AGAIN_MICROS / 2), [1]);
        assert_eq!(missing(began + LISTED_AGAIN_MICROS), [0, 1]);
        assert_eq!(missing(began - 1), [0, 1], "a clock that was set back tells nothing");
    }

    fn due_at(seconds: i64) -> Due {
        let key = RecipientKey::from_log_key("default/email/a@example.com").unwrap();
        Due { at: Timestamp::from_seconds(seconds).unwrap(), key, scope: domain::Scope::All }
    }
}
