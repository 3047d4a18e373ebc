//! A provider and the lanes that tell it: its lists in memory, calls that fail with and without their effect, and time that
//! stands still until the scheduler lets it pass.

use crate::{Bug, Invariant, Red, fold::Fold, weather::pause};
use async_trait::async_trait;
use domain::{Channel, Scope, Tenant};
use event_log::{
    Browse, BrowseError, Consumed,
    memory::{MemoryLog, SplitMix64},
};
use providers::suppression_api::{ApiAnswer, ApiRequest};
use schemas::topics;
use service::Clock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use syncer::{Account, AccountConfig, ApiError, Lane, Metrics, ProviderApi};
use testkit::fake::{Call, FakeApi, FakeProvider};
use tokio::runtime::Runtime;

const STREAM: &str = "broadcast";
const TOKEN: &str = "token-of-a-world";
const REGION: &str = "fr-par";
const DOMAIN_ID: &str = "domain-of-a-world";

/// Whose lists a world has. Both have one for every scope but categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One call for an edit, and a result for each address.
    Postmark,
    /// A removal of several calls: entries go by an id that is looked up first. What is there already is a conflict.
    Scaleway,
}

impl Kind {
    fn of(seed: u64) -> Self {
        if seed % 4 < 2 { Self::Postmark } else { Self::Scaleway }
    }

    fn fake(self) -> FakeProvider {
        match self {
            Self::Postmark => FakeProvider::Postmark { token: TOKEN.to_owned(), streams: vec![STREAM.to_owned()] },
            Self::Scaleway => FakeProvider::Scaleway {
                secret: TOKEN.to_owned(),
                region: REGION.to_owned(),
                domain_id: DOMAIN_ID.to_owned(),
            },
        }
    }

    /// The fake's name of the list.
    fn list(self) -> &'static str {
        match self {
            Self::Postmark => STREAM,
            Self::Scaleway => "blocklist",
        }
    }
}

/// The name of the lanes' group.
pub(crate) const LANES: &str = "quell.syncer.world";

/// More deltas than any world has.
const LATER: u64 = 1 << 32;

/// The provider, with its moods.
#[derive(Debug)]
struct Provider {
    kind: Kind,
    api: FakeApi,
    random: Mutex<SplitMix64>,
    /// Calls in a hundred that fail.
    fails: AtomicU64,
}

/// What becomes of a call.
enum Mood {
    Answers,
    /// A status, without the effect.
    Status(u16),
    /// No answer, without the effect.
    Lost,
    /// No answer, after the effect.
    Unheard,
    /// No connection.
    Unsent,
}

impl Provider {
    fn mood(&self) -> Mood {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if random.below(100) >= self.fails.load(Ordering::Relaxed) {
            return Mood::Answers;
        }
        match random.below(6) {
            0 => Mood::Status(503),
            1 => Mood::Status(429),
            2 => Mood::Lost,
            3 | 4 => Mood::Unheard,
            _ => Mood::Unsent,
        }
    }
}

#[async_trait]
impl ProviderApi for Provider {
    async fn send(&self, request: &ApiRequest) -> Result<ApiAnswer, ApiError> {
        pause().await;
        let unclear = || ApiError::Unclear("by the mood".to_owned());
        match self.mood() {
            Mood::Answers => {}
            Mood::Status(status) => {
                return Ok(ApiAnswer { status, headers: http::HeaderMap::new(), body: Vec::new() });
            }
            Mood::Lost => return Err(unclear()),
            Mood::Unsent => return Err(ApiError::NotSent("by the mood".to_owned())),
            Mood::Unheard => {
                self.api.answer(&call(request)?).await;
                return Err(unclear());
            }
        }
        let answer = self.api.answer(&call(request)?).await;
        pause().await;
        Ok(ApiAnswer { status: answer.status, headers: answer.headers, body: answer.body })
    }
}

fn call(request: &ApiRequest) -> Result<Call, ApiError> {
    let unusable = |error: String| ApiError::Unusable(error);
    let url: http::Uri = request.url.parse().map_err(|error: http::uri::InvalidUri| unusable(error.to_string()))?;
    let mut headers = http::HeaderMap::new();
    for (name, value) in &request.headers {
        let value = value.parse().map_err(|_| unusable(format!("the value of {name}")))?;
        headers.insert(*name, value);
    }
    Ok(Call {
        method: request.method.clone(),
        path: url.path().to_owned(),
        query: url.query().unwrap_or_default().to_owned(),
        headers,
        body: request.body.clone().unwrap_or_default(),
    })
}

/// The world's clock for a lane.
#[derive(Debug)]
struct WorldClock(Arc<AtomicI64>);

impl Clock for WorldClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The log as a lane looks into it.
#[derive(Debug)]
struct SimBrowse {
    log: MemoryLog,
    bug: Bug,
}

#[async_trait]
impl Browse for SimBrowse {
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        records_max: usize,
    ) -> Result<Vec<Consumed>, BrowseError> {
        pause().await;
        self.log.read(topic, partition, offset, records_max).await
    }

    async fn range(&self, topic: &str, partition: u32) -> Result<(u64, u64), BrowseError> {
        pause().await;
        let (oldest, end) = self.log.range(topic, partition).await?;
        let is_late = self.bug == Bug::LaneCoversTooMuch && topic == topics::DELTAS;
        Ok((oldest, if is_late { end + LATER } else { end }))
    }

    fn partitions(&self, topic: &str) -> Result<u32, BrowseError> {
        Browse::partitions(&self.log, topic)
    }

    async fn committed(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, BrowseError> {
        self.log.committed(group, topic, partition).await
    }

    async fn changed(&self, topic: &str, wait: Duration) {
        self.log.changed(topic, wait).await;
    }
}

/// The provider, and what its lanes need to run by hand.
pub(crate) struct Lanes {
    provider: Arc<Provider>,
    clock: Arc<AtomicI64>,
    /// Its time is paused: waits end when [`Self::pass`] says so.
    runtime: Runtime,
}

impl Lanes {
    #[expect(clippy::expect_used, reason = "a runtime of one thread without a driver for sockets")]
    pub(crate) fn new(seed: u64, clock: Arc<AtomicI64>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let kind = Kind::of(seed);
        let provider = Provider {
            kind,
            api: FakeApi::new(kind.fake()),
            random: Mutex::new(SplitMix64::new(seed ^ 0x1a9e)),
            fails: AtomicU64::new(0),
        };
        Self { provider: Arc::new(provider), clock, runtime: runtime.expect("a runtime") }
    }

    /// So many calls in a hundred fail from now on.
    pub(crate) fn set(&self, fails: u64) {
        self.provider.fails.store(fails, Ordering::Relaxed);
    }

    /// Lets waits go on by so much.
    pub(crate) fn pass(&self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Makes timers of the lanes this runtime's while it is held.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// A lane of another process.
    #[expect(clippy::expect_used, reason = "an account that is always the same")]
    pub(crate) fn lane(&self, log: MemoryLog, bug: Bug) -> Lane {
        let (provider, is_scaleway) = match self.provider.kind {
            Kind::Postmark => ("postmark", false),
            Kind::Scaleway => ("scaleway", true),
        };
        let account = Account::new(AccountConfig {
            name: "world".to_owned(),
            provider: provider.to_owned(),
            tenant: Tenant::default(),
            base_url: None,
            credential: TOKEN.to_owned(),
            key_id: None,
            session_token: None,
            region: is_scaleway.then(|| REGION.to_owned()),
            account: None,
            domain: None,
            domain_id: is_scaleway.then(|| DOMAIN_ID.to_owned()),
            stream: (!is_scaleway).then(|| STREAM.to_owned()),
            senders: Vec::new(),
            groups: BTreeMap::new(),
            sources: Vec::new(),
            scopes: Vec::new(),
            spacing_ms: 1,
            rate_limit: None,
            batch_max: Some(2),
            timeout_ms: 10_000,
            dry_run: false,
        });
        let metrics = Metrics::new(&service::Metrics::new().expect("a registry")).expect("metrics of one lane");
        let clock = Arc::new(WorldClock(Arc::clone(&self.clock)));
        let _timers = self.enter();
        Lane::new(
            account.expect("an account"),
            Arc::clone(&self.provider) as _,
            Arc::new(SimBrowse { log, bug }),
            clock,
            metrics,
        )
    }

    /// The provider holds exactly those in force in a scope for which it has the list.
    pub(crate) fn verdict(&self, fold: &Fold) -> Result<(), Red> {
        let is_told = |scope: &Scope| matches!(scope, Scope::All | Scope::NonCritical | Scope::Marketing);
        let expected: BTreeSet<String> = fold
            .recipients
            .iter()
            .filter(|(key, _)| key.recipient.channel() == Channel::Email)
            .filter(|(_, folded)| folded.decision.by_scope().keys().copied().any(is_told))
            .map(|(key, _)| key.recipient.as_str().to_owned())
            .collect();
        let found: BTreeSet<String> = self.provider.api.addresses(self.provider.kind.list()).into_iter().collect();
        if found == expected {
            return Ok(());
        }
        Err(Red::new(Invariant::ProvidersConverge, format!("the provider holds {found:?}, in force are {expected:?}")))
    }
}
