//! `quell unengaged`: the job that finds who was sent to and no longer reads.

use super::{
    EXIT_CODES, Output, Verdict,
    api::{Api, ApiArgs},
    show::{print, text},
};
use anyhow::bail;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Verbs of `unengaged`.
#[derive(Debug, Subcommand)]
pub(crate) enum UnengagedCommand {
    /// Start a run now: whoever was sent to and, as a human, neither opened nor clicked in the policy's days
    Run(Run),
    /// Say when the last run began and whether it is still under way
    Status(Status),
}

/// Arguments of `unengaged run`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell unengaged run --wait"))]
pub(crate) struct Run {
    /// Wait until the run is over
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after so many seconds; the run goes on
    #[arg(long, default_value_t = 3_600, requires = "wait", value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    api: ApiArgs,
}

/// Arguments of `unengaged status`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell unengaged status --output json"))]
pub(crate) struct Status {
    #[command(flatten)]
    api: ApiArgs,
}

impl UnengagedCommand {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        match self {
            Self::Run(run) => run.run(output).await,
            Self::Status(status) => {
                let found = state(&status.api.connect()?).await?;
                print(output, &found, |out| {
                    let last = if found["last_run"].is_null() { "never".to_owned() } else { text(&found["last_run"]) };
                    let running = if found["running"] == true { "under way" } else { "not under way" };
                    writeln!(out, "last run began: {last}\nnow: {running}")
                })?;
                Ok(Verdict::Yes)
            }
        }
    }
}

async fn state(api: &Api) -> anyhow::Result<Value> {
    Ok(api.get("/v1/unengaged", &[]).await?)
}

impl Run {
    async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let mut answer = api.act(Method::POST, "/v1/unengaged", &json!({})).await?;
        if self.wait {
            let began = Instant::now();
            while state(&api).await?["running"] == true {
                if began.elapsed() >= Duration::from_secs(self.timeout) {
                    bail!(
                        "the run is still under way after {} s; it goes on: see `quell unengaged status`",
                        self.timeout
                    );
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer["over"] = true.into();
        }
        print(output, &answer, |out| {
            let over = if self.wait { " and is over" } else { "; follow it with `quell unengaged status`" };
            writeln!(out, "the run began at {}{over}", text(&answer["started_at"]))
        })?;
        Ok(Verdict::Yes)
    }
}
