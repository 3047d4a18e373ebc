//! What watches Quell: the files, the rules, and all of it in real programs.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod alertmanager;
mod child;
mod files;
mod grafana;
mod instance;
mod live;
mod prometheus;
mod rules;
mod traffic;
