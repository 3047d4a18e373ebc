//! Sends the webhooks over several connections at once, and again what is not taken, as providers do.

use crate::{
    http::{Answered, Http, call},
    progress::Progress,
};
use anyhow::bail;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::SignedRequest;

/// Connections at once.
pub(crate) const CONNECTIONS: usize = 32;
const ATTEMPTS_MAX: u32 = 8;
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Webhooks answered 2xx, each once.
    pub(crate) accepted: usize,
    /// Requests by status; 0 is no answer.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// From request to answer, shortest first; every request that was answered.
    pub(crate) latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Played {
    /// The latency that so many of a hundred requests stay within.
    pub(crate) fn percentile(&self, hundredths: usize) -> Duration {
        let rank = (self.latencies.len() * hundredths).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }

    /// The mean latency.
    pub(crate) fn mean(&self) -> Duration {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX).max(1);
        self.latencies.iter().sum::<Duration>() / count
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }
}

/// Sends all, in this order as far as the connections allow.
pub(crate) async fn play(
    http: &Http,
    requests: Vec<Arc<SignedRequest>>,
    progress: &Progress,
) -> anyhow::Result<Played> {
    let begun = Instant::now();
    let bar = progress.bar("sending webhooks", requests.len());
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (http, requests, next, bar) = (http.clone(), requests.clone(), next.clone(), bar.clone());
        connections.spawn(async move {
            let mut played = Played::default();
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                deliver(&http, request, &mut played).await?;
                bar.inc(1);
            }
            anyhow::Ok(played)
        });
    }
    let mut all = Played::default();
    while let Some(played) = connections.join_next().await {
        all.add(played??);
    }
    bar.finish_and_clear();
    all.latencies.sort_unstable();
    all.took = begun.elapsed();
    Ok(all)
}

/// One webhook, until it is taken.
async fn deliver(http: &Http, request: &SignedRequest, played: &mut Played) -> anyhow::Result<()> {
    let call = call(request)?;
    let mut backoff = BACKOFF_FIRST;
    let mut last = String::new();
    for attempt in 1..=ATTEMPTS_MAX {
        let begun = Instant::now();
        let wait = match http.send(call.clone()).await {
            Ok(Answered { status, retry_after }) => {
                played.latencies.push(begun.elapsed());
                *played.statuses.entry(status).or_default() += 1;
                if (200..300).contains(&status) {
                    played.accepted += 1;
                    return Ok(());
                }
                last = format!("the answer was {status}");
                retry_after.unwrap_or_default()
            }
            Err(error) => {
                *played.statuses.entry(0).or_default() += 1;
                last = error.to_string();
                Duration::ZERO
            }
        };
        if attempt < ATTEMPTS_MAX {
            tokio::time::sleep(wait.max(backoff).min(BACKOFF_MAX)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
    bail!("a webhook to {} was not taken in {ATTEMPTS_MAX} attempts: {last}", request.url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let check = |millis: &[u64], hundredths: usize, expected: u64| {
            let latencies = millis.iter().copied().map(Duration::from_millis).collect();
            let played = Played { latencies, ..Played::default() };
            assert_eq!(played.percentile(hundredths), Duration::from_millis(expected), "{millis:?} {hundredths}");
        };
        check(&[], 99, 0);
        check(&[7], 50, 7);
        check(&[1, 2, 3, 4], 50, 2);
        check(&[1, 2, 3, 4], 99, 4);
        check(&(1..=200).collect::<Vec<_>>(), 99, 198);
    }
}
