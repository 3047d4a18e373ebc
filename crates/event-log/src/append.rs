//! The seam for writers outside any transaction.

use crate::{Position, Record};
use async_trait::async_trait;

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting: refuse at once, do not queue.
    #[error("the log's queue is full")]
    Busy,
    /// Larger than the log takes.
    #[error("record of {bytes} bytes is larger than the log takes ({bytes_max})")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The log cannot be written now.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
}

/// Appends a record; returns only once it is durable.
#[async_trait]
pub trait Append: Send + Sync + std::fmt::Debug {
    /// Appends to the partition of the record's key, or to `partition` where one is given (control records).
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError>;

    /// How many partitions the topic has.
    fn partitions(&self, topic: &str) -> Result<u32, AppendError>;
}
