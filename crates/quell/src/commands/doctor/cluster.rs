//! What `quell serve` runs on: brokers, topics, schema registry. Looked at where `kafka.brokers` is set.

use super::{Findings, Health, store};
use crate::{
    commands::topics::{Act, DeclarationArgs, Declared, Difference, describe, differences, unreachable},
    config::Config,
    kafka_tokens, registry,
};
use event_log::kafka::{Admin, ClusterNow, KafkaConfig, KafkaLog, LookError, PartitionNow, Tokens, TopicNow, look};
use schemas::topics;
use service::Secret;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// What a record has beside the webhook's body, and a dead letter beside the record, generously.
const ABOUT_A_BODY: usize = 1 << 20;
/// Differences that are named; `quell topics check` shows all of them.
const NAMED_MAX: usize = 3;
/// The version of `TxnOffsetCommit` from which on a zombie is fenced by the group's metadata (KIP-447).
const FENCING: i16 = 3;

/// Checks the cluster, where there is one. Gives back its log, if its records can be read.
pub(super) async fn check(config: &Config, findings: &mut Findings) -> Option<KafkaLog> {
    if config.kafka.brokers.is_empty() {
        return None;
    }
    if let Err(error) = config.check_cluster() {
        findings.fail("quell serve", format!("{error:#}: it will not start with that"));
    }
    record_size(config, findings);
    let log = kafka(&config.kafka, findings).await;
    store::check(&config.store, findings).await;
    let readable = schemas_are_known(config, findings).await;
    log.filter(|_| readable)
}

/// Whether every webhook that the gateway takes fits into a record.
fn record_size(config: &Config, findings: &mut Findings) {
    let limits = &config.gateway.limits;
    let body = limits.body_bytes_max.max(limits.decoded_bytes_max);
    if body.saturating_add(ABOUT_A_BODY) > config.kafka.record_bytes_max {
        let detail = format!(
            "webhooks of up to {body} bytes are read, and the larger ones then refused (413): set kafka.record_bytes_max to at \
             least {}, or lower gateway.limits",
            body.saturating_add(ABOUT_A_BODY)
        );
        findings.warn("kafka.record_bytes_max", detail);
    }
}

async fn kafka(config: &KafkaConfig, findings: &mut Findings) -> Option<KafkaLog> {
    // The doctor's configuration is read without following the log's references.
    let mut config = config.clone();
    let follow = |reference: &str| Secret::follow(reference).map(|secret| secret.expose().to_owned());
    if let Err(error) = config.security.resolve(follow) {
        findings.fail("kafka.security", error.to_string());
        return None;
    }
    let tokens = match kafka_tokens::of(&config) {
        Ok(tokens) => tokens,
        Err(error) => {
            findings.fail("kafka.security.oauth", format!("{error:#}"));
            return None;
        }
    };
    if let Some(tokens) = &tokens {
        match tokens.token() {
            Ok(_) => findings.ok("kafka.security.oauth", "the issuer gives tokens"),
            Err(why) => {
                findings.fail("kafka.security.oauth", why);
                return None;
            }
        }
    }
    let declared = match DeclarationArgs::default().read(&config) {
        Ok(declared) => declared,
        Err(error) => {
            findings.fail("topics", format!("{error:#}"));
            return None;
        }
    };
    let now = match look_at(&config, tokens.clone()).await {
        Ok(now) => now,
        Err(error) => {
            let next =
                if matches!(error, LookError::Open(_)) { String::new() } else { format!(": {}", unreachable(&config)) };
            findings.fail("kafka", format!("{error}{next}"));
            return None;
        }
    };
    findings.ok("kafka", format!("cluster {} answers, {} brokers", now.id, now.brokers));
    version(now.positions_version, findings);
    replicas(&now.partitions, findings);
    if tokens.is_some() {
        findings.warn("topics", kafka_tokens::NO_ADMIN);
    } else {
        topics_as_declared(&config, &declared, findings).await;
    }
    let are_there = topics::all().iter().all(|topic| now.partitions.iter().any(|found| found.topic == topic.name));
    if are_there { KafkaLog::connect_with(config, tokens).ok() } else { None }
}

async fn look_at(config: &KafkaConfig, tokens: Option<Arc<dyn Tokens>>) -> Result<ClusterNow, LookError> {
    let config = config.clone();
    let work = move || {
        let names: Vec<&str> = topics::all().iter().map(|topic| topic.name).collect();
        look(&config, tokens, &names)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(LookError::Asked(error.to_string())))
}

/// What is told by the protocol's versions, as brokers do not say which release they are.
fn version(positions: Option<i16>, findings: &mut Findings) {
    let release = match positions {
        None => {
            let next = "look which release they are: Apache Kafka 2.5 or newer is needed";
            return findings.warn("kafka version", format!("the brokers did not say what they speak: {next}"));
        }
        Some(version) if version < FENCING => {
            let detail =
                "older than Apache Kafka 2.5: an instance that was replaced could still commit; upgrade the brokers";
            return findings.fail("kafka version", detail);
        }
        Some(FENCING) => "2.5 to 3.7",
        Some(4) => "3.8 or 3.9",
        Some(_) => "4.0 or newer",
    };
    findings.ok("kafka version", format!("speaks the protocol of Apache Kafka {release}"));
}

/// Partitions that nobody leads stand still; those with fewer replicas than they should have are one failure from that.
fn replicas(partitions: &[PartitionNow], findings: &mut Findings) {
    if partitions.is_empty() {
        return;
    }
    let named = |is_so: fn(&PartitionNow) -> bool| {
        let found: Vec<String> = partitions
            .iter()
            .filter(|partition| is_so(partition))
            .map(|found| format!("{}/{}", found.topic, found.partition))
            .collect();
        let more = found.len().saturating_sub(NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        (found.len(), found.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ") + &more)
    };
    let (leaderless, short) = (named(|found| !found.has_leader), named(|found| found.in_sync < found.replicas));
    if leaderless.0 > 0 {
        findings.fail("replicas", format!("nobody leads {}: start the brokers that hold them", leaderless.1));
    } else if short.0 > 0 {
        let detail = format!("{} lack replicas that are in sync: look which broker is down or slow", short.1);
        findings.warn("replicas", detail);
    } else if partitions.iter().any(|found| found.replicas < 2) {
        findings.warn(
            "replicas",
            "one of each record: a broker's disk that is lost takes webhooks with it; use three brokers and 3 replicas",
        );
    } else {
        findings.ok("replicas", format!("of {} partitions all are in sync", partitions.len()));
    }
}

async fn topics_as_declared(config: &KafkaConfig, declared: &[Declared], findings: &mut Findings) {
    let admin = match Admin::connect(config, None) {
        Ok(admin) => admin,
        Err(error) => return findings.fail("topics", error.to_string()),
    };
    match describe(&admin, declared).await {
        Ok(now) => {
            let (health, detail) = match meant(config, declared, &now) {
                Some(detail) => (Health::Ok, detail),
                None => judge(&differences(declared, &now)),
            };
            findings.add("topics", health, detail);
        }
        Err(error) => findings.fail("topics", format!("{error:#}: give us the right to describe topics")),
    }
}

/// Small clusters override the declaration's numbers. Where all topics have one other number, it was meant.
fn meant(config: &KafkaConfig, declared: &[Declared], now: &BTreeMap<String, TopicNow>) -> Option<String> {
    let numbers = DeclarationArgs::of(now);
    let is_so = !differences(declared, now).is_empty() && differences(&numbers.read(config).ok()?, now).is_empty();
    is_so.then(|| format!("as declared, with {}", numbers.numbers()))
}

/// What is missing stops everything. What differs may be meant.
fn judge(differences: &[Difference]) -> (Health, String) {
    let topics = |is_wanted: fn(&Difference) -> bool| -> BTreeSet<&str> {
        differences.iter().filter(|found| is_wanted(found)).map(|found| found.topic.as_str()).collect()
    };
    let missing = topics(|found| found.act == Act::Create);
    if !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().collect();
        return (Health::Fail, format!("missing: {}: run `quell topics apply`", names.join(", ")));
    }
    if differences.is_empty() {
        return (Health::Ok, "as declared".to_owned());
    }
    let named = differences.iter().take(NAMED_MAX).map(|found| format!("{} of {}", found.what, found.topic));
    let named: Vec<String> = named.collect();
    let more = differences.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let detail = format!(
        "not as declared: {}{more}: see `quell topics check` with the arguments that they were applied with",
        named.join(", ")
    );
    (Health::Warn, detail)
}

/// Looks at the registry, where there is one. Whether the records can be read here; nothing is registered.
async fn schemas_are_known(config: &Config, findings: &mut Findings) -> bool {
    let Some(registry) = &config.registry else { return true };
    let found = registry::look(registry).await;
    let is_whole = matches!(found, Ok((found, of)) if found == of);
    let (health, detail) = match found {
        Ok((found, of)) if found == of => (Health::Ok, format!("{} has all {of} schemas", registry.url)),
        Ok((found, of)) if registry.register => {
            (Health::Ok, format!("{} has {found} of {of} schemas; a start registers the others", registry.url))
        }
        Ok((found, of)) => {
            let detail = format!(
                "{} has {found} of {of} schemas: register the others, or set registry.register = true",
                registry.url
            );
            (Health::Fail, detail)
        }
        Err(error) => (Health::Fail, format!("{error:#}: start it, or mend registry.url and its credentials")),
    };
    findings.add("schema registry", health, detail);
    if !is_whole {
        return false;
    }
    // What an instance remembers of the registry is its own: here it is forgotten.
    let nowhere = std::env::temp_dir().join(format!("quell-doctor-{}-has-no-memory", std::process::id()));
    registry::start(registry, &nowhere, "", CancellationToken::new()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(topic: &str, what: &str, act: Act) -> Difference {
        let text = str::to_owned;
        Difference { topic: text(topic), what: text(what), now: None, declared: text("1"), act, note: None }
    }

    #[test]
    fn topics_are_judged() {
        let check = |found: &[Difference], health, part: &str| {
            let judged = judge(found);
            assert_eq!(judged.0, health, "{judged:?}");
            assert!(judged.1.contains(part), "{judged:?}");
        };
        let changed = |what| difference("a", what, Act::Change);
        check(&[], Health::Ok, "as declared");
        check(&[difference("b", "topic", Act::Create), changed("x")], Health::Fail, "missing: b: run");
        check(&[changed("x")], Health::Warn, "x of a: see");
        check(&[changed("x"), changed("y"), changed("z"), changed("w")], Health::Warn, "z of a and 1 more");
    }

    #[test]
    fn numbers_of_a_small_cluster_are_meant() {
        let config = KafkaConfig::default();
        let read = |args: DeclarationArgs| args.read(&config).unwrap();
        let declared = read(DeclarationArgs::default());
        let small = |min: &str| -> BTreeMap<String, TopicNow> {
            let topic = |name: &str, mut configs: BTreeMap<String, String>| {
                configs.insert("min.insync.replicas".to_owned(), min.to_owned());
                let own = configs.keys().cloned().collect();
                let topic = TopicNow { name: name.to_owned(), partitions: 8, replication: 1, configs, own };
                (topic.name.clone(), topic)
            };
            let settings = crate::commands::topics::declared_settings(&config).unwrap();
            settings.into_iter().map(|(name, configs)| topic(&name, configs)).collect()
        };
        let detail = meant(&config, &declared, &small("1"));
        assert_eq!(detail.as_deref(), Some("as declared, with --partitions 8 --replication-factor 1 --min-insync 1"));
        let mut other = small("1");
        let first = other.values_mut().next().unwrap();
        first.configs.insert("max.message.bytes".to_owned(), "1".to_owned());
        assert_eq!(meant(&config, &declared, &other), None);
        assert_eq!(judge(&differences(&declared, &other)).0, Health::Warn);
        // Nothing could be written to them.
        assert_eq!(meant(&config, &declared, &small("2")), None);
    }

    fn one(check: impl Fn(&mut Findings)) -> (Health, String) {
        let mut findings = Findings::default();
        check(&mut findings);
        assert_eq!(findings.0.len(), 1, "{findings:?}");
        (findings.0[0].health, findings.0[0].detail.clone())
    }

    #[test]
    fn old_brokers_are_refused() {
        for (positions, health, part) in [
            (None, Health::Warn, "2.5 or newer"),
            (Some(2), Health::Fail, "upgrade the brokers"),
            (Some(3), Health::Ok, "2.5 to 3.7"),
            (Some(4), Health::Ok, "3.8"),
            (Some(5), Health::Ok, "4.0 or newer"),
            (Some(6), Health::Ok, "4.0 or newer"),
        ] {
            let (found, detail) = one(|findings| version(positions, findings));
            assert!(found == health && detail.contains(part), "{positions:?}: {found:?} {detail}");
        }
    }

    #[test]
    fn replicas_are_judged() {
        let partition = |n, has_leader, replicas, in_sync| PartitionNow {
            topic: "t".to_owned(),
            partition: n,
            has_leader,
            replicas,
            in_sync,
        };
        let check = |found: &[PartitionNow], health, part: &str| {
            let (word, detail) = one(|findings| replicas(found, findings));
            assert!(word == health && detail.contains(part), "{word:?} {detail}");
        };
        check(&[partition(0, true, 3, 3)], Health::Ok, "1 partitions");
        check(&[partition(0, true, 3, 3), partition(1, true, 3, 2)], Health::Warn, "t/1 lack replicas");
        check(&[partition(0, false, 3, 0), partition(1, true, 3, 2)], Health::Fail, "nobody leads t/0");
        check(&[partition(0, true, 1, 1)], Health::Warn, "three brokers");
    }

    #[test]
    fn records_hold_what_the_gateway_takes() {
        let told = |bytes| {
            let mut config = Config::default();
            config.kafka.record_bytes_max = bytes;
            let mut findings = Findings::default();
            record_size(&config, &mut findings);
            findings != Findings::default()
        };
        assert!(!told(KafkaConfig::default().record_bytes_max));
        assert!(told(8 << 20));
    }

    #[tokio::test]
    async fn nothing_is_asked_without_brokers() {
        let mut findings = Findings::default();
        assert!(check(&Config::default(), &mut findings).await.is_none());
        assert_eq!(findings, Findings::default());
    }
}
