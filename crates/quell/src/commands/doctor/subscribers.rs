//! Subscribers: whether each endpoint can be reached, and how its lane fares. No delta is sent.

use super::{Findings, Health, endpoint, running::Samples};
use crate::{
    commands::moment,
    config::{Config, SubscriberConfig},
};
use domain::Timestamp;
use event_log::{Browse, BrowseError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use notifier::{Subscriber, Way};
use schemas::{headers, topics, wire::DeadLetter};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Endpoints asked, and partitions read, at once.
const AT_ONCE: usize = 8;
/// How long the log is looked through, for all of them.
const LOG_PATIENCE: Duration = Duration::from_secs(20);
/// A delta that waits for longer is told of; the alarm QuellSubscriberBehind waits as long.
const BEHIND_SECONDS: i64 = 1_800;
/// Of each partition so many of the newest dead letters are read, and those of so many hours count.
const DEAD_LETTERS: u64 = 50;
const RECENT_HOURS: i64 = 24;

/// Checks every subscriber. A lane is judged by the instance that runs here if it has lanes, else by the log.
pub(super) async fn check(
    config: &Config,
    is_offline: bool,
    log: Option<&dyn Browse>,
    running: Option<&Samples>,
    findings: &mut Findings,
) {
    let subscribers = &config.subscribers;
    let asked = stream::iter(subscribers).map(|subscriber| reached(subscriber, is_offline));
    let asked: Vec<(Health, String)> = asked.buffered(AT_ONCE).collect().await;
    let here = running.filter(|samples| samples.has("quell_notifier_oldest_pending_seconds"));
    let until = Instant::now() + LOG_PATIENCE;
    let dead = match (here, log) {
        (None, Some(log)) if !subscribers.is_empty() => dead_letters(log, until, findings).await,
        _ => None,
    };
    for (subscriber, (health, detail)) in subscribers.iter().zip(asked) {
        findings.add(format!("subscriber {}", subscriber.name), health, detail);
        if let Some(samples) = here {
            judge_samples(&subscriber.name, samples, findings);
            continue;
        }
        if let (Some(log), Ok(ready)) = (log, Subscriber::new(subscriber.to_lane())) {
            lane(log, &ready, until, findings).await;
        }
        if let Some(dead) = &dead {
            let n_dead = dead.get(&subscriber.name).copied().unwrap_or_default();
            judge_dead(&subscriber.name, n_dead, &format!("in the last {RECENT_HOURS} hours"), findings);
        }
    }
}

async fn reached(config: &SubscriberConfig, is_offline: bool) -> (Health, String) {
    if let Err(error) = Subscriber::new(config.to_lane()) {
        return (Health::Fail, error.detail);
    }
    if is_offline {
        return (Health::Ok, "not asked (--offline)".to_owned());
    }
    endpoint::judge("subscriber.url", &endpoint::ask(&config.url, config.allow_private).await)
}

/// What the instance that runs here counted.
fn judge_samples(name: &str, samples: &Samples, findings: &mut Findings) {
    let of = |metric| samples.sum(metric, &[("subscriber", name)]);
    if of("quell_notifier_disabled").is_some_and(|disabled| disabled > 0.0) {
        let detail =
            "the endpoint answered 410 Gone and is posted to no more: ask its owner, then restart, or take it out";
        findings.fail(lane_of(name), detail);
    } else if let Some(seconds) = of("quell_notifier_oldest_pending_seconds") {
        judge_wait(name, seconds as i64, "", findings);
    }
    let dead = of("quell_notifier_dead_letters_total").unwrap_or_default();
    judge_dead(name, dead as u64, "since the start", findings);
}

fn lane_of(name: &str) -> String {
    format!("lane of subscriber {name}")
}

fn judge_wait(name: &str, seconds: i64, more: &str, findings: &mut Findings) {
    if seconds < BEHIND_SECONDS {
        return findings.ok(lane_of(name), format!("not behind{more}"));
    }
    let detail = format!(
        "a delta of {} min ago is not taken{more}: the notifier's log says what the endpoint answers \
         (docs/runbooks/QuellSubscriberBehind.md)",
        seconds / 60
    );
    findings.warn(lane_of(name), detail);
}

fn judge_dead(name: &str, n_dead: u64, since: &str, findings: &mut Findings) {
    let check = format!("dead letters of subscriber {name}");
    if n_dead == 0 {
        return findings.ok(check, format!("none {since}"));
    }
    let detail = format!(
        "{n_dead} deltas were given up {since}: `quell dead-letters list` says why, `quell dead-letters replay` sends them again"
    );
    findings.warn(check, detail);
}

/// Tells by the log how far a lane is.
async fn lane(log: &dyn Browse, subscriber: &Subscriber, until: Instant, findings: &mut Findings) {
    let Ok(now) = moment::now() else { return };
    let name = &subscriber.name;
    match timeout_at(until, open(log, &subscriber.group(Way::Deltas))).await {
        Ok(Ok(open)) => {
            let seconds = open.oldest_ms.map_or(0, |oldest| now.as_millis().saturating_sub(oldest).max(0) / 1_000);
            judge_wait(name, seconds, &format!(", {} records to go", open.records), findings);
        }
        Ok(Err(error)) => findings.warn(lane_of(name), format!("{error}: see the checks `kafka` and `topics`")),
        Err(_) => findings.warn(lane_of(name), "the log did not say in time: see the checks `kafka` and `topics`"),
    }
}

/// What a group has still to read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Open {
    records: u64,
    oldest_ms: Option<i64>,
}

async fn open(log: &dyn Browse, group: &str) -> Result<Open, BrowseError> {
    let read = |partition| async move {
        let (oldest, end) = log.range(topics::DELTAS, partition).await?;
        let next = log.committed(group, topics::DELTAS, partition).await?.unwrap_or(oldest).max(oldest);
        let records = end.saturating_sub(next);
        let first = if records > 0 { log.read(topics::DELTAS, partition, next, 1).await? } else { Vec::new() };
        Ok::<_, BrowseError>((records, first.first().map(|consumed| consumed.record.timestamp_ms)))
    };
    let partitions = stream::iter(0..log.partitions(topics::DELTAS)?);
    let found: Vec<_> = partitions.map(read).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().fold(Open::default(), |open, (records, first)| Open {
        records: open.records + records,
        oldest_ms: open.oldest_ms.into_iter().chain(first).min(),
    }))
}

/// How many deltas of each subscriber lie among the newest dead letters.
async fn dead_letters(log: &dyn Browse, until: Instant, findings: &mut Findings) -> Option<BTreeMap<String, u64>> {
    let now = moment::now().ok()?;
    match timeout_at(until, recently_dead(log, now)).await {
        Ok(Ok(dead)) => return Some(dead),
        Ok(Err(error)) => {
            findings.warn("dead letters of subscribers", format!("{error}: see the checks `kafka` and `topics`"));
        }
        Err(_) => findings
            .warn("dead letters of subscribers", "the log did not say in time: see the checks `kafka` and `topics`"),
    }
    None
}

async fn recently_dead(log: &dyn Browse, now: Timestamp) -> Result<BTreeMap<String, u64>, BrowseError> {
    let read = |partition| async move {
        let (oldest, end) = log.range(topics::DEAD_LETTER, partition).await?;
        let from = end.saturating_sub(DEAD_LETTERS).max(oldest);
        log.read(topics::DEAD_LETTER, partition, from, usize::try_from(DEAD_LETTERS).unwrap_or(usize::MAX)).await
    };
    let partitions = stream::iter(0..log.partitions(topics::DEAD_LETTER)?);
    let records: Vec<_> = partitions.map(read).buffer_unordered(AT_ONCE).try_collect().await?;
    let since = now.as_micros().saturating_sub(RECENT_HOURS * 3_600 * 1_000_000);
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    for value in records.iter().flatten().filter_map(|consumed| consumed.record.value.as_deref()) {
        if schemas::ready([value]).await.is_err() {
            continue;
        }
        let Ok(letter) = schemas::decode::<DeadLetter>(value) else { continue };
        if letter.stage == headers::NOTIFIER && letter.dead_at >= since {
            let subscriber = letter.headers.get(headers::SUBSCRIBER).cloned().unwrap_or_default();
            *dead.entry(subscriber).or_default() += 1;
        }
    }
    Ok(dead)
}

#[cfg(test)]
mod tests {
    use super::{super::endpoint::tests::endpoint, *};
    use event_log::{Header, Limits, Outputs, Polled, Record, Session as _, TopicSpec, Verdict, memory::MemoryLog};
    use http::Method;
    use std::borrow::Cow;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

    fn config(folder: &std::path::Path, subscribers: &[(&str, &str, &str)]) -> Config {
        let mut text = String::new();
        for (name, url, secret) in subscribers {
            let file = folder.join(name);
            std::fs::write(&file, secret).unwrap();
            text += &format!(
                "[[subscriber]]\nname = \"{name}\"\nurl = \"{url}\"\nallow_private = true\nsecrets = [\"file:{}\"]\n",
                file.display()
            );
        }
        service::config::parse("test", &text, []).unwrap()
    }

    async fn found(
        config: &Config,
        is_offline: bool,
        log: Option<&dyn Browse>,
        metrics: Option<&str>,
    ) -> Vec<(String, Health, String)> {
        let mut findings = Findings::default();
        check(config, is_offline, log, metrics.map(Samples::read).as_ref(), &mut findings).await;
        findings.0.into_iter().map(|found| (found.check, found.health, found.detail)).collect()
    }

    #[tokio::test]
    async fn endpoints_are_asked_and_get_no_delta() {
        use Health::*;
        let folder = tempfile::tempdir().unwrap();
        let (well, got) = endpoint(405).await;
        let well = format!("{well}?token=s3cret");
        let config = config(
            folder.path(),
            &[
                ("well", &well, SECRET),
                ("away", "http://127.0.0.1:1/?token=s3cret", SECRET),
                ("unsigned", &well, "whsec_short"),
            ],
        );
        let all = found(&config, false, None, None).await;
        assert_eq!(all.iter().map(|found| found.1).collect::<Vec<_>>(), [Ok, Fail, Fail], "{all:?}");
        assert_eq!(all[0].0, "subscriber well");
        assert!(all[1].2.contains("firewall") && all[2].2.contains("secret 1 of `secrets`"), "{all:?}");
        assert!(!format!("{all:?}").contains("s3cret") && !format!("{all:?}").contains("whsec_short"), "{all:?}");
        assert_eq!(*got.lock().unwrap(), [(Method::OPTIONS, 0)]);
        let offline = found(&config, true, None, None).await;
        assert_eq!(offline.iter().map(|found| found.1).collect::<Vec<_>>(), [Ok, Ok, Fail], "{offline:?}");
        assert_eq!(got.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn lanes_of_the_instance_here_are_told_by_its_figures() {
        use Health::*;
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[("crm", "http://127.0.0.1:1/", SECRET)]);
        let judged = async |oldest: u32, disabled: u32, dead: u32| {
            let metrics = format!(
                "quell_notifier_oldest_pending_seconds{{subscriber=\"crm\"}} {oldest}\n\
                 quell_notifier_disabled{{subscriber=\"crm\"}} {disabled}\n\
                 quell_notifier_dead_letters_total{{subscriber=\"crm\"}} {dead}\n\
                 quell_notifier_dead_letters_total{{subscriber=\"other\"}} 7\n"
            );
            let all = found(&config, true, None, Some(&metrics)).await;
            assert_eq!(
                (all[1].0.as_str(), all[2].0.as_str()),
                ("lane of subscriber crm", "dead letters of subscriber crm")
            );
            (all[1].1, all[1].2.clone(), all[2].1, all[2].2.clone())
        };
        let (lane, _, dead, _) = judged(20, 0, 0).await;
        assert_eq!((lane, dead), (Ok, Ok));
        let (lane, detail, dead, _) = judged(7_200, 0, 0).await;
        assert!(lane == Warn && detail.contains("120 min ago") && dead == Ok, "{detail}");
        let (lane, detail, dead, told) = judged(0, 1, 3).await;
        assert!(lane == Fail && detail.contains("410") && dead == Warn && told.contains("3 deltas"), "{detail} {told}");
        // An instance without lanes says nothing of them.
        assert_eq!(found(&config, true, None, Some("process_open_fds 3\n")).await.len(), 1);
    }

    fn log() -> MemoryLog {
        let topic = |name: &str| TopicSpec { name: name.into(), partitions: 2, retention_ms: Some(u64::MAX) };
        MemoryLog::new(&[topic(topics::DELTAS), topic(topics::DEAD_LETTER)])
    }

    fn append(log: &MemoryLog, topic: &str, partition: u32, value: Vec<u8>, timestamp_ms: i64) {
        let record = Record { key: None, value: Some(value.into()), headers: Vec::<Header>::new(), timestamp_ms };
        log.append_now(topic, Some(partition), record).unwrap();
    }

    fn letter(stage: &str, subscriber: &str, dead_at: i64) -> Vec<u8> {
        let letter = DeadLetter {
            stage: stage.to_owned(),
            reason: "undelivered".to_owned(),
            detail: String::new(),
            topic: topics::DELTAS.to_owned(),
            partition: 0,
            offset: 0,
            element: None,
            attempt: 1,
            receipt_id: String::new(),
            provider: String::new(),
            tenant: String::new(),
            key: None,
            value: None,
            headers: BTreeMap::from([(headers::SUBSCRIBER.to_owned(), subscriber.to_owned())]),
            dead_at,
        };
        schemas::encode(&letter).unwrap().to_vec()
    }

    /// Reads and commits one record of each partition.
    fn commit(log: &MemoryLog, group: &str) {
        let mut session = log.join(group, topics::DELTAS).unwrap();
        let limits = Limits { records_max: 2, bytes_max: 1_000, wait: Duration::ZERO };
        assert!(matches!(session.poll(&limits), Result::Ok(Polled::Assigned(_))));
        let Result::Ok(Polled::Batch(batch)) = session.poll(&limits) else { panic!("no batch") };
        assert_eq!(batch.records.len(), 2);
        let verdict = Verdict { fate: event_log::Fate::Emitted, outputs: Vec::new() };
        session.commit(&batch, &Outputs { verdicts: vec![verdict; 2] }).unwrap();
    }

    #[tokio::test]
    async fn lanes_of_others_are_told_by_the_log() {
        use Health::*;
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[("crm", "http://127.0.0.1:1/", SECRET)]);
        let now = moment::now().unwrap();
        let log = log();
        let hour = 3_600_000;
        append(&log, topics::DELTAS, 0, Vec::new(), now.as_millis() - 3 * hour);
        append(&log, topics::DELTAS, 1, Vec::new(), now.as_millis() - 3 * hour);
        append(&log, topics::DEAD_LETTER, 0, letter("notifier", "other", now.as_micros()), 0);
        append(&log, topics::DEAD_LETTER, 0, letter("normalizer", "crm", now.as_micros()), 0);
        append(&log, topics::DEAD_LETTER, 0, b"nonsense".to_vec(), 0);
        let told = async || {
            let all = found(&config, true, Some(&log), Some("process_open_fds 3\n")).await;
            all.into_iter().skip(1).map(|(_, health, detail)| (health, Cow::from(detail))).collect::<Vec<_>>()
        };
        let all = told().await;
        assert_eq!(all.iter().map(|told| told.0).collect::<Vec<_>>(), [Warn, Ok], "{all:?}");
        assert!(all[0].1.starts_with("a delta of 180 min ago is not taken, 2 records to go"), "{all:?}");
        commit(&log, "quell.notifier.crm");
        append(&log, topics::DELTAS, 1, Vec::new(), now.as_millis());
        append(&log, topics::DEAD_LETTER, 1, letter("notifier", "crm", now.as_micros()), 0);
        append(&log, topics::DEAD_LETTER, 1, letter("notifier", "crm", now.as_micros() - 25 * hour * 1_000), 0);
        let all = told().await;
        assert_eq!(all[0], (Ok, "not behind, 1 records to go".into()));
        assert!(all[1].0 == Warn && all[1].1.starts_with("1 deltas were given up in the last 24 hours"), "{all:?}");
    }
}
