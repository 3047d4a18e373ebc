//! The way in: a provider's webhook is bounded, authenticated, appended to the raw topic, and only then answered.
//!
//! An answer in the 200s is a promise: the record is durable, in the log or in the spool while the log is away, or there
//! was nothing in it for anybody. Everything else is
//! refused with the status that makes that provider do the right thing, and costs less than a good request.

mod admission;
mod answer;
mod body;
mod gateway;
mod judge;
mod metrics;
mod outside;
mod receipts;
mod record;
mod route;
mod sources;
pub mod spool;
pub mod tokens;
mod trace;

pub use admission::Limits;
pub use gateway::{Gateway, GatewayDeps, GatewayError, GatewayService};
pub use judge::{Judgement, judge};
pub use outside::{Fetch, FetchError, Fetched, HttpFetch, NoFetch};
pub use route::{FIXED_PATHS, FixedPath, is_reserved};
pub use sources::{Configured, Sources, SourcesError};
pub use spool::{Kept, SpoolConfig, SpooledReceipts, Spooling, SpoolingDeps, Way};
pub use tokens::{Bound, EmbeddedTokens, MemoryTokens, TokenKey, TokenStore, TokenStoreError};
