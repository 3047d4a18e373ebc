//! `quell config`: whether the configuration can work, and what it says.

use super::{
    Output, Verdict,
    show::{plain, print},
};
use crate::{
    config::Config,
    fixtures::{self, Report},
};
use clap::Subcommand;
use serde_json::json;
use std::{fmt::Write as _, path::Path};

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether `quell up`, or with kafka.brokers `quell serve`, could start with it, and if not, what to change; and run the fixtures of its adapters
    #[command(
        after_help = "Exit codes: 0 it could, and every fixture does as it says, 1 a fixture of an adapter does not, 78 it could not\n\n\
            Example:\n  quell --config quell.toml config check"
    )]
    Check,
    /// Print the effective configuration, secrets masked
    #[command(
        after_help = "Exit codes: 0 done, 78 it is refused\n\nExample:\n  quell --config quell.toml config print"
    )]
    Print,
}

impl ConfigCommand {
    pub(crate) fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let config = Config::load(file)?;
        match self {
            Self::Check => check(&config, output),
            Self::Print => {
                let text = service::config::print(&config)?;
                print(output, &config, |out| out.write_str(&text))?;
                Ok(Verdict::Yes)
            }
        }
    }
}

fn check(config: &Config, output: Output) -> anyhow::Result<Verdict> {
    if config.kafka.brokers.is_empty() {
        config.check_embedded()?;
    } else {
        config.check_cluster()?;
    }
    let adapters = &config.adapters;
    let reports: Vec<Report> =
        adapters.declared.iter().map(|declared| fixtures::run(declared, adapters.providers)).collect();
    let failed: usize = reports.iter().map(Report::failed).sum();
    let (sources, accounts) = (config.sources.len(), config.accounts.len());
    let answer = json!({ "ok": failed == 0, "sources": sources, "accounts": accounts, "adapters": reports });
    print(output, &answer, |out| {
        reports.iter().try_for_each(|report| show(out, report))?;
        let counts = format!("{sources} sources, {accounts} accounts");
        match (failed, reports.len()) {
            (0, 0) => writeln!(out, "ok: {counts}"),
            (0, adapters) => writeln!(out, "ok: {counts}, {adapters} adapters"),
            _ => writeln!(
                out,
                "FAIL: {failed} fixtures do not do as they say; mend the adapter, or what it is expected to do"
            ),
        }
    })?;
    Ok(if failed == 0 { Verdict::Yes } else { Verdict::No })
}

fn show(out: &mut String, report: &Report) -> std::fmt::Result {
    let Report { adapter, file, fixtures } = report;
    writeln!(out, "{adapter} ({}): {} fixtures, {} failed", plain(file), fixtures.len(), report.failed())?;
    if fixtures.is_empty() {
        writeln!(out, "  none: add [[fixture]], a recorded request and what must become of it")?;
    }
    for fixture in fixtures {
        writeln!(out, "  {}  {}", if fixture.ok { "ok  " } else { "FAIL" }, plain(&fixture.name))?;
        for difference in &fixture.differences {
            writeln!(out, "          {}", plain(difference))?;
        }
    }
    Ok(())
}
