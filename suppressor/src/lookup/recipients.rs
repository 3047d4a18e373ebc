//! `GET /v1/recipients/{address}`: why, and why not.

use super::{
    Api,
    auth::Caller,
    effects::Effect,
    explain::{AsOf, Basis, Explanation, UnknownPolicy, explain},
    find::read_address,
    off_runtime,
    params::Params,
    problem::Problem,
};
use crate::{Evidence, History, StoreError, erasure::Erased, evidence::Engagement};
use axum::{
    Json,
    extract::{Path, State},
};
use domain::{Delta, Kind, RecipientKey, Timestamp};
use schemas::wire::DeltaRecord;
use serde_json::{Value, json};
use std::sync::Arc;

/// Explains a recipient, now or as of a past moment.
pub(super) async fn why(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(address): Path<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let params = params.only(&["tenant", "channel", "at", "known_at"])?;
    let tenant = caller.tenant(params.text("tenant"))?;
    let recipient = read_address(params.read("channel")?, &address)
        .map_err(|error| Problem::bad_request(format!("the address cannot be read: {error}")))?;
    let key = RecipientKey { tenant, recipient };
    let as_of =
        AsOf { now: api.now(), at: params.read::<Timestamp>("at")?, known_at: params.read::<Timestamp>("known_at")? };
    let known = load(&api, &key).await?;
    let Known { history, deltas, .. } = &known;
    let policies = api.deps.policy.get();
    let channel = key.recipient.channel();
    let explanation = explain(history, deltas, channel, as_of, |version| policies.version(version).cloned());
    let explanation = explanation.map_err(|UnknownPolicy(version)| {
        Problem::unavailable(format!("policy version {version} is not known here yet: try again"))
    })?;
    Ok(Json(shown(&api, &key, &known, as_of, &explanation)))
}

/// All that may be shown of a recipient.
struct Known {
    history: History,
    deltas: Vec<Delta>,
    erased: Option<Erased>,
}

impl Known {
    /// An erased recipient's address, engagement and changes from before are not shown while they wait to be forgotten.
    fn new(mut history: History, mut deltas: Vec<Delta>, erased: Option<Erased>) -> Self {
        if let Some(position) = history.erasures().max() {
            deltas.retain(|delta| delta.position > position);
            if erased.as_ref().is_some_and(|erased| erased.recipient.is_some()) {
                history.engagement = Engagement::default();
            }
            if history.rows.iter().all(|row| row.position <= position) {
                history.address.clear();
            }
        }
        Self { history, deltas, erased }
    }
}

async fn load(api: &Api, key: &RecipientKey) -> Result<Known, StoreError> {
    let (store, key, max) = (Arc::clone(&api.deps.store), key.clone(), api.deps.limits.rows_max);
    off_runtime(move || async move {
        let history = store.load(std::slice::from_ref(&key)).await?.into_iter().next().unwrap_or_default();
        let erased = store.erasure_of(&key).await?;
        let corrupt = |error: String| StoreError::Corrupt(format!("a delta: {error}"));
        let unread = |error: schemas::DecodeError| match error.is_unresolved() {
            true => StoreError::Unavailable(error.to_string()),
            false => corrupt(error.to_string()),
        };
        let mut deltas = Vec::new();
        let audit = store.audit(&key, max).await?;
        schemas::ready(audit.iter().map(|(_, _, bytes)| bytes.as_slice())).await.map_err(unread)?;
        for (_, _, bytes) in audit {
            let record: DeltaRecord = schemas::decode(&bytes).map_err(unread)?;
            deltas.push(Delta::try_from(record).map_err(|error| corrupt(error.to_string()))?);
        }
        Ok(Known::new(history, deltas, erased))
    })
    .await
}

fn shown(api: &Api, key: &RecipientKey, known: &Known, as_of: AsOf, explanation: &Explanation<'_>) -> Value {
    let Known { history, deltas, erased } = known;
    let in_force: Vec<Value> = explanation
        .in_force
        .iter()
        .map(|(scope, standing, providers)| {
            let mut shown = json!(standing);
            shown["scope"] = json!(scope);
            shown["providers"] = json!(providers);
            shown
        })
        .collect();
    let max = api.deps.limits.rows_max;
    let evidence: Vec<Value> = explanation
        .rows
        .iter()
        .take(max)
        .map(|(row, effect)| {
            let is_kept = history.kept.iter().any(|kept| std::ptr::eq(kept, *row));
            row_json(row, effect.tag(), because(row, effect, is_kept), is_kept)
        })
        .collect();
    json!({
        "tenant": key.tenant,
        "channel": key.recipient.channel(),
        "recipient": key.recipient,
        "address": history.address,
        "as_of": as_of.at.unwrap_or(as_of.now),
        "known_at": as_of.known_at,
        "basis": match explanation.basis { Basis::Evidence => "evidence", Basis::Audit => "audit" },
        "suppressed": !explanation.in_force.is_empty(),
        "why": explanation.sentences,
        "in_force": in_force,
        "policy": explanation.policy,
        "evidence_total": explanation.rows.len(),
        "evidence": evidence,
        "deltas": deltas.iter().rev().map(schemas::json::delta).collect::<Vec<_>>(),
        "engagement": history.engagement,
        "erased": erased.as_ref().map(|erased| json!({
            "at": erased.erased_at,
            "by": erased.by,
            "forgotten": erased.recipient.is_none(),
        })),
    })
}

fn because(row: &Evidence, effect: &Effect, is_kept: bool) -> String {
    match (is_kept, row.kind) {
        (false, _) => effect.sentence(row),
        (true, Kind::Erased) => {
            "the recipient was erased: of what came before, only what suppresses was kept".to_owned()
        }
        (true, _) => format!("{} (kept when the recipient was erased)", effect.sentence(row)),
    }
}

fn row_json(row: &Evidence, effect: &str, sentence: String, is_kept: bool) -> Value {
    json!({
        "event_id": row.event_id,
        "kind": row.kind,
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
        // What was kept has its effective time; an erasure's receipt is that of the newest evidence, which is no wrong clock.
        "clamped": row.clamped() && !is_kept,
        "provider": row.provider,
        "source": row.source,
        "message_id": row.message_id,
        "scope": row.scope,
        "failure": row.failure,
        "receipt_id": row.receipt_id,
        "until": row.limit,
        "by": row.actor,
        "note": row.note,
        "rules": row.rules,
        "policy": row.policy,
        "new_policy": row.new_policy,
        "incidents": row.marks,
        "position": row.position,
        "effect": effect,
        "because": sentence,
        "kept": is_kept,
    })
}
