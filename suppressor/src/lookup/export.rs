//! `GET /v1/export`: everything in force, one line a recipient and scope.

use super::{Api, auth::Caller, off_runtime, params::Params, problem::Problem};
use crate::{Store, StoreError, store::InForce};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{RecipientKey, Tenant, Timestamp};
use futures_util::{StreamExt as _, stream};
use http::header;
use serde_json::json;
use std::{io, sync::Arc};

const PAGE: usize = 1_000;

/// Streams what is in force for a tenant, each recipient once. A store that fails breaks the connection.
pub(super) async fn export(State(api): State<Arc<Api>>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["tenant"])?;
    let tenant = caller.tenant(params.text("tenant"))?;
    let permit = api.stream_permit()?;
    let store = Arc::clone(&api.deps.store);
    let now = api.now();
    let start = Scan { after: None, tenant, now, store };
    let (first, next) = start.page().await?;
    let rest = stream::try_unfold((next, permit), |(scan, permit)| async move {
        let Some(scan) = scan else { return Ok(None) };
        let (lines, next) = scan.page().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>(Some((lines, (next, permit))))
    });
    let whole = stream::iter([Ok(first)]).chain(rest);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(whole)).into_response())
}

/// Where an export stands.
struct Scan {
    store: Arc<dyn Store>,
    tenant: Tenant,
    now: Timestamp,
    after: Option<String>,
}

impl Scan {
    /// The next page as lines, and where to go on.
    async fn page(self) -> Result<(Bytes, Option<Self>), StoreError> {
        off_runtime(move || async move {
            let page = self.store.scan_in_force(self.after.as_deref(), PAGE).await?;
            let mut lines = Vec::new();
            for (key, row) in page.items.iter().filter(|(key, _)| key.tenant == self.tenant) {
                write_lines(&mut lines, key, row, self.now);
            }
            let next = page.next.map(|after| Self { after: Some(after), ..self });
            Ok((Bytes::from(lines), next))
        })
        .await
    }
}

fn write_lines(out: &mut Vec<u8>, key: &RecipientKey, row: &InForce, now: Timestamp) {
    let mut told = None;
    let in_force = row.decision.causes().iter().filter(|cause| cause.until.is_none_or(|until| until > now));
    for cause in in_force {
        // Of a scope's causes the first is the one that counts.
        if told == Some(&cause.scope) {
            continue;
        }
        told = Some(&cause.scope);
        let mut line = json!({
            "tenant": key.tenant,
            "channel": key.recipient.channel(),
            "recipient": key.recipient,
            "address": row.address,
            "scope": cause.scope,
            "reason": cause.reason,
            "since": cause.since,
            "until": cause.until,
            "rule": cause.rule,
            "provider": cause.provider,
            "source": cause.source,
            "providers": cause.providers,
            "event_id": cause.event_id,
            "policy": row.policy,
            "position": row.position,
        });
        if let Some(incident) = cause.incident {
            line["incident"] = json!(incident);
        }
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
    }
}
