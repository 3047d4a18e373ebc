//! The normalizer: raw webhooks in, canonical events out, keyed by recipient.
//!
//! - Reads `quell.raw.v1`.
//! - Writes `quell.events.v1` and dead letters, in the batch's transaction.
//! - Guarantees: every event of a webhook stands on its own; one bad element goes to dead-letter with its index, the rest
//!   go on. Holds no state.
//! - Ordering: within one webhook as the provider wrote it; by recipient from here on.
//! - Stops only when the log does.

mod stage;
mod tally;

pub use stage::Normalizer;
pub use tally::{Nobody, NormalizerMetrics};
