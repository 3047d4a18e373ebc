//! The seams around production code: a session that can be killed, and a log for jobs that can be broken.

use crate::Bug;
use async_trait::async_trait;
use domain::EventId;
use event_log::{
    Append, AppendError, Batch, CommitError, Consumed, Limits, Outputs, Polled, Position, Record, Session,
    SessionError,
    memory::{MemberId, MemoryLog, MemorySession},
};
use schemas::{decode, encode, wire::EventRecord};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A session that crashes instead of leaving once its switch is set.
#[derive(Debug)]
pub(crate) struct SimSession {
    inner: Option<MemorySession>,
    member: MemberId,
    is_killed: Arc<AtomicBool>,
}

impl SimSession {
    pub(crate) fn new(inner: MemorySession) -> Self {
        Self { member: inner.id(), inner: Some(inner), is_killed: Arc::default() }
    }

    pub(crate) const fn member(&self) -> MemberId {
        self.member
    }

    pub(crate) fn kill_switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_killed)
    }

    fn inner(&mut self) -> Result<&mut MemorySession, SessionError> {
        self.inner.as_mut().ok_or_else(|| SessionError("gone".to_owned()))
    }
}

impl Drop for SimSession {
    fn drop(&mut self) {
        if self.is_killed.load(Ordering::Relaxed)
            && let Some(inner) = self.inner.take()
        {
            inner.crash();
        }
    }
}

impl Session for SimSession {
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError> {
        self.inner()?.poll(limits)
    }

    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        self.inner().map_err(|error| CommitError::Fatal(error.0))?.commit(batch, outputs)
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        self.inner()?.rewind()
    }

    fn look(&mut self) -> Result<Option<Polled>, SessionError> {
        self.inner()?.look()
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SessionError> {
        self.inner()?.idle(wait)
    }

    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError> {
        self.inner()?.read_back(topic, partition, from, to)
    }
}

/// The log as jobs see it.
#[derive(Debug)]
pub(crate) struct SimAppend {
    pub(crate) log: MemoryLog,
    pub(crate) bug: Bug,
}

#[async_trait]
impl Append for SimAppend {
    async fn append(&self, topic: &str, partition: Option<u32>, mut record: Record) -> Result<Position, AppendError> {
        crate::weather::pause().await;
        if self.bug == Bug::R7ExpiredIdFromScan
            && let Some(Ok(mut event)) = record.value.as_deref().map(decode::<EventRecord>)
            && event.kind == "expired"
        {
            event.event_id = EventId::derive(&[&event.event_id, &event.received_at.to_string()]).to_string();
            record.value = encode(&event).ok();
        }
        self.log.append(topic, partition, record).await
    }

    fn partitions(&self, topic: &str) -> Result<u32, AppendError> {
        Append::partitions(&self.log, topic)
    }
}
