//! What tests, the demo and the benchmarks need and production does not: builders of canonical events and deltas, webhooks
//! as providers send and sign them, providers' suppression APIs as strict as the real ones, a scripted schema registry, and,
//! with the feature `servers`, real servers found or started.

pub mod builders;
pub mod fake;
pub mod payloads;
pub mod ports;
pub mod scripted_registry;
#[cfg(feature = "servers")]
pub mod servers;
pub mod sign;

pub use fake::{Fake, FakeApi, Fault, Lists};
pub use sign::SignedRequest;
