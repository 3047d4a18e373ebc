//! The vocabulary every part of Quell shares: recipients, canonical events, suppressions, deltas and identity.
//!
//! Pure on purpose: no clock, no socket, no randomness, no wire format. What travels has a twin in `schemas`; what is
//! configured lives in `service`; what a provider says lives in `providers`.

pub mod classify;
pub mod event;
pub mod identity;
pub mod incident;
mod phone;
pub mod recipient;
pub mod scope;
pub mod suppression;
pub mod tenant;
pub mod time;
pub mod words;

pub use event::{Attribution, CanonicalEvent, Failure, FailureClass, Kind, MessageState};
pub use identity::EventId;
pub use incident::{Group, IncidentMark, Ruling};
pub use recipient::{AddressError, Channel, Recipient, RecipientKey};
pub use scope::{MessageClass, Scope};
pub use suppression::{Cause, Change, Decision, Delta, Reason, Standing, Trigger};
pub use tenant::Tenant;
pub use time::Timestamp;
