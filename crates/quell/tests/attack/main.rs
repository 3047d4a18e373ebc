//! Attacks over HTTP on the running binary, a file for each kind.
//!
//! Beside every attack good signed webhooks are sent from three providers, and each of them must be answered 2xx. What is
//! refused must be counted under its cause, one by one; what was accepted is what was good and nothing else. Afterwards the
//! process lives and ends as it is told to, its memory stayed within a bound, and neither its log nor its metrics hold a
//! secret or an address.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bed;
mod beside;
mod bodies;
mod bombs;
mod confusion;
mod duplicates;
mod idle;
mod keys;
mod paths;
mod replays;
mod slow;
mod smuggling;
mod sns;
mod wire;
