//! Ends to come, by hour and bucket, so that no partition grows without bound and the scanner reads only what is due.
//!
//! `due_hour` lists the hours that may have ends, so that one set in an hour that the scanner has passed is found like any
//! other (R7). An hour is listed before, or together with, each of its ends, in real time; it is taken off the list, at
//! a time an hour ago, once it is over and found empty. Whoever lists it within that hour outlives this.

use super::{
    CqlStore,
    write::{Request, stamp},
};
use crate::{StoreError, store::Due};
use domain::{RecipientKey, Timestamp};
use sha2::{Digest as _, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// Partitions of one hour.
const BUCKETS: u8 = 16;
const HOUR_MICROS: i64 = 3_600 * 1_000_000;
/// Longer than a write takes and clocks differ.
const UNLISTED_AFTER_MICROS: i64 = HOUR_MICROS;
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
    pub(super) async fn ends(&self, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        let max = max.clamp(1, ENDS_MAX);
        let last = hour_of(until);
        let unlisted_at = now_micros() - UNLISTED_AFTER_MICROS;
        let hours: Vec<(i32,)> = self.rows(self.bound(|statements| &statements.due_hours, &(last,))?).await?;
        let (mut found, mut over) = (Vec::new(), Vec::new());
        for (hour,) in hours {
            let mut ends = self.ends_of(hour, until, max).await?;
            if ends.is_empty() && hour < last {
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

    /// The ends of an hour, of all its partitions, earliest first.
    async fn ends_of(&self, hour: i32, until: Timestamp, max: usize) -> Result<Vec<Due>, StoreError> {
        let limit = i32::try_from(max).unwrap_or(i32::MAX);
        let read = |store: Self, bucket: usize| async move {
            let bucket = i32::try_from(bucket).unwrap_or(0);
            let values = (hour, bucket, until.as_micros(), limit);
            store.rows::<EndRow>(store.bound(|statements| &statements.due, &values)?).await
        };
        let rows = self.each(usize::from(BUCKETS), read).await?;
        let mut ends: Vec<Due> = rows.into_iter().flatten().map(end).collect::<Result<_, _>>()?;
        ends.sort();
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

fn now_micros() -> i64 {
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
}
