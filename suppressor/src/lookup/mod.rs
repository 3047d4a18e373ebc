//! The lookup API: may this be sent, why not, what became of that message; by hand, and as a stream.
//!
//! - Reads the store and the log; writes nothing but events and replayed records, through the log.
//! - Guarantees: what cannot be answered is a 503 or a broken stream, never "allowed"; bodies, streams and answers are
//!   bounded by [`LookupLimits`]; nothing is told across tenants.
//! - Every path is described in `openapi.json`, served at `/v1/openapi.json`; a test holds the two together.

mod answer;
mod auth;
mod body;
mod check;
mod check_stream;
mod counted;
mod cursor;
mod dead_letters;
mod deltas;
mod effects;
mod erasures;
mod explain;
mod export;
mod find;
mod incidents;
mod kept;
mod manual;
mod messages;
mod operations;
mod params;
mod policies;
mod problem;
mod receipts;
mod recipients;
mod routes;

pub use answer::{COLUMNS, Question, Told, answer};
pub use auth::{ApiToken, Role};
pub use counted::{Checked, LookupMetrics};
pub use kept::{Keeping, Kept, Place};
pub use policies::{CurrentPolicy, Policies};
pub use receipts::{Reparse, SpooledReceipts};
pub use routes::router;

use crate::{Store, StoreError};
use auth::Auth;
use domain::Timestamp;
use event_log::{Append, Browse};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Tells the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the API rests on.
pub struct LookupDeps {
    /// State.
    pub store: Arc<dyn Store>,
    /// Where acts by hand and replays go.
    pub append: Arc<dyn Append>,
    /// Deltas, receipts and dead letters.
    pub browse: Arc<dyn Browse>,
    /// The clock.
    pub clock: Now,
    /// The policies in force.
    pub policy: Arc<CurrentPolicy>,
    /// Who may call. With none, every call is refused unless `open` says otherwise.
    pub tokens: Vec<ApiToken>,
    /// Calls without a token may do everything: for a demonstration on one machine.
    pub open: bool,
    /// Shows which events a raw webhook holds; without it receipts show none.
    pub reparse: Option<Arc<dyn Reparse>>,
    /// Knows where spooled webhooks went; without it their first receipts are never resolved.
    pub spooled: Option<Arc<dyn SpooledReceipts>>,
    /// How long what names recipients is kept, for receipts of erasures.
    pub keeping: Arc<dyn Keeping>,
    /// Who counts the answers; without, nobody does.
    pub metrics: Option<Arc<dyn LookupMetrics>>,
    /// Bounds.
    pub limits: LookupLimits,
}

impl std::fmt::Debug for LookupDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupDeps").field("tokens", &self.tokens).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds of the API.
#[derive(Debug, Clone, Copy)]
pub struct LookupLimits {
    /// Largest JSON body of a check, in bytes.
    pub check_bytes_max: usize,
    /// Most recipients of a JSON check.
    pub check_recipients_max: usize,
    /// JSON checks under way may hold so many bytes of bodies together; beyond that they are told to come again.
    pub check_bytes_in_flight_max: usize,
    /// NDJSON and CSV checks, exports and delta streams under way; beyond that they are told to come again.
    pub streams_max: usize,
    /// Longest line or CSV row, in bytes.
    pub row_bytes_max: usize,
    /// A stream takes its input in blocks of about so many bytes.
    pub block_bytes: usize,
    /// So many answered blocks wait for a client that does not read yet.
    pub blocks_ahead: usize,
    /// A body that brings nothing for so long is given up.
    pub idle: Duration,
    /// Largest other body, in bytes.
    pub body_bytes_max: usize,
    /// Most recipients of one act by hand.
    pub manual_recipients_max: usize,
    /// Most rows of evidence, deltas and timeline entries shown.
    pub rows_max: usize,
    /// Longest wait of the delta stream.
    pub wait_max: Duration,
    /// Most deltas of one call.
    pub deltas_max: u64,
    /// Most dead letters of one call.
    pub dead_letters_max: u64,
}

impl Default for LookupLimits {
    fn default() -> Self {
        Self {
            check_bytes_max: 64 * 1_024 * 1_024,
            check_recipients_max: 1_000_000,
            check_bytes_in_flight_max: 128 * 1_024 * 1_024,
            streams_max: 16,
            row_bytes_max: 1_024 * 1_024,
            block_bytes: 32 * 1_024,
            blocks_ahead: 64,
            idle: Duration::from_secs(60),
            body_bytes_max: 1_024 * 1_024,
            manual_recipients_max: 1_000,
            rows_max: 1_000,
            wait_max: Duration::from_secs(30),
            deltas_max: 100_000,
            dead_letters_max: 1_000,
        }
    }
}

/// What every handler shares.
#[derive(Debug)]
pub(crate) struct Api {
    deps: LookupDeps,
    auth: Auth,
    /// Kibibytes of JSON bodies that may still be taken.
    check_room: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    recent: manual::Recent,
}

impl Api {
    fn new(deps: LookupDeps) -> Self {
        let auth = Auth::new(&deps.tokens, deps.open);
        let check_room = Arc::new(Semaphore::new(deps.limits.check_bytes_in_flight_max / 1_024));
        let streams = Arc::new(Semaphore::new(deps.limits.streams_max));
        Self { auth, check_room, streams, recent: manual::Recent::default(), deps }
    }

    fn now(&self) -> Timestamp {
        (self.deps.clock)()
    }

    /// A permit for a stream, for as long as it lasts.
    fn stream_permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, problem::Problem> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            problem::Problem::busy(format!("{} streams are open: come again", self.deps.limits.streams_max))
        })
    }
}

/// Runs a question to the store where it may block: the embedded store's calls do not yield.
async fn off_runtime<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
    T: Send + 'static,
{
    let handle = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || handle.block_on(work())).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a lookup failed");
        Err(StoreError::Unavailable("a lookup ended without an answer".to_owned()))
    })
}

#[cfg(test)]
mod tests;
