//! `/v1/incidents`: what the guard found, and what operators rule of it.

use super::{
    Api,
    auth::{Caller, Writer},
    body,
    operations::{all_tenants, failed},
    params::Params,
    problem::Problem,
};
use crate::{guard::Incident, jobs::incidents};
use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use domain::{EventId, Ruling};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const BY_CHARS_MAX: usize = 128;
const NOTE_CHARS_MAX: usize = 1_024;
const BODY_BYTES_MAX: usize = 16 * 1_024;
/// Incidents of one answer, the newest.
const LISTED_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Confirm,
    Undo,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    verdict: Verdict,
    by: String,
    #[serde(default)]
    note: String,
}

/// Every incident, the newest first.
pub(super) async fn list(State(api): State<Arc<Api>>, _caller: Caller, params: Params) -> Result<Json<Value>, Problem> {
    params.only(&[])?;
    let known = incidents::known(api.deps.store.as_ref()).await.map_err(failed)?;
    let mut known: Vec<Incident> = known.into_values().collect();
    known.sort_by_key(|incident| std::cmp::Reverse((incident.from, incident.id)));
    known.truncate(LISTED_MAX);
    let now = api.now();
    let shown: Vec<Value> = known.iter().map(|incident| shown(incident, now)).collect();
    Ok(Json(json!({ "incidents": shown })))
}

/// Rules that the bounces of an incident are what they look like, or that they never counted. It goes through the log; a
/// sweep reaches every recipient.
pub(super) async fn rule(
    State(api): State<Arc<Api>>,
    Writer(caller): Writer,
    Path(id): Path<String>,
    params: Params,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    params.only(&[])?;
    all_tenants(&caller)?;
    let ask: Ask = body::json(body, BODY_BYTES_MAX, api.deps.limits.idle).await?;
    let (by, note) = (ask.by.trim(), ask.note.trim());
    if by.is_empty() || by.chars().count() > BY_CHARS_MAX {
        return Err(Problem::bad_request(format!("by: say who, in at most {BY_CHARS_MAX} characters")));
    }
    if note.chars().count() > NOTE_CHARS_MAX {
        return Err(Problem::bad_request(format!("note: at most {NOTE_CHARS_MAX} characters")));
    }
    let unknown = || Problem::not_found("no such incident; see GET /v1/incidents");
    let id: EventId = id.parse().map_err(|_| unknown())?;
    let ruling = match ask.verdict {
        Verdict::Confirm => Ruling::Confirmed,
        Verdict::Undo => Ruling::Undone,
    };
    let by = format!("{by} ({})", caller.name);
    let (store, log, now) = (api.deps.store.as_ref(), api.deps.append.as_ref(), api.now());
    let ruled = incidents::rule(store, log, id, ruling, now, (&by, note)).await.map_err(failed)?;
    let ruled = ruled.ok_or_else(unknown)?;
    tracing::info!(incident = %ruled.id, group = %ruled.group, ruling = %ruled.ruling, "an incident was ruled on");
    Ok((StatusCode::ACCEPTED, Json(shown(&ruled, now))))
}

/// An incident, and whether it still goes on: one of which nothing is told any more is over by its end.
fn shown(incident: &Incident, now: domain::Timestamp) -> Value {
    let mut shown = json!(incident);
    shown["is_over"] = (incident.is_over || incident.to <= now).into();
    shown
}
