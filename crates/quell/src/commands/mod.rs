//! The operator's commands. One file a verb, with its arguments and what it does; what they share stands in `api`,
//! `show`, `moment` and `part_file`.

mod act;
mod api;
mod check;
mod configuration;
mod confirm;
mod dead_letters;
mod doctor;
mod erase;
mod export;
mod filter;
mod import;
mod incidents;
mod message;
mod moment;
mod part_file;
mod policy;
mod receipt;
mod show;
pub(crate) mod state;
mod store;
mod topics;
mod unengaged;
mod unsubscribe_link;
mod why;

pub(crate) use act::{Release, Suppress};
pub(crate) use check::Check;
pub(crate) use configuration::ConfigCommand;
pub(crate) use dead_letters::DeadLettersCommand;
pub(crate) use doctor::Doctor;
pub(crate) use erase::Erase;
pub(crate) use export::Export;
pub(crate) use filter::Filter;
pub(crate) use import::Import;
pub(crate) use incidents::IncidentsCommand;
pub(crate) use message::Message;
pub(crate) use policy::PolicyCommand;
pub(crate) use receipt::Receipt;
pub(crate) use store::StoreCommand;
pub(crate) use topics::{TopicsCommand, declared_settings};
pub(crate) use unengaged::UnengagedCommand;
pub(crate) use unsubscribe_link::UnsubscribeLink;
pub(crate) use why::Why;

use anyhow::Context as _;
use clap::ValueEnum;
use std::{future::Future, process::ExitCode};

/// What `--help` says of exit codes, where a command has no more to say.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 done, 2 it could not be done";

/// How answers are written to standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// What a command found. An error is the third outcome, and exit code 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done; or the answer is yes.
    Yes,
    /// The answer is no.
    No,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => Self::SUCCESS,
            Verdict::No => Self::from(1),
        }
    }
}

/// Runs a command that calls a server.
pub(crate) fn run(command: impl Future<Output = anyhow::Result<Verdict>>) -> anyhow::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(command)
}
