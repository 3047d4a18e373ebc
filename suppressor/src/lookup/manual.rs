//! `POST` and `DELETE /v1/suppressions`: by hand, with who and why, through the log like everything else.

use super::{
    Api,
    auth::{Caller, Writer},
    body,
    find::read_address,
    off_runtime,
    params::Params,
    problem::Problem,
};
use crate::{
    History,
    evidence::inner,
    jobs::{InnerEvent, JobError, inner_event},
};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use domain::{CanonicalEvent, Channel, Kind, RecipientKey, Scope, Tenant, Timestamp};
use event_log::AppendError;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Provider of what is done by hand.
const MANUAL: &str = "manual";
const APPENDS_AT_ONCE: usize = 64;
const BY_CHARS_MAX: usize = 128;
const NOTE_CHARS_MAX: usize = 1_024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
const RECENT_MAX: usize = 10_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Act {
    pub(super) tenant: Option<String>,
    pub(super) recipient: Option<String>,
    pub(super) recipients: Option<Vec<String>>,
    pub(super) channel: Option<Channel>,
    pub(super) scope: Option<Scope>,
    pub(super) until: Option<Timestamp>,
    pub(super) by: Option<String>,
    #[serde(alias = "reason")]
    pub(super) note: Option<String>,
}

/// An act that lies in the log.
pub(super) struct Done {
    pub(super) occurred_at: Timestamp,
    /// Recipients and their events.
    pub(super) accepted: Vec<Value>,
}

impl Done {
    fn answer(self) -> (StatusCode, Json<Value>) {
        let Self { occurred_at, accepted } = self;
        (StatusCode::ACCEPTED, Json(json!({ "occurred_at": occurred_at, "accepted": accepted })))
    }
}

/// Suppresses by hand.
pub(super) async fn suppress(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    let limits = api.deps.limits;
    let act: Act = body::json(body, limits.body_bytes_max, limits.idle).await?;
    take(&api, &caller, Kind::SuppressedManually, act, &headers).await.map(Done::answer)
}

/// Releases by hand.
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    let limits = api.deps.limits;
    let act: Act = body::json(body, limits.body_bytes_max, limits.idle).await?;
    take(&api, &caller, Kind::ReleasedManually, act, &headers).await.map(Done::answer)
}

/// Releases one recipient by hand, all told in the address and the query.
pub(super) async fn release_one(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    Path(address): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let params = params.only(&["tenant", "channel", "scope", "by", "note"])?;
    let text = |name: &str| params.text(name).map(str::to_owned);
    let act = Act {
        tenant: text("tenant"),
        recipient: Some(address),
        recipients: None,
        channel: params.read("channel")?,
        scope: params.read("scope")?,
        until: None,
        by: text("by"),
        note: text("note"),
    };
    take(&api, &caller, Kind::ReleasedManually, act, &headers).await.map(Done::answer)
}

/// An act that was checked.
struct Checked {
    tenant: Tenant,
    kind: Kind,
    /// As given, and as read.
    recipients: Vec<(String, RecipientKey)>,
    scope: Option<Scope>,
    metadata: BTreeMap<String, String>,
    idempotency_key: Option<String>,
}

/// Takes an act into the log.
pub(super) async fn take(
    api: &Arc<Api>,
    caller: &Caller,
    kind: Kind,
    act: Act,
    headers: &HeaderMap,
) -> Result<Done, Problem> {
    let now = api.now();
    let fingerprint: [u8; 32] = Sha256::digest(format!("{kind} {act:?}")).into();
    let checked = check(api, caller, kind, act, headers, now)?;
    let keys: Vec<RecipientKey> = checked.recipients.iter().map(|(_, key)| key.clone()).collect();
    let store = Arc::clone(&api.deps.store);
    let histories = off_runtime(move || async move { store.load(&keys).await }).await?;
    let fresh = fresh_time(&histories, now);
    let occurred_at = match &checked.idempotency_key {
        None => fresh,
        Some(key) => {
            let known = known_time(&checked, &caller.name, &histories).unwrap_or(fresh);
            api.recent.time((checked.tenant.clone(), caller.name.clone(), key.clone()), fingerprint, known)?
        }
    };
    let events: Vec<CanonicalEvent> = checked
        .recipients
        .iter()
        .map(|(address, key)| {
            let mut event = event(&checked, &caller.name, key, occurred_at, now).into_event();
            address.trim().clone_into(&mut event.address);
            event
        })
        .collect();
    let append = api.deps.append.as_ref();
    let appended: Result<Vec<_>, JobError> = stream::iter(events)
        .map(|event| inner_event::append(append, event))
        .buffered(APPENDS_AT_ONCE)
        .try_collect()
        .await;
    let appended = appended.map_err(append_problem)?;
    let accepted: Vec<Value> = checked
        .recipients
        .iter()
        .zip(&appended)
        .map(|((address, _), (event_id, _))| json!({ "recipient": address, "event_id": event_id }))
        .collect();
    Ok(Done { occurred_at, accepted })
}

fn check(
    api: &Api,
    caller: &Caller,
    kind: Kind,
    act: Act,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Checked, Problem> {
    let tenant = caller.tenant(act.tenant.as_deref())?;
    let said = |name: &str, text: Option<String>, chars_max: usize| match text.map(|text| text.trim().to_owned()) {
        Some(text) if !text.is_empty() && text.chars().count() <= chars_max => Ok(text),
        _ => Err(Problem::bad_request(format!("{name}: say it in 1 to {chars_max} characters"))),
    };
    let by = said("by (who does this)", act.by, BY_CHARS_MAX)?;
    let note = said("note (why)", act.note, NOTE_CHARS_MAX)?;
    let mut metadata = BTreeMap::from([(inner::ACTOR.to_owned(), by), (inner::NOTE.to_owned(), note)]);
    if let Some(until) = act.until {
        if kind != Kind::SuppressedManually || until <= now {
            return Err(Problem::bad_request("until: only a suppression has an end, and it lies in the future"));
        }
        metadata.insert(inner::UNTIL.to_owned(), until.to_string());
    }
    let addresses: Vec<String> = act.recipient.into_iter().chain(act.recipients.unwrap_or_default()).collect();
    let max = api.deps.limits.manual_recipients_max;
    if addresses.is_empty() || addresses.len() > max {
        return Err(Problem::bad_request(format!("recipient or recipients: name 1 to {max}")));
    }
    let mut recipients = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.into_iter().enumerate() {
        let recipient = read_address(act.channel, &address)
            .map_err(|error| Problem::bad_request(format!("recipient {index}: {error}; nothing was done")))?;
        recipients.push((address, RecipientKey { tenant: tenant.clone(), recipient }));
    }
    if kind == Kind::Erased && recipients.iter().any(|(_, key)| api.deps.store.pseudonym(key).is_none()) {
        return Err(Problem::not_configured(
            "nobody can be erased here, as no [erasure] key is configured: set the same key for every suppressor and lookup, \
             and start them again; nothing was done",
        ));
    }
    Ok(Checked { tenant, kind, recipients, scope: act.scope, metadata, idempotency_key: idempotency_key(headers)? })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= IDEMPOTENCY_KEY_CHARS_MAX => Ok(Some(text.to_owned())),
        _ => Err(Problem::bad_request(format!("Idempotency-Key: 1 to {IDEMPOTENCY_KEY_CHARS_MAX} letters"))),
    }
}

/// An act by hand wins over what is older, so it is stamped after the newest evidence that it sees.
fn fresh_time(histories: &[History], now: Timestamp) -> Timestamp {
    let rows = histories.iter().flat_map(History::all);
    rows.map(|row| row.effective_at().next()).max().map_or(now, |after| after.max(now))
}

fn event(checked: &Checked, token: &str, key: &RecipientKey, occurred_at: Timestamp, now: Timestamp) -> InnerEvent {
    InnerEvent {
        key: key.clone(),
        kind: checked.kind,
        occurred_at,
        // A time later than the receipt would be clamped by it.
        received_at: now.max(occurred_at),
        provider: MANUAL,
        source: token.to_owned(),
        scope: checked.scope.clone(),
        identity: checked.idempotency_key.clone().unwrap_or_default(),
        metadata: checked.metadata.clone(),
    }
}

/// The time of the same act, where the evidence already holds it: asked again, it is the same event.
fn known_time(checked: &Checked, token: &str, histories: &[History]) -> Option<Timestamp> {
    checked.recipients.iter().zip(histories).find_map(|((_, key), history)| {
        let by_hand = history.rows.iter().filter(|row| row.kind == checked.kind && row.source == token);
        let same = |at: Timestamp| event(checked, token, key, at, at).into_event().event_id;
        by_hand.map(|row| (row.occurred_at, row.event_id)).find(|(at, id)| same(*at) == *id).map(|(at, _)| at)
    })
}

fn append_problem(error: JobError) -> Problem {
    tracing::warn!(%error, "an act by hand was not taken");
    let detail = "some of it may be done: repeat the call, with the same Idempotency-Key if it had one";
    match error {
        JobError::Append(AppendError::Busy) => Problem::busy(detail),
        JobError::Append(AppendError::Unavailable(_)) | JobError::Store(_) | JobError::Browse(_) => {
            Problem::unavailable(detail)
        }
        JobError::Append(AppendError::TooLarge { .. }) => Problem::too_large("the event is larger than the log takes"),
        JobError::Encode(_) | JobError::Policy(_) | JobError::TooManyRulings => {
            Problem::internal("the event cannot be written")
        }
    }
}

type RecentKey = (Tenant, String, String);

/// Recent idempotency keys, with the fingerprint and the time of the act each was used for. Older ones are found in the
/// evidence itself.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<RecentKeys>);

#[derive(Debug, Default)]
struct RecentKeys {
    known: HashMap<RecentKey, ([u8; 32], Timestamp)>,
    order: VecDeque<RecentKey>,
}

impl Recent {
    /// The time of the act that a key was first used for; `first` where it is new.
    fn time(&self, key: RecentKey, fingerprint: [u8; 32], first: Timestamp) -> Result<Timestamp, Problem> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, at)) = keys.known.get(&key) {
            return if *known == fingerprint {
                Ok(*at)
            } else {
                Err(Problem::conflict("this Idempotency-Key was used for another request: take a new one"))
            };
        }
        let oldest = if keys.order.len() >= RECENT_MAX { keys.order.pop_front() } else { None };
        if let Some(oldest) = oldest {
            keys.known.remove(&oldest);
        }
        keys.order.push_back(key.clone());
        keys.known.insert(key, (fingerprint, first));
        Ok(first)
    }
}
