//! What operators deploy with: the Helm chart, the compose file, the image, the systemd units, the backup; each by a real
//! program of that world, and with the real binary. Tools that a machine lacks are put below target/ by `tools.sh`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod backup;
mod binary;
mod compose;
mod container;
mod helm;
mod helm_values;
#[path = "../cli/instance.rs"]
#[allow(dead_code, reason = "the tests of the commands use the rest")]
mod instance;
mod pages;
mod systemd;
mod tools;
