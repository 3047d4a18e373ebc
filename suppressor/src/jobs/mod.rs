//! What runs beside the stage. Each job reads the store and appends events to the log; none writes state, so every
//! effect of theirs is ordered, deduplicated and explained like any other event's.

pub mod erasure;
pub mod expiry;
pub mod incidents;
pub mod inner_event;
pub mod reconsider;
pub mod unengaged;

pub use inner_event::InnerEvent;

use crate::StoreError;
use event_log::{AppendError, BrowseError};

/// Why a job stopped. It goes on where it was when called again.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log is away.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log cannot be read.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// An event cannot be written.
    #[error(transparent)]
    Encode(#[from] schemas::EncodeError),
    /// An incident was ruled on over and over.
    #[error("this incident was ruled on too often within a week; the newest ruling holds, try again in some days")]
    TooManyRulings,
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] crate::PolicyError),
}
