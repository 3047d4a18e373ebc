//! The one binary: `quell up`, and the operator's commands.

mod alarms;
mod commands;
mod config;
mod engine;
mod fixtures;
mod follow;
mod inspect;
mod kafka_tokens;
mod keeping;
mod lanes;
mod lookup_deps;
mod metrics;
mod notify;
mod policy;
mod process;
mod registry;
mod serve;
mod stages;
mod up;
mod upkeep;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use commands::{
    Check, ConfigCommand, DeadLettersCommand, Doctor, Erase, Export, Filter, Import, IncidentsCommand, Message, Output,
    PolicyCommand, Receipt, Release, StoreCommand, Suppress, TopicsCommand, UnengagedCommand, UnsubscribeLink, Verdict,
    Why,
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps senders from writing to people they must not.
#[derive(Parser)]
#[command(
    name = "quell",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done (or: the answer is yes), 1 the answer is no, 2 it could not be done,\n\
        78 the configuration is refused: change it, as trying again does not help.\n\
        Commands that ask a running instance find it by --api or QUELL_API, with the token in QUELL_TOKEN.\n\n\
        Example:\n  quell check jane@example.com"
)]
struct Cli {
    /// Configuration file (TOML). Environment variables QUELL__section__key override it.
    #[arg(long, short, global = true, env = "QUELL_CONFIG", value_name = "FILE", help_heading = "General")]
    config: Option<PathBuf>,
    /// How answers are written: text for people, json for programs
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        env = "QUELL_OUTPUT",
        value_name = "FORM",
        hide_possible_values = true,
        help_heading = "General"
    )]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process, on the embedded log and store
    #[command(
        after_help = "Exit codes: 0 ended by SIGTERM or SIGINT, 2 it could not start or go on, 78 its configuration is refused\n\nExample:\n  quell --config quell.toml up"
    )]
    Up,
    /// Run some parts over Kafka and a CQL store, beside any number of other processes
    #[command(
        after_help = "Exit codes: 0 ended by SIGTERM or SIGINT, 2 it could not start or go on, 78 its configuration is refused\n\nExample:\n  quell --config quell.toml serve --role gateway\n  quell --config quell.toml serve --role normalizer,suppressor"
    )]
    Serve {
        /// What to run
        #[arg(long = "role", required = true, value_delimiter = ',', value_name = "ROLE")]
        roles: Vec<serve::Role>,
    },
    /// Run recorded requests through gateway and normalizer, without side effects
    ///
    /// A JSON document a line in: {"provider","method","url","headers":{},"body" or "body_base64","source":{},"now"}.
    /// One a line out: {"status","authentication","events","ignored","dead"}. Of the configuration file, if one is named,
    /// only the adapters are read.
    #[command(
        after_help = "Exit codes: 0 every request was run, whatever its verdict, 2 one could not be read, 78 the configuration is refused\n\n\
        Example:\n  echo '{\"provider\":\"drip\",\"body\":\"{}\",\"source\":{\"unauthenticated\":true}}' | quell inspect -"
    )]
    Inspect {
        /// File of requests, or - for standard input
        file: PathBuf,
    },
    /// Say whether addresses may be sent to
    Check(Check),
    /// Part a campaign file into what may be sent and what is held back
    Filter(Filter),
    /// Explain the decision about a recipient: evidence, rules, changes
    Why(Why),
    /// Say what became of a message: did it bounce?
    Message(Message),
    /// Show a webhook as it came, and what became of it
    Receipt(Receipt),
    /// Suppress addresses by hand
    Suppress(Suppress),
    /// Release addresses by hand
    Release(Release),
    /// Forget a person, and keep them suppressed
    Erase(Erase),
    /// Take over a kept list of suppressions (CSV), with its reasons and times
    Import(Import),
    /// Write everything in force as CSV
    Export(Export),
    /// List or replay what could not be processed
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Run or follow the job that finds who no longer reads
    Unengaged {
        #[command(subcommand)]
        command: UnengagedCommand,
    },
    /// List incidents of mailbox domains and providers, confirm or undo one
    Incidents {
        #[command(subcommand)]
        command: IncidentsCommand,
    },
    /// Make a link for unsubscribing by one click, with its header fields
    UnsubscribeLink(UnsubscribeLink),
    /// Show, check or apply the suppression policy
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Check or print the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check or apply the topics of a cluster
    Topics {
        #[command(subcommand)]
        command: TopicsCommand,
    },
    /// Check or migrate the tables of a CQL store
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Check machine, configuration, secrets and accounts, and say what to do next
    Doctor(Doctor),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            // The one place where an error is printed, with its whole chain.
            drop(writeln!(std::io::stderr(), "quell: {error:#}"));
            ExitCode::from(if config::Refused::is_in(&error) { config::REFUSED_EXIT_CODE } else { 2 })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Verdict> {
    let (config, output) = (cli.config.as_deref(), cli.output);
    match cli.command {
        Command::Up => long(config, up::run),
        Command::Serve { roles } => {
            let roles: Vec<_> = roles.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            long(config, async |config| serve::run(config, &roles).await)
        }
        Command::Inspect { file } => {
            let providers = config::Adapters::of_configuration(config)?.providers;
            inspect::run(&file, providers, &mut std::io::BufWriter::new(std::io::stdout().lock()))?;
            Ok(Verdict::Yes)
        }
        Command::Config { command } => command.run(config, output),
        Command::Check(check) => commands::run(check.run(output)),
        Command::Filter(filter) => commands::run(filter.run(output)),
        Command::Why(why) => commands::run(why.run(output)),
        Command::Message(message) => commands::run(message.run(output)),
        Command::Receipt(receipt) => commands::run(receipt.run(output)),
        Command::Suppress(suppress) => commands::run(suppress.run(output)),
        Command::Release(release) => commands::run(release.run(output)),
        Command::Erase(erase) => commands::run(erase.run(output)),
        Command::Import(import) => commands::run(import.run(config, output)),
        Command::Export(export) => commands::run(export.run(config, output)),
        Command::DeadLetters { command } => commands::run(command.run(output)),
        Command::Unengaged { command } => commands::run(command.run(output)),
        Command::Incidents { command } => commands::run(command.run(output)),
        Command::UnsubscribeLink(link) => link.run(config, output),
        Command::Policy { command } => commands::run(command.run(output)),
        Command::Topics { command } => commands::run(command.run(config, output)),
        Command::Store { command } => commands::run(command.run(config, output)),
        Command::Doctor(doctor) => commands::run(doctor.run(config, output)),
    }
}

/// Runs what goes on until it is told to end.
fn long(file: Option<&Path>, run: impl AsyncFnOnce(config::Config) -> anyhow::Result<()>) -> anyhow::Result<Verdict> {
    let config = config::Config::load(file)?;
    let logs = &config.logs;
    let _logs = service::logs::init_logs(logs.format, &logs.filter, logs.lines_per_minute)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(run(config))?;
    Ok(Verdict::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command that does something says its exit codes and shows an example.
    #[test]
    fn every_command_has_exit_codes_and_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example") && help.contains("Exit codes: 0"), "{path}: {help}");
            }
            command.get_subcommands().for_each(|below| visit(below, &path));
        }
        Cli::command().get_subcommands().for_each(|command| visit(command, "quell"));
    }

    /// A token that stands in the arguments stands in the list of processes.
    #[test]
    fn no_argument_takes_a_secret() {
        let refused = Cli::try_parse_from(["quell", "check", "a@example.com", "--token", "s3cret"]);
        assert!(refused.is_err());
        assert!(Cli::try_parse_from(["quell", "check", "a@example.com", "--token-file", "/run/token"]).is_ok());
    }

    #[test]
    fn arguments_are_read_and_refused() {
        let good: [&[&str]; 14] = [
            &[
                "check",
                "a@example.com",
                "+15551234567",
                "--class",
                "transactional",
                "--category",
                "x",
                "--category",
                "y",
            ],
            &["filter", "in.csv", "-", "--suppressed", "s.csv", "--source", "drip", "-o", "json"],
            &["why", "a@example.com", "--at", "2026-01-20", "--known-at", "2026-01-20T00:00:00Z"],
            &["suppress", "a@example.com", "--scope", "category:news", "--for", "30d", "--note", "n"],
            &["erase", "a@example.com", "--note", "n", "--by", "jane", "--wait", "--timeout", "5"],
            &["dead-letters", "replay", "--all", "--reason", "x"],
            &["dead-letters", "replay", "0.1", "0.2"],
            &["unengaged", "run", "--wait", "--timeout", "5"],
            &["incidents", "undo", "5f", "--note", "n", "--by", "jane"],
            &["policy", "apply", "p.toml", "--by", "jane"],
            &["export", "--tenant", "acme"],
            &["topics", "check", "--file", "t.toml", "--partitions", "4", "-o", "json"],
            &["topics", "apply", "--replication-factor", "1", "--min-insync", "1", "--yes"],
            &["store", "migrate", "--yes"],
        ];
        let bad: [&[&str]; 8] = [
            &["check"],
            &["check", "a@example.com", "--class", "urgent"],
            &["filter", "in.csv"],
            &["suppress", "a@example.com"],
            &["suppress", "a@example.com", "--note", "n", "--for", "30d", "--until", "2030-01-01"],
            &["release", "a@example.com", "--note", "n", "--scope", "everything"],
            &["dead-letters", "replay"],
            &["dead-letters", "replay", "0.1", "--all"],
        ];
        let parse = |args: &[&str]| Cli::try_parse_from([&["quell"], args].concat());
        for args in good {
            assert!(
                parse(args).is_ok(),
                "{args:?}: {}",
                parse(args).err().map(|error| error.to_string()).unwrap_or_default()
            );
        }
        for args in bad {
            assert_eq!(parse(args).err().map(|error| error.exit_code()), Some(2), "{args:?}");
        }
    }
}
