//! The one binary: `quell up`, and the operator's commands.

mod config;
mod inspect;
mod lanes;
mod lookup_deps;
mod metrics;
mod up;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::{io::Write as _, path::PathBuf, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps senders from writing to people they must not.
#[derive(Parser)]
#[command(name = "quell", version, max_term_width = 100)]
struct Cli {
    /// Configuration file (TOML). Environment variables QUELL__section__key override it.
    #[arg(long, short, global = true, env = "QUELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process, on the embedded log and store
    #[command(after_help = "Example:\n  quell --config quell.toml up")]
    Up,
    /// Run recorded requests through gateway and normalizer, without side effects
    ///
    /// A JSON document a line in: {"provider","method","url","headers":{},"body" or "body_base64","source":{},"now"}.
    /// One a line out: {"status","authentication","events","ignored","dead"}.
    #[command(
        after_help = "Example:\n  echo '{\"provider\":\"drip\",\"body\":\"{}\",\"source\":{\"unauthenticated\":true}}' | quell inspect -"
    )]
    Inspect {
        /// File of requests, or - for standard input
        file: PathBuf,
    },
    /// Check or print the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether `quell up` could start with it, and if not, what to change
    #[command(after_help = "Example:\n  quell --config quell.toml config check")]
    Check,
    /// Print the effective configuration, secrets masked
    Print,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // The one place where an error is printed, with its whole chain.
            drop(writeln!(std::io::stderr(), "quell: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Up => {
            let config = config::Config::load(cli.config.as_deref())?;
            service::telemetry::init_logs(config.logs.format, &config.logs.filter)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
            runtime.block_on(up::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inspect { file } => {
            inspect::run(&file, &mut std::io::BufWriter::new(std::io::stdout().lock()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { command } => {
            let config = config::Config::load(cli.config.as_deref())?;
            let mut out = std::io::stdout().lock();
            match command {
                ConfigCommand::Check => {
                    let (sources, accounts) = (config.sources.len(), config.accounts.len());
                    writeln!(out, "ok: {sources} sources, {accounts} accounts")?;
                }
                ConfigCommand::Print => write!(out, "{}", service::config::print(&config)?)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
