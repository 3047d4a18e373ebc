//! Who was sent to and neither opened nor clicked, as a human, for so many days, becomes `unengaged`. Resumes after a
//! restart; holds one page in memory.

use super::{InnerEvent, JobError, inner_event};
use crate::{
    evidence::{Engagement, inner},
    store::Store,
};
use domain::{CanonicalEvent, Channel, Kind, RecipientKey, Timestamp};
use event_log::Append;
use std::collections::BTreeMap;

const NOTE: &str = "unengaged";
const PAGE: usize = 1_000;
const APPENDS_AT_ONCE: usize = 64;

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Recipients looked at by this call.
    pub scanned: usize,
    /// Events appended by this call.
    pub found: usize,
    /// Whether the run is over.
    pub over: bool,
}

/// A run, as its note tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub began_at: Timestamp,
    /// Whether it went through.
    pub over: bool,
}

/// The last run, if there ever was one.
pub async fn last_run(store: &dyn Store) -> Result<Option<Run>, JobError> {
    let note = store.note(NOTE).await?;
    Ok(note.as_deref().and_then(|note| {
        let (began, over) = note.split_once('\n').map_or((note, true), |(began, _)| (began, false));
        Some(Run { began_at: Timestamp::from_micros(began.parse().ok()?).ok()?, over })
    }))
}

/// Notes a run at `now` without doing one: on a new store the first run is due an interval later.
pub async fn schedule_first(store: &dyn Store, now: Timestamp) -> Result<(), JobError> {
    Ok(store.put_note(NOTE, &now.as_micros().to_string()).await?)
}

/// Begins a run as of `now`; one that is under way is given up.
pub async fn begin(store: &dyn Store, now: Timestamp) -> Result<(), JobError> {
    Ok(store.put_note(NOTE, &format!("{}\n", now.as_micros())).await?)
}

/// Goes on with the run, a page at a time.
pub async fn step(store: &dyn Store, log: &dyn Append, after_days: u32) -> Result<Progress, JobError> {
    let idle = Progress { over: true, ..Progress::default() };
    let Some(note) = store.note(NOTE).await? else { return Ok(idle) };
    let mut lines = note.splitn(2, '\n');
    let started = lines.next().and_then(|text| text.parse().ok()).and_then(|us| Timestamp::from_micros(us).ok());
    let (Some(started), Some(cursor)) = (started, lines.next()) else { return Ok(idle) };
    let page = store.scan(Some(cursor).filter(|cursor| !cursor.is_empty()), PAGE).await?;
    let scanned = page.items.len();
    let limit = started.plus_seconds(-i64::from(after_days) * 86_400);
    let events: Vec<CanonicalEvent> = page
        .items
        .into_iter()
        .filter_map(|(key, history)| unengaged(key, history.engagement, limit, started))
        .collect();
    let found = inner_event::append_all(log, events, APPENDS_AT_ONCE).await?;
    let note = match &page.next {
        Some(next) => format!("{}\n{next}", started.as_micros()),
        None => started.as_micros().to_string(),
    };
    store.put_note(NOTE, &note).await?;
    Ok(Progress { scanned, found, over: page.next.is_none() })
}

/// The event for one recipient, if it is one: sent to for at least as long as the limit and still within it, and no
/// engagement within it. Who was first written to yesterday has had no time to engage, and is left alone.
fn unengaged(key: RecipientKey, seen: Engagement, limit: Timestamp, now: Timestamp) -> Option<CanonicalEvent> {
    let (first_sent_at, sent_at) = (seen.first_sent_at?, seen.sent_at?);
    let engaged = seen.engaged_at.is_some_and(|at| at >= limit);
    if key.recipient.channel() != Channel::Email || first_sent_at > limit || sent_at < limit || engaged {
        return None;
    }
    let mut metadata: BTreeMap<String, String> = [(inner::SENT_AT.to_owned(), sent_at.to_string())].into();
    if let Some(engaged_at) = seen.engaged_at {
        metadata.insert(inner::ENGAGED_AT.to_owned(), engaged_at.to_string());
    }
    let event = InnerEvent {
        key,
        kind: Kind::Unengaged,
        // Stamped by the send that went unanswered: a second run over the same registers makes the same event, and a
        // release by hand after that send holds until the next one.
        occurred_at: sent_at,
        received_at: now,
        provider: "quell",
        source: "unengaged".to_owned(),
        scope: None,
        identity: seen.engaged_at.map(|at| at.as_micros().to_string()).unwrap_or_default(),
        metadata,
    };
    Some(event.into_event())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Recipient, Tenant};

    #[test]
    fn only_who_had_the_time_and_did_not_engage() {
        let day = |day: i64| Timestamp::from_seconds(1_700_000_000 + day * 86_400).unwrap();
        let key = RecipientKey { tenant: Tenant::default(), recipient: Recipient::email("a@example.com").unwrap() };
        let found = |first, last, engaged: Option<i64>| {
            let seen =
                Engagement { first_sent_at: Some(day(first)), sent_at: Some(day(last)), engaged_at: engaged.map(day) };
            unengaged(key.clone(), seen, day(10), day(100)).is_some()
        };
        assert!(found(0, 99, None));
        assert!(found(0, 99, Some(9)));
        assert!(!found(0, 99, Some(10)), "engaged within the limit");
        assert!(!found(50, 99, None), "no time to engage yet");
        assert!(!found(0, 9, None), "not sent to within the limit");
        assert!(unengaged(key.clone(), Engagement::default(), day(10), day(100)).is_none(), "never sent to");
    }
}
