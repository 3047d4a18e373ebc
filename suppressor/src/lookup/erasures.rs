//! `POST /v1/erasures` and `GET /v1/erasures/{address}`: forget a recipient, keep them suppressed, and a receipt.

use super::{
    Api,
    auth::{Caller, Writer},
    body,
    find::read_address,
    kept::receipt,
    manual::{self, Act},
    off_runtime,
    params::Params,
    problem::Problem,
};
use crate::{erasure::Erased, store::InForce};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use domain::{Channel, Kind, RecipientKey, Timestamp};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tenant: Option<String>,
    recipient: Option<String>,
    recipients: Option<Vec<String>>,
    channel: Option<Channel>,
    by: Option<String>,
    note: Option<String>,
}

/// Erases recipients.
pub(super) async fn erase(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    let limits = api.deps.limits;
    let Wanted { tenant, recipient, recipients, channel, by, note } =
        body::json(body, limits.body_bytes_max, limits.idle).await?;
    let act = Act { tenant, recipient, recipients, channel, scope: None, until: None, by, note };
    let done = manual::take(&api, &caller, Kind::Erased, act, &headers).await?;
    let gone = receipt(&api.deps.keeping.kept().await, done.occurred_at);
    let answer = json!({ "asked_at": done.occurred_at, "accepted": done.accepted, "gone": gone });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Says what became of an erasure.
pub(super) async fn erasure(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(address): Path<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let params = params.only(&["tenant", "channel"])?;
    let tenant = caller.tenant(params.text("tenant"))?;
    let recipient = read_address(params.read("channel")?, &address)
        .map_err(|error| Problem::bad_request(format!("the address cannot be read: {error}")))?;
    let key = RecipientKey { tenant, recipient };
    let (store, asked) = (Arc::clone(&api.deps.store), key.clone());
    let (erased, row) = off_runtime(move || async move {
        let erased = store.erasure_of(&asked).await?;
        let row = store.in_force(std::slice::from_ref(&asked)).await?.pop().flatten();
        Ok((erased, row))
    })
    .await?;
    let Some(erased) = erased else {
        return Err(Problem::not_found(
            "this recipient was not erased, or the erasure is still on its way through the log",
        ));
    };
    let gone = receipt(&api.deps.keeping.kept().await, erased.erased_at);
    Ok(Json(json!({
        "tenant": key.tenant,
        "channel": key.recipient.channel(),
        "recipient": key.recipient,
        "erased_at": erased.erased_at,
        "by": erased.by,
        "state": state(&erased),
        "in_force": row.map(|row| in_force(&row, api.now())).unwrap_or_default(),
        "gone": gone,
    })))
}

/// `kept` once what suppresses lies under the pseudonym, `forgotten` once the rest is gone from the store.
const fn state(erased: &Erased) -> &'static str {
    match erased.recipient {
        Some(_) => "kept",
        None => "forgotten",
    }
}

fn in_force(row: &InForce, now: Timestamp) -> Vec<Value> {
    let holds = |cause: &&domain::Cause| cause.until.is_none_or(|until| until > now);
    let kept = domain::Decision::new(row.decision.causes().iter().filter(holds).cloned().collect());
    let shown = |(scope, cause): (&domain::Scope, &domain::Cause)| {
        let mut shown = json!(cause.standing());
        shown["scope"] = json!(scope);
        shown["providers"] = json!(cause.providers);
        shown
    };
    kept.by_scope().into_iter().map(shown).collect()
}
