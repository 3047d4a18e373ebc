//! The servers of a run: a broker and a store of its own, with topics and tables.

use anyhow::{Context as _, bail};
use event_log::kafka::{KafkaConfig, KafkaLog};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use testkit::servers::{CqlOptions, JvmCql, JvmKafka, KafkaOptions, ServerError};

const KEYSPACE: &str = "chaos";
/// Partitions of every topic: more than there are workers, so that each has some to lose.
pub(crate) const PARTITIONS: u32 = 6;
/// Short of the usual 20 s, so that a killed member is missed within the run.
const SESSION_TIMEOUT_MS: u64 = 10_000;
/// Applied again at each takeover; the store of a run loses nothing, so any number does.
const SYNC_WINDOW: u64 = 1_000;

/// What the broker has as it comes, where short tests have something quicker. A broker that looks for timed-out transactions
/// within seconds of its start meets the moment in which no partition has a leader, and Apache Kafka 4.3 then drops their
/// markers ("Couldn't find leader endpoint"): such a transaction stays open for ever, and readers of what is committed wait
/// for it until `kafka-transactions.sh abort`.
const SETTINGS: [(&str, &str); 5] = [
    // Its controller is in the same process: a busy machine is no reason to take its partitions from it.
    ("broker.session.timeout.ms", "60000"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000"),
    ("controlled.shutdown.enable", "true"),
    ("group.initial.rebalance.delay.ms", "3000"),
    ("log.segment.bytes", "134217728"),
];

/// What Apache Kafka 4.3 says when it drops the ends of a transaction.
const DROPPED: &str = "Couldn't find leader endpoint for partitions";

/// One broker and one node of a store, which a plan of faults may stop, kill and pause.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) broker: JvmKafka,
    pub(crate) store: JvmCql,
}

impl Cluster {
    /// Starts both. Blocks for half a minute.
    pub(crate) fn start() -> anyhow::Result<Arc<Self>> {
        let settings = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let store = std::thread::spawn(|| JvmCql::start(&CqlOptions { durable: true, measured: false }));
        let broker = JvmKafka::start(&KafkaOptions { settings, ..KafkaOptions::default() }).context("no broker")?;
        let store = store.join().map_err(|_| anyhow::anyhow!("the store's thread ended"))?.context("no store")?;
        Ok(Arc::new(Self { broker, store }))
    }

    /// The part of every configuration that says where the servers are.
    pub(crate) fn config(&self) -> String {
        format!(
            "\n[kafka]\nbrokers = \"{}\"\nsession_timeout_ms = {SESSION_TIMEOUT_MS}\n\n[store]\ncontact_points = \
             [\"{}\"]\nkeyspace = \"{KEYSPACE}\"\nsync_window = {SYNC_WINDOW}\n\n[store.replication]\nclass = \
             \"SimpleStrategy\"\nfactor = 1\n",
            self.broker.bootstrap(),
            self.store.address()
        )
    }

    /// Makes the topics and the tables, by the commands that an operator types.
    pub(crate) async fn prepare(&self, dir: &Path, binary: &Path) -> anyhow::Result<()> {
        let file = dir.join("operator.toml");
        std::fs::write(&file, self.config())?;
        let partitions = PARTITIONS.to_string();
        let apply = ["topics", "apply", "--yes", "--replication-factor", "1", "--min-insync", "1", "--partitions"];
        let apply = apply.iter().copied().chain([partitions.as_str()]).collect::<Vec<_>>();
        for arguments in [apply.as_slice(), &["store", "migrate", "--yes"]] {
            let mut command = Command::new(binary);
            command.arg("--config").arg(&file).args(arguments).stdin(Stdio::null());
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!("quell {} ended with {}: {said}", arguments.join(" "), output.status);
            }
        }
        Ok(())
    }

    /// A plain reader of what is committed.
    pub(crate) fn log(&self) -> anyhow::Result<KafkaLog> {
        let brokers = self.broker.bootstrap().to_owned();
        Ok(KafkaLog::connect(KafkaConfig { brokers, client_id: "chaos".to_owned(), ..KafkaConfig::default() })?)
    }

    /// Whether the broker lost the ends of transactions, as [`SETTINGS`] tells: then its groups wait for ever, and a run
    /// says nothing about Quell. Several brokers have another leader to write them.
    pub(crate) fn has_dropped_markers(&self) -> bool {
        let Some(logs) = self.broker.log_path().parent().and_then(|dir| std::fs::read_dir(dir).ok()) else {
            return false;
        };
        let names =
            logs.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
        names.filter_map(|path| std::fs::read_to_string(path).ok()).any(|log| log.contains(DROPPED))
    }

    /// Keeps what the servers' latest processes wrote.
    pub(crate) fn keep_logs(&self, dir: &Path) {
        for (name, path) in [("broker.log", self.broker.log_path()), ("store.log", self.store.log_path())] {
            // A run that failed says why elsewhere.
            let _ = std::fs::copy(path, dir.join(name));
        }
    }
}

/// Runs what blocks where it may.
pub(crate) async fn steer(
    cluster: &Arc<Cluster>,
    act: impl FnOnce(&Cluster) -> Result<(), ServerError> + Send + 'static,
) -> anyhow::Result<()> {
    let cluster = Arc::clone(cluster);
    tokio::task::spawn_blocking(move || act(&cluster)).await?.context("a server does not do as told")
}
