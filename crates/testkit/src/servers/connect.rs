//! A Kafka Connect worker of a test's own, on the local Java machine, with the plugins that `deploy/connect` names.

use super::{
    Kind, ServerError, cache, clash, free_ports,
    java::{self, JavaServer, Plan},
    probe,
};
use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
    fs, io,
    path::Path,
    time::Duration,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// What a worker of a test's own should be like.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// `host:port` of the Kafka that it belongs to.
    pub bootstrap: String,
    /// A file of properties, as an operator has it. What makes the worker small and its own comes after it, and wins.
    pub properties: String,
    /// Variables of its environment, from which a config provider takes secrets.
    pub environment: Vec<(String, String)>,
}

/// A worker in distributed mode, alone in its group, that only its owner uses and may stop, kill, pause and start again on
/// the same port. Its connectors live in topics of its Kafka. Dropping it kills it.
///
/// It belongs to the Kafka of its test, which kills it: none is looked for in the environment or in Docker.
#[derive(Debug)]
pub struct JvmConnect {
    url: String,
    server: JavaServer,
}

impl JvmConnect {
    /// Starts one and waits until it answers. Blocks: 15 to 40 seconds with the files at hand.
    ///
    /// # Errors
    /// Java or Maven missing, no network for the first fetch, or no answer within 120 seconds.
    pub fn start(options: &ConnectOptions) -> Result<Self, ServerError> {
        let files = cache::fetch(Kind::Connect)?;
        let class_path = java::class_path(&files.join("lib"))?;
        clash::retried(|| Self::start_once(options, &class_path, &files.join("plugins")))
    }

    fn start_once(options: &ConnectOptions, class_path: &OsStr, plugins: &Path) -> Result<Self, ServerError> {
        let [port] = free_ports()?;
        let url = format!("http://127.0.0.1:{port}");
        let dir =
            TempDir::with_prefix("quell-connect-").map_err(ServerError::io("making a folder for Kafka Connect"))?;
        let own = [
            ("bootstrap.servers", options.bootstrap.clone()),
            ("listeners", url.clone()),
            ("plugin.path", plugins.display().to_string()),
        ];
        let usual = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut text = format!("{}\n", options.properties);
        for (name, value) in own.into_iter().chain(usual) {
            // The last line with a name counts.
            let _ = writeln!(text, "{name}={value}");
        }
        let properties = dir.path().join("worker.properties");
        fs::write(&properties, text).map_err(ServerError::io("writing worker.properties"))?;
        let mut arguments: Vec<OsString> = MACHINE.iter().map(OsString::from).collect();
        arguments.extend(["-cp".into(), class_path.into(), MAIN.into(), properties.into()]);
        let probed = format!("{url}/connectors");
        let probe = Box::new(move || match probe::http("GET", &probed, "")? {
            (200, _) => Ok(()),
            (status, _) => Err(io::Error::other(format!("it answers {status}"))),
        });
        let plan = Plan { kind: Kind::Connect, dir, arguments, probe, patience: PATIENCE };
        Ok(Self { url, server: JavaServer::start_with(plan, java::program("java")?, &options.environment)? })
    }

    /// The base URL of its REST API: `{url}/connectors` lists the connectors.
    pub fn url(&self) -> &str {
        &self.url
    }
}

super::steer!(JvmConnect);

const MAIN: &str = "org.apache.kafka.connect.cli.ConnectDistributed";

const MACHINE: &[&str] = &[
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    // Times must not depend on where the worker stands.
    "-Duser.timezone=America/St_Johns",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
];

/// One broker, and a member of a group that died is missed soon.
const SETTINGS: &[(&str, &str)] = &[
    ("config.storage.replication.factor", "1"),
    ("offset.storage.replication.factor", "1"),
    ("status.storage.replication.factor", "1"),
    ("offset.storage.partitions", "1"),
    ("status.storage.partitions", "1"),
    ("scheduled.rebalance.max.delay.ms", "0"),
    ("offset.flush.interval.ms", "1000"),
    ("session.timeout.ms", "6000"),
    ("heartbeat.interval.ms", "1000"),
];
