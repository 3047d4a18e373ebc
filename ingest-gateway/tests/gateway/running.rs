//! A gateway on loopback over a log that can be told to fail.

use async_trait::async_trait;
use event_log::{Append, AppendError, Position, Record};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ingest_gateway::{
    Configured, Fetch, Gateway, GatewayDeps, Limits, MemoryTokens, NoFetch, Sources, SpoolConfig, Spooling,
    SpoolingDeps, TokenStore, Way,
};
use providers::{Source, SourceSpec};
use schemas::wire::RawWebhook;
use service::{
    ManualClock, Metrics,
    admin::Readiness,
    serve::{Drained, Server, ServerLimits, TlsFiles},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// 2026-01-20T14:32:15Z in seconds.
pub(crate) const NOW_S: i64 = 1_768_919_535;
pub(crate) const SECRET: &str = "test-secret-of-drip";
pub(crate) const MAILGUN_KEY: &str = "test-signing-key-of-mailgun";

/// How the log behaves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mode {
    Fine,
    Fails(AppendError),
    Panics,
}

#[derive(Debug)]
pub(crate) struct FakeLog {
    pub(crate) mode: Mutex<Mode>,
    pub(crate) records: Mutex<Vec<Record>>,
    /// Appends wait for a permit here.
    pub(crate) gate: Semaphore,
}

#[async_trait]
impl Append for FakeLog {
    async fn append(&self, topic: &str, partition: Option<u32>, record: Record) -> Result<Position, AppendError> {
        assert_eq!((topic, partition), ("quell.raw.v1", None));
        let _permit = self.gate.acquire().await.unwrap();
        let mode = self.mode.lock().unwrap().clone();
        match mode {
            Mode::Fine => {}
            Mode::Fails(error) => return Err(error),
            Mode::Panics => panic!("planted"),
        }
        let mut records = self.records.lock().unwrap();
        records.push(record);
        Ok(Position { epoch: 2, partition: 3, offset: records.len() as u64 - 1 })
    }

    fn partitions(&self, _: &str) -> Result<u32, AppendError> {
        Ok(4)
    }
}

/// What a test may choose.
pub(crate) struct Setup {
    pub(crate) sources: Vec<Configured>,
    pub(crate) limits: Limits,
    pub(crate) server: ServerLimits,
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) tls: Option<TlsFiles>,
    /// A spool before the log.
    pub(crate) spool: Option<SpoolConfig>,
    /// What answers the gateway's own calls.
    pub(crate) fetch: Arc<dyn Fetch>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sources: sources(),
            limits: Limits { body_bytes_max: 4_096, decoded_bytes_max: 8_192, ..Limits::default() },
            server: ServerLimits::default(),
            tokens: Arc::new(MemoryTokens::new(1_000)),
            tls: None,
            spool: None,
            fetch: Arc::new(NoFetch),
        }
    }
}

pub(crate) fn source(provider: &str, name: &str, shadow: bool, edit: impl FnOnce(&mut SourceSpec)) -> Configured {
    let provider = providers::by_name(provider).unwrap();
    let mut spec = SourceSpec::default();
    edit(&mut spec);
    let tenant = domain::Tenant::new("acme").unwrap();
    Configured { provider, source: Source { provider: provider.name(), name: name.into(), tenant, spec }, shadow }
}

pub(crate) fn sources() -> Vec<Configured> {
    let list = |text: &str| vec![text.to_owned()];
    vec![
        source("drip", "default", false, |spec| spec.secrets = list(SECRET)),
        source("drip", "shadow", true, |spec| spec.secrets = list(SECRET)),
        source("mailgun", "default", false, |spec| spec.secrets = list(MAILGUN_KEY)),
        source("mandrill", "default", false, |spec| spec.bearer = list("token")),
        source("mailgun", "shadow", true, |spec| spec.secrets = list(MAILGUN_KEY)),
        source("postmark", "default", false, |spec| spec.basic_auth = list("user:password")),
        source("generic", "default", false, |spec| spec.bearer = list("token")),
        source("twilio", "default", false, |spec| spec.unauthenticated = true),
    ]
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<FakeLog>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) stop: CancellationToken,
    pub(crate) server: JoinHandle<Drained>,
    pub(crate) client: reqwest::Client,
    pub(crate) spooling: Option<Arc<Spooling>>,
}

pub(crate) async fn start(setup: Setup) -> Running {
    let log = Arc::new(FakeLog {
        mode: Mutex::new(Mode::Fine),
        records: Mutex::default(),
        gate: Semaphore::new(Semaphore::MAX_PERMITS),
    });
    let clock = Arc::new(ManualClock::at_micros(NOW_S * 1_000_000));
    let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
    let spooling = setup.spool.map(|config| {
        let deps = SpoolingDeps {
            append: log.clone(),
            receipts: None,
            clock: clock.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        Spooling::open(&config, deps).unwrap()
    });
    let gateway = Gateway::new(GatewayDeps {
        append: spooling.clone().map_or_else(|| Way::Log(log.clone()), Way::Spooling),
        clock: clock.clone(),
        sources: Sources::new(setup.sources).unwrap(),
        tokens: setup.tokens,
        fetch: setup.fetch,
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        traces: service::traces::Traces::off(),
        limits: setup.limits,
    })
    .unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind("gateway", any, setup.tls.as_ref(), setup.server).await.unwrap().short_answers();
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    let server = tokio::spawn(server.run(gateway.service(), stop.clone()));
    service::serve::install_crypto();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Running { address, log, clock, metrics, readiness, stop, server, client, spooling }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A signed Drip webhook.
    pub(crate) fn drip(&self, path: &str, body: &[u8]) -> reqwest::RequestBuilder {
        let signature = hex(&hmac_sha256(SECRET, body));
        self.client.post(self.url(path)).header("X-Drip-Signature", signature).body(body.to_vec())
    }

    pub(crate) fn raw(&self, at: usize) -> RawWebhook {
        let records = self.log.records.lock().unwrap();
        schemas::decode(records[at].value.as_ref().unwrap()).unwrap()
    }

    pub(crate) fn appended(&self) -> usize {
        self.log.records.lock().unwrap().len()
    }

    /// A counter's value; nothing counted is 0.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

pub(crate) fn bounce(email: &str) -> Vec<u8> {
    format!(
        r#"{{"event":"subscriber.bounced","data":{{"email":"{email}","bounce_type":"hard","occurred_at":"2026-01-20T14:32:15Z"}}}}"#
    )
    .into_bytes()
}

/// A signed Mailgun webhook about an address, under a token.
pub(crate) fn mailgun(token: &str, email: &str) -> Vec<u8> {
    let signature = hex(&hmac_sha256(MAILGUN_KEY, format!("{NOW_S}{token}").as_bytes()));
    format!(
        r#"{{"signature":{{"timestamp":"{NOW_S}","token":"{token}","signature":"{signature}"}},
            "event-data":{{"event":"failed","severity":"permanent","id":"x1","timestamp":{NOW_S}.5,"recipient":"{email}",
            "message":{{"headers":{{"message-id":"m1@example.com"}}}},"delivery-status":{{"code":550,"message":"no such user"}}}}}}"#
    )
    .into_bytes()
}

fn hmac_sha256(key: &str, message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
