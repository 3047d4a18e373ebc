//! Starts the servers that tests need once, and runs a command beside them: `servers run -- cargo test --workspace`.

use clap::{Parser, Subcommand, ValueEnum};
use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode},
    thread,
    time::Instant,
};
use testkit::servers::{self, Kind, Origin, ServerError};

/// Real servers for tests: found by their addresses in the environment, else started as containers or on the Java machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts servers, runs COMMAND with their addresses in QUELL_TEST_KAFKA, QUELL_TEST_CQL and QUELL_TEST_REGISTRY, stops
    /// them after it, and ends with its status.
    Run {
        /// Only these, with commas between them.
        #[arg(long, value_delimiter = ',', default_values_t = [Wanted::Kafka, Wanted::Cql, Wanted::Registry])]
        only: Vec<Wanted>,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Kafka,
    Cql,
    Registry,
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kafka => "kafka",
            Self::Cql => "cql",
            Self::Registry => "registry",
        })
    }
}

impl Wanted {
    /// Blocks until it answers; gives its kind, address and origin.
    fn find(self) -> Result<(Kind, &'static str, Origin), ServerError> {
        Ok(match self {
            Self::Kafka => servers::kafka().map(|server| (Kind::Kafka, server.bootstrap(), server.origin()))?,
            Self::Cql => servers::cql().map(|server| (Kind::Cql, server.address(), server.origin()))?,
            Self::Registry => servers::registry().map(|server| (Kind::Registry, server.url(), server.origin()))?,
        })
    }
}

fn main() -> ExitCode {
    let Action::Run { only, command } = Arguments::parse().command;
    let addresses = match find(&only) {
        Ok(addresses) => addresses,
        Err(error) => {
            eprintln!("servers: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some((program, arguments)) = command.split_first() else { return ExitCode::FAILURE };
    match Command::new(program).args(arguments).envs(addresses).status() {
        // As shells do: 128 and the signal that ended it.
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Err(error) => {
            eprintln!("servers: {program} cannot be run: {error}");
            ExitCode::from(127)
        }
    }
    // What was started ends with this process.
}

/// All at once: each spends most of its start on one core.
fn find(only: &[Wanted]) -> Result<BTreeMap<&'static str, &'static str>, ServerError> {
    let started = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = only.iter().map(|wanted| (wanted, scope.spawn(|| wanted.find()))).collect();
        let mut addresses = BTreeMap::new();
        for (wanted, thread) in threads {
            let found = thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
            let (kind, address, origin) = found?;
            let origin = match origin {
                Origin::Environment => "given",
                Origin::Container => "a container",
                Origin::Java => "on the Java machine",
            };
            let after = started.elapsed().as_secs_f32();
            eprintln!("servers: {wanted} answers at {address} ({origin}, after {after:.1} s)");
            addresses.insert(kind.variable(), address);
        }
        Ok(addresses)
    })
}
