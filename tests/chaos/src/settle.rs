//! Waits until everything that was sent has gone its whole way.

use crate::{
    deltas,
    fleet::Fleet,
    http::Http,
    instance::Role,
    journal::Journal,
    load::{Load, unix_now},
    providers::ACCOUNTS,
    topic,
};
use anyhow::bail;
use event_log::kafka::KafkaLog;
use schemas::topics;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

const LOOK: Duration = Duration::from_secs(1);
const SAY: Duration = Duration::from_secs(5);
/// Records before the suppressors and normalizers at which the senders wait. A log that is away holds nobody: that is what
/// spools are for.
const LAG_MAX: u64 = 6_000;
/// How long an end that passed may wait for its event.
const EXPIRY_MAX: Duration = Duration::from_secs(90);

/// Every group with the topic that it works through.
fn groups() -> Vec<(String, &'static str)> {
    let inner = [(topics::NORMALIZERS.to_owned(), topics::RAW), (topics::SUPPRESSORS.to_owned(), topics::EVENTS)];
    let lanes = ACCOUNTS.map(|account| (format!("quell.syncer.{account}"), topics::DELTAS));
    inner.into_iter().chain(lanes).collect()
}

/// How far each group is behind: normalizers, suppressors, then the lanes. None while the log is away.
pub(crate) async fn lags(log: &KafkaLog) -> Option<Vec<u64>> {
    let mut lags = Vec::new();
    for (group, topic) in groups() {
        lags.push(topic::lag(log, &group, topic).await.ok()?);
    }
    Some(lags)
}

/// Lets the senders wait while the pipeline is behind, and says how far they are.
pub(crate) async fn govern(load: Arc<Load>, log: KafkaLog, journal: Journal) {
    let mut said = Instant::now();
    loop {
        let lags = lags(&log).await;
        // Lanes are as slow as their providers: nobody waits for them.
        let is_behind = lags.iter().flat_map(|lags| lags.iter().take(2)).any(|lag| *lag > LAG_MAX);
        load.hold.store(is_behind, Ordering::Relaxed);
        if said.elapsed() >= SAY {
            said = Instant::now();
            let (done, all) = load.progress();
            let state = lags.map_or_else(|| "log away".to_owned(), |lags| format!("lags {lags:?}"));
            journal.say(&format!("{done} of {all} webhooks answered 2xx, {state}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Until the ends that were made to pass have passed (`ends` in seconds), spools are empty, every group has worked through
/// its topic, and every end that passed has been told.
pub(crate) async fn settled(
    log: &KafkaLog,
    fleet: &Fleet,
    http: &Http,
    journal: &Journal,
    ends: i64,
    max: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut quiet, mut said, mut caught_up) = (0, Instant::now(), None);
    loop {
        let spooled = fleet.metric(http, Role::Gateway, "quell_gateway_spool_records").await;
        let refused = fleet.metric(http, Role::Gateway, "quell_gateway_spool_refused_records").await;
        let mut behind = Vec::new();
        for (group, topic) in groups() {
            behind.push(topic::behind(log, &group, topic).await.ok());
        }
        let is_done = unix_now() > ends
            && spooled == Some(0.0)
            && refused == Some(0.0)
            && behind.iter().all(|behind| *behind == Some(0));
        quiet = if is_done { quiet + 1 } else { 0 };
        if quiet >= 2 {
            let since = caught_up.get_or_insert_with(Instant::now);
            let overdue = deltas::overdue(log, unix_now()).await?;
            if overdue == 0 || since.elapsed() > EXPIRY_MAX {
                return Ok(());
            }
            quiet = 1;
            if said.elapsed() >= SAY {
                said = Instant::now();
                journal.say(&format!("{overdue} suppressions have ended, but nobody was told yet"));
            }
        } else if said.elapsed() >= SAY {
            said = Instant::now();
            journal.say(&format!("spooled {spooled:?}, partitions left by group {behind:?}"));
        }
        if begun.elapsed() > max {
            bail!("not settled after {} s: spooled {spooled:?}, partitions left by group {behind:?}", max.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}
