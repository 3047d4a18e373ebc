//! Reading without a group.

use super::EmbeddedLog;
use crate::{Browse, BrowseError, Consumed, NextOffset, gather::Room};
use async_trait::async_trait;
use std::time::Duration;

/// One read brings at most so much, whatever it asks for, but always one record.
const READ_RECORDS_MAX: usize = 10_000;
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

impl EmbeddedLog {
    /// Runs a read of the database where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&EmbeddedLog) -> Result<T, BrowseError> + Send + 'static,
    ) -> Result<T, BrowseError> {
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&log)).await;
        read.unwrap_or_else(|error| Err(BrowseError::Unavailable(error.to_string())))
    }

    /// As [`Browse::read`], on the calling thread.
    pub fn read_blocking(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        if records_max == 0 {
            return Ok(Vec::new());
        }
        let unknown = || BrowseError::Unknown(format!("{topic}/{partition}"));
        let (_, open) = self.shared().topic(topic).ok_or_else(unknown)?;
        open.bounds(partition).ok_or_else(unknown)?;
        let room = Room { records: records_max.min(READ_RECORDS_MAX), bytes: READ_BYTES_MAX, first: true };
        let read = open.read(partition, offset, u64::MAX, room);
        read.map(|(records, _)| records).map_err(|error| BrowseError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl Browse for EmbeddedLog {
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        let topic = topic.to_owned();
        self.blocking(move |log| log.read_blocking(&topic, partition, offset, records_max)).await
    }

    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        let topic = topic.to_owned();
        self.blocking(move |log| {
            let oldest = log.read_blocking(&topic, partition, 0, 1)?.first().map(|record| record.position.offset);
            let bounds = log.shared().topic(&topic).and_then(|(_, open)| open.bounds(partition));
            let end = bounds.map_or(0, |bounds| bounds.end);
            Ok((oldest.unwrap_or(end), end))
        })
        .await
    }

    fn partitions(&self, topic: &str) -> Result<u32, BrowseError> {
        let found = self.shared().topic(topic).ok_or_else(|| BrowseError::Unknown(topic.to_owned()))?;
        Ok(found.1.spec.partitions)
    }

    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        let (_, open) = self.shared().topic(topic).ok_or_else(|| BrowseError::Unknown(topic.to_owned()))?;
        open.bounds(partition).ok_or_else(|| BrowseError::Unknown(format!("{topic}/{partition}")))?;
        let committed = self.shared().committed(group, topic, partition);
        committed.map(|next| next.map(NextOffset::offset)).map_err(|error| BrowseError::Unavailable(error.to_string()))
    }

    async fn changed(&self, topic: &str, wait: Duration) {
        match self.shared().topic(topic) {
            Some((_, open)) => open.appended.changed(wait).await,
            None => tokio::time::sleep(wait).await,
        }
    }
}
