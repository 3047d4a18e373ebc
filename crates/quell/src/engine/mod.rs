//! What the parts run on: the engines of one process on one machine, or Kafka and a CQL store.

mod cluster;
mod embedded;

pub(crate) use cluster::Cluster;
pub(crate) use embedded::{Embedded, SEEN_DAYS};

use event_log::{Append, Browse, Session};
use suppressor::Store;

/// A log and a store.
pub(crate) trait Engine: Clone + Send + Sync + 'static {
    type Log: Append + Browse + Clone + 'static;
    type Store: Store + Clone + 'static;
    type Session: Session + 'static;

    fn log(&self) -> &Self::Log;

    fn store(&self) -> &Self::Store;

    /// A member of a consumer group.
    fn session(&self, member: &Member<'_>) -> anyhow::Result<Self::Session>;
}

/// One of this process's workers in a consumer group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    /// From 0.
    pub(crate) worker: u32,
    /// How many workers of the group this process has.
    pub(crate) workers: u32,
    /// Where the group's position is kept no longer: begin at the oldest record instead of refusing. For those who make up
    /// for what lies between from elsewhere.
    pub(crate) from_oldest: bool,
}

impl<'a> Member<'a> {
    /// The only worker of a group.
    pub(crate) const fn only(group: &'a str, topic: &'a str) -> Self {
        Self { group, topic, worker: 0, workers: 1, from_oldest: false }
    }
}
