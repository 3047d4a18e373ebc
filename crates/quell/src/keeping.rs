//! How long what names recipients is kept: what receipts of erasures are made from.

use crate::{
    commands::declared_settings,
    config::Config,
    engine::{Embedded, SEEN_DAYS},
};
use anyhow::Context as _;
use async_trait::async_trait;
use event_log::kafka::{Admin, KafkaConfig};
use schemas::topics;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use suppressor::lookup::{Keeping, Kept, Place};

const DAY_SECONDS: u64 = 86_400;
/// The cluster's settings are asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Longest wait for them; then the declaration answers.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// Cassandra's and ScyllaDB's default of `gc_grace_seconds`, which our tables keep: what was deleted may still lie in their files
/// for so long, and its keys in the marks of the deletion.
const GC_GRACE_SECONDS: u64 = 864_000;

const BY_TIME: &str = "records go when their time is over";
const TOMBSTONE: &str =
    "tombstones are written at once; compaction takes the older records and then the tombstones away";
const AT_ONCE: &str = "evidence, decisions and changes are deleted within about a minute";
const HIDDEN: &str = "hidden at once; entries go when their time is over";
const HASHES: &str = "hashes of events, without addresses";

type Settings = BTreeMap<String, String>;

/// Those topics whose records name recipients.
fn of_recipients() -> impl Iterator<Item = topics::Topic> {
    topics::all().into_iter().filter(|topic| topic.name != topics::STATISTICS)
}

fn store_rows(messages_days: u32, seen_days: u32, adds_seconds: u64) -> Vec<Kept> {
    let row = |what: &str, days: u32, how| Kept {
        what: what.to_owned(),
        place: Place::Store,
        keeps_seconds: Some(u64::from(days) * DAY_SECONDS),
        adds_seconds,
        how,
        told_by: "configuration",
    };
    vec![
        row("recipients", 0, AT_ONCE),
        row("message timelines", messages_days, HIDDEN),
        row("seen events", seen_days, HASHES),
    ]
}

/// Of an embedded instance.
pub(crate) fn of_embedded(config: &Config) -> Vec<Kept> {
    let specs: BTreeMap<String, Option<u64>> = Embedded::topics(config).into_iter().collect();
    let topic = |topic: topics::Topic| {
        let retention = specs.get(topic.name).copied().flatten();
        Kept {
            what: topic.name.to_owned(),
            place: Place::Topic,
            keeps_seconds: Some(retention.unwrap_or_else(Embedded::tombstone_keep_ms).div_ceil(1_000)),
            adds_seconds: retention.map_or(0, |keep_ms| Embedded::adds_ms(topic.name, keep_ms)).div_ceil(1_000),
            how: if retention.is_some() { BY_TIME } else { TOMBSTONE },
            told_by: "configuration",
        }
    };
    of_recipients().map(topic).chain(store_rows(config.engine.messages_days, SEEN_DAYS, 0)).collect()
}

/// Of a cluster, which is asked itself; what it does not tell is taken from the declaration.
pub(crate) struct OfCluster {
    kafka: KafkaConfig,
    store: Vec<Kept>,
    known: Mutex<Option<(Instant, Vec<Kept>)>>,
}

impl OfCluster {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let store = store_rows(config.store.message_days, config.store.seen_days, GC_GRACE_SECONDS);
        Arc::new(Self { kafka: config.kafka.clone(), store, known: Mutex::default() })
    }

    async fn topics(&self) -> Vec<Kept> {
        let kafka = self.kafka.clone();
        let runtime = tokio::runtime::Handle::current();
        // The client blocks now and then.
        let asked = tokio::task::spawn_blocking(move || runtime.block_on(ask(&kafka)));
        let told = match tokio::time::timeout(ASK_WAIT, asked).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(anyhow::anyhow!("no answer within {} seconds", ASK_WAIT.as_secs())),
        };
        match told {
            Ok(told) => rows(&told, "cluster"),
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "receipts of erasures go by the declaration of the topics"
                );
                rows(&declared_settings(&self.kafka).unwrap_or_default(), "declaration")
            }
        }
    }
}

#[async_trait]
impl Keeping for OfCluster {
    async fn kept(&self) -> Vec<Kept> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let topics = match known {
            Some((at, rows)) if at.elapsed() < ASK_AGAIN => rows,
            _ => {
                let rows = self.topics().await;
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), rows.clone()));
                rows
            }
        };
        topics.into_iter().chain(self.store.iter().cloned()).collect()
    }
}

async fn ask(kafka: &KafkaConfig) -> anyhow::Result<BTreeMap<String, Settings>> {
    let admin = Admin::connect(kafka, None)?;
    let mut told = BTreeMap::new();
    for topic in of_recipients() {
        let now = admin.describe(topic.name).await?.with_context(|| format!("there is no topic {}", topic.name))?;
        told.insert(topic.name.to_owned(), now.configs);
    }
    Ok(told)
}

fn rows(settings: &BTreeMap<String, Settings>, told_by: &'static str) -> Vec<Kept> {
    let none = Settings::new();
    of_recipients().map(|topic| row(topic.name, settings.get(topic.name).unwrap_or(&none), told_by)).collect()
}

/// A topic by its settings. What a setting leaves open has no end.
///
/// Kafka takes whole segments away: a record waits for the youngest of its segment, which is at most `segment.ms` younger, and
/// the file for `file.delete.delay.ms`. A compacted topic's record goes once it has been eligible for
/// `max.compaction.lag.ms`, and the tombstone at a compaction that is `delete.retention.ms` later.
fn row(name: &str, settings: &Settings, told_by: &'static str) -> Kept {
    let seconds = |setting: &str| {
        let ms = settings.get(setting)?.parse::<i64>().ok()?;
        // -1 and the largest number both mean: no end.
        u64::try_from(ms).ok().filter(|_| ms < i64::MAX).map(|ms| ms.div_ceil(1_000))
    };
    let delay = seconds("file.delete.delay.ms").unwrap_or(60);
    let is_compacted = settings.get("cleanup.policy").is_some_and(|policy| policy == "compact");
    let (keeps, adds) = if is_compacted {
        let lag = seconds("max.compaction.lag.ms");
        (lag, lag.zip(seconds("delete.retention.ms")).map(|(lag, kept)| lag.saturating_add(kept)))
    } else {
        (seconds("retention.ms"), seconds("segment.ms"))
    };
    Kept {
        what: name.to_owned(),
        place: Place::Topic,
        keeps_seconds: keeps.filter(|_| adds.is_some()),
        adds_seconds: adds.unwrap_or(0).saturating_add(delay),
        how: if is_compacted { TOMBSTONE } else { BY_TIME },
        told_by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_that_names_recipients_stands_in_the_receipt() {
        let config = Config::default();
        let declared = rows(&declared_settings(&config.kafka).unwrap(), "declaration");
        for found in [of_embedded(&config), declared] {
            let names: Vec<&str> = found.iter().map(|row| row.what.as_str()).collect();
            for topic in of_recipients() {
                assert!(names.contains(&topic.name), "{}: {names:?}", topic.name);
            }
            assert!(!names.contains(&topics::STATISTICS));
            assert!(found.iter().all(|row| row.keeps_seconds.is_some()), "{found:?}");
        }
    }

    #[test]
    fn figures_come_from_the_configuration() {
        let mut config = Config::default();
        (config.engine.raw_days, config.engine.messages_days) = (3, 5);
        let days = |what: &str| {
            let found = of_embedded(&config).into_iter().find(|row| row.what == what).unwrap();
            found.keeps_seconds.unwrap() / DAY_SECONDS
        };
        assert_eq!((days(topics::RAW), days("message timelines"), days("recipients")), (3, 5, 0));
        assert_eq!((days(topics::EVENTS), days(topics::DELTAS)), (90, 30));
    }

    #[test]
    fn a_topic_of_a_cluster_waits_for_its_segments() {
        let kept = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let row = row("t", &settings, "cluster");
            (row.keeps_seconds, row.adds_seconds)
        };
        let plain = [("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("segment.ms", "86400000")];
        assert_eq!(kept(&plain), (Some(604_800), 86_460));
        let compacted =
            [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "86400000"), ("delete.retention.ms", "1000")];
        assert_eq!(kept(&compacted), (Some(86_400), 86_461));
        let for_ever = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.ms", "1")];
        assert_eq!(kept(&for_ever).0, None);
        let late = [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "9223372036854775807")];
        assert_eq!(kept(&late).0, None);
        assert_eq!(kept(&[]).0, None, "what is not told has no date");
    }
}
