//! `./dev chaos`: load and faults for some minutes, then a verdict. The exit code is 0 only where nothing is wrong.

use chaos_tests::{Options, Plan, run};
use clap::Parser;
use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

/// Kill instances and take servers away under load, and judge what comes of it.
#[derive(Debug, Parser)]
struct Args {
    /// The `quell` binary
    #[arg(long, value_name = "FILE")]
    quell: PathBuf,
    /// Decides load and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes over which the load is spread, if the pipeline can take it so fast
    #[arg(long, default_value_t = 12)]
    minutes: u64,
    /// At least so many events
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// At least so many kills
    #[arg(long, default_value_t = 50)]
    kills: u64,
    /// Replace every instance once, and no faults
    #[arg(long)]
    rolling: bool,
    /// No faults: only the load
    #[arg(long, conflicts_with = "rolling")]
    calm: bool,
    /// What the instances log
    #[arg(long, default_value = "info", value_name = "FILTER")]
    logs: String,
    /// Seconds that everything may take to settle afterwards
    #[arg(long, default_value_t = 900)]
    settle: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        quell: args.quell,
        seed: args.seed,
        events: args.events,
        span: Duration::from_secs(args.minutes * 60),
        kills_min: args.kills,
        settle_max: Duration::from_secs(args.settle),
        plan: match (args.rolling, args.calm) {
            (true, _) => Plan::Rolling,
            (false, true) => Plan::Calm,
            (false, false) => Plan::Chaos,
        },
        logs: args.logs,
    };
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)
        .and_then(|runtime| runtime.block_on(run(&options)));
    match ended {
        Ok(report) => {
            let wrong = report.wrong();
            let _ = write!(out, "\n{report}\n{}\n", report.to_json());
            for line in &wrong {
                let _ = writeln!(err, "chaos: {line}");
            }
            if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(err, "chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}
