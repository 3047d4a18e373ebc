//! What the running system says of itself: its metrics, and everything in force.

use crate::{http::Http, progress::Progress, story::Standings};
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::time::{Duration, Instant};

const SETTLE_MAX: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(200);

/// One line of the export: a recipient suppressed in a scope.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) channel: String,
    pub(crate) recipient: String,
    pub(crate) scope: String,
    pub(crate) reason: String,
    /// Who told first of what counts.
    pub(crate) provider: String,
}

/// Everything in force.
pub(crate) async fn export(http: &Http, lookup: &str) -> anyhow::Result<Vec<Row>> {
    let lines = http.get(&format!("http://{lookup}/v1/export")).await?;
    let read =
        |line| serde_json::from_str(line).with_context(|| format!("a line of the export cannot be read: {line}"));
    lines.lines().map(read).collect()
}

/// What is in force for each recipient of one channel.
pub(crate) fn standings(rows: &[Row], channel: &str) -> Standings {
    let mut standings = Standings::new();
    for row in rows.iter().filter(|row| row.channel == channel) {
        standings.entry(row.recipient.clone()).or_default().push((row.scope.clone(), row.reason.clone()));
    }
    standings
}

/// A reading of `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    pub(crate) async fn read(http: &Http, admin: &str) -> anyhow::Result<Self> {
        Ok(Self::parse(&http.get(&format!("http://{admin}/metrics")).await?))
    }

    /// The text format of Prometheus, as far as it is used here.
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sum of a counter's series whose labels hold this text, such as `stage="normalizer"`.
    pub(crate) fn sum(&self, name: &str, labels: &str) -> u64 {
        let of = |series: &str| match series.strip_prefix(name) {
            Some(rest) => (rest.is_empty() || rest.starts_with('{')) && rest.contains(labels),
            None => false,
        };
        let sum: f64 = self.0.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum();
        // A counter: whole and not negative.
        sum as u64
    }

    fn records(&self, stage: &str) -> u64 {
        self.sum("quell_stage_records_total", &format!("stage=\"{stage}"))
    }
}

/// An alarm that is on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Alarm {
    pub(crate) alarm: String,
    /// What is wrong, in a sentence.
    pub(crate) summary: String,
}

/// The alarms that are on, once this one is among them; without it if it does not come.
pub(crate) async fn alarms(http: &Http, admin: &str, awaited: &str) -> anyhow::Result<Vec<Alarm>> {
    #[derive(Deserialize)]
    struct Alarms {
        firing: Vec<Alarm>,
    }
    let begun = Instant::now();
    loop {
        let text = http.get(&format!("http://{admin}/alarms")).await?;
        let Alarms { firing } = serde_json::from_str(&text).context("the alarms cannot be read")?;
        if firing.iter().any(|one| one.alarm == awaited) || begun.elapsed() > SETTLE_MAX {
            return Ok(firing);
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// How far the records have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Everything is decided, and this account has been told.
    Told(&'static str),
    /// Every one of these accounts has been told.
    AllTold(&'static [&'static str]),
}

/// Waits until so many raw webhooks have gone through every stage: what goes in has to come out, by the stages' own
/// counts.
pub(crate) async fn settle(
    http: &Http,
    admin: &str,
    webhooks: usize,
    until: Until,
    progress: &Progress,
) -> anyhow::Result<Metrics> {
    let begun = Instant::now();
    let accounts = match &until {
        Until::Told(one) => std::slice::from_ref(one),
        Until::AllTold(accounts) => accounts,
    };
    let bar = progress.bar("deltas told to providers", 0);
    loop {
        let metrics = Metrics::read(http, admin).await?;
        let webhooks = u64::try_from(webhooks).unwrap_or(u64::MAX);
        let normalized = metrics.records("normalizer");
        let events = metrics.sum("quell_normalizer_events_total", "");
        let decided = metrics.records("suppressor");
        let deltas = metrics.sum("quell_suppressor_deltas_total", "");
        let told: Vec<u64> =
            accounts.iter().map(|account| metrics.records(&format!("quell.syncer.{account}"))).collect();
        bar.set_length(deltas * u64::try_from(told.len()).unwrap_or(1));
        bar.set_position(told.iter().sum());
        if normalized >= webhooks && decided >= events && told.iter().all(|told| *told >= deltas) {
            bar.finish_and_clear();
            return Ok(metrics);
        }
        if begun.elapsed() > SETTLE_MAX {
            bail!(
                "not everything was processed in {} s: {normalized} of {webhooks} webhooks normalized, {decided} of \
                 {events} events decided, of {deltas} deltas {told:?} told to {accounts:?}",
                SETTLE_MAX.as_secs()
            );
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_by_label() {
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{stage=\"s-0\",x=\"1\"} 3\n\
                    a_total{stage=\"s-1\",x=\"1\"} 4\na_total_other{stage=\"s-0\"} 100\nplain 7\n";
        let metrics = Metrics::parse(text);
        let check = |name: &str, labels: &str, expected: u64| assert_eq!(metrics.sum(name, labels), expected, "{name}");
        check("a_total", "", 7);
        check("a_total", "stage=\"s-0", 3);
        check("a_total", "stage=\"s-2", 0);
        check("plain", "", 7);
        check("absent", "", 0);
    }

    #[test]
    fn all_that_is_in_force_for_a_recipient_shows() {
        let row = |channel: &str, scope: &str, reason: &str| Row {
            channel: channel.to_owned(),
            recipient: "a@x.example".to_owned(),
            scope: scope.to_owned(),
            reason: reason.to_owned(),
            provider: "drip".to_owned(),
        };
        let rows =
            [row("email", "all", "hard_bounce"), row("email", "marketing", "unsubscribe"), row("sms", "all", "manual")];
        let own = |scope: &str, reason: &str| (scope.to_owned(), reason.to_owned());
        let expected = vec![own("all", "hard_bounce"), own("marketing", "unsubscribe")];
        assert_eq!(standings(&rows, "email"), Standings::from([("a@x.example".to_owned(), expected)]));
    }
}
