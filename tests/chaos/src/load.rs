//! The senders: as providers do, they send again whatever was not answered 2xx, to any gateway, until it is.

use crate::{
    dice::Dice,
    http::Http,
    providers::Providers,
    webhook::{Signer, Webhook},
};
use serde_json::Value;
use service::http_client::HttpError;
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Webhooks under way at once.
pub(crate) const SENDERS: usize = 24;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A webhook that was answered 2xx.
#[derive(Debug, Clone)]
pub(crate) struct Obligation {
    pub(crate) receipt: String,
    /// Of the body as it was sent.
    pub(crate) body: u64,
}

/// What the senders saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) obligations: Vec<Obligation>,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Nobody was there.
    pub(crate) unsent: u64,
    /// Sent, and no answer: taken, or not.
    pub(crate) unanswered: u64,
    /// What no gateway should ever say to a good webhook.
    pub(crate) wrong: Vec<String>,
}

/// All senders, and what they see.
pub(crate) struct Load {
    pub(crate) webhooks: Vec<Arc<Webhook>>,
    pub(crate) gateways: Vec<String>,
    pub(crate) signer: Signer,
    pub(crate) providers: Arc<Providers>,
    pub(crate) http: Http,
    pub(crate) seed: u64,
    /// Over how long the load is spread, if the pipeline can.
    pub(crate) span: Duration,
    next: AtomicUsize,
    /// The pipeline is behind: wait.
    pub(crate) hold: AtomicBool,
    happened: Mutex<BTreeSet<u64>>,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("webhooks", &self.webhooks.len()).finish_non_exhaustive()
    }
}

/// What [`Load`] is made of.
pub(crate) struct Parts {
    pub(crate) webhooks: Vec<Arc<Webhook>>,
    pub(crate) gateways: Vec<String>,
    pub(crate) signer: Signer,
    pub(crate) providers: Arc<Providers>,
    pub(crate) seed: u64,
    pub(crate) span: Duration,
}

/// A body in brief.
pub(crate) fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Load {
    pub(crate) fn new(parts: Parts) -> anyhow::Result<Arc<Self>> {
        let Parts { webhooks, gateways, signer, providers, seed, span } = parts;
        let http = Http::new(SENDERS)?;
        Ok(Arc::new(Self {
            webhooks,
            gateways,
            signer,
            providers,
            http,
            seed,
            span,
            next: AtomicUsize::new(0),
            hold: AtomicBool::new(false),
            happened: Mutex::default(),
            seen: Mutex::default(),
        }))
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends everything; returns when all of it was answered 2xx.
    pub(crate) async fn run(self: &Arc<Self>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut senders = tokio::task::JoinSet::new();
        for number in 0..SENDERS {
            let load = Arc::clone(self);
            senders.spawn(async move { load.send_all(begun, Dice::new(load.seed, 100 + number as u64)).await });
        }
        while let Some(ended) = senders.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn send_all(&self, begun: Instant, mut dice: Dice) -> anyhow::Result<()> {
        let count = self.webhooks.len().max(1);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(webhook) = self.webhooks.get(index) else { return Ok(()) };
            let due = begun + self.span.mul_f64(index as f64 / count as f64);
            tokio::time::sleep_until(due.into()).await;
            while self.hold.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // The provider acts first, and then tells.
            if self.happened.lock().unwrap_or_else(PoisonError::into_inner).insert(webhook.number) {
                webhook.facts.iter().for_each(|fact| self.providers.happened(fact));
            }
            self.deliver(webhook, &mut dice).await?;
        }
    }

    /// One webhook, until it is answered 2xx.
    async fn deliver(&self, webhook: &Webhook, dice: &mut Dice) -> anyhow::Result<()> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let at = dice.index(self.gateways.len());
            let gateway = format!("http://{}", self.gateways.get(at).map_or("", String::as_str));
            let request = self.signer.sign(webhook, &gateway, unix_now())?;
            let body = digest(&request.body);
            match self.http.send(request).await {
                Ok(answer) => {
                    let status = answer.status.as_u16();
                    let mut seen = self.seen();
                    *seen.statuses.entry(status).or_default() += 1;
                    let said = || String::from_utf8_lossy(&answer.body).into_owned();
                    if (200..300).contains(&status) {
                        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                        match told["receipt_id"].as_str() {
                            Some(receipt) => seen.obligations.push(Obligation { receipt: receipt.to_owned(), body }),
                            None => seen.wrong.push(format!("{status} without a receipt: {}", said())),
                        }
                        return Ok(());
                    }
                    if status != 429 && status < 500 {
                        // No provider would try again.
                        seen.wrong.push(format!("{} was answered {status}: {}", webhook.teller.word(), said()));
                        return Ok(());
                    }
                }
                Err(HttpError::Connect(_)) => self.seen().unsent += 1,
                Err(_) => self.seen().unanswered += 1,
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// How many were answered 2xx, and how many there are.
    pub(crate) fn progress(&self) -> (usize, usize) {
        (self.seen().obligations.len(), self.webhooks.len())
    }
}
