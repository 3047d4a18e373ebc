//! The one configuration file, whole. `docs/configuration.md` is its manual; a test keeps the two in step.

mod account;
mod adapter;
mod alarms;
mod engine;
mod erasure;
mod gateway;
mod lookup;
mod metrics;
mod refused;
mod source;
mod subscriber;
mod traces;
mod unsubscribe;

pub(crate) use account::AccountConfig;
pub(crate) use adapter::{Adapters, Declared};
pub(crate) use alarms::AlarmsConfig;
pub(crate) use engine::EngineConfig;
pub(crate) use erasure::{ErasureConfig, own_key};
pub(crate) use gateway::GatewayConfig;
pub(crate) use lookup::{LookupConfig, Role};
pub(crate) use metrics::MetricsConfig;
pub(crate) use refused::{EXIT_CODE as REFUSED_EXIT_CODE, Refused};
pub(crate) use source::SourceConfig;
pub(crate) use subscriber::SubscriberConfig;
pub(crate) use traces::TracesConfig;
pub(crate) use unsubscribe::UnsubscribeConfig;

use crate::registry::RegistryConfig;
use anyhow::{Context as _, bail};
use domain::classify::{UserRule, UserRules};
use event_log::kafka::KafkaConfig;
use serde::{Deserialize, Serialize};
use service::{Secret, config, telemetry::LogFormat, traces::Environment};
use std::{
    collections::BTreeSet,
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
    /// Files that declare providers; relative ones lie beside the configuration file.
    #[serde(rename = "adapters")]
    pub(crate) adapter_files: Vec<PathBuf>,
    /// What those files declare, beside what is built in.
    #[serde(skip)]
    pub(crate) adapters: Adapters,
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
    /// Links for unsubscribing by one click.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsubscribe: Option<UnsubscribeConfig>,
    /// The key under which erased recipients stay suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) erasure: Option<ErasureConfig>,
    /// Which mailbox domains have figures of their own.
    pub(crate) metrics: MetricsConfig,
    /// Alarms without Prometheus.
    pub(crate) alarms: AlarmsConfig,
    /// Logs.
    pub(crate) logs: LogsConfig,
    /// Where traces go.
    pub(crate) traces: TracesConfig,
    /// Endpoints of providers.
    #[serde(rename = "source")]
    pub(crate) sources: Vec<SourceConfig>,
    /// The operator's own rules of bounce classification, before all others, in this order.
    pub(crate) classify: Vec<UserRule>,
    /// Accounts at providers that are told of suppressions.
    #[serde(rename = "account")]
    pub(crate) accounts: Vec<AccountConfig>,
    /// Endpoints that are told of changes by webhook.
    #[serde(rename = "subscriber")]
    pub(crate) subscribers: Vec<SubscriberConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("quell-data"),
            gateway: GatewayConfig::default(),
            lookup: LookupConfig::default(),
            admin: AdminConfig::default(),
            instance: String::new(),
            adapter_files: Vec::new(),
            adapters: Adapters::default(),
            engine: EngineConfig::default(),
            kafka: KafkaConfig::default(),
            store: CqlConfig::default(),
            registry: None,
            policy: PolicyConfig::default(),
            unengaged: UnengagedConfig::default(),
            unsubscribe: None,
            erasure: None,
            metrics: MetricsConfig::default(),
            alarms: AlarmsConfig::default(),
            logs: LogsConfig::default(),
            traces: TracesConfig::default(),
            sources: Vec::new(),
            classify: Vec::new(),
            accounts: Vec::new(),
            subscribers: Vec::new(),
        }
    }
}

/// Bytes that a record needs beside the body.
const RECORD_ROOM: usize = 1 << 20;

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
    /// Most lines a minute from one place in the code, of `debug` and `trace` a hundred times as many; 0 is any number.
    pub(crate) lines_per_minute: u64,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), lines_per_minute: 60 }
    }
}

impl Config {
    /// Reads and checks the file, if there is one, with the environment over it.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Refused::unless(Self::read(file))
    }

    fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut config: Self = config::load(file)?;
        config.declare(file)?;
        let follow = |reference: &str| Secret::follow(reference).map(|secret| secret.expose().to_owned());
        config.kafka.security.resolve(follow).map_err(|error| anyhow::anyhow!("kafka.security: {error}"))?;
        config.traces.adopt(Environment::read(|name| std::env::var(name).ok()))?;
        config.check()?;
        Ok(config)
    }

    /// Reads the adapters' files. Before it only the built-in providers are known.
    pub(crate) fn declare(&mut self, file: Option<&Path>) -> anyhow::Result<()> {
        self.adapters = Adapters::load(&self.adapter_files, file)?;
        Ok(())
    }

    /// The provider of a name, or the names that there are.
    pub(crate) fn provider(&self, name: &str) -> Result<&'static dyn providers::Provider, String> {
        let known = self.adapters.providers;
        known.by_name(name).ok_or_else(|| {
            let names: Vec<&str> = known.names().collect();
            format!("use one of {}, or declare it in a file that `adapters` names", names.join(", "))
        })
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
        if let Some(unsubscribe) = &self.unsubscribe {
            unsubscribe.check().context("unsubscribe")?;
        }
        self.erasure.as_ref().map(ErasureConfig::key).transpose()?;
        self.check_sources()?;
        self.check_rules()?;
        let mut names = BTreeSet::new();
        for account in &self.accounts {
            if !names.insert(&account.name) {
                bail!("two accounts are called {:?}; lanes go by name", account.name);
            }
            syncer::Account::new(account.to_lane())?;
        }
        let mut names = BTreeSet::new();
        for subscriber in &self.subscribers {
            if !names.insert(&subscriber.name) {
                bail!("two subscribers are called {:?}; lanes go by name", subscriber.name);
            }
            notifier::Subscriber::new(subscriber.to_lane())?;
        }
        self.alarms.check()?;
        if let Some(file) = &self.policy.file {
            let document =
                std::fs::read_to_string(file).with_context(|| format!("cannot read policy.file {}", file.display()))?;
            suppressor::Policy::parse(1, &document).with_context(|| file.display().to_string())?;
        }
        self.metrics.check()?;
        self.traces.check()?;
        if self.unengaged.every_hours == 0 {
            bail!("unengaged.every_hours must be at least 1");
        }
        Ok(())
    }

    /// What `quell serve` needs beyond that.
    pub(crate) fn check_cluster(&self) -> anyhow::Result<()> {
        Refused::unless(self.cluster())
    }

    fn cluster(&self) -> anyhow::Result<()> {
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
        Refused::unless(self.check_bodies("what a record of the embedded log may have", limits.record_bytes_max))
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
            if source.provider == providers::one_click::NAME {
                bail!("source: {:?} has no sources; its links are configured in [unsubscribe]", source.provider);
            }
            let provider = self
                .provider(&source.provider)
                .map_err(|known| anyhow::anyhow!("source: provider {:?} is not known; {known}", source.provider))?;
            provider
                .check_source(&source.spec())
                .with_context(|| format!("source {}/{}", source.provider, source.name))?;
        }
        self.gateway_sources().map(|_| ())
    }

    /// A rule for a provider that is not there would never fit.
    fn check_rules(&self) -> anyhow::Result<()> {
        for rule in &self.classify {
            if let Some(Err(known)) = rule.provider.as_deref().map(|provider| self.provider(provider)) {
                bail!(
                    "classify rule {:?}: provider {:?} is not known; {known}",
                    rule.id,
                    rule.provider.as_deref().unwrap_or_default()
                );
            }
        }
        UserRules::new(&self.classify)?;
        Ok(())
    }

    /// The gateway's table of sources.
    pub(crate) fn gateway_sources(&self) -> anyhow::Result<ingest_gateway::Sources> {
        let sources = self.sources.iter().map(|source| {
            let provider = self.provider(&source.provider).map_err(anyhow::Error::msg)?;
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
        let links = self.unsubscribe.iter().map(|unsubscribe| Ok(unsubscribe.configured()));
        Ok(ingest_gateway::Sources::new(sources.chain(links).collect::<anyhow::Result<Vec<_>>>()?)?)
    }
}

#[cfg(test)]
mod tests;
