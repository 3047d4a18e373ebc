//! `/v1/policy` and `/v1/unengaged`: what operators set going. Both act through the log, like everything else.

use super::{
    Api,
    auth::{Caller, Writer},
    body,
    params::Params,
    problem::Problem,
};
use crate::{
    Policy,
    jobs::{JobError, reconsider, unengaged},
};
use axum::{Json, body::Body, extract::State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const BY_CHARS_MAX: usize = 128;
/// A policy's text may hold this much; its JSON string a little more.
const POLICY_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    document: String,
    by: String,
}

/// The policy in force.
pub(super) async fn policy(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    params: Params,
) -> Result<Json<Value>, Problem> {
    params.only(&[])?;
    let row = reconsider::newest(api.deps.store.as_ref()).await.map_err(failed)?;
    Ok(Json(match row {
        Some(row) => json!({
            "version": row.version, "document": row.document, "applied_at": row.applied_at, "applied_by": row.applied_by,
        }),
        None => {
            let built_in = Policy::built_in();
            json!({ "version": built_in.version, "document": built_in.document, "applied_at": null, "applied_by": null })
        }
    }))
}

/// Applies a policy: it is appended to the log, and a sweep reconsiders every recipient.
pub(super) async fn apply_policy(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    all_tenants(&caller)?;
    let apply: Apply = body::json(body, POLICY_BYTES_MAX, api.deps.limits.idle).await?;
    if apply.by.trim().is_empty() || apply.by.chars().count() > BY_CHARS_MAX {
        return Err(Problem::bad_request(format!("by: say who, in at most {BY_CHARS_MAX} characters")));
    }
    Policy::parse(1, &apply.document).map_err(|error| Problem::bad_request(error.to_string()))?;
    let by = format!("{} ({})", apply.by.trim(), caller.name);
    let now = api.now();
    let (store, log) = (api.deps.store.as_ref(), api.deps.append.as_ref());
    let version = reconsider::apply(store, log, &apply.document, now, &by).await.map_err(failed)?;
    tracing::info!(version, "a policy was applied");
    Ok((StatusCode::ACCEPTED, Json(json!({ "version": version }))))
}

/// When the job that finds who no longer reads last began, and whether it is under way.
pub(super) async fn unengaged_status(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    params: Params,
) -> Result<Json<Value>, Problem> {
    params.only(&[])?;
    let run = unengaged::last_run(api.deps.store.as_ref()).await.map_err(failed)?;
    Ok(Json(json!({ "last_run": run.map(|run| run.began_at), "running": run.is_some_and(|run| !run.over) })))
}

/// Begins a run now; the process's jobs go through with it.
pub(super) async fn begin_unengaged(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    params: Params,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    all_tenants(&caller)?;
    let now = api.now();
    unengaged::begin(api.deps.store.as_ref(), now).await.map_err(failed)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "started_at": now }))))
}

/// What concerns every tenant is not for a token of one.
pub(super) fn all_tenants(caller: &Caller) -> Result<(), Problem> {
    match caller.tenant_filter(None)? {
        None => Ok(()),
        Some(_) => Err(Problem::forbidden("this concerns every tenant: use a token that is not bound to one")),
    }
}

pub(super) fn failed(error: JobError) -> Problem {
    match error {
        JobError::Policy(error) => Problem::bad_request(error.to_string()),
        JobError::TooManyRulings => Problem::conflict(error.to_string()),
        JobError::Encode(error) => Problem::internal(error.to_string()),
        JobError::Store(_) | JobError::Append(_) | JobError::Browse(_) => Problem::unavailable(error.to_string()),
    }
}
