//! `quell store`: whether the CQL store's tables are those of this program, and making them so.

use super::{
    Output, Verdict,
    confirm::Confirm,
    show::{counted, print},
};
use crate::config::Config;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path};
use suppressor::store::cql::{self, ConnectError, CqlConfig, Finding, SchemaReport};

/// Verbs of `store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say whether the keyspace and its tables are those that this program works with
    #[command(after_help = "Exit codes: 0 they are, 1 they differ, 2 it could not be told\n\n\
        Example:\n  quell --config quell.toml store check")]
    Check,
    /// Create the keyspace, and apply the versions of the tables that are missing, after showing them
    Migrate(Migrate),
}

/// Arguments of `store migrate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the tables are those of this program now, 1 refused or not confirmed: nothing was changed, 2 it \
    could not be done\n\nExample:\n  quell --config quell.toml store migrate\n  quell store migrate --yes"
)]
pub(crate) struct Migrate {
    #[command(flatten)]
    confirm: Confirm,
}

impl StoreCommand {
    pub(crate) async fn run(self, file: Option<&Path>, output: Output) -> anyhow::Result<Verdict> {
        let config = Config::load(file)?.store;
        let report = cql::check(&config).await.map_err(|error| anyhow::anyhow!("{}", next(&config, &error)))?;
        match self {
            Self::Check => {
                let is_ok = report.findings.is_empty();
                print(output, &answer(&report, is_ok, &[]), |out| {
                    standing(out, &report)?;
                    out.write_str(match (is_ok, is_behind(&report)) {
                        (true, _) => "",
                        (false, true) => "run `quell store migrate`\n",
                        (false, false) => "use the program that applied what is there\n",
                    })
                })?;
                Ok(if is_ok { Verdict::Yes } else { Verdict::No })
            }
            Self::Migrate(migrate) => migrate.run(&config, &report, output).await,
        }
    }
}

impl Migrate {
    async fn run(self, config: &CqlConfig, report: &SchemaReport, output: Output) -> anyhow::Result<Verdict> {
        if output == Output::Text {
            print(output, &(), |out| standing(out, report))?;
        }
        let tell = |is_ok: bool, applied: &[&str], last: &str| {
            print(output, &answer(report, is_ok, applied), |out| writeln!(out, "{last}"))
        };
        if report.findings.is_empty() {
            tell(true, &[], "nothing to do")?;
            return Ok(Verdict::Yes);
        }
        if !is_behind(report) {
            tell(false, &[], "refused, nothing was changed: use the program that applied what is there")?;
            return Ok(Verdict::No);
        }
        self.confirm.require_somebody(output)?;
        if !self.confirm.ask("Apply what is missing?")? {
            tell(false, &[], "nothing was changed")?;
            return Ok(Verdict::No);
        }
        let applied = cql::migrate(config).await.map_err(|error| anyhow::anyhow!("{}", next(config, &error)))?;
        let names: Vec<&str> = applied.iter().map(|migration| migration.name).collect();
        let last = match names.as_slice() {
            [] => "another one applied it meanwhile".to_owned(),
            names => format!(
                "applied {}: {}",
                counted(u64::try_from(names.len()).unwrap_or(u64::MAX), "version", "versions"),
                names.join(", ")
            ),
        };
        tell(true, &names, &last)?;
        Ok(Verdict::Yes)
    }
}

/// Whether nothing is wrong but that versions are missing.
pub(crate) fn is_behind(report: &SchemaReport) -> bool {
    report.findings.iter().all(|finding| matches!(finding, Finding::Missing(_)))
}

fn standing(out: &mut String, report: &SchemaReport) -> std::fmt::Result {
    let SchemaReport { keyspace, version, wanted, findings } = report;
    writeln!(out, "keyspace {keyspace} is of version {version}, this program works with {wanted}")?;
    findings.iter().try_for_each(|finding| writeln!(out, "  {finding}"))
}

fn answer(report: &SchemaReport, is_ok: bool, applied: &[&str]) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let (kind, version) = match finding {
                Finding::Missing(migration) => ("missing", migration.version),
                Finding::Changed(migration) => ("changed", migration.version),
                Finding::Unknown(version) => ("unknown", *version),
            };
            json!({ "kind": kind, "version": version, "detail": finding.to_string() })
        })
        .collect();
    json!({
        "ok": is_ok,
        "keyspace": report.keyspace,
        "version": report.version,
        "wanted": report.wanted,
        "findings": findings,
        "applied": applied,
    })
}

/// What failed, and what to do next.
pub(crate) fn next(config: &CqlConfig, error: &ConnectError) -> String {
    match error {
        ConnectError::Store(error) => format!(
            "the store cannot be asked at store.contact_points ({}): {error}: start it, or look at the address, the \
             firewall, store.username and store.tls",
            config.contact_points.join(", ")
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_to_people_and_programs() {
        let findings = vec![Finding::Unknown(7)];
        let report = SchemaReport { keyspace: "ks".to_owned(), version: 7, wanted: 1, findings };
        let mut out = String::new();
        standing(&mut out, &report).unwrap();
        assert_eq!(
            out,
            "keyspace ks is of version 7, this program works with 1\n  version 7 was applied by a newer program\n"
        );
        let told = answer(&report, false, &[]);
        assert_eq!((&told["findings"][0]["kind"], &told["findings"][0]["version"]), (&"unknown".into(), &7.into()));
    }
}
