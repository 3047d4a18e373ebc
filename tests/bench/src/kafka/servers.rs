//! A broker and a store, with topics and tables, as an operator makes them.

use crate::{Options, child::argument, instance, requests::Keys, run_directory, say, usage};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};
use tempfile::TempDir;
use testkit::servers::{CqlOptions, JvmCql, JvmKafka, KafkaOptions};

/// Quell's tables.
pub(super) const KEYSPACE: &str = "bench";
/// The same tables, for the minimal program.
pub(super) const CEILING_KEYSPACE: &str = "bench_ceiling";

/// What a broker has as it comes, where short tests have something quicker.
const SETTINGS: [(&str, &str); 4] = [
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "10000"),
    ("controlled.shutdown.enable", "true"),
    ("group.initial.rebalance.delay.ms", "3000"),
    ("log.segment.bytes", "134217728"),
];

/// The servers, and what every process on them is told.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) broker: JvmKafka,
    pub(super) store: JvmCql,
    pub(super) keys: Arc<Keys>,
    pub(super) quell: PathBuf,
    directory: TempDir,
}

impl Cluster {
    /// Starts both servers and makes topics and tables. Blocks for half a minute.
    pub(super) fn start(options: &Options) -> anyhow::Result<Self> {
        say("  starting a broker and a store");
        let settings = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // The commit log is synced every ten seconds, as Cassandra and ScyllaDB come.
        let store = std::thread::spawn(|| JvmCql::start(&CqlOptions { durable: false, measured: true }));
        let broker = JvmKafka::start(&KafkaOptions { settings, measured: true, ..KafkaOptions::default() })
            .context("no broker")?;
        let store = store.join().map_err(|_| anyhow::anyhow!("the store's thread ended"))?.context("no store")?;
        let (directory, quell) = (run_directory(&options.data)?, std::path::absolute(&options.quell)?);
        let cluster = Self { broker, store, keys: Arc::new(Keys::new()?), quell, directory };
        let partitions = options.partitions.to_string();
        let apply = ["topics", "apply", "--yes", "--replication-factor", "1", "--min-insync", "1", "--partitions"];
        let apply: Vec<&str> = apply.into_iter().chain([partitions.as_str()]).collect();
        cluster.operate(KEYSPACE, &apply)?;
        for keyspace in [KEYSPACE, CEILING_KEYSPACE] {
            cluster.operate(keyspace, &["store", "migrate", "--yes"])?;
        }
        Ok(cluster)
    }

    /// A folder for a process.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = std::path::absolute(self.directory.path())?.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The part of a configuration that says where the servers are. All that bears on speed is as it comes. Nothing is
    /// applied again when a suppressor starts: no start is measured here, and none of its work is to be counted.
    pub(super) fn config(&self, keyspace: &str) -> String {
        format!(
            "\n[kafka]\nbrokers = \"{}\"\n\n[store]\ncontact_points = [\"{}\"]\nkeyspace = \"{keyspace}\"\nsync_window = \
             0\n\n[store.replication]\nclass = \"SimpleStrategy\"\nfactor = 1\n\n[logs]\nfilter = \"warn\"\n\n[unengaged]\n\
             scheduled = false\n\n",
            self.broker.bootstrap(),
            self.store.address()
        )
    }

    /// Runs a command that an operator types.
    fn operate(&self, keyspace: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let file = self.folder("operator")?.join("quell.toml");
        std::fs::write(&file, self.config(keyspace))?;
        let mut command = clean(&self.quell);
        let output = command.args(["--config", argument(&file)?]).args(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("quell {} ended with {}: {said}", arguments.join(" "), output.status);
        }
        Ok(())
    }

    /// A configuration for a role: its own part first, sources at the end.
    pub(super) fn role_config(&self, own: &str, accounts: &str) -> String {
        format!("{own}{}{}{accounts}", self.config(KEYSPACE), instance::sources())
    }

    /// CPU seconds of broker and store so far.
    pub(super) fn cpu(&self) -> anyhow::Result<[f64; 2]> {
        let of = |pid: Option<u32>| usage::cpu_seconds(pid.context("a server is gone")?);
        Ok([of(self.broker.pid())?, of(self.store.pid())?])
    }

    /// The same by thread, of both together.
    pub(super) fn cpu_by_thread(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut both = BTreeMap::new();
        for pid in [self.broker.pid(), self.store.pid()] {
            for (name, seconds) in usage::cpu_seconds_by_thread(pid.context("a server is gone")?)? {
                *both.entry(name).or_default() += seconds;
            }
        }
        Ok(both)
    }

    /// What it is, for the results.
    pub(super) fn facts(options: &Options) -> Value {
        json!({
            "broker": "Apache Kafka, one node, on this machine",
            "store": "Apache Cassandra, one node, on this machine; its commit log is synced every 10 s",
            "partitions": options.partitions,
        })
    }
}

/// The binary without what the environment of this process would configure.
pub(super) fn clean(quell: &Path) -> Command {
    let mut command = Command::new(quell);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUELL_")) {
        command.env_remove(name);
    }
    command
}
