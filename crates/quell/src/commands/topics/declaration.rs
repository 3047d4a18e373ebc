//! The declaration: every topic as it should be.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use event_log::kafka::{KafkaConfig, TopicNow, TopicWanted};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What the binary carries.
const BUILT_IN: &str = include_str!("../../../../../deploy/topics.toml");
/// What a batch of one record adds to key, value and headers, generously.
const BATCH_OVERHEAD: u64 = 64 * 1_024;
const PARTITIONS_MAX: u32 = 1_024;

/// Where the declaration comes from, and numbers over it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DeclarationArgs {
    /// The declaration; without it, the one that this program carries (deploy/topics.toml)
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Partitions of every topic, instead of the declared number
    #[arg(long, value_name = "N")]
    pub(super) partitions: Option<u32>,
    /// Replicas of every partition, instead of the declared number
    #[arg(long, value_name = "N")]
    pub(super) replication_factor: Option<u32>,
    /// Replicas that must have a record before it counts, instead of the declared number
    #[arg(long, value_name = "N")]
    pub(super) min_insync: Option<u32>,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    partitions: u32,
    replication_factor: u32,
    #[serde(default)]
    configs: BTreeMap<String, toml::Value>,
    #[serde(rename = "topic")]
    topics: Vec<FileTopic>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTopic {
    name: String,
    keyed: bool,
    partitions: Option<u32>,
    replication_factor: Option<u32>,
    #[serde(default)]
    configs: BTreeMap<String, toml::Value>,
}

/// A topic as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(super) topic: TopicWanted,
    /// Whether a record's key decides its partition, and somebody relies on it.
    pub(super) keyed: bool,
}

impl DeclarationArgs {
    /// Reads the declaration and refuses one that could not work with this configuration.
    pub(crate) fn read(&self, kafka: &KafkaConfig) -> anyhow::Result<Vec<Declared>> {
        let (name, text) = match &self.file {
            None => (Path::new("deploy/topics.toml"), BUILT_IN.to_owned()),
            Some(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                (file.as_path(), text)
            }
        };
        let declared = self.declared(&text).and_then(|declared| check(&declared, kafka).map(|()| declared));
        declared.with_context(|| name.display().to_string())
    }

    /// The numbers over the declaration that these topics were made with, as far as they agree. A record that counts before
    /// all of its replicas have it is not taken for meant.
    pub(crate) fn of(now: &BTreeMap<String, TopicNow>) -> Self {
        let replication_factor = same(now.values().map(|topic| Some(topic.replication)));
        let min_insync = same(now.values().map(|topic| topic.configs.get("min.insync.replicas")?.parse().ok()));
        Self {
            file: None,
            partitions: same(now.values().map(|topic| Some(topic.partitions))),
            replication_factor,
            min_insync: min_insync.filter(|_| min_insync == replication_factor),
        }
    }

    /// The arguments for `quell topics`.
    pub(crate) fn numbers(&self) -> String {
        let numbers = [
            ("--partitions", self.partitions),
            ("--replication-factor", self.replication_factor),
            ("--min-insync", self.min_insync),
        ];
        let given = numbers.into_iter().filter_map(|(name, number)| Some(format!("{name} {}", number?)));
        given.collect::<Vec<_>>().join(" ")
    }

    fn declared(&self, text: &str) -> anyhow::Result<Vec<Declared>> {
        let file: File = toml::from_str(text)?;
        let topic = |topic: FileTopic| {
            let mut configs = BTreeMap::new();
            for (name, value) in file.configs.iter().chain(&topic.configs) {
                configs.insert(name.clone(), setting(name, value)?);
            }
            if let Some(min) = self.min_insync {
                configs.insert("min.insync.replicas".to_owned(), min.to_string());
            }
            Ok(Declared {
                topic: TopicWanted {
                    partitions: self.partitions.or(topic.partitions).unwrap_or(file.partitions),
                    replication: Some(
                        self.replication_factor.or(topic.replication_factor).unwrap_or(file.replication_factor),
                    ),
                    name: topic.name,
                    configs,
                },
                keyed: topic.keyed,
            })
        };
        file.topics.into_iter().map(topic).collect()
    }
}

/// The number that all have.
fn same(mut numbers: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    let first = numbers.next()??;
    numbers.all(|number| number == Some(first)).then_some(first)
}

/// A setting's value as Kafka writes it.
fn setting(name: &str, value: &toml::Value) -> anyhow::Result<String> {
    Ok(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
        _ => bail!("{name} must be a text, a number, or true or false"),
    })
}

/// What would fail later, or not at all but lose records.
fn check(declared: &[Declared], kafka: &KafkaConfig) -> anyhow::Result<()> {
    let names: BTreeSet<&str> = declared.iter().map(|declared| declared.topic.name.as_str()).collect();
    let known: BTreeSet<&str> = schemas::topics::all().iter().map(|topic| topic.name).collect();
    ensure!(names.len() == declared.len(), "a topic is declared twice");
    if names != known {
        let list = |names: Vec<&&str>| names.iter().map(|name| (**name).to_owned()).collect::<Vec<_>>().join(", ");
        let (missing, odd) = (list(known.difference(&names).collect()), list(names.difference(&known).collect()));
        bail!("this program works with other topics: not declared here: [{missing}]; not known to it: [{odd}]");
    }
    let keyed: BTreeSet<u32> =
        declared.iter().filter(|declared| declared.keyed).map(|declared| declared.topic.partitions).collect();
    ensure!(keyed.len() <= 1, "keyed topics must have one and the same number of partitions");
    declared.iter().try_for_each(|declared| check_topic(&declared.topic, kafka))
}

fn check_topic(topic: &TopicWanted, kafka: &KafkaConfig) -> anyhow::Result<()> {
    let name = &topic.name;
    ensure!((1..=PARTITIONS_MAX).contains(&topic.partitions), "{name}: partitions must be 1 to {PARTITIONS_MAX}");
    let replicas = topic.replication.unwrap_or(1);
    ensure!((1..=15).contains(&replicas), "{name}: the replication factor must be 1 to 15");
    let number = |setting: &str| -> anyhow::Result<Option<u64>> {
        let value = topic.configs.get(setting).map(|value| value.parse());
        value.transpose().with_context(|| format!("{name}: {setting} is no number"))
    };
    if let Some(min) = number("min.insync.replicas")? {
        ensure!(
            (1..=u64::from(replicas)).contains(&min),
            "{name}: min.insync.replicas is {min} of {replicas} replicas, so nothing could ever be written: lower it \
             (--min-insync {replicas}), or have more replicas (--replication-factor {min})"
        );
    }
    if let Some(bytes) = number("max.message.bytes")? {
        let needed = u64::try_from(kafka.record_bytes_max).unwrap_or(u64::MAX).saturating_add(BATCH_OVERHEAD);
        ensure!(
            bytes >= needed,
            "{name}: max.message.bytes is {bytes}, and records of kafka.record_bytes_max ({}) would be refused: declare at \
             least {needed}, or lower kafka.record_bytes_max",
            kafka.record_bytes_max
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::topics;

    fn built_in() -> Vec<Declared> {
        DeclarationArgs::default().read(&KafkaConfig::default()).unwrap()
    }

    #[test]
    fn the_declaration_is_what_schemas_say() {
        let declared = built_in();
        for (topic, declared) in topics::all().iter().zip(&declared) {
            assert_eq!(topic.name, declared.topic.name, "in the same order");
            let setting = |name: &str| declared.topic.configs[name].as_str();
            let (policy, retention) = match topic.retention_ms {
                Some(ms) => ("delete", ms.to_string()),
                None => ("compact", "-1".to_owned()),
            };
            assert_eq!((setting("cleanup.policy"), setting("retention.ms")), (policy, retention.as_str()));
            assert_eq!((setting("min.insync.replicas"), declared.topic.replication), ("2", Some(3)));
            let is_by_recipient = [
                topics::EVENTS,
                topics::DELTAS,
                topics::STATE,
                topics::OUTCOMES,
                topics::REDELIVERIES,
                topics::STATISTICS,
            ]
            .contains(&topic.name);
            assert_eq!(declared.keyed, is_by_recipient, "{}", topic.name);
        }
    }

    #[test]
    fn a_whole_webhook_fits() {
        let (gateway, kafka) = (ingest_gateway::Limits::default(), KafkaConfig::default());
        let body = gateway.body_bytes_max.max(gateway.decoded_bytes_max);
        // A dead letter holds the record, and the record the body, each with a little about it.
        assert!(body + (1 << 20) <= kafka.record_bytes_max, "{body} of {}", kafka.record_bytes_max);
        for declared in built_in() {
            let bytes: usize = declared.topic.configs["max.message.bytes"].parse().unwrap();
            assert!(bytes > kafka.record_bytes_max, "{}", declared.topic.name);
        }
    }

    #[test]
    fn numbers_are_read_from_topics() {
        let topic = |name: &str, partitions, replication, min: &str| TopicNow {
            name: name.to_owned(),
            partitions,
            replication,
            configs: [("min.insync.replicas".to_owned(), min.to_owned())].into(),
            own: BTreeSet::new(),
        };
        let check = |topics: [TopicNow; 2], numbers: &str| {
            let now = topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
            assert_eq!(DeclarationArgs::of(&now).numbers(), numbers);
        };
        let small = "--partitions 8 --replication-factor 1 --min-insync 1";
        check([topic("a", 8, 1, "1"), topic("b", 8, 1, "1")], small);
        check([topic("a", 8, 1, "1"), topic("b", 4, 1, "1")], "--replication-factor 1 --min-insync 1");
        check([topic("a", 8, 3, "1"), topic("b", 8, 3, "1")], "--partitions 8 --replication-factor 3");
        check([topic("a", 8, 2, "2"), topic("b", 8, 3, "2")], "--partitions 8");
        check([topic("a", 8, 1, "x"), topic("b", 8, 1, "x")], "--partitions 8 --replication-factor 1");
        assert_eq!(DeclarationArgs::of(&BTreeMap::new()).numbers(), "");
    }

    #[test]
    fn numbers_are_overridden() {
        let args = DeclarationArgs {
            partitions: Some(4),
            replication_factor: Some(1),
            min_insync: Some(1),
            ..DeclarationArgs::default()
        };
        for Declared { topic, .. } in args.read(&KafkaConfig::default()).unwrap() {
            assert_eq!((topic.partitions, topic.replication), (4, Some(1)));
            assert_eq!(topic.configs["min.insync.replicas"], "1");
        }
    }

    /// Changes a part of the declaration, and says what is told of it.
    fn check_refused(from: &str, to: &str, args: &DeclarationArgs, part: &str) {
        assert!(BUILT_IN.contains(from), "{from}");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("topics.toml");
        std::fs::write(&file, BUILT_IN.replacen(from, to, 1)).unwrap();
        let args = DeclarationArgs { file: Some(file), ..args.clone() };
        let error = format!("{:#}", args.read(&KafkaConfig::default()).unwrap_err());
        assert!(error.contains(part) && error.contains("topics.toml"), "{error}");
    }

    #[test]
    fn what_could_not_work_is_refused() {
        let none = DeclarationArgs::default();
        let replicas = |n| DeclarationArgs { replication_factor: Some(n), ..DeclarationArgs::default() };
        check_refused("partitions = 32", "partition = 32", &none, "unknown field");
        check_refused("partitions = 32", "partitions = 0", &none, "1 to 1024");
        check_refused("quell.raw.v1", "quell.row.v1", &none, "not declared here: [quell.raw.v1]");
        check_refused("\"quell.deltas.v1\"", "\"quell.raw.v1\"", &none, "declared twice");
        check_refused("keyed = true", "keyed = true\npartitions = 4", &none, "one and the same number");
        check_refused("16777216", "1048576", &none, "max.message.bytes is 1048576");
        check_refused("16777216", "\"a lot\"", &none, "is no number");
        check_refused("16777216", "[1]", &none, "must be a text");
        check_refused("partitions = 32", "partitions = 32", &replicas(1), "--min-insync 1");
        check_refused("partitions = 32", "partitions = 32", &replicas(99), "1 to 15");
    }
}
