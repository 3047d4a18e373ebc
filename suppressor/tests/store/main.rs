//! One behavioural suite for every store, and what only some of them can show.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bed;
mod cql;
mod erasures;
mod login;
mod order;
mod suite;
mod tokens;
