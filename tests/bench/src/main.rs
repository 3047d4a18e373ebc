//! `./dev bench`: measures, and prints one JSON document. Floors stand beside the figures; missing one fails nothing, as
//! timings depend on the machine. The exit code says only whether everything worked.

mod check;
mod child;
mod events;
mod fill;
mod gateway;
mod http;
mod instance;
mod load;
mod machine;
mod memory;
mod pipeline;
mod requests;
mod servers;
mod stats;
mod usage;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// As in `quell`, so that children of this binary allocate as it does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Quell on this machine and prints one JSON document.
#[derive(Parser)]
#[command(name = "bench", max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    /// Only this measure
    name: Option<Measure>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    child: Option<child::Role>,
}

/// What can be turned.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The quell binary, built for release
    #[arg(long, default_value = "target/release/quell")]
    pub(crate) quell: PathBuf,
    /// Where data lies while measuring, on the disk to be measured; big stores are kept here for the next time
    #[arg(long, default_value = "target/bench-data")]
    pub(crate) data: PathBuf,
    /// Events through the pipeline
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Sizes of the store for checks
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 5_000_000])]
    pub(crate) suppressions: Vec<u64>,
    /// Seconds of each run of the gateway
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Runs of each case
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Signed webhooks a second, beside a bare axum handler
    Gateway,
    /// Events a second through normalizer and suppressor
    Pipeline,
    /// Time to check 50,000 addresses
    Check,
    /// Resident memory
    Memory,
}

impl Measure {
    fn run(self, options: &Options) -> anyhow::Result<Value> {
        match self {
            Self::Gateway => gateway::measure(options),
            Self::Pipeline => pipeline::measure(options),
            Self::Check => check::measure(options),
            Self::Memory => memory::measure(options),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.child {
        Some(role) => role.run(),
        None => measure(cli.name, &cli.options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(name: Option<Measure>, options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(options.quell.exists(), "{} is not there: build it for release first", options.quell.display());
    anyhow::ensure!(options.rounds > 0 && options.seconds > 0.0, "--rounds and --seconds must be above 0");
    std::fs::create_dir_all(&options.data).with_context(|| format!("cannot make {}", options.data.display()))?;
    let measures = name.map_or_else(|| Measure::value_variants().to_vec(), |name| vec![name]);
    let mut document = json!({
        "command": std::env::args().collect::<Vec<_>>().join(" "),
        "machine": machine::facts(&options.data)?,
        "measures": {},
    });
    for measure in measures {
        let word = measure.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        say(&format!("measuring {word}"));
        document["measures"][&word] = measure.run(options)?;
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&document)?)?;
    Ok(())
}

/// Progress, on standard error.
pub(crate) fn say(text: &str) {
    // Nobody may be reading it.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// A directory for one run, on the disk that is measured; gone when dropped.
pub(crate) fn run_directory(data: &Path) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("run-").tempdir_in(data).context("cannot make a directory for the run")
}
