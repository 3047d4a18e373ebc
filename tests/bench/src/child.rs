//! Processes of their own: what is measured must not share its memory and CPU time with what measures.

use crate::{fill, kafka, pipeline, servers};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use testkit::servers::Watchdog;

/// What this binary does as a child of itself.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Serve the bare axum handler; prints its address
    #[command(hide = true)]
    BareAxum,
    /// Serve the gateway over an embedded log, without any stage; prints its address
    #[command(hide = true)]
    GatewayOnly {
        /// Where the log lies
        directory: PathBuf,
    },
    /// Fill a log with raw webhooks
    #[command(hide = true)]
    FillLog {
        /// Where the log lies
        directory: PathBuf,
        /// How many events
        events: u64,
    },
    /// Run normalizer and suppressor over a filled log; prints a JSON document
    #[command(hide = true)]
    RunPipeline {
        /// Where the log lies
        directory: PathBuf,
        /// How many events it holds
        events: u64,
        /// Workers of the suppressor
        workers: u32,
    },
    /// Fill a store with suppressions
    #[command(hide = true)]
    FillStore {
        /// Where the store lies
        directory: PathBuf,
        /// How many
        suppressions: u64,
    },
    /// Serve the least that takes webhooks into Kafka; prints its address
    #[command(hide = true)]
    MinimalGateway {
        /// `host:port` of the broker
        brokers: String,
        /// Where they go
        topic: String,
        /// `compression.type` of the producer
        compression: String,
        /// `bodies` alone, or `raw-webhooks` as the gateway writes them
        written: String,
    },
    /// Send statements to a CQL store as fast as it takes them; prints a JSON document
    #[command(hide = true)]
    BareStore {
        /// What to send, as JSON
        plan: String,
    },
}

impl Role {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::BareAxum => servers::bare_axum(),
            Self::GatewayOnly { directory } => servers::gateway_only(&directory),
            Self::FillLog { directory, events } => fill::log(&directory, events),
            Self::RunPipeline { directory, events, workers } => pipeline::child(&directory, events, workers),
            Self::FillStore { directory, suppressions } => fill::store(&directory, suppressions),
            Self::MinimalGateway { brokers, topic, compression, written } => {
                kafka::minimal::serve(&brokers, &topic, &compression, written == "bodies")
            }
            Self::BareStore { plan } => kafka::ceiling::child(&plan),
        }
    }
}

/// A child that is killed when dropped, and when this process ends otherwise.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Watchdog,
}

impl Process {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut watchdog = Watchdog::new(&[OsStr::new("true")]).context("cannot start a shell")?;
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let guarded = watchdog.guard(child.id());
        let process = Self { child, watchdog };
        guarded.context("the watchdog ended")?;
        Ok(process)
    }

    /// Starts this binary in another role, its output to be read.
    pub(crate) fn ours(arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        Self::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line that it prints.
    pub(crate) fn first_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().context("its output is not read")?).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the child ended without a word");
        }
        Ok(line.trim().to_owned())
    }

    /// Waits for its end, and reads the JSON document that it prints, if it prints one.
    pub(crate) fn document(mut self) -> anyhow::Result<Value> {
        let mut text = String::new();
        self.child.stdout.take().context("its output is not read")?.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a child failed: {status}");
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).context("the child's document") }
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("a child did not end within {} s of SIGTERM", within.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
        // Its id may be another's from now on.
        drop(self.watchdog.release());
    }
}

/// A path as an argument.
pub(crate) fn argument(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is not text")
}
