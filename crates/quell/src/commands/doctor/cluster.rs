//! What `quell serve` runs on: brokers, topics, store, schema registry. Looked at where `kafka.brokers` is set.

use super::{Findings, Health};
use crate::{
    commands::{
        store,
        topics::{Act, DeclarationArgs, Difference, describe, differences, unreachable},
    },
    config::Config,
    kafka_tokens, registry,
};
use event_log::kafka::{Admin, KafkaConfig, KafkaLog, Tokens};
use service::Secret;
use std::{collections::BTreeSet, sync::Arc};
use suppressor::store::cql;

/// What a record has beside the webhook's body, and a dead letter beside the record, generously.
const ABOUT_A_BODY: usize = 1 << 20;
/// Differences that are named; `quell topics check` shows all of them.
const NAMED_MAX: usize = 3;

/// Checks the cluster, where there is one.
pub(super) async fn check(config: &Config, findings: &mut Findings) {
    if config.kafka.brokers.is_empty() {
        return;
    }
    if let Err(error) = config.check_cluster() {
        findings.fail("quell serve", format!("{error:#}: it will not start with that"));
    }
    record_size(config, findings);
    kafka(&config.kafka, findings).await;
    store(config, findings).await;
    if let Some(registry) = &config.registry {
        let (health, detail) = match registry::look(registry).await {
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
    }
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

async fn kafka(config: &KafkaConfig, findings: &mut Findings) {
    // The doctor's configuration is read without following the log's references.
    let mut config = config.clone();
    let follow = |reference: &str| Secret::follow(reference).map(|secret| secret.expose().to_owned());
    if let Err(error) = config.security.resolve(follow) {
        findings.fail("kafka.security", error.to_string());
        return;
    }
    match kafka_tokens::of(&config) {
        Ok(Some(tokens)) => return kafka_by_token(config, tokens, findings),
        Ok(None) => {}
        Err(error) => return findings.fail("kafka.security.oauth", format!("{error:#}")),
    }
    let admin = match Admin::connect(&config, None) {
        Ok(admin) => admin,
        Err(error) => {
            findings.fail("kafka", error.to_string());
            return;
        }
    };
    match admin.cluster_id() {
        Ok(id) => findings.ok("kafka", format!("cluster {id} answers")),
        Err(error) => {
            findings.fail("kafka", format!("{error}: {}", unreachable(&config)));
            return;
        }
    }
    let declared = match DeclarationArgs::default().read(&config) {
        Ok(declared) => declared,
        Err(error) => {
            findings.fail("topics", format!("{error:#}"));
            return;
        }
    };
    match describe(&admin, &declared).await {
        Ok(now) => {
            let (health, detail) = judge(&differences(&declared, &now));
            findings.add("topics", health, detail);
        }
        Err(error) => findings.fail("topics", format!("{error:#}: give us the right to describe topics")),
    }
}

/// As far as tokens reach: the log's own clients.
fn kafka_by_token(config: KafkaConfig, tokens: Arc<dyn Tokens>, findings: &mut Findings) {
    match tokens.token() {
        Ok(_) => findings.ok("kafka.security.oauth", "the issuer gives tokens"),
        Err(why) => return findings.fail("kafka.security.oauth", why),
    }
    match KafkaLog::connect_with(config.clone(), Some(tokens)).map(|log| log.cluster_id()) {
        Ok(Ok(id)) => findings.ok("kafka", format!("cluster {id} answers")),
        Ok(Err(error)) => return findings.fail("kafka", format!("{error}: {}", unreachable(&config))),
        Err(error) => return findings.fail("kafka", error.to_string()),
    }
    findings.warn("topics", kafka_tokens::NO_ADMIN);
}

/// What is missing stops everything. What differs may be meant: small clusters override the declaration.
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

async fn store(config: &Config, findings: &mut Findings) {
    match cql::check(&config.store).await {
        Ok(report) if report.findings.is_empty() => {
            findings.ok("store", format!("keyspace {} is of version {}", report.keyspace, report.version));
        }
        Ok(report) => {
            let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
            let next =
                if store::is_behind(&report) { "run `quell store migrate`" } else { "use the program that applied it" };
            findings.fail("store", format!("keyspace {}: {}: {next}", report.keyspace, found.join(", ")));
        }
        Err(error) => findings.fail("store", store::next(&config.store, &error)),
    }
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
        check(&Config::default(), &mut findings).await;
        assert_eq!(findings, Findings::default());
    }
}
