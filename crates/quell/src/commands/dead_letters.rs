//! `quell dead-letters`: what could not be processed, and its way back.

use super::{
    EXIT_CODES, Output, Verdict,
    api::{Api, ApiArgs},
    show::{Table, counted, items, print, text},
};
use clap::{ArgGroup, Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Letters of one call; the API's own bound.
const PAGE: usize = 1_000;
/// Letters that one run replays at most.
const REPLAYED_MAX: usize = 100_000;

/// Verbs of `dead-letters`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List what could not be processed, oldest first, with the reason
    List(List),
    /// Process again, after the cause is mended; what took effect in the meantime is dropped as a duplicate
    Replay(Replay),
}

/// Arguments of `dead-letters list`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell dead-letters list --max 20"))]
pub(crate) struct List {
    /// Where to go on: the `next` of an earlier list
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Most letters to list
    #[arg(long, default_value_t = 100, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    max: u64,
    #[command(flatten)]
    api: ApiArgs,
}

/// Arguments of `dead-letters replay`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["ids", "all"]),
    after_help = format!("{EXIT_CODES}\n\nExamples:\n  quell dead-letters replay 0.17 2.4\n  quell dead-letters replay --all --reason unreadable_recipient")
)]
pub(crate) struct Replay {
    /// Ids as the list shows them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Every letter that is kept now (at most 100,000 a run)
    #[arg(long)]
    all: bool,
    /// With --all, only letters whose reason begins so
    #[arg(long, requires = "all", value_name = "TEXT")]
    reason: Option<String>,
    /// With --all, only what follows this cursor: the `next` of an earlier list or run
    #[arg(long, requires = "all", value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl DeadLettersCommand {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        match self {
            Self::List(list) => list.run(output).await,
            Self::Replay(replay) => replay.run(output).await,
        }
    }
}

async fn page(api: &Api, after: Option<&str>, max: u64) -> anyhow::Result<Value> {
    let max = max.to_string();
    let query = [("tenant", api.tenant.as_deref()), ("after", after), ("max", Some(max.as_str()))];
    Ok(api.get("/v1/dead-letters", &query).await?)
}

impl List {
    async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let found = page(&api, self.after.as_deref(), self.max).await?;
        print(output, &found, |out| {
            let letters = items(&found, "dead_letters");
            let mut table =
                Table::new(&["id", "dead at", "stage", "provider", "reason", "attempt", "replayable", "receipt"]);
            for letter in letters {
                let cell = |name: &str| text(&letter[name]);
                let reason = match cell("detail") {
                    detail if detail.is_empty() || detail == cell("reason") => cell("reason"),
                    detail => format!("{}: {detail}", cell("reason")),
                };
                let replayable = if letter["replayable"] == true { "yes" } else { "no" };
                table.row([
                    cell("id"),
                    cell("dead_at"),
                    cell("stage"),
                    cell("provider"),
                    reason,
                    cell("attempt"),
                    replayable.to_owned(),
                    cell("receipt_id"),
                ]);
            }
            if letters.is_empty() {
                return writeln!(out, "no dead letters");
            }
            write!(out, "{table}")?;
            let number = counted(letters.len() as u64, "dead letter", "dead letters");
            writeln!(out, "{number}; go on with --after {}", text(&found["next"]))
        })?;
        Ok(Verdict::Yes)
    }
}

impl Replay {
    async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let (ids, next) = if self.all { self.named(&api).await? } else { (self.ids, None) };
        let (mut replayed, mut skipped): (u64, Vec<Value>) = (0, Vec::new());
        for ids in ids.chunks(PAGE) {
            let mut body = json!({ "ids": ids });
            if let Some(tenant) = &api.tenant {
                body["tenant"] = tenant.as_str().into();
            }
            let answer = api.act(Method::POST, "/v1/dead-letters/replay", &body).await?;
            replayed += answer["replayed"].as_u64().unwrap_or_default();
            skipped.extend_from_slice(items(&answer, "skipped"));
        }
        let answer = json!({ "replayed": replayed, "skipped": skipped, "next": next });
        print(output, &answer, |out| {
            writeln!(out, "{} replayed", counted(replayed, "dead letter", "dead letters"))?;
            if !skipped.is_empty() {
                writeln!(
                    out,
                    "{} skipped, as their source is not kept: {}",
                    skipped.len(),
                    text(&skipped.clone().into())
                )?;
            }
            if let Some(next) = &next {
                writeln!(out, "what dies from now on follows --after {next}")?;
            }
            Ok(())
        })?;
        Ok(Verdict::Yes)
    }

    /// What is kept now, by id. Listed to its end before anything is replayed: what dies again would else be found again.
    async fn named(&self, api: &Api) -> anyhow::Result<(Vec<String>, Option<String>)> {
        let (mut ids, mut after) = (Vec::new(), self.after.clone());
        while ids.len() < REPLAYED_MAX {
            let max = PAGE.min(REPLAYED_MAX - ids.len());
            let found = page(api, after.as_deref(), max as u64).await?;
            let letters = items(&found, "dead_letters");
            let is_wanted = |letter: &&Value| {
                let reason = letter["reason"].as_str().unwrap_or_default();
                letter["replayable"] == true && self.reason.as_ref().is_none_or(|wanted| reason.starts_with(wanted))
            };
            ids.extend(letters.iter().filter(is_wanted).map(|letter| text(&letter["id"])));
            let next = found["next"].as_str().map(str::to_owned);
            if letters.is_empty() && next == after {
                break;
            }
            after = next;
        }
        Ok((ids, after))
    }
}
