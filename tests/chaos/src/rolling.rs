//! Every instance replaced under load, one after the other, as a deployment does it.

use crate::{fleet::Fleet, http::Http, journal::Journal, settle};
use event_log::kafka::KafkaLog;
use std::time::{Duration, Instant};

/// A lag below which the pipeline keeps up: some seconds of the usual load.
const LAG_NORMAL: u64 = 500;
/// How long the lag may take to be normal again.
const NORMAL_AFTER_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Rolled {
    pub(crate) n_replaced: u64,
    pub(crate) seconds: f64,
    /// From the last instance's readiness until every group kept up.
    pub(crate) normal_after_seconds: f64,
    pub(crate) wrong: Vec<String>,
}

/// Replaces them all.
pub(crate) async fn roll(fleet: &Fleet, http: &Http, log: &KafkaLog, journal: &Journal) -> anyhow::Result<Rolled> {
    let begun = Instant::now();
    let mut rolled = Rolled::default();
    for index in 0..fleet.len() {
        let replaced = fleet.replace(index, http).await?;
        journal.say(&format!("replaced {replaced}"));
        rolled.n_replaced += 1;
        rolled.wrong.extend(replaced.unclean);
    }
    rolled.seconds = begun.elapsed().as_secs_f64();
    let ready = Instant::now();
    loop {
        let lags = settle::lags(log).await;
        if lags.as_ref().is_some_and(|lags| lags.iter().all(|lag| *lag <= LAG_NORMAL)) {
            break;
        }
        if ready.elapsed() > NORMAL_AFTER_MAX {
            rolled.wrong.push(format!("after {} s the lags are {lags:?}", NORMAL_AFTER_MAX.as_secs()));
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    rolled.normal_after_seconds = ready.elapsed().as_secs_f64();
    journal.say(&format!("all replaced; the lag was normal after {:.1} s", rolled.normal_after_seconds));
    Ok(rolled)
}
