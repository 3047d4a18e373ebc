//! `GET /v1/receipts/{id}`: the raw webhook as it came, and what became of it.

use super::{Api, auth::Caller, params::Params, problem::Problem};
use crate::StoreError;
use async_trait::async_trait;
use axum::{
    Json,
    extract::{Path, State},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
use event_log::Position;
use schemas::{
    receipt::{Receipt, ReceiptId, SpooledId},
    topics,
    wire::RawWebhook,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Shows the events in a raw webhook: the same pure code that the normalizer runs, without side effects. This service
/// knows no providers, so whoever builds it hands this in.
pub trait Reparse: Send + Sync {
    /// The canonical events of a raw webhook as JSON; `receipt_id` is the whole id that they carry.
    fn events(&self, raw: &RawWebhook, receipt_id: &str) -> Value;
}

/// Knows where webhooks went that a gateway spooled while the log was away, told by whoever drained them. It is another
/// process's knowledge, so whoever builds this service hands it in.
#[async_trait]
pub trait SpooledReceipts: Send + Sync {
    /// The receipt under which the webhook with this inner id lies in the log; none while it is still in a spool, or if
    /// there never was one.
    async fn find(&self, inner: &str) -> Result<Option<ReceiptId>, StoreError>;
}

/// Reads a raw webhook by the id its sender was given.
pub(super) async fn receipt(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let params = params.only(&["tenant"])?;
    let filter = caller.tenant_filter(params.text("tenant"))?;
    let told: Receipt = id.parse().map_err(|_| Problem::bad_request("this is no receipt id"))?;
    let was_spooled = matches!(told, Receipt::Spooled(_));
    // The same words for what is unknown and for what is another tenant's.
    let missing = || match was_spooled {
        true => Problem::not_found("not in the log yet: a gateway took it while the log was away; ask again"),
        false => Problem::not_found("no webhook has this receipt, or it is no longer kept"),
    };
    let parsed = match told {
        Receipt::Logged(id) => id,
        Receipt::Spooled(id) => resolved(&api, &id).await?.ok_or_else(missing)?,
    };
    let position = Position { epoch: parsed.epoch(), partition: parsed.partition(), offset: parsed.offset() };
    let browse = &api.deps.browse;
    if position.partition >= browse.partitions(topics::RAW)? {
        return Err(missing());
    }
    let records = browse.read(topics::RAW, position.partition, position.offset, 1).await?;
    let found = records.first().filter(|consumed| consumed.position == position);
    let value = found.and_then(|consumed| consumed.record.value.as_ref()).ok_or_else(missing)?;
    schemas::ready([&value[..]]).await?;
    let raw: RawWebhook = schemas::decode(value)?;
    // What another tenant got is not there; neither is an id that only looks like this one.
    let is_theirs = filter.is_none_or(|tenant| tenant.as_str() == raw.tenant);
    if !is_theirs || ReceiptId::of(&raw.receipt_id, position.epoch, position.partition, position.offset) != parsed {
        return Err(missing());
    }
    let committed = browse.committed(topics::NORMALIZERS, topics::RAW, position.partition).await?;
    let is_processed = committed.is_some_and(|next| next > position.offset);
    let id = parsed.to_string();
    let events = api.deps.reparse.as_ref().map(|reparse| reparse.events(&raw, &id));
    Ok(Json(shown(&id, &raw, is_processed, events)))
}

/// Where a spooled webhook lies now.
async fn resolved(api: &Api, id: &SpooledId) -> Result<Option<ReceiptId>, Problem> {
    let Some(spooled) = &api.deps.spooled else { return Ok(None) };
    Ok(spooled.find(id.inner()).await?.filter(|found| found.inner() == id.inner()))
}

fn shown(id: &str, raw: &RawWebhook, is_processed: bool, events: Option<Value>) -> Value {
    let (body, body_base64) = match std::str::from_utf8(&raw.body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(&raw.body))),
    };
    json!({
        "receipt_id": id,
        "status": if is_processed { "processed" } else { "waiting" },
        "tenant": raw.tenant,
        "provider": raw.provider,
        "source": raw.source,
        "received_at": Timestamp::from_micros(raw.received_at).ok(),
        "method": raw.method,
        "url": raw.url,
        "headers": raw.headers,
        "body": body,
        "body_base64": body_base64,
        "verified": raw.verified,
        "shadow": raw.shadow,
        "events": events,
    })
}
