//! `./dev bench`: measures, and prints one JSON document. Floors stand beside the figures; missing one fails nothing, as
//! timings depend on the machine. The exit code says only whether everything worked.
//!
//! `--engine embedded` measures `quell up`; `--engine kafka` the roles of `quell serve` over a broker and a store of its
//! own, which are started here on the local Java machine.

mod check;
mod child;
mod events;
mod fill;
mod gateway;
mod http;
mod instance;
mod kafka;
mod load;
mod machine;
mod memory;
mod pipeline;
mod providers;
mod refusals;
mod requests;
mod scrape;
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
    /// Only what a parsed event costs, for each provider; nothing is started for it
    #[arg(long, conflicts_with = "engine")]
    providers: bool,
    /// What it runs on
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Where data lies while measuring, on the disk to be measured; big stores are kept here for the next time
    #[arg(long, default_value = "target/bench-data")]
    pub(crate) data: PathBuf,
    /// Events through the pipeline [default: 1000000; with Kafka 150000 each round]
    #[arg(long)]
    events: Option<u64>,
    /// Sizes of the store for checks
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 5_000_000])]
    pub(crate) suppressions: Vec<u64>,
    /// Seconds of each run of the gateway
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Runs of each case; over Kafka five of the gateway and of the minimal program in each
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Embedded gateway: only this form of webhooks, e.g. `generic_100`, and no refusals
    #[arg(long)]
    pub(crate) form: Option<String>,
    /// Kafka: partitions of every topic
    #[arg(long, default_value_t = 8)]
    pub(crate) partitions: u32,
    /// Kafka: seconds for which latency is measured
    #[arg(long, default_value_t = 30.0)]
    pub(crate) latency_seconds: f64,
    /// Kafka: minutes for which memory is watched
    #[arg(long, default_value_t = 10.0)]
    pub(crate) minutes: f64,
}

impl Options {
    /// Events through the pipeline; with Kafka in each round.
    pub(crate) fn events(&self) -> u64 {
        self.events.unwrap_or(match self.engine {
            Engine::Embedded => 1_000_000,
            Engine::Kafka => 150_000,
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// `quell up`, log and store in its own files
    #[default]
    Embedded,
    /// `quell serve`, over Apache Kafka and Apache Cassandra; needs Java
    Kafka,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// Signed webhooks a second and their cost, beside a bare axum handler; with Kafka beside a minimal program
    Gateway,
    /// Embedded: events a second through normalizer and suppressor
    Pipeline,
    /// Embedded: time to check 50,000 addresses
    Check,
    /// Kafka: events a CPU second of the normalizer
    Normalizer,
    /// Kafka: events a second of the suppressor, beside what the store can take
    Suppressor,
    /// Kafka: from a webhook to its delta
    Latency,
    /// Resident memory
    Memory,
}

impl Measure {
    /// All of an engine, in the order in which they run.
    const fn of(engine: Engine) -> &'static [Self] {
        match engine {
            Engine::Embedded => &[Self::Gateway, Self::Pipeline, Self::Check, Self::Memory],
            Engine::Kafka => &[Self::Gateway, Self::Normalizer, Self::Suppressor, Self::Latency, Self::Memory],
        }
    }

    /// In the results.
    pub(crate) fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

fn embedded(measure: Measure, options: &Options) -> anyhow::Result<Value> {
    match measure {
        Measure::Gateway => gateway::measure(options),
        Measure::Pipeline => pipeline::measure(options),
        Measure::Check => check::measure(options),
        Measure::Memory => memory::measure(options),
        other => anyhow::bail!("{} is measured with --engine kafka", other.word()),
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
    std::fs::create_dir_all(&options.data).with_context(|| format!("cannot make {}", options.data.display()))?;
    let mut document = json!({
        "command": std::env::args().collect::<Vec<_>>().join(" "),
        "machine": machine::facts(&options.data)?,
        "measures": {},
    });
    if options.providers {
        anyhow::ensure!(name.is_none(), "--providers is a measure of its own: give no other name beside it");
        document["measures"]["providers"] = providers::measure(options)?;
        return print(&document);
    }
    anyhow::ensure!(options.quell.exists(), "{} is not there: build it for release first", options.quell.display());
    anyhow::ensure!(options.rounds > 0 && options.seconds > 0.0, "--rounds and --seconds must be above 0");
    let all = Measure::of(options.engine);
    if let Some(name) = name.filter(|name| !all.contains(name)) {
        let words: Vec<String> = all.iter().map(|measure| measure.word()).collect();
        anyhow::bail!("{} is no measure of this engine; it has {}", name.word(), words.join(", "));
    }
    let measures = name.map_or_else(|| all.to_vec(), |name| vec![name]);
    match options.engine {
        Engine::Embedded => {
            for measure in measures {
                say(&format!("measuring {}", measure.word()));
                document["measures"][measure.word()] = embedded(measure, options)?;
            }
        }
        Engine::Kafka => document["measures"] = kafka::measure(&measures, options)?,
    }
    print(&document)
}

fn print(document: &Value) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(document)?)?;
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
