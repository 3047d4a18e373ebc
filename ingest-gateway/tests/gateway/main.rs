//! The gateway as its callers meet it: over real HTTP on loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up should stop")]

mod answers;
mod connections;
mod outside;
mod running;
mod spooled;
mod unsubscribe;
