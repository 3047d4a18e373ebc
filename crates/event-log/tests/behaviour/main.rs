//! One set of cases, held by every log: what a stage may rely on must not differ between them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod alike;
mod embedded;
mod harness;
mod kafka;
mod kafka_bed;
mod kafka_drained;
mod kafka_faults;
mod kafka_security;
mod kafka_waits;
mod log;
mod memory;
mod runner;
mod segments;
