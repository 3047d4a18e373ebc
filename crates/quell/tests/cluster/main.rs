//! The binary over a real Kafka and a real CQL store: the commands that set a cluster up, and `quell serve`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bed;
mod doctor;
mod erasure;
#[path = "../cli/examples.rs"]
#[expect(dead_code, reason = "the commands' tests run the others")]
mod examples;
mod incident;
mod moving;
mod notifier;
mod oauth;
mod reader;
mod restore;
mod serve;
mod store;
mod topics;
mod traces;
