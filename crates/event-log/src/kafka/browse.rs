//! Reading without a group.

use super::{
    KafkaLog, Shared,
    append::blocking,
    reader::{Ended, Piece, Reader},
    said,
    topics::TopicError,
};
use crate::{Browse, BrowseError, Consumed};
use async_trait::async_trait;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// One read brings at most so much, whatever it asks for, but always one record.
const READ_RECORDS_MAX: usize = 10_000;
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

impl From<TopicError> for BrowseError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Missing => Self::Unknown("of that name".to_owned()),
            TopicError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl Shared {
    fn checked(&self, topic: &str, partition: u32) -> Result<Arc<str>, BrowseError> {
        let unknown = || BrowseError::Unknown(format!("{topic}/{partition}"));
        let known = match self.topic(topic) {
            Ok(known) if partition < known.partitions => known,
            // There may be more partitions by now.
            Ok(_) => self.look_up(topic)?,
            Err(TopicError::Missing) => return Err(unknown()),
            Err(TopicError::Unavailable(why)) => return Err(BrowseError::Unavailable(why)),
        };
        if partition < known.partitions { Ok(Arc::clone(&known.name)) } else { Err(unknown()) }
    }

    fn bounds(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        let unavailable = |error| BrowseError::Unavailable(said(&error));
        let oldest = self.oldest(topic, &[partition]).map_err(unavailable)?;
        let end = self.ends(topic, &[partition]).map_err(unavailable)?;
        match (oldest.first(), end.first()) {
            (Some(oldest), Some(end)) => Ok((*oldest, *end.max(oldest))),
            _ => Err(BrowseError::Unavailable("no broker told where the partition begins and ends".to_owned())),
        }
    }

    fn read(&self, topic: &str, partition: u32, offset: u64, records_max: usize) -> Result<Vec<Consumed>, BrowseError> {
        let topic = self.checked(topic, partition)?;
        if records_max == 0 {
            return Ok(Vec::new());
        }
        let mut piece = Piece {
            topic: Arc::clone(&topic),
            partition,
            from: offset,
            to: u64::MAX,
            records_max: records_max.min(READ_RECORDS_MAX),
            bytes_max: READ_BYTES_MAX,
        };
        let deadline = Instant::now() + self.config.request_timeout();
        if let Some(reader) = self.readers.take_at(&topic, partition, offset) {
            return self.read_with(reader, &piece, deadline);
        }
        let (oldest, end) = self.bounds(&topic, partition)?;
        piece.from = offset.max(oldest);
        piece.to = end;
        if piece.from >= end {
            return Ok(Vec::new());
        }
        let reader = self.readers.take(self).map_err(|error| BrowseError::Unavailable(error.to_string()))?;
        self.read_with(reader, &piece, deadline)
    }

    fn read_with(&self, mut reader: Reader, piece: &Piece, deadline: Instant) -> Result<Vec<Consumed>, BrowseError> {
        // A reader that failed is not used again.
        let (records, ended) = reader.read(piece, self.config.epoch, deadline).map_err(BrowseError::Unavailable)?;
        self.readers.put(reader);
        match ended {
            // "Nothing" would mean the end.
            Ended::Late if records.is_empty() => {
                Err(BrowseError::Unavailable("no broker brought the records in time".to_owned()))
            }
            Ended::Late | Ended::AtEnd | Ended::Full => Ok(records),
        }
    }
}

impl KafkaLog {
    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, BrowseError> + Send + 'static,
    ) -> Result<T, BrowseError> {
        let shared = Arc::clone(&self.shared);
        // At most so many threads block at once.
        let permit = shared.readers.permit(shared.config.request_timeout()).await?;
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&shared);
            drop(permit);
            result
        });
        work.await.unwrap_or_else(|error| Err(BrowseError::Unavailable(error.to_string())))
    }
}

#[async_trait]
impl Browse for KafkaLog {
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        let topic = topic.to_owned();
        self.blocking(move |shared| shared.read(&topic, partition, offset, records_max)).await
    }

    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        let topic = topic.to_owned();
        self.blocking(move |shared| {
            let topic = shared.checked(&topic, partition)?;
            shared.bounds(&topic, partition)
        })
        .await
    }

    /// Asks the cluster the first time, and blocks for it: ask at the start.
    fn partitions(&self, topic: &str) -> Result<u32, BrowseError> {
        if let Some(known) = self.shared.topics.get(topic) {
            return Ok(known.partitions);
        }
        match blocking(|| self.shared.topic(topic)) {
            Ok(known) => Ok(known.partitions),
            Err(TopicError::Missing) => Err(BrowseError::Unknown(topic.to_owned())),
            Err(TopicError::Unavailable(why)) => Err(BrowseError::Unavailable(why)),
        }
    }

    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.blocking(move |shared| {
            let topic = shared.checked(&topic, partition)?;
            shared.committed(&group, &topic, partition)
        })
        .await
    }

    async fn changed(&self, topic: &str, wait: Duration) {
        self.wait_for_change(topic, wait).await;
    }
}
