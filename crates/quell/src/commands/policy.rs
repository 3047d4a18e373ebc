//! `quell policy`: what is in force, a file's check, and putting one in force.

use super::{
    EXIT_CODES, Output, Verdict, act,
    api::ApiArgs,
    show::{plain, print, text},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};
use suppressor::Policy;

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the policy in force
    Show(Show),
    /// Say whether a file is a policy that could be applied; asks no server
    #[command(
        after_help = "Exit codes: 0 it is, 1 it is not, 2 it cannot be read\n\nExample:\n  quell policy check policy.toml"
    )]
    Check {
        /// The file
        file: PathBuf,
    },
    /// Put a policy in force; every recipient with evidence is decided anew, in the background
    Apply(Apply),
}

/// Arguments of `policy show`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell policy show > policy.toml"))]
pub(crate) struct Show {
    #[command(flatten)]
    api: ApiArgs,
}

/// Arguments of `policy apply`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 applied, 1 the file is no policy, 2 it could not be done\n\n\
    Example:\n  quell policy apply policy.toml --by jane")]
pub(crate) struct Apply {
    /// The file
    file: PathBuf,
    /// Who applies it; without it, the login name
    #[arg(long, env = "QUELL_BY", value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl PolicyCommand {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        match self {
            Self::Show(show) => show.run(output).await,
            Self::Check { file } => match checked(&file)? {
                Ok((policy, _)) => {
                    let (rules, days) = (policy.rules.len(), policy.unengaged_after_days);
                    let answer = json!({ "ok": true, "rules": rules, "unengaged_after_days": days });
                    print(output, &answer, |out| writeln!(out, "ok: {rules} rules, unengaged after {days} days"))?;
                    Ok(Verdict::Yes)
                }
                Err(reason) => no_policy(output, &file, &reason),
            },
            Self::Apply(apply) => apply.run(output).await,
        }
    }
}

/// A file's policy and text, or why it is none.
fn checked(file: &Path) -> anyhow::Result<Result<(Policy, String), String>> {
    let document = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Policy::parse(1, &document).map(|policy| (policy, document)).map_err(|error| error.to_string()))
}

fn no_policy(output: Output, file: &Path, reason: &str) -> anyhow::Result<Verdict> {
    print(output, &json!({ "ok": false, "reason": reason }), |out| {
        writeln!(out, "{} is no policy: {}", file.display(), reason.trim_end())
    })?;
    Ok(Verdict::No)
}

impl Show {
    async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let found = self.api.connect()?.get("/v1/policy", &[]).await?;
        print(output, &found, |out| {
            // As comments, so that what is printed is a policy file itself.
            write!(out, "# version {}", text(&found["version"]))?;
            if found["applied_at"].is_null() {
                writeln!(out, ", built in")?;
            } else {
                writeln!(out, ", applied at {} by {}", text(&found["applied_at"]), plain(&text(&found["applied_by"])))?;
            }
            writeln!(out, "{}", found["document"].as_str().unwrap_or_default().trim_end())
        })?;
        Ok(Verdict::Yes)
    }
}

impl Apply {
    async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let document = match checked(&self.file)? {
            Ok((_, document)) => document,
            Err(reason) => return no_policy(output, &self.file, &reason),
        };
        let by = act::actor(self.by)?;
        let api = self.api.connect()?;
        let answer = api.act(Method::POST, "/v1/policy", &json!({ "document": document, "by": by })).await?;
        print(output, &answer, |out| {
            writeln!(
                out,
                "applied as version {}; recipients are decided anew in the background\n\
                 set policy.file to {} in the configuration, so that the next start agrees with it",
                text(&answer["version"]),
                self.file.display()
            )
        })?;
        Ok(Verdict::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_policy_or_is_told_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, Policy::built_in().document).unwrap();
        assert!(checked(&file).unwrap().is_ok());
        std::fs::write(&file, "rules = 1").unwrap();
        assert!(checked(&file).unwrap().is_err());
        assert!(checked(&folder.path().join("nowhere")).is_err());
    }
}
