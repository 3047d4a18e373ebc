//! `quell config`: whether the configuration can work, and what it says.

use super::{Output, Verdict, show::print};
use crate::config::Config;
use clap::Subcommand;
use serde_json::json;
use std::{fmt::Write as _, path::Path};

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether `quell up` could start with it, and if not, what to change
    #[command(
        after_help = "Exit codes: 0 it could, 2 it could not\n\nExample:\n  quell --config quell.toml config check"
    )]
    Check,
    /// Print the effective configuration, secrets masked
    #[command(
        after_help = "Exit codes: 0 done, 2 it cannot be read\n\nExample:\n  quell --config quell.toml config print"
    )]
    Print,
}

impl ConfigCommand {
    pub(crate) fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let config = Config::load(file)?;
        match self {
            Self::Check => {
                config.check_embedded()?;
                let (sources, accounts) = (config.sources.len(), config.accounts.len());
                let answer = json!({ "ok": true, "sources": sources, "accounts": accounts });
                print(output, &answer, |out| writeln!(out, "ok: {sources} sources, {accounts} accounts"))?;
            }
            Self::Print => {
                let text = service::config::print(&config)?;
                print(output, &config, |out| out.write_str(&text))?;
            }
        }
        Ok(Verdict::Yes)
    }
}
