//! The log in memory, for tests and the simulator: groups with members that come, go and die, transactions that abort,
//! answers that are lost. No thread, no clock, no randomness but the plan's: the same calls give the same log. A poll
//! never waits, so a runner on a thread of its own spins over it: step it by hand.
//!
//! ```
//! use event_log::{Limits, Polled, Record, Session, TopicSpec, memory::MemoryLog};
//! let topic = TopicSpec { name: "in".into(), partitions: 1, retention_ms: Some(1_000) };
//! let log = MemoryLog::new(&[topic]);
//! log.append_now("in", None, Record { key: None, value: None, headers: vec![], timestamp_ms: 0 })?;
//! let mut session = log.join("group", "in")?;
//! let limits = Limits { records_max: 10, bytes_max: 1_000, wait: std::time::Duration::ZERO };
//! assert!(matches!(session.poll(&limits)?, Polled::Assigned(_)));
//! assert!(matches!(session.poll(&limits)?, Polled::Batch(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod faults;
mod session;
mod state;

pub use faults::{AppendFault, CommitFault, Faults, NoFaults, Rates, SeededFaults, SplitMix64};
pub use session::MemorySession;
pub use state::MemberId;

use crate::{
    Append, AppendError, Browse, BrowseError, Consumed, Position, Record, TopicSpec, gather::Room, position::EPOCH_MAX,
};
use async_trait::async_trait;
use state::{State, Topic};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A handle on the log; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    changed: Arc<tokio::sync::Notify>,
}

impl MemoryLog {
    /// An empty log in which nothing goes wrong.
    pub fn new(topics: &[TopicSpec]) -> Self {
        Self::with_faults(topics, NoFaults)
    }

    /// An empty log with a plan of what goes wrong.
    pub fn with_faults(topics: &[TopicSpec], faults: impl Faults + 'static) -> Self {
        let state = State {
            topics: topics.iter().map(Topic::new).collect(),
            groups: BTreeMap::new(),
            faults: Box::new(faults),
            next_commits: VecDeque::new(),
            epoch: 0,
            n_members: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    /// Another plan from now on.
    pub fn set_faults(&self, faults: impl Faults + 'static) {
        self.lock().faults = Box::new(faults);
    }

    /// What becomes of the next commit that would be taken; may be called again for those after it. Before the plan.
    pub fn next_commit(&self, fault: CommitFault) {
        self.lock().next_commits.push_back(fault);
    }

    /// A new member of a group that reads a topic. The partitions are spread over the members in turn; all of them learn
    /// of it at their next poll.
    pub fn join(&self, group: &str, topic: &str) -> Result<MemorySession, BrowseError> {
        let mut state = self.lock();
        let (index, open) = state.topic(topic).ok_or_else(|| BrowseError::Unknown(topic.to_owned()))?;
        let n_partitions = open.spec.partitions;
        state.n_members += 1;
        let id = MemberId(state.n_members);
        let group = (group.to_owned(), index);
        state.groups.entry(group.clone()).or_default().join(id, n_partitions);
        drop(state);
        Ok(MemorySession::new(self.clone(), id, group))
    }

    /// Takes a member out of its group, as a broker does when it hears nothing from it. A session that still lives is a
    /// zombie until its next poll.
    pub fn expel(&self, member: MemberId) {
        let State { topics, groups, .. } = &mut *self.lock();
        for ((_, topic), group) in groups.iter_mut() {
            group.leave(member, topics[*topic].spec.partitions);
        }
    }

    /// Appends without waiting. The plan may have it fail.
    pub fn append_now(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        let mut state = self.lock();
        let place = state.place(topic, partition, &record)?;
        let fault = state.faults.append();
        match fault {
            AppendFault::Busy => return Err(AppendError::Busy),
            AppendFault::Unavailable => return Err(AppendError::Unavailable("by the fault plan".to_owned())),
            AppendFault::None | AppendFault::HappenedUntold => {}
        }
        let position = state.push(place, record);
        drop(state);
        self.changed.notify_waiters();
        match fault {
            AppendFault::HappenedUntold => Err(AppendError::Unavailable("no answer".to_owned())),
            _ => Ok(position),
        }
    }

    /// All records ever committed to a partition, in order, those too that compaction or retention took away since.
    pub fn records(&self, topic: &str, partition: u32) -> Vec<Consumed> {
        let state = self.lock();
        let open = state.topic(topic).and_then(|(_, open)| open.partitions.get(partition as usize));
        open.map(|open| open.history.iter().map(|entry| entry.consumed.clone()).collect()).unwrap_or_default()
    }

    /// The committed position of a group in a partition.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: u32) -> Option<u64> {
        let state = self.lock();
        let (index, _) = state.topic(topic)?;
        state.groups.get(&(group.to_owned(), index))?.committed.get(&partition).copied()
    }

    /// The epoch of records appended from now on.
    pub fn epoch(&self) -> u16 {
        self.lock().epoch
    }

    /// Raises the epoch; records already there keep theirs.
    pub fn raise_epoch(&self) -> Result<u16, AppendError> {
        let mut state = self.lock();
        if state.epoch >= EPOCH_MAX {
            return Err(AppendError::Unavailable(format!("the epoch is at its highest, {EPOCH_MAX}")));
        }
        state.epoch += 1;
        Ok(state.epoch)
    }

    /// Takes away what is older than its topic keeps, and old tombstones; returns how many records.
    pub fn enforce_retention(&self, now_ms: i64) -> Result<u64, AppendError> {
        Ok(self.lock().enforce_retention(now_ms))
    }

    /// As [`Browse::read`], without a runtime.
    pub fn read_now(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        if records_max == 0 {
            return Ok(Vec::new());
        }
        let state = self.lock();
        let open = known(&state, topic, partition)?;
        let room = Room { records: records_max, bytes: usize::MAX, first: true };
        Ok(open.read(partition, offset, u64::MAX, room).0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known<'a>(state: &'a State, topic: &str, partition: u32) -> Result<&'a Topic, BrowseError> {
    let found = state.topic(topic).filter(|(_, open)| partition < open.spec.partitions);
    found.map(|(_, open)| open).ok_or_else(|| BrowseError::Unknown(format!("{topic}/{partition}")))
}

#[async_trait]
impl Append for MemoryLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        self.append_now(topic, partition, record)
    }

    fn partitions(&self, topic: &str) -> Result<u32, AppendError> {
        let state = self.lock();
        let found = state.topic(topic).map(|(_, open)| open.spec.partitions);
        found.ok_or_else(|| AppendError::Unavailable(format!("no topic {topic}")))
    }
}

#[async_trait]
impl Browse for MemoryLog {
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        self.read_now(topic, partition, offset, records_max)
    }

    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        let state = self.lock();
        let open = &known(&state, topic, partition)?.partitions[partition as usize];
        Ok((open.oldest(), open.end))
    }

    fn partitions(&self, topic: &str) -> Result<u32, BrowseError> {
        let state = self.lock();
        let found = state.topic(topic).map(|(_, open)| open.spec.partitions);
        found.ok_or_else(|| BrowseError::Unknown(topic.to_owned()))
    }

    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        known(&self.lock(), topic, partition)?;
        Ok(self.committed_offset(group, topic, partition))
    }

    async fn changed(&self, _topic: &str, wait: Duration) {
        // Running out of time is an answer too.
        let _ = tokio::time::timeout(wait, self.changed.notified()).await;
    }
}
