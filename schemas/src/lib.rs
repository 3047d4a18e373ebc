//! The wire: what lies in each topic, as Avro in the Confluent format, and the way between it and the domain.
//!
//! Only the types here derive serialization for the log. Domain types have twins here and explicit conversions.

pub mod codec;
pub mod headers;
pub mod ids;
pub mod json;
pub mod receipt;
pub mod registry;
pub mod topics;
pub mod wire;

pub use codec::{DecodeError, EncodeError, Wire, decode, encode};
pub use ids::{Ids, ready};
pub use receipt::{Receipt, ReceiptId, ReceiptIdError, SpooledId};
