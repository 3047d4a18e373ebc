//! The one configuration file, whole. `docs/configuration.md` is its manual; a test keeps the two in step.

use crate::registry::RegistryConfig;
use anyhow::{Context as _, bail};
use domain::Tenant;
use event_log::kafka::KafkaConfig;
use ingest_gateway::SpoolConfig;
use providers::SourceSpec;
use serde::{Deserialize, Serialize};
use service::{
    Secret, config,
    serve::{ServerLimits, TlsFiles},
    telemetry::LogFormat,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};
use suppressor::store::cql::CqlConfig;

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where the embedded log and store live; on a cluster, what a process remembers of the schema registry. One process at
    /// a time.
    pub(crate) data_dir: PathBuf,
    /// The name of a process of `quell serve`: unique among those that live, stable over its restarts. Empty: the host's.
    pub(crate) instance: String,
    /// Where webhooks come in.
    pub(crate) gateway: GatewayConfig,
    /// Where senders, support and subscribers ask.
    pub(crate) lookup: LookupConfig,
    /// Where operators look.
    pub(crate) admin: AdminConfig,
    /// The embedded log and store, and how stages take their work.
    pub(crate) engine: EngineConfig,
    /// The log of `quell serve`.
    pub(crate) kafka: KafkaConfig,
    /// The store of `quell serve`.
    pub(crate) store: CqlConfig,
    /// The schema registry of `quell serve`; without, schema ids are embedded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<RegistryConfig>,
    /// The suppression policy.
    pub(crate) policy: PolicyConfig,
    /// The job that finds who no longer reads.
    pub(crate) unengaged: UnengagedConfig,
    /// Logs.
    pub(crate) logs: LogsConfig,
    /// Endpoints of providers.
    #[serde(rename = "source")]
    pub(crate) sources: Vec<SourceConfig>,
    /// Accounts at providers that are told of suppressions.
    #[serde(rename = "account")]
    pub(crate) accounts: Vec<AccountConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("quell-data"),
            gateway: GatewayConfig::default(),
            lookup: LookupConfig::default(),
            admin: AdminConfig::default(),
            instance: String::new(),
            engine: EngineConfig::default(),
            kafka: KafkaConfig::default(),
            store: CqlConfig::default(),
            registry: None,
            policy: PolicyConfig::default(),
            unengaged: UnengagedConfig::default(),
            logs: LogsConfig::default(),
            sources: Vec::new(),
            accounts: Vec::new(),
        }
    }
}

/// Bytes that a record needs beside the body.
const RECORD_ROOM: usize = 1 << 20;

/// `[gateway]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewayConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Certificate chain and key, as PEM files; without, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// Bounds of bodies and of work in flight.
    pub(crate) limits: ingest_gateway::Limits,
    /// Bounds of connections.
    pub(crate) server: ServerLimits,
    /// What keeps webhooks of `quell serve` while the log is away.
    pub(crate) spool: SpoolConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            limits: ingest_gateway::Limits::default(),
            server: ServerLimits::default(),
            spool: SpoolConfig::default(),
        }
    }
}

/// `[lookup]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LookupConfig {
    /// Address and port.
    pub(crate) listen: SocketAddr,
    /// Certificate chain and key, as PEM files; without, plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// Answer without a token. Only where nobody else can reach the port.
    pub(crate) open: bool,
    /// Bounds of connections.
    pub(crate) server: ServerLimits,
    /// Who may ask.
    #[serde(rename = "token")]
    pub(crate) tokens: Vec<TokenConfig>,
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: None,
            open: false,
            server: ServerLimits::default(),
            tokens: Vec::new(),
        }
    }
}

/// `[[lookup.token]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenConfig {
    /// Who it is; stands in the audit of acts by hand.
    pub(crate) name: String,
    /// The bearer token.
    pub(crate) secret: Secret,
    /// `read` or `write`.
    #[serde(default)]
    pub(crate) role: Role,
    /// Only this tenant's recipients; without, any that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Tenant>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Ask.
    #[default]
    Read,
    /// Ask, suppress, release, replay.
    Write,
}

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdminConfig {
    /// Address and port of `/metrics`, `/livez` and `/readyz`.
    pub(crate) listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineConfig {
    /// Partitions of every topic. Fixed once the data directory exists.
    pub(crate) partitions: u32,
    /// Workers of the suppressor; at most as many as partitions.
    pub(crate) suppressor_workers: u32,
    /// Block cache of the database, in MiB.
    pub(crate) cache_mib: u64,
    /// Most records in a batch.
    pub(crate) batch_records_max: usize,
    /// How long a record may wait in a stage, in milliseconds: batches are cut to it.
    pub(crate) latency_target_ms: u64,
    /// Days for which raw webhooks are kept.
    pub(crate) raw_days: u64,
    /// Days for which events are kept.
    pub(crate) events_days: u64,
    /// Days for which deltas, outcomes and dead letters are kept.
    pub(crate) deltas_days: u64,
    /// Days for which message timelines are kept.
    pub(crate) messages_days: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            partitions: 4,
            suppressor_workers: 2,
            cache_mib: 64,
            batch_records_max: 1_000,
            latency_target_ms: 1_000,
            raw_days: 7,
            events_days: 90,
            deltas_days: 30,
            messages_days: 90,
        }
    }
}

/// `[policy]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PolicyConfig {
    /// The policy file; without, the built-in policy. A changed file must be applied (`quell policy apply`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

/// `[unengaged]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UnengagedConfig {
    /// Whether the job runs by itself.
    pub(crate) scheduled: bool,
    /// Hours from one run's beginning to the next.
    pub(crate) every_hours: u32,
}

impl Default for UnengagedConfig {
    fn default() -> Self {
        Self { scheduled: true, every_hours: 7 * 24 }
    }
}

/// `[logs]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogsConfig {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
    /// A filter such as `info,ingest_gateway=debug`.
    pub(crate) filter: String,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// `[[source]]`: one endpoint of a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// The provider's word.
    pub(crate) provider: String,
    /// Stands in the path, `/webhooks/{provider}/{name}`; `default` is also reached without it.
    #[serde(default = "default_name")]
    pub(crate) name: String,
    /// Whose recipients.
    #[serde(default)]
    pub(crate) tenant: Tenant,
    /// HMAC keys, auth tokens or public keys. Several may be active while one rotates.
    #[serde(default)]
    pub(crate) secrets: Vec<Secret>,
    /// Accepted `user:password` pairs.
    #[serde(default)]
    pub(crate) basic_auth: Vec<Secret>,
    /// Accepted bearer tokens.
    #[serde(default)]
    pub(crate) bearer: Vec<Secret>,
    /// Headers that must be present with these values.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// The URL as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Seconds of freshness where the scheme has a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tolerance: Option<u64>,
    /// Take requests without any proof.
    #[serde(default)]
    pub(crate) unauthenticated: bool,
    /// Only report failed proofs, and take the webhook all the same.
    #[serde(default)]
    pub(crate) shadow: bool,
}

fn default_name() -> String {
    "default".to_owned()
}

impl SourceConfig {
    /// The part that proves requests, secrets uncovered.
    pub(crate) fn spec(&self) -> SourceSpec {
        let uncover = |secrets: &[Secret]| secrets.iter().map(|secret| secret.expose().to_owned()).collect();
        SourceSpec {
            secrets: uncover(&self.secrets),
            basic_auth: uncover(&self.basic_auth),
            bearer: uncover(&self.bearer),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            public_url: self.public_url.clone(),
            tolerance: self.tolerance,
            unauthenticated: self.unauthenticated,
            ..SourceSpec::default()
        }
    }
}

/// `[[account]]`: an account at a provider that is told of suppressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountConfig {
    /// Its name, in metrics, outcomes and the consumer group.
    pub(crate) name: String,
    /// `sendgrid`, `mailgun` or `postmark`.
    pub(crate) provider: String,
    /// Whose recipients it sends to.
    #[serde(default)]
    pub(crate) tenant: Tenant,
    /// Scheme and host of the API, where it is not the provider's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base_url: Option<String>,
    /// API key or server token.
    pub(crate) credential: Secret,
    /// Sending domain (Mailgun).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    /// Message stream (Postmark).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// Unsubscribe groups by category (SendGrid).
    #[serde(default)]
    pub(crate) groups: BTreeMap<String, u64>,
    /// Sources whose events come from this very account.
    #[serde(default = "default_sources")]
    pub(crate) sources: Vec<String>,
    /// Scopes it is told; empty is every one.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Least time from one call to the next.
    #[serde(default = "default_spacing_ms")]
    pub(crate) spacing_ms: u64,
    /// Most calls in `per_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<RateLimit>,
    /// Most addresses in a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_max: Option<usize>,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// Plan and record, but call nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Allow a `base_url` on this machine or a private network. For tests and gateways of your own.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// So many calls in so many seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// Calls.
    pub(crate) calls: u32,
    /// Seconds.
    pub(crate) seconds: u32,
}

fn default_sources() -> Vec<String> {
    vec!["default".to_owned()]
}

const fn default_spacing_ms() -> u64 {
    200
}

const fn default_timeout_ms() -> u64 {
    10_000
}

impl Config {
    /// Reads and checks the file, if there is one, with the environment over it.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut config: Self = config::load(file)?;
        let follow = |reference: &str| Secret::follow(reference).map(|secret| secret.expose().to_owned());
        config.kafka.security.resolve(follow).map_err(|error| anyhow::anyhow!("kafka.security: {error}"))?;
        config.check()?;
        Ok(config)
    }

    /// What cannot work, said before anything starts.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let engine = &self.engine;
        if !(1..=1_024).contains(&engine.partitions) {
            bail!("engine.partitions must be 1 to 1024");
        }
        if !(1..=engine.partitions).contains(&engine.suppressor_workers) {
            bail!("engine.suppressor_workers must be 1 to engine.partitions ({})", engine.partitions);
        }
        if !(8..=1_048_576).contains(&engine.cache_mib) || !(1..=4_000).contains(&engine.batch_records_max) {
            bail!("engine.cache_mib must be at least 8, and engine.batch_records_max 1 to 4000");
        }
        if !(10..=60_000).contains(&engine.latency_target_ms) {
            bail!("engine.latency_target_ms must be 10 to 60000");
        }
        self.check_sources()?;
        let mut names = BTreeSet::new();
        for account in &self.accounts {
            if !names.insert(&account.name) {
                bail!("two accounts are called {:?}; lanes go by name", account.name);
            }
            syncer::Account::new(account.to_lane())?;
        }
        if let Some(file) = &self.policy.file {
            let document =
                std::fs::read_to_string(file).with_context(|| format!("cannot read policy.file {}", file.display()))?;
            suppressor::Policy::parse(1, &document).with_context(|| file.display().to_string())?;
        }
        if self.unengaged.every_hours == 0 {
            bail!("unengaged.every_hours must be at least 1");
        }
        Ok(())
    }

    /// What `quell serve` needs beyond that.
    pub(crate) fn check_cluster(&self) -> anyhow::Result<()> {
        self.kafka.validate().context("kafka")?;
        self.store.validate()?;
        self.gateway.spool.validate().context("gateway.spool")?;
        self.check_bodies("kafka.record_bytes_max", self.kafka.record_bytes_max)?;
        if let Some(registry) = &self.registry {
            registry.check()?;
        }
        self.instance().map(|_| ())
    }

    /// What `quell up` needs beyond [`Self::check`].
    pub(crate) fn check_embedded(&self) -> anyhow::Result<()> {
        let limits = event_log::embedded::Limits::default();
        self.check_bodies("what a record of the embedded log may have", limits.record_bytes_max)
    }

    /// A record holds the body, and a dead letter the record, with headers around both: whatever the gateway takes must fit.
    fn check_bodies(&self, what: &str, record: usize) -> anyhow::Result<()> {
        let limits = &self.gateway.limits;
        for (name, body) in [("body_bytes_max", limits.body_bytes_max), ("decoded_bytes_max", limits.decoded_bytes_max)]
        {
            if body.saturating_add(RECORD_ROOM) > record {
                bail!(
                    "gateway.limits.{name} ({body}) is too close to {what} ({record}): leave {RECORD_ROOM} bytes between \
                     them, or a webhook could be taken that cannot be processed"
                );
            }
        }
        Ok(())
    }

    /// This process's name among the others.
    pub(crate) fn instance(&self) -> anyhow::Result<String> {
        if !self.instance.is_empty() {
            return Ok(self.instance.clone());
        }
        let name = rustix::system::uname();
        let name = name.nodename().to_str().unwrap_or_default();
        if name.is_empty() {
            bail!("the host has no name: set instance to one that is unique and stays over restarts");
        }
        Ok(name.to_owned())
    }

    fn check_sources(&self) -> anyhow::Result<()> {
        for source in &self.sources {
            let provider = providers::by_name(&source.provider).with_context(|| {
                let known: Vec<&str> = providers::PROVIDERS.iter().map(|provider| provider.name()).collect();
                format!("source: provider {:?} is not known; use one of {}", source.provider, known.join(", "))
            })?;
            provider
                .check_source(&source.spec())
                .with_context(|| format!("source {}/{}", source.provider, source.name))?;
        }
        self.gateway_sources().map(|_| ())
    }

    /// The gateway's table of sources.
    pub(crate) fn gateway_sources(&self) -> anyhow::Result<ingest_gateway::Sources> {
        let sources = self.sources.iter().map(|source| {
            let provider = providers::by_name(&source.provider).context("provider is not known")?;
            Ok(ingest_gateway::Configured {
                provider,
                source: providers::Source {
                    provider: provider.name(),
                    name: source.name.clone(),
                    tenant: source.tenant.clone(),
                    spec: source.spec(),
                },
                shadow: source.shadow,
            })
        });
        Ok(ingest_gateway::Sources::new(sources.collect::<anyhow::Result<Vec<_>>>()?)?)
    }
}

impl AccountConfig {
    /// What its lane needs, secrets uncovered.
    pub(crate) fn to_lane(&self) -> syncer::AccountConfig {
        syncer::AccountConfig {
            name: self.name.clone(),
            provider: self.provider.clone(),
            tenant: self.tenant.clone(),
            base_url: self.base_url.clone(),
            credential: self.credential.expose().to_owned(),
            domain: self.domain.clone(),
            stream: self.stream.clone(),
            groups: self.groups.clone(),
            sources: self.sources.clone(),
            scopes: self.scopes.clone(),
            spacing_ms: self.spacing_ms,
            rate_limit: self.rate_limit.map(|limit| syncer::RateLimit { calls: limit.calls, seconds: limit.seconds }),
            batch_max: self.batch_max,
            timeout_ms: self.timeout_ms,
            dry_run: self.dry_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The manual's example, its references pointing to files that exist.
    fn manual(dir: &Path) -> String {
        let text = include_str!("../../../docs/configuration.md");
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let secret = dir.join("secret");
        std::fs::write(&secret, "user:secret").unwrap();
        let reference = format!("\"file:{}\"", secret.display());
        let parts: Vec<String> = example
            .split('"')
            .enumerate()
            .map(|(index, part)| match part {
                part if index % 2 == 1 && (part.starts_with("env:") || part.starts_with("file:")) => reference.clone(),
                part if index % 2 == 1 => format!("\"{part}\""),
                part => part.to_owned(),
            })
            .collect();
        parts.concat()
    }

    #[test]
    fn the_manual_holds_every_key_and_its_default() {
        let dir = tempfile::tempdir().unwrap();
        let example = manual(dir.path());
        let config: Config = config::parse("the manual", &example, []).unwrap();
        let shown = toml::Table::try_from(&config).unwrap();
        let plain = toml::Table::try_from(Config::default()).unwrap();
        compare("", &plain, &shown);
        // Keys without a default are in the manual too: what it sets is what serde knows.
        let documented: toml::Table = example.parse().unwrap();
        covers("", &shown, &documented);
    }

    #[test]
    fn a_wrong_key_is_told_with_the_right_one() {
        let error = config::parse::<Config>("quell.toml", "[gateway]\nlisen = \"127.0.0.1:1\"\n", []).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("lisen") && error.contains("listen") && error.contains("quell.toml:2"), "{error}");
    }

    #[test]
    fn what_the_gateway_takes_fits_into_a_record_of_either_log() {
        let embedded = event_log::embedded::Limits::default().record_bytes_max;
        let kafka = KafkaConfig::default().record_bytes_max;
        let checked = |body, decoded| {
            let mut config = Config::default();
            config.kafka.brokers = "127.0.0.1:9092".to_owned();
            config.instance = "one".to_owned();
            (config.gateway.limits.body_bytes_max, config.gateway.limits.decoded_bytes_max) = (body, decoded);
            let said = |checked: anyhow::Result<()>| checked.map_err(|error| error.to_string());
            (said(config.check_embedded()), said(config.check_cluster()))
        };
        let limits = ingest_gateway::Limits::default();
        assert_eq!(checked(limits.body_bytes_max, limits.decoded_bytes_max), (Ok(()), Ok(())));
        let at_most = embedded.min(kafka) - RECORD_ROOM;
        assert_eq!(checked(at_most, at_most), (Ok(()), Ok(())));
        let says = |checked: Result<(), String>, field: &str, limit: &str| {
            let error = checked.unwrap_err();
            assert!(error.contains(&format!("gateway.limits.{field} (")) && error.contains(limit), "{error}");
        };
        let (one_body, one_decoded) = (checked(embedded - RECORD_ROOM + 1, 1), checked(1, embedded - RECORD_ROOM + 1));
        says(one_body.0, "body_bytes_max", "embedded log");
        says(one_decoded.0, "decoded_bytes_max", "embedded log");
        let (body, decoded) = (checked(kafka - RECORD_ROOM + 1, 1), checked(1, kafka - RECORD_ROOM + 1));
        says(body.1, "body_bytes_max", "kafka.record_bytes_max");
        says(decoded.1, "decoded_bytes_max", "kafka.record_bytes_max");
    }

    /// Defaults of the program are those of the manual.
    fn compare(path: &str, plain: &toml::Table, shown: &toml::Table) {
        for (key, value) in plain {
            let path = format!("{path}.{key}");
            match (value, &shown[key]) {
                (toml::Value::Table(plain), toml::Value::Table(shown)) => compare(&path, plain, shown),
                (toml::Value::Array(list), _) if list.is_empty() => {}
                (plain, shown) => assert_eq!(plain, shown, "{path}"),
            }
        }
    }

    /// Every key that the program knows stands in the manual.
    fn covers(path: &str, known: &toml::Table, documented: &toml::Table) {
        for (key, value) in known {
            let path = format!("{path}.{key}");
            match (value, documented.get(key)) {
                // The manual says that the servers take the same keys.
                (_, None) if path == ".lookup.server" => {}
                (_, None) => panic!("{path} is not in docs/configuration.md"),
                (toml::Value::Table(known), Some(toml::Value::Table(documented))) => covers(&path, known, documented),
                (toml::Value::Array(known), Some(toml::Value::Array(documented))) => {
                    // The first entry of each list shows every key that all its kinds have.
                    if let (Some(toml::Value::Table(known)), Some(toml::Value::Table(documented))) =
                        (known.first(), documented.first())
                    {
                        covers(&path, known, documented);
                    }
                }
                _ => {}
            }
        }
    }
}
