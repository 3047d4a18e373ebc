//! Erasure: what was known of a recipient is forgotten, and what was in force stays in force.
//!
//! An `erased` event at position p counts for the evidence below it: what a decision rests on is kept, stripped of all that
//! names or traces the recipient, under a [`Pseudonym`]: a keyed hash, whose key lies outside of store and log. The decision
//! is the same before and after; it is told as `erased`. Nothing is deleted at p (R5): once p is committed, a job
//! ([`crate::jobs::erasure`]) appends a second `erased` event that names p, and at its position the rows below p go.

mod keep;
mod key;

pub use keep::keep;
pub use key::{ErasureKey, KEY_BYTES_MIN, KeyError, Pseudonym};

use crate::{Evidence, store::InForce};
use domain::{RecipientKey, Timestamp};
use serde::{Deserialize, Serialize};

/// What an erasure left of a recipient. Its partition and position stand beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Whose, as far as can be told.
    pub pseudonym: Pseudonym,
    /// Whose, until the rest is forgotten.
    pub recipient: Option<RecipientKey>,
    /// When it was asked for.
    pub erased_at: Timestamp,
    /// Who asked.
    pub by: Option<String>,
    /// What the decision rests on: the `erased` row, and those that suppress.
    pub rows: Vec<Evidence>,
    /// What is in force.
    pub in_force: InForce,
}
