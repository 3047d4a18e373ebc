//! Processes of their own: what is measured must not share its memory and CPU time with what measures.

use crate::{fill, pipeline, servers};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

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
        }
    }
}

/// A child that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?))
    }

    /// Starts this binary in another role, its output to be read.
    pub(crate) fn ours(arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        Self::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The first line that it prints.
    pub(crate) fn first_line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().context("its output is not read")?).read_line(&mut line)?;
        if line.is_empty() {
            bail!("the child ended without a word");
        }
        Ok(line.trim().to_owned())
    }

    /// Waits for its end, and reads the JSON document that it prints, if it prints one.
    pub(crate) fn document(mut self) -> anyhow::Result<Value> {
        let mut text = String::new();
        self.0.stdout.take().context("its output is not read")?.read_to_string(&mut text)?;
        let status = self.0.wait()?;
        anyhow::ensure!(status.success(), "a child failed: {status}");
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).context("the child's document") }
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A path as an argument.
pub(crate) fn argument(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is not text")
}
