//! `GET /v1/deltas`: the stream of changes, for subscribers that come back.

use super::{Api, auth::Caller, cursor::Cursor, params::Params, problem::Problem};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{Delta, Tenant};
use event_log::{Browse, Consumed};
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use schemas::{topics, wire::DeltaRecord};
use serde_json::json;
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;

const READ_AT_ONCE: usize = 500;
/// Where the stream began, so that a client which got nothing can go on too.
const CURSOR: HeaderName = HeaderName::from_static("quell-cursor");

/// Streams deltas after a cursor, oldest first within a recipient; each line bears the cursor after it. The last line
/// holds a cursor alone: without it the stream was cut off.
pub(super) async fn deltas(State(api): State<Arc<Api>>, caller: Caller, params: Params) -> Result<Response, Problem> {
    let params = params.only(&["after", "max", "wait_ms", "tenant"])?;
    let limits = api.deps.limits;
    let tenant = caller.tenant(params.text("tenant"))?;
    let max = params.number("max", limits.deltas_max.min(10_000), limits.deltas_max)?;
    let wait_max = u64::try_from(limits.wait_max.as_millis()).unwrap_or(u64::MAX);
    let wait = Duration::from_millis(params.number("wait_ms", 0, wait_max)?);
    let browse = Arc::clone(&api.deps.browse);
    let cursor = Cursor::resolve(browse.as_ref(), topics::DELTAS, params.text("after")).await?;
    let begin = HeaderValue::from_str(&cursor.to_string()).map_err(|error| Problem::internal(error.to_string()))?;
    let permit = api.stream_permit()?;
    let now = Instant::now();
    let follow =
        Follow { browse, tenant, left: max, until: now.checked_add(wait).unwrap_or(now), cursor, turn: 0, permit };
    let body = Body::from_stream(stream::try_unfold(Some(follow), |follow| async move {
        let Some(mut follow) = follow else { return Ok(None) };
        let (lines, is_end) = follow.next().await?;
        Ok::<_, io::Error>(Some((Bytes::from(lines), (!is_end).then_some(follow))))
    }));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")), (CURSOR, begin)], body)
        .into_response())
}

/// One subscriber's reading.
struct Follow {
    browse: Arc<dyn Browse>,
    tenant: Tenant,
    left: u64,
    until: Instant,
    cursor: Cursor,
    /// Partitions take turns.
    turn: usize,
    #[expect(dead_code, reason = "held for as long as the stream is read")]
    permit: tokio::sync::OwnedSemaphorePermit,
}

impl Follow {
    /// The next lines, and whether they are the last.
    async fn next(&mut self) -> io::Result<(Vec<u8>, bool)> {
        loop {
            let mut out = Vec::new();
            let moved = self.round(&mut out).await?;
            let is_over = self.left == 0 || (!moved && Instant::now() >= self.until);
            if is_over {
                out.extend_from_slice(json!({ "cursor": self.cursor.to_string() }).to_string().as_bytes());
                out.push(b'\n');
            }
            if is_over || !out.is_empty() {
                return Ok((out, is_over));
            }
            if !moved {
                // What was appended between the read and this wait is found at the next look, a second later at most.
                let wait = self.until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
                self.browse.changed(topics::DELTAS, wait).await;
            }
        }
    }

    /// Reads on in the first partition, of those whose turn it is, that has anything.
    async fn round(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let partitions = self.cursor.0.len();
        for step in 0..partitions {
            let partition = (self.turn + step) % partitions;
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(READ_AT_ONCE);
            let number = u32::try_from(partition).map_err(io::Error::other)?;
            let read = self.browse.read(topics::DELTAS, number, self.cursor.0[partition], wanted).await;
            let records = read.map_err(io::Error::other)?;
            if records.is_empty() {
                continue;
            }
            let values = records.iter().filter_map(|consumed| consumed.record.value.as_deref());
            schemas::ready(values).await.map_err(io::Error::other)?;
            self.turn = (partition + 1) % partitions;
            for consumed in &records {
                self.cursor.0[partition] = consumed.position.offset + 1;
                self.line(consumed, out)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn line(&mut self, consumed: &Consumed, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(value) = &consumed.record.value else { return Ok(()) };
        // A delta that cannot be read must not be skipped: a subscriber would miss a change.
        let record: DeltaRecord = schemas::decode(value).map_err(io::Error::other)?;
        if record.tenant != self.tenant.as_str() {
            return Ok(());
        }
        let delta = Delta::try_from(record).map_err(io::Error::other)?;
        let mut line = schemas::json::delta(&delta);
        line["cursor"] = json!(self.cursor.to_string());
        out.extend_from_slice(line.to_string().as_bytes());
        out.push(b'\n');
        self.left -= 1;
        Ok(())
    }
}
