//! Tokens of providers whose signature leaves the body out: each is bound to the first body it came with.

use super::{
    CqlStore,
    session::{failed, unreadable},
};
use crate::StoreError;
use scylla::value::{CqlValue, Row};
use std::{sync::atomic::Ordering, time::Duration};

/// What a token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBinding {
    /// Never seen, or long ago: bound to this body now.
    First,
    /// To this very body.
    Same,
    /// To another body.
    Other,
}

const TTL_SECONDS_MAX: u64 = 10 * 365 * 86_400;

impl CqlStore {
    /// Binds a token to the hash of a body for a while, unless it is bound already; of several at once exactly one is
    /// first. One conditional insert at the serial consistency, never sent twice: where its outcome is unknown this is an
    /// error, and whoever asks again with the same body is told `First` or `Same`.
    pub async fn bind_token(&self, token: [u8; 32], body: [u8; 32], ttl: Duration) -> Result<TokenBinding, StoreError> {
        // Never shorter than asked for, and never for good, which is what 0 would mean.
        let seconds = (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).clamp(1, TTL_SECONDS_MAX);
        let values = (token.as_slice(), body.as_slice(), i32::try_from(seconds).unwrap_or(i32::MAX));
        let statement = self.bound(|statements| &statements.bind_token, &values)?;
        let _permit = self.permit().await?;
        self.inner.n_writes.fetch_add(1, Ordering::Relaxed);
        let result = self.inner.session.execute_bound_unpaged(&statement).await.map_err(failed)?;
        let rows = result.into_rows_result().map_err(unreadable)?;
        let place = |name: &str| rows.column_specs().iter().position(|column| column.name() == name);
        let (applied_at, body_at) = (place("[applied]"), place("body"));
        let row: Row = rows.single_row().map_err(unreadable)?;
        let column = |at: Option<usize>| at.and_then(|at| row.columns.get(at)).and_then(Option::as_ref);
        // Cassandra answers `[applied]` alone where it was applied; ScyllaDB always all columns.
        match (column(applied_at), column(body_at)) {
            (Some(CqlValue::Boolean(true)), _) => Ok(TokenBinding::First),
            (Some(CqlValue::Boolean(false)), Some(CqlValue::Blob(known))) if known.as_slice() == body => {
                Ok(TokenBinding::Same)
            }
            (Some(CqlValue::Boolean(false)), Some(CqlValue::Blob(_))) => Ok(TokenBinding::Other),
            _ => Err(StoreError::Corrupt("no answer to a conditional insert".to_owned())),
        }
    }
}
