//! Kafka under test: topics of the test's own on a broker that the tests share.

use crate::harness::*;
use async_trait::async_trait;
use event_log::{
    Append, AppendError, Batch, Browse, BrowseError, CommitError, Consumed, Limits, Outputs, Polled, Position, Record,
    Session, SessionError, TopicSpec,
    kafka::{Admin, KafkaConfig, KafkaLog, KafkaSession, Member, TopicWanted},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Far more than anything takes; only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The broker that the tests share.
pub(crate) fn bootstrap() -> String {
    testkit::servers::kafka().unwrap().bootstrap().to_owned()
}

/// A prefix nobody used before on that broker.
pub(crate) fn prefix() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("t{}-{}-{}.", std::process::id(), since.as_millis() % 100_000_000, COUNTER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn config(brokers: &str) -> KafkaConfig {
    let mut config = KafkaConfig {
        brokers: brokers.to_owned(),
        session_timeout_ms: 6_000,
        // Long enough for a fetch of all that was appended before: what a batch holds does not hang on luck.
        batch_wait_ms: 300,
        ..KafkaConfig::default()
    };
    config.properties.insert("statistics.interval.ms".to_owned(), "200".to_owned());
    config
}

/// A log with the usual topics under a prefix.
#[derive(Debug, Clone)]
pub(crate) struct Bed {
    pub(crate) config: KafkaConfig,
    pub(crate) prefix: String,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::with(config(&bootstrap())).await
    }

    pub(crate) async fn with(config: KafkaConfig) -> Self {
        let bed = Self { config, prefix: prefix() };
        let wanted: Vec<TopicWanted> = topics().iter().map(|spec| bed.wanted(spec)).collect();
        bed.admin().create(&wanted).await.unwrap();
        bed
    }

    fn wanted(&self, spec: &TopicSpec) -> TopicWanted {
        let policy = if spec.retention_ms.is_none() { "compact" } else { "delete" };
        // Timestamps of tests are old: retention would take the records away.
        let configs = [("cleanup.policy", policy), ("retention.ms", "-1")];
        TopicWanted {
            name: self.name(&spec.name),
            partitions: spec.partitions,
            replication: Some(1),
            configs: configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::connect(&self.config, None).unwrap()
    }

    pub(crate) fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    pub(crate) fn log(&self) -> PrefixedLog {
        PrefixedLog { log: KafkaLog::connect(self.config.clone()).unwrap(), prefix: self.prefix.clone() }
    }
}

/// A log in which every name has the prefix, unseen by the test.
#[derive(Debug, Clone)]
pub(crate) struct PrefixedLog {
    pub(crate) log: KafkaLog,
    prefix: String,
}

impl PrefixedLog {
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A member of [`GROUP`].
    pub(crate) fn member(&self, topic: &str, instance: &str) -> PrefixedSession {
        self.member_of(GROUP, topic, instance)
    }

    pub(crate) fn member_of(&self, group: &str, topic: &str, instance: &str) -> PrefixedSession {
        let member = Member { instance: instance.to_owned(), worker: 0 };
        let session = self.log.session(&self.name(group), &self.name(topic), &member).unwrap();
        PrefixedSession { session, prefix: self.prefix.clone(), is_assigned: false }
    }

    fn bare(&self, mut read: Vec<Consumed>) -> Vec<Consumed> {
        read.iter_mut().for_each(|consumed| consumed.topic = bare(&self.prefix, &consumed.topic));
        read
    }
}

fn bare(prefix: &str, topic: &str) -> Arc<str> {
    topic.strip_prefix(prefix).unwrap().into()
}

#[async_trait]
impl Append for PrefixedLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        self.log.append(&self.name(topic), partition, record).await
    }

    fn partitions(&self, topic: &str) -> Result<u32, AppendError> {
        Append::partitions(&self.log, &self.name(topic))
    }
}

#[async_trait]
impl Browse for PrefixedLog {
    async fn read(&self, topic: &str, partition: u32, offset: u64, max: usize) -> Result<Vec<Consumed>, BrowseError> {
        Ok(self.bare(self.log.read(&self.name(topic), partition, offset, max).await?))
    }

    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        self.log.range(&self.name(topic), partition).await
    }

    fn partitions(&self, topic: &str) -> Result<u32, BrowseError> {
        Browse::partitions(&self.log, &self.name(topic))
    }

    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        self.log.committed(&self.name(group), &self.name(topic), partition).await
    }

    async fn changed(&self, topic: &str, wait: Duration) {
        self.log.changed(&self.name(topic), wait).await;
    }
}

impl Log for PrefixedLog {
    type Session = PrefixedSession;

    fn session(&self, topic: &str) -> PrefixedSession {
        self.member(topic, "only")
    }

    fn enforce_retention(&self, _now_ms: i64) -> Result<u64, AppendError> {
        panic!("the broker's")
    }

    fn raise_epoch(&self) -> Result<u16, AppendError> {
        panic!("configuration")
    }

    /// No timestamp is negative, and none lies an hour ahead (`message.timestamp.after.max.ms`).
    fn odd_timestamps(&self) -> [i64; 2] {
        [1, 1_700_000_000_000]
    }
}

/// A session in which every name has the prefix. A poll without a wait waits until something comes, or nothing is left.
#[derive(Debug)]
pub(crate) struct PrefixedSession {
    pub(crate) session: KafkaSession,
    prefix: String,
    is_assigned: bool,
}

impl PrefixedSession {
    fn bare(&self, mut polled: Polled) -> Polled {
        match &mut polled {
            Polled::Batch(batch) => batch.records.iter_mut().for_each(|c| c.topic = bare(&self.prefix, &c.topic)),
            Polled::Assigned(assigned) => assigned.iter_mut().for_each(|a| a.topic = bare(&self.prefix, &a.topic)),
            Polled::Nothing | Polled::Revoked(_) => {}
        }
        polled
    }

    /// With another pace of looking at drained partitions.
    pub(crate) fn looking_at_drained(self, first: Duration, again: Duration) -> Self {
        Self { session: self.session.looking_at_drained(first, again), ..self }
    }

    /// A poll that waits only as long as it says.
    pub(crate) fn poll_once(&mut self, wait: Duration) -> Result<Polled, SessionError> {
        self.poll_few(LIMITS.records_max, wait)
    }

    /// The same for at most so many records.
    pub(crate) fn poll_few(&mut self, records_max: usize, wait: Duration) -> Result<Polled, SessionError> {
        let polled = self.session.poll(&Limits { wait, records_max, ..LIMITS })?;
        self.is_assigned |= matches!(polled, Polled::Assigned(_));
        Ok(self.bare(polled))
    }

    /// Polls until all the given partitions are its own.
    pub(crate) fn until_assigned(&mut self, n: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.session.partitions().len() != n {
            assert!(Instant::now() < deadline, "never had {n} partitions: {self:?}");
            let polled = self.poll_once(Duration::from_millis(50)).unwrap();
            assert!(!matches!(polled, Polled::Batch(_)), "{polled:?}");
        }
    }
}

impl Session for PrefixedSession {
    fn poll(&mut self, limits: &Limits) -> Result<Polled, SessionError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let polled = self.session.poll(&Limits { wait: Duration::from_millis(250), ..*limits })?;
            self.is_assigned |= matches!(polled, Polled::Assigned(_));
            let is_over = self.is_assigned && self.session.lag() == Some(0);
            if polled != Polled::Nothing || is_over {
                return Ok(self.bare(polled));
            }
            assert!(Instant::now() < deadline, "nothing came: {self:?}");
        }
    }

    fn commit(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        let prefixed = |topic: &str| -> Arc<str> { format!("{}{topic}", self.prefix).into() };
        let (mut batch, mut outputs) = (batch.clone(), outputs.clone());
        batch.records.iter_mut().for_each(|consumed| consumed.topic = prefixed(&consumed.topic));
        let all = outputs.verdicts.iter_mut().flat_map(|verdict| &mut verdict.outputs);
        all.for_each(|output| output.topic = prefixed(&output.topic));
        self.session.commit(&batch, &outputs)
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        self.session.rewind()
    }

    fn idle(&mut self, wait: Duration) -> Result<(), SessionError> {
        self.session.idle(wait)
    }

    fn read_back(&mut self, topic: &str, partition: u32, from: u64, to: u64) -> Result<Vec<Consumed>, SessionError> {
        let mut read = self.session.read_back(&format!("{}{topic}", self.prefix), partition, from, to)?;
        read.iter_mut().for_each(|consumed| consumed.topic = bare(&self.prefix, &consumed.topic));
        Ok(read)
    }

    fn lag(&self) -> Option<u64> {
        self.session.lag()
    }
}

/// All records of a topic that a reader of what is committed sees, values only.
pub(crate) async fn all_values(log: &PrefixedLog, topic: &str) -> Vec<String> {
    let mut values = Vec::new();
    for partition in 0..Append::partitions(log, topic).unwrap() {
        values.extend(kept(log, topic, partition).await.into_iter().map(|(_, value)| value));
    }
    values
}

/// How often each value is there, to tell duplicates.
pub(crate) fn counted(values: &[String]) -> BTreeMap<&str, usize> {
    values.iter().fold(BTreeMap::new(), |mut counted, value| {
        *counted.entry(value.as_str()).or_default() += 1;
        counted
    })
}
