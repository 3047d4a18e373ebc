//! Names of record headers.

/// The receipt id, carried from the webhook to the provider call.
pub const RECEIPT_ID: &str = "receipt-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
