//! The real binary, over real HTTP, killed again and again.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod instance;
mod kill;
mod oracle;
mod shutdown;
mod traffic;
