//! The committed positions of groups, asked without being a member.

use super::{
    Shared,
    client::{self, Common},
    lock, said,
    topics::{list, number, serve},
};
use crate::BrowseError;
use rdkafka::{
    Offset,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Clients kept, at most: librdkafka asks about one group a client.
const KEPT_MAX: usize = 8;
const IDLE_MAX: Duration = Duration::from_secs(60);

struct Observer {
    group: String,
    consumer: BaseConsumer<Common>,
    used: Mutex<Instant>,
}

/// One client for each group that was asked about of late.
#[derive(Default)]
pub(super) struct Observers(Mutex<Vec<Arc<Observer>>>);

impl Observers {
    fn get(&self, shared: &Shared, group: &str) -> Result<Arc<Observer>, BrowseError> {
        let mut kept = lock(&self.0);
        if let Some(found) = kept.iter().find(|observer| observer.group == group) {
            return Ok(Arc::clone(found));
        }
        let unavailable = |why: String| BrowseError::Unavailable(why);
        let native = client::observer(&shared.config, group).map_err(|error| unavailable(error.to_string()))?;
        let consumer = BaseConsumer::from_config_and_context(&native, shared.common.clone())
            .map_err(|error| unavailable(said(&error)))?;
        let observer = Arc::new(Observer { group: group.to_owned(), consumer, used: Mutex::new(Instant::now()) });
        let evicted = (kept.len() >= KEPT_MAX)
            .then(|| (0..kept.len()).min_by_key(|index| *lock(&kept[*index].used)))
            .flatten()
            .map(|oldest| kept.swap_remove(oldest));
        kept.push(Arc::clone(&observer));
        drop(kept);
        drop(evicted);
        Ok(observer)
    }

    pub(super) fn care(&self) {
        let mut kept = lock(&self.0);
        for observer in kept.iter() {
            serve(&observer.consumer);
        }
        let (left, ended) = kept.drain(..).partition(|observer| lock(&observer.used).elapsed() < IDLE_MAX);
        *kept = left;
        drop(kept);
        drop::<Vec<Arc<Observer>>>(ended);
    }
}

impl Shared {
    /// Where a group stands in a partition. Waits until open transactions of the group's members have ended, so that the
    /// answer is final. Blocks.
    pub(super) fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        let observer = self.observers.get(self, group)?;
        *lock(&observer.used) = Instant::now();
        serve(&observer.consumer);
        let unavailable = |error| BrowseError::Unavailable(said(&error));
        let asked = list(topic, [(partition, Offset::Invalid)]).map_err(unavailable)?;
        let told = observer.consumer.committed_offsets(asked, self.config.request_timeout()).map_err(unavailable)?;
        let Some(element) = told.find_partition(topic, number(partition)) else { return Ok(None) };
        element.error().map_err(unavailable)?;
        match element.offset() {
            Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
            _ => Ok(None),
        }
    }
}
