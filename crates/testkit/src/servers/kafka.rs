//! Apache Kafka of a test's own: one node that is broker and controller, or one of each, on the local Java machine.

use super::{
    Kind, ServerError, cache, certificates, clash, free_ports,
    java::{self, JavaServer, Plan},
    probe,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(90);

/// What a Kafka of a test's own should be like.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// Further lines for `server.properties`; they win over the usual ones.
    pub settings: Vec<(String, String)>,
    /// Adds a listener with TLS and one with TLS and SASL, see [`JvmKafka::security`].
    pub secure: bool,
    /// The controller is a process of its own and lives on when the broker is killed, as in a cluster. In one process with
    /// its broker it forgets when that was last heard of, and leaves it the leader until its session is over; markers of a
    /// transaction that was ending at the kill may then be dropped (`TransactionMarkerChannelManager` of Kafka 4.3,
    /// "Couldn't find leader endpoint"), and its positions stay open for ever.
    pub controller_apart: bool,
    /// It is measured: as the server comes, with room and the whole compiler, where tests have something that starts
    /// quickly and stays small.
    pub measured: bool,
}

/// A Kafka that only its owner uses, and that its owner may stop, kill, pause and start again on the same ports and data.
/// Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct JvmKafka {
    bootstrap: String,
    security: Option<KafkaSecurity>,
    server: JavaServer,
    /// Dropped after its broker.
    _controller: Option<JavaServer>,
}

/// How to reach the secure listeners of a [`JvmKafka`]. The certificate is for `localhost` and 127.0.0.1. Its user may log
/// in by SCRAM-SHA-512 and by PLAIN; by OAUTHBEARER anybody may whose token is an unsecured JWS (`"alg":"none"`) with
/// the claims `sub`, `iat` and `exp`, as Kafka's own handler for development takes.
#[derive(Debug, Clone)]
pub struct KafkaSecurity {
    /// `host:port` with TLS and without login.
    pub bootstrap_tls: String,
    /// `host:port` with TLS and SASL.
    pub bootstrap_sasl: String,
    /// The certificate authority behind the broker's certificate.
    pub ca_pem_path: PathBuf,
    pub user: String,
    /// New for each broker, so that a test can look for it where it must not be.
    pub password: String,
}

impl KafkaSecurity {
    fn settings(&self, store: &Path) -> Vec<(&'static str, String)> {
        const LOGIN: &str = "org.apache.kafka.common.security";
        let Self { user, password, .. } = self;
        let store_password = certificates::STORE_PASSWORD.to_owned();
        vec![
            ("ssl.keystore.type", "PKCS12".to_owned()),
            ("ssl.keystore.location", store.display().to_string()),
            ("ssl.keystore.password", store_password.clone()),
            ("ssl.key.password", store_password),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512,PLAIN,OAUTHBEARER".to_owned()),
            ("listener.name.sasl.scram-sha-512.sasl.jaas.config", format!("{LOGIN}.scram.ScramLoginModule required;")),
            (
                "listener.name.sasl.plain.sasl.jaas.config",
                format!("{LOGIN}.plain.PlainLoginModule required user_{user}=\"{password}\";"),
            ),
            (
                "listener.name.sasl.oauthbearer.sasl.jaas.config",
                format!(
                    "{LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
                ),
            ),
        ]
    }
}

impl JvmKafka {
    /// Starts a fresh one with a new cluster id and waits until it answers. Blocks: 4 to 10 seconds with the jars at hand.
    ///
    /// # Errors
    /// Java or Maven missing, no network for the first fetch, or no answer within 90 seconds.
    pub fn start(options: &KafkaOptions) -> Result<Self, ServerError> {
        let class_path = java::class_path(&cache::fetch(Kind::Kafka)?.join("lib"))?;
        clash::retried(|| Self::start_once(options, &class_path))
    }

    fn start_once(options: &KafkaOptions, class_path: &OsStr) -> Result<Self, ServerError> {
        let [port, controller, tls, sasl] = free_ports()?;
        let bootstrap = format!("127.0.0.1:{port}");
        let dir = TempDir::with_prefix("quell-kafka-").map_err(ServerError::io("making a folder for Kafka"))?;
        let roles = if options.controller_apart { Roles::Broker } else { Roles::Both };
        let cluster = random_id();
        let mut own = roles.settings(controller, dir.path());
        own.push(("inter.broker.listener.name", "PLAINTEXT".to_owned()));
        let mut listeners = format!("PLAINTEXT://{bootstrap}");
        let mut security = None;
        if options.secure {
            let made = certificates::make(dir.path())?;
            let secure = KafkaSecurity {
                bootstrap_tls: format!("127.0.0.1:{tls}"),
                bootstrap_sasl: format!("127.0.0.1:{sasl}"),
                ca_pem_path: made.ca_pem,
                user: "quell".to_owned(),
                password: format!("word-{}", random_id()),
            };
            let _ = write!(listeners, ",TLS://{},SASL://{}", secure.bootstrap_tls, secure.bootstrap_sasl);
            own.extend(secure.settings(&made.store));
            security = Some(secure);
        }
        let controller = if options.controller_apart {
            own.push(("listeners", listeners.clone()));
            Some(start_controller(options, class_path, controller, &cluster, security.as_ref())?)
        } else {
            own.push(("listeners", format!("{listeners},{}", listener_of(controller))));
            None
        };
        own.push(("advertised.listeners", listeners));
        let properties = write_properties(dir.path(), &own, options)?;
        format_storage(class_path, &properties, &cluster, security.as_ref())?;
        let arguments = arguments(options, class_path, properties);
        let address = bootstrap.clone();
        let probe = Box::new(move || match probe::kafka(&address)? {
            0 => Err(std::io::ErrorKind::NotConnected.into()),
            _ => Ok(()),
        });
        let server = JavaServer::start(Plan { kind: Kind::Kafka, dir, arguments, probe, patience: PATIENCE })?;
        Ok(Self { bootstrap, security, server, _controller: controller })
    }

    /// `host:port` without TLS and login.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The secure listeners, if [`KafkaOptions::secure`] asked for them.
    pub fn security(&self) -> Option<&KafkaSecurity> {
        self.security.as_ref()
    }
}

super::steer!(JvmKafka);

/// Small, quick to start, and strict: a topic that nobody declared is an error, in tests too. Short sessions are allowed so
/// that a killed group member is missed soon.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("num.partitions", "1"),
    ("default.replication.factor", "1"),
    ("min.insync.replicas", "1"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "3"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("background.threads", "2"),
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("log.segment.bytes", "16777216"),
    // There is no other node to hand anything over to.
    ("controlled.shutdown.enable", "false"),
];

/// What a process is to the cluster.
#[derive(Debug, Clone, Copy)]
enum Roles {
    Both,
    Broker,
    Controller,
}

impl Roles {
    fn settings(self, controller: u16, dir: &Path) -> Vec<(&'static str, String)> {
        let (names, node, voter) = match self {
            Self::Both => ("broker,controller", 1, 1),
            Self::Broker => ("broker", 1, 2),
            Self::Controller => ("controller", 2, 2),
        };
        vec![
            ("process.roles", names.to_owned()),
            ("node.id", node.to_string()),
            ("controller.quorum.voters", format!("{voter}@127.0.0.1:{controller}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASL:SASL_SSL".to_owned(),
            ),
            ("log.dirs", dir.join("data").display().to_string()),
        ]
    }
}

fn listener_of(controller: u16) -> String {
    format!("CONTROLLER://127.0.0.1:{controller}")
}

fn start_controller(
    options: &KafkaOptions,
    class_path: &OsStr,
    port: u16,
    cluster: &str,
    security: Option<&KafkaSecurity>,
) -> Result<JavaServer, ServerError> {
    let dir = TempDir::with_prefix("quell-kafka-controller-").map_err(ServerError::io("making a folder for Kafka"))?;
    let mut own = Roles::Controller.settings(port, dir.path());
    own.push(("listeners", listener_of(port)));
    let properties = write_properties(dir.path(), &own, options)?;
    format_storage(class_path, &properties, cluster, security)?;
    let arguments = arguments(options, class_path, properties);
    let probe = Box::new(move || probe::connect(&format!("127.0.0.1:{port}")).map(drop));
    JavaServer::start(Plan { kind: Kind::Kafka, dir, arguments, probe, patience: PATIENCE })
}

/// `server.properties` in a folder: a process's own settings, the usual ones, and those that the test asks for.
fn write_properties(dir: &Path, own: &[(&str, String)], options: &KafkaOptions) -> Result<PathBuf, ServerError> {
    let usual = SETTINGS.iter().map(|(name, value)| (*name, *value));
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = String::new();
    for (name, value) in own.iter().map(|(name, value)| (*name, value.as_str())).chain(usual).chain(given) {
        // The last line with a name counts.
        let _ = writeln!(text, "{name}={value}");
    }
    let properties = dir.join("server.properties");
    fs::write(&properties, text).map_err(ServerError::io("writing server.properties"))?;
    Ok(properties)
}

fn arguments(options: &KafkaOptions, class_path: &OsStr, properties: PathBuf) -> Vec<OsString> {
    let mut arguments = machine(options.measured);
    arguments.extend(["-cp".into(), class_path.into(), "kafka.Kafka".into(), properties.into()]);
    arguments
}

fn machine(is_measured: bool) -> Vec<OsString> {
    let memory: &[&str] = if is_measured {
        &["-Xms1g", "-Xmx1g", "-XX:+UseParallelGC"]
    } else {
        &["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    };
    let rest = [
        "-Xshare:auto",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    ];
    memory.iter().chain(&rest).map(OsString::from).collect()
}

/// Gives the data folder its cluster id, as KRaft asks before the first start, and the user who logs in by SCRAM.
fn format_storage(
    class_path: &OsStr,
    properties: &Path,
    cluster: &str,
    security: Option<&KafkaSecurity>,
) -> Result<(), ServerError> {
    let mut command = Command::new(java::program("java")?);
    command.args(machine(false)).arg("-cp").arg(class_path);
    command.args(["kafka.tools.StorageTool", "format", "-t", cluster, "-c"]).arg(properties);
    if let Some(KafkaSecurity { user, password, .. }) = security {
        command.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={user},password={password}]"));
    }
    cache::run("formatting Kafka's storage", &mut command)
}

/// Sixteen random bytes in unpadded URL-safe base64, as Kafka writes its ids.
fn random_id() -> String {
    let mut bytes = [0; 16];
    // Only uniqueness matters here; without randomness all clusters would share one id.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    // A leading dash would look like an option.
    bytes[0] &= 0x7f;
    URL_SAFE_NO_PAD.encode(bytes)
}
