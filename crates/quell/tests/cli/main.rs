//! The binary's commands against an instance of its own, end to end: what they print and how they exit.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod adapters;
mod answers;
mod instance;
mod lists;
mod moving;
mod operations;
mod unsubscribe;
