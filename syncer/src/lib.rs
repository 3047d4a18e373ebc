//! Tells every provider what is suppressed.
//!
//! Each configured account is a [`Lane`]: a stage with a consumer group of its own over the deltas, so that the outage of
//! one provider delays no other. A lane folds a batch to the newest desired state of each recipient ([`plan`](mod@plan),
//! pure), makes the provider's calls one after the other, spaced and within its rate limit ([`caller`]), and writes an
//! outcome for each delta.
//!
//! A lane that is new in a partition begins from `state` there: its owner tells what is in force first (`bootstrap`).
//!
//! Adding to a list and removing from it may be repeated: after a crash between a call and its commit, the call is made
//! again and changes nothing. Nothing is lost while a provider is down: the lane stands still and its positions wait.

pub mod account;
pub mod api;
mod bootstrap;
pub mod caller;
mod calls;
pub mod lane;
pub mod metrics;
mod outcome;
mod pace;
pub mod plan;
mod releases;
mod removed;
mod status;
mod waiting;

pub use account::{Account, AccountConfig, AccountError, RateLimit};
pub use api::{ApiError, HttpApi, ProviderApi};
pub use lane::{LIMITS, Lane};
pub use metrics::Metrics;
pub use status::{Halt, LaneStatus};
pub use waiting::Waiting;
