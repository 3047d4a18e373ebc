//! What an operator says about the cluster.

use crate::position::EPOCH_MAX;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

/// How the log is reached and how long it may take. `brokers` is all that must be given.
///
/// Lengths of time are milliseconds, sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// The first brokers to ask, `host:port`, separated by commas.
    pub brokers: String,
    /// Raised by hand whenever the topics are made anew, imported or re-partitioned; 0 to 1023. Positions of an older
    /// epoch are older, whatever their offset.
    pub epoch: u16,
    /// How this client calls itself in the broker's logs and quotas.
    pub client_id: String,
    /// Encryption and authentication.
    pub security: Security,
    /// How long an append may take until its delivery report, retries included (`message.timeout.ms`). It must be below
    /// `transaction_timeout_ms`.
    pub delivery_timeout_ms: u64,
    /// How long the broker keeps a transaction open for a client it hears nothing from; readers of what is committed wait
    /// for it (`transaction.timeout.ms`).
    pub transaction_timeout_ms: u64,
    /// How long a commit is tried again while the broker does not answer, and so long again it is tried to undo it; a call
    /// that is under way then is given five seconds more. After it the process ends, and the next owner reads the truth
    /// from the log. Once the process is to stop both are cut to five seconds.
    pub commit_timeout_ms: u64,
    /// How long a member of a group may be silent before its partitions go to others (`session.timeout.ms`). A restart
    /// within it moves no partition.
    pub session_timeout_ms: u64,
    /// How long a stage may take for one batch before its partitions go to others (`max.poll.interval.ms`).
    pub poll_interval_max_ms: u64,
    /// How long a question about topics, positions or records may take.
    pub request_timeout_ms: u64,
    /// How long a record waits for others to be sent with (`linger.ms`). More costs latency and saves work.
    pub linger_ms: u64,
    /// How long a poll that found a record waits for more before it hands out a batch that is not full.
    pub batch_wait_ms: u64,
    /// How batches of records are compressed.
    pub compression: Compression,
    /// The largest record: key, value and headers, before compression (`message.max.bytes`). The topics' own
    /// `max.message.bytes` must not be smaller.
    pub record_bytes_max: usize,
    /// What may wait to be sent; an append beyond it is refused at once.
    pub queue_bytes_max: usize,
    /// How many records may wait to be sent.
    pub queue_records_max: usize,
    /// What a session fetches ahead.
    pub fetch_bytes_max: usize,
    /// Clients kept for reading outside of groups; more readers wait for one.
    pub readers_max: usize,
    /// Anything else that librdkafka knows, by its own name. What the guarantees rest on is refused.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            epoch: 0,
            client_id: "quell".to_owned(),
            security: Security::default(),
            delivery_timeout_ms: 10_000,
            transaction_timeout_ms: 15_000,
            commit_timeout_ms: 60_000,
            session_timeout_ms: 20_000,
            poll_interval_max_ms: 300_000,
            request_timeout_ms: 10_000,
            linger_ms: 5,
            batch_wait_ms: 5,
            compression: Compression::Lz4,
            record_bytes_max: 12 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            queue_records_max: 100_000,
            fetch_bytes_max: 16 * 1024 * 1024,
            readers_max: 4,
            properties: BTreeMap::new(),
        }
    }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Cheap to compute.
    #[default]
    Lz4,
    /// Smaller, and dearer.
    Zstd,
}

impl Compression {
    pub(super) const fn property(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Whether connections are encrypted and who we are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither.
    #[default]
    Plaintext,
    /// Encrypted; we show a certificate where one is given.
    Tls,
    /// A name and a proof, unencrypted.
    SaslPlaintext,
    /// Encrypted, with a name and a proof.
    SaslTls,
}

impl Protocol {
    const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }

    pub(super) const fn property(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_ssl",
        }
    }
}

/// How we prove who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// The password itself: only over TLS.
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// A token of an OAuth 2 issuer, RFC 7628.
    Oauthbearer,
}

impl Mechanism {
    pub(super) const fn property(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// Encryption and authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// `plaintext`, `tls`, `sasl_plaintext` or `sasl_tls`.
    pub protocol: Protocol,
    /// The certificates (PEM) that brokers are checked against; the system's where none is given.
    pub ca: Option<PathBuf>,
    /// Our own certificate (PEM), where the brokers ask for one.
    pub certificate: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<PathBuf>,
    /// The password of the private key.
    pub key_password: Option<Redacted>,
    /// `plain`, `scram_sha_256`, `scram_sha_512` or `oauthbearer`.
    pub mechanism: Option<Mechanism>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Redacted>,
    /// Where tokens come from.
    pub oauth: Option<Oauth>,
}

/// Where the tokens of `oauthbearer` come from: the client credentials grant, RFC 6749 section 4.4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth {
    /// The issuer's token endpoint.
    pub token_endpoint: String,
    /// Our client id there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: Redacted,
    /// The scope to ask for.
    pub scope: Option<String>,
}

impl Security {
    /// Puts what `follow` finds in the place of every secret that is given as a reference.
    pub fn resolve<E>(&mut self, mut follow: impl FnMut(&str) -> Result<String, E>) -> Result<(), E> {
        let secrets = [self.key_password.as_mut(), self.password.as_mut()];
        for secret in secrets.into_iter().flatten().chain(self.oauth.as_mut().map(|oauth| &mut oauth.client_secret)) {
            secret.0 = follow(&secret.0)?;
        }
        Ok(())
    }
}

/// A secret, or a reference to one that is followed by [`Security::resolve`]. Printing it gives `***`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Redacted(String);

impl Redacted {
    /// From the secret itself.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself: for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Redacted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// What is wrong with a configuration. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A field cannot be used.
    #[error("kafka.{field}: {why}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A property is not the operator's to set.
    #[error("kafka.properties: {0} is set by quell itself, as its guarantees rest on it: remove it")]
    Refused(String),
    /// librdkafka does not take it.
    #[error("kafka: librdkafka refuses {0}")]
    Library(String),
}

fn wrong<T>(field: &'static str, why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Field { field, why: why.into() })
}

/// Properties that are set by us and by nobody else: guarantees, or fields of [`KafkaConfig`] under another name.
const REFUSED: [&str; 52] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "isolation.level",
    "linger.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "request.required.acks",
    "retries",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "security.protocol",
    "session.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "transaction.timeout.ms",
    "transactional.id",
];

impl KafkaConfig {
    /// Checks that the fields fit together. Whether librdkafka takes the properties, and whether files can be read, shows
    /// when a client is made.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.brokers.split(',').all(|broker| broker.trim().rsplit_once(':').is_some_and(is_address)) {
            return wrong("brokers", "give one or more, as host:port, separated by commas");
        }
        if self.epoch > EPOCH_MAX {
            return wrong("epoch", format!("{} is above the highest, {EPOCH_MAX}", self.epoch));
        }
        if self.client_id.is_empty() {
            return wrong("client_id", "must not be empty");
        }
        self.validate_times()?;
        self.validate_sizes()?;
        self.security.validate()?;
        let refused: BTreeSet<&str> = REFUSED.into_iter().collect();
        match self.properties.keys().find(|name| refused.contains(name.as_str())) {
            Some(name) => Err(ConfigError::Refused(name.clone())),
            None => Ok(()),
        }
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        const HOUR_MS: u64 = 3_600_000;
        for (field, ms, low) in [
            ("delivery_timeout_ms", self.delivery_timeout_ms, 100),
            ("transaction_timeout_ms", self.transaction_timeout_ms, 1_000),
            ("commit_timeout_ms", self.commit_timeout_ms, 1_000),
            ("session_timeout_ms", self.session_timeout_ms, 1_000),
            ("poll_interval_max_ms", self.poll_interval_max_ms, 1_000),
            ("request_timeout_ms", self.request_timeout_ms, 100),
        ] {
            if !(low..=HOUR_MS).contains(&ms) {
                return wrong(field, format!("{ms} is not between {low} and {HOUR_MS}"));
            }
        }
        if self.delivery_timeout_ms >= self.transaction_timeout_ms {
            return wrong(
                "delivery_timeout_ms",
                "must be below transaction_timeout_ms, or no commit could end in time",
            );
        }
        if self.session_timeout_ms > self.poll_interval_max_ms {
            return wrong("poll_interval_max_ms", "must not be below session_timeout_ms");
        }
        if self.linger_ms > 1_000 {
            return wrong("linger_ms", "must be at most 1000");
        }
        if self.batch_wait_ms.saturating_mul(3) > self.poll_interval_max_ms {
            return wrong("batch_wait_ms", "must be at most a third of poll_interval_max_ms");
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), ConfigError> {
        const GIB: usize = 1 << 30;
        for (field, bytes, low, high) in [
            ("record_bytes_max", self.record_bytes_max, 1_024, GIB / 2),
            ("queue_bytes_max", self.queue_bytes_max, 1 << 16, GIB),
            ("queue_records_max", self.queue_records_max, 1, 10_000_000),
            ("fetch_bytes_max", self.fetch_bytes_max, 1 << 16, GIB),
            ("readers_max", self.readers_max, 1, 64),
        ] {
            if !(low..=high).contains(&bytes) {
                return wrong(field, format!("{bytes} is not between {low} and {high}"));
            }
        }
        if self.record_bytes_max > self.queue_bytes_max {
            return wrong(
                "record_bytes_max",
                "must not be above queue_bytes_max, or a large record would never be sent",
            );
        }
        Ok(())
    }

    pub(super) const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

fn is_address((host, port): (&str, &str)) -> bool {
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl Security {
    fn validate(&self) -> Result<(), ConfigError> {
        let files = [&self.ca, &self.certificate, &self.key];
        if !self.protocol.has_tls() && (files.iter().any(|file| file.is_some()) || self.key_password.is_some()) {
            return wrong("security", "ca, certificate and key are for the protocols tls and sasl_tls");
        }
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("security", "certificate and key belong together: give both or neither");
        }
        let has_sasl_field =
            self.mechanism.is_some() || self.user.is_some() || self.password.is_some() || self.oauth.is_some();
        if !self.protocol.has_sasl() {
            return match has_sasl_field {
                true => wrong("security", "mechanism, user, password and oauth are for sasl_plaintext and sasl_tls"),
                false => Ok(()),
            };
        }
        match self.mechanism {
            None => wrong("security.mechanism", "say which: plain, scram_sha_256, scram_sha_512 or oauthbearer"),
            Some(Mechanism::Oauthbearer) if self.oauth.is_none() => {
                wrong("security.oauth", "say where tokens come from: token_endpoint, client_id, client_secret")
            }
            Some(Mechanism::Oauthbearer) => match (&self.user, &self.password) {
                (None, None) => Ok(()),
                _ => wrong("security", "oauthbearer takes neither user nor password"),
            },
            Some(Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512) => {
                if self.oauth.is_some() {
                    return wrong("security.oauth", "is for the mechanism oauthbearer");
                }
                match (&self.user, &self.password) {
                    (Some(user), Some(password)) if !user.is_empty() && !password.0.is_empty() => Ok(()),
                    _ => wrong("security", "the mechanism needs user and password"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> KafkaConfig {
        KafkaConfig { brokers: "127.0.0.1:9092, kafka.internal:9093".to_owned(), ..KafkaConfig::default() }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(sound().validate(), Ok(()));
        let check = |change: fn(&mut KafkaConfig), expected: &str| {
            let mut config = sound();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        for brokers in ["", "kafka", "kafka:", ":9092", "kafka:0", "a:1,,b:2", "kafka:99999"] {
            let config = KafkaConfig { brokers: brokers.to_owned(), ..sound() };
            assert!(config.validate().is_err(), "{brokers}");
        }
        check(|config| config.epoch = 1_024, "kafka.epoch: 1024 is above the highest, 1023");
        check(|config| config.client_id.clear(), "kafka.client_id: must not be empty");
        check(|config| config.delivery_timeout_ms = 15_000, "kafka.delivery_timeout_ms: must be below transaction");
        check(|config| config.delivery_timeout_ms = 1, "kafka.delivery_timeout_ms: 1 is not between");
        check(|config| config.poll_interval_max_ms = 19_000, "kafka.poll_interval_max_ms: must not be below session");
        check(|config| config.linger_ms = 1_001, "kafka.linger_ms: must be at most 1000");
        check(|config| config.batch_wait_ms = 100_001, "kafka.batch_wait_ms: must be at most a third");
        check(|config| config.record_bytes_max = 70 << 20, "kafka.record_bytes_max: must not be above queue_bytes_max");
        check(|config| config.readers_max = 0, "kafka.readers_max: 0 is not between 1 and 64");
        for name in ["isolation.level", "acks", "enable.idempotence", "enable.auto.commit", "partitioner"] {
            let mut config = sound();
            config.properties.insert(name.to_owned(), "x".to_owned());
            assert_eq!(config.validate(), Err(ConfigError::Refused(name.to_owned())));
        }
    }

    #[test]
    fn security_fits_together() {
        let check = |security: Security, expected: &str| {
            let result = KafkaConfig { security, ..sound() }.validate();
            let said = result.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
            assert!(said.contains(expected), "{said}");
        };
        let password = || Some(Redacted::new("hunter2"));
        let user = || Some("quell".to_owned());
        let tls = Security { protocol: Protocol::Tls, ..Security::default() };
        let scram = Security {
            protocol: Protocol::SaslTls,
            mechanism: Some(Mechanism::ScramSha512),
            user: user(),
            password: password(),
            ..Security::default()
        };
        check(tls.clone(), "ok");
        check(scram.clone(), "ok");
        check(Security { key: Some("key.pem".into()), ..tls.clone() }, "certificate and key belong together");
        check(Security { ca: Some("ca.pem".into()), ..Security::default() }, "for the protocols tls and sasl_tls");
        check(Security { user: user(), ..tls }, "for sasl_plaintext and sasl_tls");
        check(Security { mechanism: None, ..scram.clone() }, "say which");
        check(Security { password: None, ..scram.clone() }, "needs user and password");
        check(Security { mechanism: Some(Mechanism::Oauthbearer), ..scram }, "say where tokens come from");
    }

    #[test]
    fn secrets_are_followed_and_never_shown() {
        let text = r#"{"brokers":"a:1","security":{"protocol":"sasl_tls","mechanism":"scram_sha_256","user":"u",
            "password":"env:PW"}}"#;
        let mut config: KafkaConfig = serde_json::from_str(text).unwrap();
        config.security.resolve(|reference| Ok::<_, ()>(format!("{reference}, followed"))).unwrap();
        assert_eq!(config.security.password.as_ref().unwrap().expose(), "env:PW, followed");
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(shown.contains("***") && !shown.contains("followed"), "{shown}");
        assert!(serde_json::from_str::<KafkaConfig>(r#"{"broker":"a:1"}"#).is_err(), "an unknown field is refused");
    }
}
