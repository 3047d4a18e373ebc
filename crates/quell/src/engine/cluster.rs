//! Kafka and a CQL store: any number of processes.

use super::{Engine, Member};
use event_log::kafka::{self, KafkaLog, KafkaSession};
use suppressor::store::cql::CqlStore;

#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) log: KafkaLog,
    pub(crate) store: CqlStore,
    /// This process's name, stable over its restarts.
    pub(crate) instance: String,
}

impl Engine for Cluster {
    type Log = KafkaLog;
    type Store = CqlStore;
    type Session = KafkaSession;

    fn log(&self) -> &KafkaLog {
        &self.log
    }

    fn store(&self) -> &CqlStore {
        &self.store
    }

    fn session(&self, member: &Member<'_>) -> anyhow::Result<KafkaSession> {
        let name = kafka::Member { instance: self.instance.clone(), worker: member.worker };
        let session = self.log.session(member.group, member.topic, &name)?;
        Ok(if member.from_oldest { session.from_oldest() } else { session })
    }
}
