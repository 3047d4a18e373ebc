//! Names of record headers.

/// The receipt id, carried from the webhook to the provider call.
pub const RECEIPT_ID: &str = "receipt-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// What others say of that trace; never without a `traceparent`.
pub const TRACESTATE: &str = "tracestate";
/// What every stage hands on.
pub const CARRIED: [&str; 3] = [RECEIPT_ID, TRACEPARENT, TRACESTATE];
/// Which subscriber a redelivery is for, and whose dead letter it was.
pub const SUBSCRIBER: &str = "subscriber";
/// How often a record was tried, once it is replayed.
pub const ATTEMPT: &str = "attempt";
/// The stage that posts to subscribers, as its dead letters name it: they go back by the topic of redeliveries.
pub const NOTIFIER: &str = "notifier";

/// On a tombstone of `state` that is no release: the recipient was erased, and stays suppressed. Empty.
pub const ERASED: &str = "erased";
