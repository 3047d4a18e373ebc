//! Webhooks at a steady rate, each at its own moment whether those before were answered or not.

use crate::{load::answer, requests::GENERIC_10, requests::Keys};
use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

const CONNECTIONS: usize = 32;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Events of one webhook.
pub(super) const EVENTS: u64 = GENERIC_10.events;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) address: SocketAddr,
    pub(super) webhooks_per_second: f64,
    pub(super) lasting: Duration,
    /// The number of the first event.
    pub(super) first_event: u64,
    /// Whether receipts are kept.
    pub(super) keep: bool,
}

/// A webhook that was answered 202.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) receipt: String,
    /// When it was to be sent: a sender that is late is no excuse.
    pub(super) due: Instant,
    pub(super) answered: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) statuses: BTreeMap<u16, u64>,
    /// In no order; empty where receipts are not kept.
    pub(super) sent: Vec<Sent>,
    /// By how much the sender was late at worst.
    pub(super) late: Duration,
}

impl Outcome {
    /// Webhooks that were answered.
    pub(super) fn webhooks(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Those that were not taken.
    pub(super) fn refused(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status != 202).map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        other.statuses.into_iter().for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        self.sent.extend(other.sent);
        self.late = self.late.max(other.late);
    }
}

/// Sends it all. Blocks.
pub(super) fn run(keys: &Arc<Keys>, pace: Pace) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (begin, next) = (Instant::now() + Duration::from_millis(200), Arc::new(AtomicU64::new(0)));
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (keys, next) = (Arc::clone(keys), Arc::clone(&next));
            senders.spawn(async move { send(&keys, pace, begin, &next).await });
        }
        let mut outcome = Outcome::default();
        while let Some(sender) = senders.join_next().await {
            outcome.add(sender??);
        }
        Ok(outcome)
    })
}

async fn send(keys: &Keys, pace: Pace, begin: Instant, next: &AtomicU64) -> anyhow::Result<Outcome> {
    let mut stream = TcpStream::connect(pace.address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (mut outcome, mut buffer) = (Outcome::default(), Vec::with_capacity(4_096));
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_secs_f64(number as f64 / pace.webhooks_per_second);
        if after >= pace.lasting {
            return Ok(outcome);
        }
        let request = keys.request(GENERIC_10, pace.first_event + number * EVENTS)?;
        let due = begin + after;
        tokio::time::sleep_until(due.into()).await;
        outcome.late = outcome.late.max(due.elapsed());
        let exchange = async {
            stream.write_all(&request).await.context("the gateway closed the connection")?;
            answer(&mut stream, &mut buffer).await
        };
        let status = tokio::time::timeout(ANSWER_WITHIN, exchange).await.context("the gateway did not answer")??;
        *outcome.statuses.entry(status).or_default() += 1;
        if pace.keep && status == 202 {
            let receipt = receipt(&buffer).context("an answer without a receipt")?;
            outcome.sent.push(Sent { receipt, due, answered: due.elapsed() });
        }
    }
}

/// The receipt in an answer.
fn receipt(answer: &[u8]) -> Option<String> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_slice(answer.get(head + 4..)?).ok()?;
    Some(body["receipt_id"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_from_an_answer() {
        let answer =
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 45\r\n\r\n{\"status\":\"accepted\",\"receipt_id\":\"r0.1.2.x\"}";
        assert_eq!(receipt(answer).as_deref(), Some("r0.1.2.x"));
        assert_eq!(receipt(b"HTTP/1.1 202 Accepted\r\n\r\n{}"), None);
    }
}
