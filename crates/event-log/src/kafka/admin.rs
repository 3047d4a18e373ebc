//! Topics: what they are, and making them what they should be.

use super::{
    KafkaConfig, Mechanism, OpenError, Tokens,
    client::{self, Common},
    said,
    topics::{list, place},
};
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::MetadataPartition,
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWanted {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each; `None` leaves it to the cluster's default.
    pub replication: Option<u32>,
    /// Settings by Kafka's names, e.g. `retention.ms`.
    pub configs: BTreeMap<String, String>,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNow {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Replicas of the partition that has fewest.
    pub replication: u32,
    /// Every setting in force, defaults too.
    pub configs: BTreeMap<String, String>,
    /// The settings that are the topic's own, not a default.
    pub own: BTreeSet<String>,
}

/// Why something about topics could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The cluster refused it.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried, e.g. `topic quell.raw.v1 cannot be made`.
        what: String,
        /// What the cluster said.
        why: String,
    },
    /// No broker answered.
    #[error("the cluster cannot be asked: {0}")]
    Unavailable(String),
}

fn unavailable(error: &KafkaError) -> AdminError {
    AdminError::Unavailable(said(error))
}

fn refused(what: String, code: RDKafkaErrorCode) -> AdminError {
    AdminError::Refused { what, why: code.to_string() }
}

/// Looks after topics. Some calls block for a moment.
pub struct Admin {
    client: AdminClient<Common>,
    options: AdminOptions,
    wait: Duration,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// A client for the cluster. It needs no broker yet. The mechanism `oauthbearer` is refused: the binding's admin client
    /// never asks for a token (rust-rdkafka issue 757).
    pub fn connect(config: &KafkaConfig, tokens: Option<Arc<dyn Tokens>>) -> Result<Self, OpenError> {
        config.validate()?;
        if config.security.mechanism == Some(Mechanism::Oauthbearer) {
            return Err(OpenError::AdminTokens);
        }
        let client = AdminClient::from_config_and_context(&client::common(config)?, Common { tokens })?;
        let wait = config.request_timeout();
        let options = AdminOptions::new().request_timeout(Some(wait)).operation_timeout(Some(wait));
        Ok(Self { client, options, wait })
    }

    /// The cluster's id. Blocks.
    pub fn cluster_id(&self) -> Result<String, AdminError> {
        let id = self.client.inner().fetch_cluster_id(self.wait);
        id.ok_or_else(|| AdminError::Unavailable("no broker told the cluster's id".to_owned()))
    }

    /// A topic as it is; `None` where there is none.
    pub async fn describe(&self, name: &str) -> Result<Option<TopicNow>, AdminError> {
        let metadata =
            self.client.inner().fetch_metadata(Some(name), self.wait).map_err(|error| unavailable(&error))?;
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else { return Ok(None) };
        match found.error() {
            None => {}
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => return Ok(None),
            Some(error) => return Err(refused(format!("topic {name} cannot be looked at"), error.into())),
        }
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        let fewest = found.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        let entries = self.entries(name).await?;
        let own = entries.iter().filter(|entry| is_own(entry)).map(|entry| entry.name.clone()).collect();
        let value = |entry: ConfigEntry| Some((entry.name, entry.value?));
        Ok(Some(TopicNow {
            name: name.to_owned(),
            partitions,
            replication: u32::try_from(fewest).unwrap_or(u32::MAX),
            configs: entries.into_iter().filter_map(value).collect(),
            own,
        }))
    }

    async fn entries(&self, name: &str) -> Result<Vec<ConfigEntry>, AdminError> {
        let resource = ResourceSpecifier::Topic(name);
        let told = self.client.describe_configs([&resource], &self.options).await;
        match told.map_err(|error| unavailable(&error))?.pop() {
            Some(Ok(resource)) => Ok(resource.entries),
            Some(Err(code)) => Err(refused(format!("the settings of topic {name} cannot be read"), code)),
            None => Err(AdminError::Unavailable(format!("nothing was told of topic {name}"))),
        }
    }

    /// Makes topics, and waits until the cluster tells of them. One that is there already is an error.
    pub async fn create(&self, topics: &[TopicWanted]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(topic.replication.map_or(-1, number));
                let new = NewTopic::new(&topic.name, number(topic.partitions), replication);
                topic.configs.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let made = self.client.create_topics(&new, &self.options).await.map_err(|error| unavailable(&error))?;
        for result in made {
            if let Err((name, code)) = result {
                return Err(refused(format!("topic {name} cannot be made"), code));
            }
        }
        let deadline = Instant::now() + self.wait;
        while !self.are_known(topics)? {
            if Instant::now() >= deadline {
                return Err(AdminError::Unavailable("the topics are made, but not every broker knows them".to_owned()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Whether every partition of the topics has a leader.
    fn are_known(&self, topics: &[TopicWanted]) -> Result<bool, AdminError> {
        for topic in topics {
            let asked = self.client.inner().fetch_metadata(Some(&topic.name), self.wait);
            let metadata = asked.map_err(|error| unavailable(&error))?;
            let is_led = |partition: &MetadataPartition| partition.error().is_none() && partition.leader() >= 0;
            let found = metadata.topics().iter().find(|found| found.name() == topic.name);
            if !found.is_some_and(|found| found.error().is_none() && found.partitions().iter().all(is_led)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Changes settings of a topic; those that are not named stay as they are.
    ///
    /// The request replaces all of a topic's own settings (Kafka protocol, AlterConfigs), so the others are read and sent
    /// along: two who do this at once may undo each other.
    pub async fn alter_configs(&self, name: &str, changes: &BTreeMap<String, String>) -> Result<(), AdminError> {
        let what = || format!("the settings of topic {name} cannot be changed");
        let entries = self.entries(name).await?;
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries.into_iter().filter(is_own) {
            let Some(value) = entry.value else {
                let why = format!("the value of {} is not told: change it by hand", entry.name);
                return Err(AdminError::Refused { what: what(), why });
            };
            all.insert(entry.name, value);
        }
        all.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
        let empty = AlterConfig::new(ResourceSpecifier::Topic(name));
        let alter = all.iter().fold(empty, |alter, (name, value)| alter.set(name, value));
        let altered = self.client.alter_configs([&alter], &self.options).await;
        match altered.map_err(|error| unavailable(&error))?.pop() {
            Some(Ok(_)) => {}
            Some(Err((_, code))) => return Err(refused(what(), code)),
            None => return Err(AdminError::Unavailable(format!("nothing was told of topic {name}"))),
        }
        // The binding does not tell of a value that the cluster refused: look whether they are there.
        let deadline = Instant::now() + self.wait;
        loop {
            let entries = self.entries(name).await?;
            let is_so = |name: &str, value: &str| {
                entries.iter().any(|entry| entry.name == name && entry.value.as_deref() == Some(value))
            };
            match changes.iter().find(|(name, value)| !is_so(name, value)) {
                None => return Ok(()),
                Some((name, value)) if Instant::now() >= deadline => {
                    let why = format!("the cluster did not take {name}={value}");
                    return Err(AdminError::Refused { what: what(), why });
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Gives a topic more partitions, so that it has `total`. Records of a key may go to others from then on: only for
    /// topics where nobody relies on that.
    pub async fn add_partitions(&self, name: &str, total: u32) -> Result<(), AdminError> {
        let new = NewPartitions::new(name, usize::try_from(total).unwrap_or(usize::MAX));
        let told = self.client.create_partitions([&new], &self.options).await.map_err(|error| unavailable(&error))?;
        told.into_iter().try_for_each(|result| match result {
            Ok(_) => Ok(()),
            Err((name, code)) => Err(refused(format!("topic {name} cannot be given {total} partitions"), code)),
        })
    }

    /// Takes away the records of a partition before an offset, whatever its retention says.
    pub async fn delete_records(&self, name: &str, partition: u32, before: u64) -> Result<(), AdminError> {
        let until = list(name, [(partition, place(before))]).map_err(|error| unavailable(&error))?;
        let told = self.client.delete_records(&until, &self.options).await.map_err(|error| unavailable(&error))?;
        told.elements().iter().try_for_each(|element| element.error()).map_err(|error| AdminError::Refused {
            what: format!("records of partition {partition} of {name} cannot be taken away"),
            why: said(&error),
        })
    }

    /// Takes topics away with all their records. One that is not there is no error.
    pub async fn delete(&self, names: &[&str]) -> Result<(), AdminError> {
        let gone = self.client.delete_topics(names, &self.options).await.map_err(|error| unavailable(&error))?;
        for result in gone {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {}
                Err((name, code)) => return Err(refused(format!("topic {name} cannot be taken away"), code)),
            }
        }
        Ok(())
    }
}

fn is_own(entry: &ConfigEntry) -> bool {
    entry.source == ConfigSource::DynamicTopic
}
