//! Everything Quell knows about providers: how each authenticates, what its webhooks say, and how its suppression lists
//! are changed. Pure: bytes in, values out. Requests come in through the ingest-gateway and the normalizer; requests to
//! suppression APIs are built here and sent by the syncer.
//!
//! One folder a provider. Adding one adds a folder and a line in [`PROVIDERS`].

pub mod request;
pub mod source;
pub mod webhook;

pub use request::Request;
pub use source::{Source, SourceError, SourceSpec};
pub use webhook::{Authentication, Element, Fate, Malformed, Overload, Parsed, Provider, Triage};
