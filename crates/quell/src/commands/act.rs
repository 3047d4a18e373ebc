//! `quell suppress` and `quell release`: by hand, with who and why.

use super::{
    Output, Verdict,
    api::{Api, ApiArgs, encoded},
    moment,
    show::{counted, items, print, text},
};
use anyhow::Context as _;
use clap::Args;
use domain::{Channel, Scope, Timestamp};
use http::Method;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// Recipients of one call; the API's own bound.
pub(super) const RECIPIENTS_MAX: usize = 1_000;
/// An act is in force a moment after it is accepted, as it goes through the log.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Arguments of `suppress`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 accepted (and in force, unless --no-wait), 2 it could not be done\n\n\
    Examples:\n  quell suppress jane@example.com --note 'asked by phone, ticket 4711'\n  \
    quell suppress jane@example.com --scope category:newsletter --for 30d --note 'on parental leave'")]
pub(crate) struct Suppress {
    #[command(flatten)]
    act: ActArgs,
    /// Until this moment; without an end it holds for good
    #[arg(long, value_name = "TIME", value_parser = moment::point_arg, conflicts_with = "span")]
    until: Option<Timestamp>,
    /// For so long, e.g. 12h, 30d, 2w
    #[arg(long = "for", id = "span", value_name = "SPAN", value_parser = moment::span_arg)]
    span: Option<i64>,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 accepted (and in force, unless --no-wait), 2 it could not be done\n\n\
    Example:\n  quell release jane@example.com --note 'mailbox is back, ticket 4712'")]
pub(crate) struct Release {
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
struct ActArgs {
    /// Email addresses, and phone numbers as +COUNTRY NUMBER
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// What it reaches: all, non_critical, marketing, category:NAME or sender:NUMBER. Without it, suppressing reaches all,
    /// and releasing frees from everything
    #[arg(long)]
    scope: Option<Scope>,
    /// Why; kept with the evidence
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who does this; kept with the evidence. Without it, the login name
    #[arg(long, env = "QUELL_BY", value_name = "NAME")]
    by: Option<String>,
    /// How they are reached: email, sms or push; guessed if not given
    #[arg(long)]
    channel: Option<Channel>,
    /// Do not wait until it is in force
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Who acts: as said, or the login name.
pub(super) fn actor(said: Option<String>) -> anyhow::Result<String> {
    let login = || ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    said.or_else(login).filter(|by| !by.trim().is_empty()).context("say who does this: --by NAME")
}

impl Suppress {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let until = match (self.until, self.span) {
            (until, None) => until,
            (_, Some(seconds)) => Some(moment::now()?.plus_seconds(seconds)),
        };
        self.act.run(output, Method::POST, until, "suppressed").await
    }
}

impl Release {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        self.act.run(output, Method::DELETE, None, "released").await
    }
}

impl ActArgs {
    async fn run(
        self,
        output: Output,
        method: Method,
        until: Option<Timestamp>,
        done: &str,
    ) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let by = actor(self.by)?;
        let mut accepted: Vec<Value> = Vec::new();
        for addresses in self.addresses.chunks(RECIPIENTS_MAX) {
            let mut body = json!({ "recipients": addresses, "by": by, "note": self.note });
            let given = [
                ("tenant", api.tenant.clone()),
                ("scope", self.scope.as_ref().map(Scope::to_string)),
                ("until", until.map(|until| until.to_string())),
                ("channel", self.channel.map(|channel| channel.to_string())),
            ];
            for (name, value) in given {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            let answer = api.act(method.clone(), "/v1/suppressions", &body).await?;
            accepted.extend_from_slice(items(&answer, "accepted"));
        }
        let in_force = !self.no_wait && wait(&api, &accepted, self.channel).await?;
        let answer = json!({ "accepted": accepted, "in_force": in_force });
        print(output, &answer, |out| {
            for one in &accepted {
                writeln!(out, "{done} {}, event {}", text(&one["recipient"]), text(&one["event_id"]))?;
            }
            let number = counted(accepted.len() as u64, "address", "addresses");
            let when = if in_force { "in force" } else { "accepted; in force within moments" };
            writeln!(out, "{number} {done}: {when}")
        })?;
        Ok(Verdict::Yes)
    }
}

/// Looks until the evidence of each holds its act. False if that takes longer than it should: it is still accepted.
async fn wait(api: &Api, accepted: &[Value], channel: Option<Channel>) -> anyhow::Result<bool> {
    let until = Instant::now() + VISIBLE_WITHIN;
    for one in accepted {
        let path = format!("/v1/recipients/{}", encoded(text(&one["recipient"]).trim()));
        let query = [("tenant", api.tenant.as_deref()), ("channel", channel.map(Channel::as_str))];
        while !items(&api.get(&path, &query).await?, "evidence").iter().any(|row| row["event_id"] == one["event_id"]) {
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(true)
}
