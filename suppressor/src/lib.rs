//! The suppressor: folds canonical events into suppression state that can always be explained, and answers lookups.
//!
//! - Reads `quell.events.v1`, batch by batch; owns the recipients of its partitions.
//! - Writes `quell.deltas.v1`, `quell.state.v1` and dead letters in the batch's transaction; rows at their positions to
//!   the store before it.
//! - Guarantees: state is a function of the set of events; one delta a change; a replay computes the same deltas again.
//! - Ordering: by recipient, within its partition.
//! - Stops when the store is away (the batch is rewound) or disagrees with the log (the process ends).

pub mod erasure;
pub mod evidence;
pub mod guard;
pub mod jobs;
pub mod lookup;
pub mod policy;
pub mod stage;
pub mod store;

pub use evidence::{Evidence, History};
pub use policy::{Policy, PolicyError};
pub use stage::{Suppressor, SuppressorMetrics};
pub use store::{Store, StoreError};
