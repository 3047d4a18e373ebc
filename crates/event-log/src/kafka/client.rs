//! How each kind of client is set up.

use super::{OpenError, config::KafkaConfig};
use rdkafka::{
    ClientConfig, ClientContext, client::OAuthToken, config::RDKafkaLogLevel, consumer::ConsumerContext,
    error::KafkaError,
};
use std::{error::Error, fmt, path::Path, sync::Arc, time::Duration};

/// Heartbeats are sent at least so often, and three times within the session's timeout.
const HEARTBEAT_MAX_MS: u64 = 3_000;
/// After a broker's outage its return is noticed within a second or two.
const RECONNECT_MAX_MS: u64 = 1_000;
/// What a broker adds to a record's own bytes, generously.
const RECORD_OVERHEAD: usize = 4_096;
/// What a reader outside of groups fetches ahead: it reads a page, not a stream.
const READER_AHEAD_KBYTES: usize = 4_096;
const READER_AHEAD_RECORDS: usize = 2_000;
/// How long a broker holds a reader's fetch at the end of a partition, which is how the end is noticed.
const READER_FETCH_WAIT_MS: u64 = 20;
const RETRY_BACKOFF: &str = "retry.backoff.ms";
/// A transaction right after another meets a broker that still writes the other's markers, and is told to come again. By
/// default that is after 100 ms, far more than markers take. It grows with every further try.
const TRANSACTION_RETRY_MS: u64 = 5;
const MAX_IDLE: &str = "connections.max.idle.ms";
/// Where no broker names a group's coordinator for a moment, as when it was just started again, librdkafka (2.12) asks three
/// times and then only when a connection comes or goes (`rd_kafka_coord_req_handle_FindCoordinator`: "Rely on state broadcast
/// to trigger retry"), which may be never. So connections that carry nothing are closed: one that waits for that answer asks
/// again, and one that had no work is opened again when it has some. A request without an answer counts as nothing: so much
/// longer than records have to be delivered, or a record would be given up that its broker took.
const IDLE_AFTER_DELIVERY_MS: u64 = 10_000;

/// A token for the mechanism `oauthbearer`. It is fetched by our own HTTP client, behind its guard against inner addresses:
/// librdkafka's own way to do so needs libcurl, and would not be guarded.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// Whom it names.
    pub principal: String,
    /// When it ends, in milliseconds since the epoch.
    pub ends_ms: i64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("principal", &self.principal)
            .field("ends_ms", &self.ends_ms)
            .finish_non_exhaustive()
    }
}

/// Fetches tokens from the issuer of [`super::Oauth`]. Called on a client's own thread, at the start and before each
/// token ends; it may block for some seconds.
pub trait Tokens: Send + Sync + fmt::Debug {
    /// A fresh token, or why there is none (no secret in it).
    fn token(&self) -> Result<Token, String>;
}

/// What every client does alike: its log lines and errors go to `tracing`, its tokens come from the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    pub(super) tokens: Option<Arc<dyn Tokens>>,
}

impl ClientContext for Common {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    // Such errors are told by the call that meets them; a client goes on trying by itself.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.tokens.as_ref().ok_or("no source of tokens is set up")?;
        let Token { token, principal, ends_ms } = tokens.token()?;
        Ok(OAuthToken { token, principal_name: principal, lifetime_ms: ends_ms })
    }
}

impl ConsumerContext for Common {}

/// The settings of every client.
pub(super) fn common(config: &KafkaConfig) -> Result<ClientConfig, OpenError> {
    let mut native = ClientConfig::new();
    // Without this the level would be that of the `log` crate, which nobody sets up here.
    let is_debug = config.properties.contains_key("debug");
    native.set_log_level(if is_debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Notice });
    native
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", &config.client_id)
        .set("allow.auto.create.topics", "false")
        .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS.to_string())
        .set("log.connection.close", "false")
        .set("security.protocol", config.security.protocol.property());
    // An operator's own properties come before ours: those that matter are refused by `validate`.
    for (name, value) in &config.properties {
        native.set(name, value);
    }
    let security = &config.security;
    let file = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| OpenError::Path(path.to_owned()));
    for (name, path) in [
        ("ssl.ca.location", &security.ca),
        ("ssl.certificate.location", &security.certificate),
        ("ssl.key.location", &security.key),
    ] {
        if let Some(path) = path {
            native.set(name, file(path)?);
        }
    }
    let secrets = [("ssl.key.password", &security.key_password), ("sasl.password", &security.password)];
    for (name, secret) in secrets {
        if let Some(secret) = secret {
            native.set(name, secret.expose());
        }
    }
    if let Some(user) = &security.user {
        native.set("sasl.username", user);
    }
    if let Some(mechanism) = security.mechanism {
        native.set("sasl.mechanism", mechanism.property());
    }
    Ok(native)
}

/// What both producers share: what is acknowledged is on every in-sync replica, in order, once.
fn producer(config: &KafkaConfig) -> Result<ClientConfig, OpenError> {
    let mut native = common(config)?;
    native
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", config.delivery_timeout_ms.to_string())
        .set("message.max.bytes", (config.record_bytes_max + RECORD_OVERHEAD).to_string())
        .set("queue.buffering.max.kbytes", (config.queue_bytes_max / 1_024).to_string())
        .set("queue.buffering.max.messages", config.queue_records_max.to_string())
        .set("compression.type", config.compression.property());
    Ok(native)
}

/// Appends outside of transactions.
pub(super) fn appender(config: &KafkaConfig) -> Result<ClientConfig, OpenError> {
    let mut native = producer(config)?;
    native.set("linger.ms", config.linger_ms.to_string());
    Ok(native)
}

/// The outputs of a session. A commit flushes, so nothing is gained by waiting for more.
pub(super) fn transactional(config: &KafkaConfig, id: &str) -> Result<ClientConfig, OpenError> {
    let mut native = producer(config)?;
    native
        .set("linger.ms", "0")
        .set("transactional.id", id)
        .set("transaction.timeout.ms", config.transaction_timeout_ms.to_string());
    if !config.properties.contains_key(RETRY_BACKOFF) {
        native.set(RETRY_BACKOFF, TRANSACTION_RETRY_MS.to_string());
    }
    if !config.properties.contains_key(MAX_IDLE) {
        native.set(MAX_IDLE, (config.delivery_timeout_ms + IDLE_AFTER_DELIVERY_MS).to_string());
    }
    Ok(native)
}

fn consumer(config: &KafkaConfig, group: &str) -> Result<ClientConfig, OpenError> {
    let mut native = common(config)?;
    let fetch_max = config.fetch_bytes_max.max(config.record_bytes_max + RECORD_OVERHEAD);
    native
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("message.max.bytes", (config.record_bytes_max + RECORD_OVERHEAD).to_string())
        .set("fetch.max.bytes", fetch_max.to_string())
        .set("receive.message.max.bytes", (fetch_max + (1 << 20)).to_string());
    Ok(native)
}

/// A member of a group.
pub(super) fn member(config: &KafkaConfig, group: &str, instance: &str) -> Result<ClientConfig, OpenError> {
    let mut native = consumer(config, group)?;
    native
        .set("group.instance.id", instance)
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", config.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (config.session_timeout_ms / 3).min(HEARTBEAT_MAX_MS).to_string())
        .set("max.poll.interval.ms", config.poll_interval_max_ms.to_string())
        .set("queued.max.messages.kbytes", (config.fetch_bytes_max / 1_024).to_string())
        .set("fetch.queue.backoff.ms", "10");
    if !config.properties.contains_key("statistics.interval.ms") {
        native.set("statistics.interval.ms", "2000");
    }
    Ok(native)
}

/// A reader that is in no group. librdkafka wants a group's name all the same; nothing is ever committed under it.
pub(super) fn reader(config: &KafkaConfig) -> Result<ClientConfig, OpenError> {
    let mut native = consumer(config, &format!("{}-reader", config.client_id))?;
    native
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", READER_FETCH_WAIT_MS.to_string())
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", READER_AHEAD_RECORDS.to_string())
        .set("queued.max.messages.kbytes", READER_AHEAD_KBYTES.to_string())
        .remove("statistics.interval.ms");
    Ok(native)
}

/// Asks for the committed positions of a group without being a member of it.
pub(super) fn observer(config: &KafkaConfig, group: &str) -> Result<ClientConfig, OpenError> {
    let mut native = consumer(config, group)?;
    native.remove("statistics.interval.ms");
    Ok(native)
}

/// Asks about topics and offsets; it is in no group.
pub(super) fn asker(config: &KafkaConfig) -> Result<ClientConfig, OpenError> {
    let mut native = common(config)?;
    native.set("isolation.level", "read_committed").remove("statistics.interval.ms");
    Ok(native)
}

/// The wait of one slice of a longer one.
pub(super) fn slice(left: Duration, most: Duration) -> Duration {
    left.min(most).max(Duration::from_millis(1))
}
