//! Webhooks seen lately, by source: in the log's newest records, and in what the instance that runs here counted.

use super::{Findings, Health, clocks, clocks::Ahead, running::Samples};
use crate::{commands::moment, config::Config};
use domain::Timestamp;
use event_log::{Browse, BrowseError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemas::{topics, wire::RawWebhook};
use std::collections::BTreeMap;

/// Of each partition so many of the newest records are read.
const TAIL_RECORDS: u64 = 100;
/// Partitions read at once.
const AT_ONCE: usize = 4;
/// A source that was silent for longer is told of.
const QUIET_HOURS: i64 = 24;

/// What the newest records of the log tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Records looked at.
    webhooks: u64,
    /// When the oldest of them came.
    since: Option<Timestamp>,
    /// When the newest of each provider's source came.
    newest: BTreeMap<(String, String), Timestamp>,
    /// How far the brokers' clock runs ahead of the gateways', in milliseconds: of the record that tells the least.
    brokers_ahead_ms: Option<i64>,
    /// The latest of the brokers' own times.
    newest_append_ms: Option<i64>,
}

impl Tail {
    /// Reads the newest records of every partition.
    pub(super) async fn read(log: &dyn Browse) -> Result<Self, BrowseError> {
        let partitions = stream::iter(0..log.partitions(topics::RAW)?);
        let read = |partition| async move {
            let (oldest, end) = log.range(topics::RAW, partition).await?;
            let from = end.saturating_sub(TAIL_RECORDS).max(oldest);
            log.read(topics::RAW, partition, from, usize::try_from(TAIL_RECORDS).unwrap_or(usize::MAX)).await
        };
        let records: Vec<_> = partitions.map(read).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut tail = Self::default();
        for consumed in records.iter().flatten() {
            let Some(value) = &consumed.record.value else { continue };
            let readable = schemas::ready([&value[..]]).await.is_ok();
            // What cannot be read is the normalizer's to tell: it goes to the dead letters.
            if let Some(raw) = readable.then(|| schemas::decode::<RawWebhook>(value).ok()).flatten() {
                tail.add(&raw, consumed.record.timestamp_ms);
            }
        }
        Ok(tail)
    }

    fn add(&mut self, raw: &RawWebhook, append_ms: i64) {
        let Ok(received) = Timestamp::from_micros(raw.received_at) else { return };
        self.webhooks += 1;
        self.since = Some(self.since.map_or(received, |since| since.min(received)));
        let newest = self.newest.entry((raw.provider.clone(), raw.source.clone())).or_insert(received);
        *newest = received.max(*newest);
        if append_ms > 0 {
            let ahead = append_ms.saturating_sub(received.as_millis());
            self.brokers_ahead_ms = Some(self.brokers_ahead_ms.map_or(ahead, |least| least.min(ahead)));
            self.newest_append_ms = self.newest_append_ms.max(Some(append_ms));
        }
    }

    /// What the records tell of the brokers' clock beside ours: one that stamped a record before it was received runs
    /// behind, one that stamped a record that is still to come runs ahead. The rest is the way to the log.
    fn brokers(&self, now: Timestamp) -> Option<Ahead> {
        let at_least = self.newest_append_ms?.saturating_sub(now.as_millis()) / 1_000;
        Some(Ahead { at_least, at_most: self.brokers_ahead_ms? / 1_000 })
    }
}

/// Tells of each configured source when its last webhook came, as far as the newest records say.
pub(super) fn judge(config: &Config, tail: &Tail, now: Timestamp, findings: &mut Findings) {
    if let Some(brokers) = tail.brokers(now) {
        clocks::compare("the brokers", brokers, findings);
    }
    for source in &config.sources {
        let check = format!("webhooks {}/{}", source.provider, source.name);
        let newest = tail.newest.get(&(source.provider.clone(), source.name.clone()));
        let (health, detail) = match (newest, tail.since) {
            (Some(newest), _) => {
                let ago = now.as_seconds().saturating_sub(newest.as_seconds()).max(0);
                if ago < QUIET_HOURS * 3_600 {
                    (Health::Ok, format!("the last came {} ago", span(ago)))
                } else {
                    (Health::Warn, format!("the last came {} ago: {}", span(ago), ask(source.provider.as_str())))
                }
            }
            (None, Some(since)) => {
                let detail = format!(
                    "none among the newest {} in the log, back to {since}: {}",
                    tail.webhooks,
                    ask(source.provider.as_str())
                );
                (Health::Warn, detail)
            }
            (None, None) => {
                (Health::Warn, format!("the log holds none of any source: {}", ask(source.provider.as_str())))
            }
        };
        findings.add(check, health, detail);
    }
}

/// Tells of each source what the instance that runs here answered to its webhooks since its start.
pub(super) fn judge_answers(config: &Config, running: &Samples, findings: &mut Findings) {
    const NAME: &str = "quell_gateway_webhooks_total";
    if !running.has("quell_gateway_in_flight_requests") {
        return;
    }
    for source in &config.sources {
        let labels = [("provider", source.provider.as_str()), ("source", source.name.as_str())];
        let (taken, refused) =
            running.sums_by(NAME, &labels, "status").into_iter().fold((0.0, 0.0), |(taken, refused), (status, n)| {
                match status.starts_with('2') {
                    true => (taken + n, refused),
                    false => (taken, refused + n),
                }
            });
        let check = format!("answers {}/{}", source.provider, source.name);
        if refused > 0.0 && taken == 0.0 {
            let mut causes: Vec<(String, f64)> = running.sums_by(NAME, &labels, "cause").into_iter().collect();
            causes.sort_by(|a, b| b.1.total_cmp(&a.1));
            let cause = causes.first().map_or("unknown", |(cause, _)| cause.as_str());
            let detail = format!(
                "all {refused} webhooks since the start were refused, most for {cause}: compare the secrets of this source \
                 with the provider's page, and public_url with the URL entered there (docs/providers)"
            );
            findings.warn(check, detail);
        } else if taken > 0.0 {
            findings.ok(check, format!("{taken} webhooks taken since the start, {refused} refused"));
        } else {
            findings.warn(check, format!("no webhook since the start: {}", ask(&source.provider)));
        }
    }
}

fn ask(provider: &str) -> String {
    format!(
        "send a test event from {provider}'s console; if none comes, look at the URL there, DNS, TLS and the firewall"
    )
}

/// `3 days`, `5 hours`, `12 s`.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Looks into the log, where there is one, and at what the instance counted.
pub(super) async fn check(
    config: &Config,
    log: Option<&dyn Browse>,
    running: Option<&Samples>,
    findings: &mut Findings,
) {
    if let (Some(log), Ok(now)) = (log, moment::now()) {
        match Tail::read(log).await {
            Ok(tail) => judge(config, &tail, now, findings),
            Err(error) => {
                findings.warn("webhooks", format!("{error}: see the checks `kafka` and `topics`"));
            }
        }
    }
    if let Some(running) = running {
        judge_answers(config, running, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "0123456789abcdef").unwrap();
        let secret = format!("secrets = [\"file:{}\"]", file.display());
        let text = format!(
            "[[source]]\nprovider = \"drip\"\n{secret}\n[[source]]\nprovider = \"drip\"\nname = \"b\"\n{secret}\n"
        );
        service::config::parse("test", &text, []).unwrap()
    }

    fn raw(source: &str, received_at: i64) -> RawWebhook {
        RawWebhook {
            receipt_id: "r".to_owned(),
            provider: "drip".to_owned(),
            source: source.to_owned(),
            tenant: "default".to_owned(),
            received_at: received_at * 1_000_000,
            method: "POST".to_owned(),
            url: String::new(),
            headers: BTreeMap::new(),
            body: Vec::new(),
            verified: "none".to_owned(),
            shadow: false,
        }
    }

    /// Webhooks as source, time of receipt and time of the broker, both in seconds from now.
    fn judged(webhooks: &[(&str, i64, i64)]) -> Vec<(String, Health, String)> {
        let mut tail = Tail::default();
        for (source, received, appended) in webhooks {
            tail.add(&raw(source, NOW + received), (NOW + appended) * 1_000);
        }
        let mut findings = Findings::default();
        judge(&config(), &tail, Timestamp::from_seconds(NOW).unwrap(), &mut findings);
        findings.0.into_iter().map(|found| (found.check, found.health, found.detail)).collect()
    }

    #[test]
    fn a_source_is_heard_of_or_quiet_or_unheard_of() {
        use Health::*;
        let found = judged(&[("default", -50, -50), ("default", -10, -10), ("b", -200_000, -200_000)]);
        assert_eq!((found[1].1, found[1].2.as_str()), (Ok, "the last came 10 s ago"));
        assert!(found[2].1 == Warn && found[2].2.starts_with("the last came 2 days ago: send"), "{found:?}");
        let found = judged(&[("default", -50, -50)]);
        assert!(found[2].1 == Warn && found[2].2.contains("none among the newest 1 in the log"), "{found:?}");
        let found = judged(&[]);
        assert!(found.iter().all(|found| found.1 == Warn && found.2.contains("holds none")), "{found:?}");
    }

    #[test]
    fn the_brokers_clock_shows_in_the_records() {
        let clock = |webhooks: &[(&str, i64, i64)]| judged(webhooks)[0].clone();
        assert_eq!(clock(&[("b", -10, -10), ("b", -9, -8)]).1, Health::Ok);
        // Spooled for a day: its way says nothing, as the broker's time lies in the past.
        assert_eq!(clock(&[("b", -90_000, -10)]).1, Health::Ok);
        let behind = clock(&[("b", -10, -310)]);
        assert!(behind.1 == Health::Fail && behind.2.contains("300 s behind"), "{behind:?}");
        let ahead = clock(&[("b", -10, 20)]);
        assert!(ahead.1 == Health::Warn && ahead.2.contains("20 s ahead"), "{ahead:?}");
    }

    #[test]
    fn answers_are_counted_by_source() {
        let judged = |metrics: &str| {
            let mut findings = Findings::default();
            judge_answers(&config(), &Samples::read(metrics), &mut findings);
            findings.0.into_iter().map(|found| (found.health, found.detail)).collect::<Vec<_>>()
        };
        let line = |source, status, cause, n| {
            format!(
                "quell_gateway_webhooks_total{{provider=\"drip\",source=\"{source}\",status=\"{status}\",cause=\"{cause}\"}} {n}\n"
            )
        };
        let gauge = "quell_gateway_in_flight_requests 0\n";
        let found = judged(&format!(
            "{gauge}{}{}{}",
            line("default", 202, "taken", 5),
            line("default", 401, "signature", 1),
            line("b", 401, "signature", 3)
        ));
        assert_eq!(found[0], (Health::Ok, "5 webhooks taken since the start, 1 refused".to_owned()));
        assert!(
            found[1].0 == Health::Warn && found[1].1.contains("all 3 webhooks") && found[1].1.contains("signature")
        );
        assert!(judged(gauge).iter().all(|found| found.0 == Health::Warn && found.1.starts_with("no webhook since")));
        // No gateway runs in it.
        assert_eq!(judged("process_open_fds 3\n"), []);
    }
}
