//! `GET /v1/dead-letters` and replay: what could not be processed, and its way back.

use super::{
    Api,
    auth::{Caller, Writer},
    body,
    cursor::Cursor,
    params::Params,
    problem::Problem,
};
use axum::{Json, body::Body, extract::State};
use domain::{Tenant, Timestamp};
use event_log::{AppendError, Browse, Consumed, Header, Record};
use http::StatusCode;
use schemas::{headers, topics, wire::DeadLetter};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const READ_AT_ONCE: usize = 500;
/// One call looks at so many letters at most, also where few of them are the caller's.
const LOOKED_AT_MAX: usize = 20_000;

/// Lists dead letters after a cursor, oldest first in each partition.
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    let params = params.only(&["after", "max", "tenant"])?;
    let tenant = caller.tenant_filter(params.text("tenant"))?;
    let max = params.number("max", 100, api.deps.limits.dead_letters_max)?;
    let cursor = Cursor::resolve(api.deps.browse.as_ref(), topics::DEAD_LETTER, params.text("after")).await?;
    let (letters, next) = page(api.deps.browse.as_ref(), tenant.as_ref(), cursor, max).await?;
    let letters: Vec<Value> = letters.iter().map(|(consumed, letter)| shown(consumed, letter)).collect();
    Ok(Json(json!({ "dead_letters": letters, "next": next.to_string() })))
}

/// Up to `max` letters of a tenant (or all) from a cursor on, and the cursor after them.
async fn page(
    browse: &dyn Browse,
    tenant: Option<&Tenant>,
    mut cursor: Cursor,
    max: u64,
) -> Result<(Vec<(Consumed, DeadLetter)>, Cursor), Problem> {
    let mut found = Vec::new();
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut looked_at = 0;
    for partition in 0..cursor.0.len() {
        let number = u32::try_from(partition).map_err(|error| Problem::internal(error.to_string()))?;
        while found.len() < max && looked_at < LOOKED_AT_MAX {
            let wanted = READ_AT_ONCE.min(max - found.len());
            let records = browse.read(topics::DEAD_LETTER, number, cursor.0[partition], wanted).await?;
            if records.is_empty() {
                break;
            }
            ready(&records).await?;
            looked_at += records.len();
            for consumed in records {
                cursor.0[partition] = consumed.position.offset + 1;
                if let Some(letter) = letter_of(&consumed, tenant)? {
                    found.push((consumed, letter));
                }
            }
        }
    }
    Ok((found, cursor))
}

/// A letter, if it can be read and is the tenant's. One of no tenant is shown to who sees all.
fn letter_of(consumed: &Consumed, tenant: Option<&Tenant>) -> Result<Option<DeadLetter>, Problem> {
    let letter = match consumed.record.value.as_ref().map(|value| schemas::decode::<DeadLetter>(value)) {
        Some(Err(error)) if error.is_unresolved() => return Err(error.into()),
        letter => letter.and_then(Result::ok),
    };
    Ok(letter.filter(|letter| tenant.is_none_or(|tenant| tenant.as_str() == letter.tenant)))
}

async fn ready(records: &[Consumed]) -> Result<(), Problem> {
    Ok(schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await?)
}

fn shown(consumed: &Consumed, letter: &DeadLetter) -> Value {
    json!({
        "id": format!("{}.{}", consumed.position.partition, consumed.position.offset),
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.topic,
        "partition": letter.partition,
        "position": letter.offset,
        "element": letter.element,
        "attempt": letter.attempt,
        "receipt_id": letter.receipt_id,
        "provider": letter.provider,
        "tenant": letter.tenant,
        "dead_at": Timestamp::from_micros(letter.dead_at).ok(),
        "bytes": letter.value.as_ref().map_or(0, Vec::len),
        "replayable": way_back(letter).is_some(),
    })
}

/// Where a letter's source record is appended anew: only what stages read may be. A delta that a subscriber did not take
/// goes back to it alone: among the deltas it would be one told twice.
fn way_back(letter: &DeadLetter) -> Option<&str> {
    letter.value.as_ref()?;
    match letter.topic.as_str() {
        topic @ (topics::RAW | topics::EVENTS) => Some(topic),
        topics::DELTAS | topics::REDELIVERIES if letter.stage == headers::NOTIFIER => Some(topics::REDELIVERIES),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all: bool,
    after: Option<String>,
    limit: Option<u64>,
    tenant: Option<String>,
}

/// Appends the source records of dead letters anew. What had its effect in the meantime is a duplicate, and dropped.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    let limits = api.deps.limits;
    let wanted: Wanted = body::json(body, limits.body_bytes_max, limits.idle).await?;
    let tenant = caller.tenant_filter(wanted.tenant.as_deref())?;
    let limit = wanted.limit.unwrap_or(100);
    if limit > limits.dead_letters_max || wanted.ids.len() as u64 > limits.dead_letters_max {
        return Err(Problem::bad_request(format!("one call replays at most {}", limits.dead_letters_max)));
    }
    let browse = api.deps.browse.as_ref();
    let (letters, next) = match (wanted.ids.is_empty(), wanted.all) {
        (true, true) => {
            let cursor = Cursor::resolve(browse, topics::DEAD_LETTER, wanted.after.as_deref()).await?;
            let (letters, next) = page(browse, tenant.as_ref(), cursor, limit).await?;
            (letters, Some(next.to_string()))
        }
        (false, false) => (named(browse, tenant.as_ref(), &wanted.ids).await?, None),
        _ => return Err(Problem::bad_request("say which: \"ids\":[…] or \"all\":true")),
    };
    let (mut replayed, mut skipped) = (0_u64, Vec::new());
    for (consumed, letter) in letters {
        if let Some(topic) = way_back(&letter) {
            append(&api, topic, &letter, replayed).await?;
            replayed += 1;
        } else {
            skipped.push(format!("{}.{}", consumed.position.partition, consumed.position.offset));
        }
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "replayed": replayed, "skipped": skipped, "next": next }))))
}

async fn named(
    browse: &dyn Browse,
    tenant: Option<&Tenant>,
    ids: &[String],
) -> Result<Vec<(Consumed, DeadLetter)>, Problem> {
    let partitions = browse.partitions(topics::DEAD_LETTER)?;
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        let parsed =
            id.split_once('.').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        let Some((partition, offset)): Option<(u32, u64)> = parsed else {
            return Err(Problem::bad_request("ids: an id looks like 0.17; take it from the list"));
        };
        let missing =
            || Problem::not_found(format!("no dead letter {partition}.{offset} is kept; nothing was replayed"));
        if partition >= partitions {
            return Err(missing());
        }
        let read = browse.read(topics::DEAD_LETTER, partition, offset, 1).await?;
        ready(&read).await?;
        let found = read.into_iter().find(|consumed| consumed.position.offset == offset).ok_or_else(missing)?;
        let letter = letter_of(&found, tenant)?.ok_or_else(missing)?;
        letters.push((found, letter));
    }
    Ok(letters)
}

async fn append(api: &Api, topic: &str, letter: &DeadLetter, before: u64) -> Result<(), Problem> {
    let mut carried: Vec<Header> = letter
        .headers
        .iter()
        .filter(|(name, _)| name.as_str() != headers::ATTEMPT)
        .map(|(name, value)| Header { name: name.clone().into(), value: value.clone().into() })
        .collect();
    let attempt = letter.attempt.max(0).saturating_add(1);
    carried.push(Header { name: headers::ATTEMPT.into(), value: attempt.to_string().into() });
    let record = Record {
        key: letter.key.clone().map(Into::into),
        value: letter.value.clone().map(Into::into),
        headers: carried,
        timestamp_ms: api.now().as_millis(),
    };
    api.deps.append.append(topic, None, record).await.map(|_| ()).map_err(|error| {
        tracing::warn!(%error, "a replay stopped");
        let detail = format!("{before} were replayed, then the log took no more: repeat the call");
        match error {
            AppendError::Busy => Problem::busy(detail),
            AppendError::TooLarge { .. } => Problem::too_large(error.to_string()),
            AppendError::Unavailable(_) => Problem::unavailable(detail),
        }
    })
}
