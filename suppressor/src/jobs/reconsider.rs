//! Applying a policy (R9): it is appended to every partition, then a sweep appends a `reconsidered` event for each
//! recipient with evidence. The sweep resumes where it was.

use super::{InnerEvent, JobError, inner_event};
use crate::{
    Policy,
    evidence::inner,
    policy::{BUILT_IN_VERSION, DECIDE_REVISION},
    store::{PolicyRow, Store},
};
use domain::{Kind, Timestamp};
use event_log::{Append, Record};
use schemas::{encode, topics, wire::PolicyApplied};

/// The version that was asked for; [`apply`] alone writes it.
const SWEEP: &str = "sweep";
/// How far the sweep is: its version, and after which key, or [`OVER`]. [`sweep`] alone writes it.
const SWEPT: &str = "sweep.at";
const OVER: &str = "over";
const ASKED: &str = "policy.asked";
const PAGE: usize = 500;
const APPENDS_AT_ONCE: usize = 64;

/// The newest policy applied in partition 0, if any was: what a start compares its file with.
pub async fn newest(store: &dyn Store) -> Result<Option<PolicyRow>, JobError> {
    Ok(store.policies(0).await?.pop().map(|(_, row)| row))
}

/// Appends a policy to every partition of the events topic, and asks for a sweep. Returns its version.
pub async fn apply(
    store: &dyn Store,
    log: &dyn Append,
    document: &str,
    now: Timestamp,
    by: &str,
) -> Result<u32, JobError> {
    let known = newest(store).await?.map_or(BUILT_IN_VERSION, |row| row.version);
    let asked: u32 = store.note("policy.version").await?.and_then(|text| text.parse().ok()).unwrap_or(known);
    let version = known.max(asked) + 1;
    Policy::parse(version, document)?;
    let record = PolicyApplied {
        version: i32::try_from(version).unwrap_or(i32::MAX),
        decide_revision: i32::try_from(DECIDE_REVISION).unwrap_or(i32::MAX),
        document: document.to_owned(),
        applied_at: now.as_micros(),
        applied_by: by.to_owned(),
    };
    let value = encode(&record)?;
    // Before the first append: a version that reached only some partitions is never given to another policy.
    store.put_note("policy.version", &version.to_string()).await?;
    // A sweep waits until every partition has applied the policy; asked for now, it is not forgotten.
    store.put_note(SWEEP, &version.to_string()).await?;
    store.put_note(ASKED, document).await?;
    for partition in 0..log.partitions(topics::EVENTS)? {
        let record =
            Record { key: None, value: Some(value.clone()), headers: Vec::new(), timestamp_ms: now.as_millis() };
        log.append(topics::EVENTS, Some(partition), record).await?;
    }
    Ok(version)
}

/// The document that was applied last, whether or not it holds anywhere yet.
pub async fn asked(store: &dyn Store) -> Result<Option<String>, JobError> {
    Ok(store.note(ASKED).await?)
}

/// Whether a sweep was asked for and is not over.
pub async fn is_under_way(store: &dyn Store) -> Result<bool, JobError> {
    Ok(pending(store).await?.is_some())
}

/// The version to sweep for, and after which key to go on.
async fn pending(store: &dyn Store) -> Result<Option<(u32, String)>, JobError> {
    let Some(version) = store.note(SWEEP).await?.and_then(|note| note.parse::<u32>().ok()) else { return Ok(None) };
    let at = store.note(SWEPT).await?.unwrap_or_default();
    Ok(match at.split_once('\n') {
        Some((of, OVER)) if of == version.to_string() => None,
        Some((of, after)) if of == version.to_string() => Some((version, after.to_owned())),
        // That of an earlier policy.
        _ => Some((version, String::new())),
    })
}

/// Goes on with a sweep, a page at a time. Returns how many events it appended, and whether there is nothing more to do
/// for now. It begins once every partition has applied the policy: whoever is first heard of before the policy stands in
/// the store only then.
pub async fn sweep(store: &dyn Store, log: &dyn Append, now: Timestamp) -> Result<(usize, bool), JobError> {
    let Some((version, after)) = pending(store).await? else { return Ok((0, true)) };
    if after.is_empty() && !is_applied(store, log, version).await? {
        return Ok((0, true));
    }
    let page = store.scan(Some(after.as_str()).filter(|after| !after.is_empty()), PAGE).await?;
    let events: Vec<_> = page
        .items
        .into_iter()
        .filter(|(_, history)| !history.rows.is_empty())
        .map(|(key, history)| {
            let newest = history.rows.iter().map(crate::Evidence::effective_at).max().unwrap_or(now);
            InnerEvent {
                key,
                kind: Kind::Reconsidered,
                occurred_at: newest,
                received_at: now,
                provider: "quell",
                source: "policy".to_owned(),
                scope: None,
                identity: version.to_string(),
                metadata: [(inner::POLICY.to_owned(), version.to_string())].into(),
            }
            .into_event()
        })
        .collect();
    let count = inner_event::append_all(log, events, APPENDS_AT_ONCE).await?;
    let over = page.next.is_none();
    let at = page.next.unwrap_or_else(|| OVER.to_owned());
    store.put_note(SWEPT, &format!("{version}\n{at}")).await?;
    Ok((count, over))
}

async fn is_applied(store: &dyn Store, log: &dyn Append, version: u32) -> Result<bool, JobError> {
    for partition in 0..log.partitions(topics::EVENTS)? {
        let policies = store.policies(partition).await?;
        let since = policies.into_iter().find(|(_, row)| row.version >= version).map(|(position, _)| position);
        let applied = store.applied(partition).await?;
        if since.is_none_or(|since| applied.is_none_or(|applied| applied < since)) {
            return Ok(false);
        }
    }
    Ok(true)
}
