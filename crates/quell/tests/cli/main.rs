//! The binary's commands against an instance of its own, end to end: what they print and how they exit.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod adapters;
mod alarms;
mod answers;
mod doctor;
mod erasure;
mod examples;
mod instance;
mod lists;
mod logs;
mod metrics;
mod moving;
mod operations;
mod subscribers;
mod traces;
mod unsubscribe;
