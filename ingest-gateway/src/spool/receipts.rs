//! Telling where a spooled webhook went.

use async_trait::async_trait;

/// A receipt could not be told; it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell where a spooled webhook went: {0}")]
pub struct SpooledReceiptsError(pub String);

/// Remembers under which receipt a webhook lies in the log that was answered while the log was away, so that its first
/// receipt can be resolved. Rows need to live as long as the raw topic keeps its records.
#[async_trait]
pub trait SpooledReceipts: Send + Sync + std::fmt::Debug {
    /// `inner` is what the record carries and its sender was told (as `s{inner}`); `receipt` is the whole id of the record
    /// in the log. Called again for a record that was appended again; either receipt is right.
    async fn put(&self, inner: &str, receipt: &str) -> Result<(), SpooledReceiptsError>;
}
