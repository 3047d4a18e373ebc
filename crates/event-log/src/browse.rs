//! The seam for readers outside any group: receipts, dead letters, the stream of deltas, replay on assignment.

use crate::Consumed;
use async_trait::async_trait;

/// Why nothing could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrowseError {
    /// No such topic or partition.
    #[error("no topic {0}, or no such partition of it")]
    Unknown(String),
    /// The log cannot be read now.
    #[error("the log cannot be read: {0}")]
    Unavailable(String),
}

/// Reads committed records at any place, without a group.
#[async_trait]
pub trait Browse: Send + Sync + std::fmt::Debug {
    /// Records of one partition from `offset` on, at most `records_max`, in order. Offsets below what is kept begin at the
    /// oldest kept. Empty at the end.
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError>;

    /// The oldest kept offset and the one after the newest, of one partition.
    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError>;

    /// How many partitions the topic has.
    fn partitions(&self, topic: &str) -> Result<u32, BrowseError>;

    /// The committed position of a group in a partition, if it has one.
    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError>;

    /// Returns when something may have been appended to the topic, or after the wait. What was appended between the last
    /// read and this call does not count: keep the wait short (a second or so) and read again after it.
    async fn changed(&self, topic: &str, wait: std::time::Duration);
}
