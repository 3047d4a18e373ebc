//! `quell incidents`: what the guard found, and what is ruled of it.

use super::{
    EXIT_CODES, Output, Verdict, act,
    api::{ApiArgs, encoded},
    show::{Table, counted, items, plain, print, text},
};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Verbs of `incidents`.
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, the newest first: whose hard bounces jumped far beyond their rhythm
    List(List),
    /// Rule that the bounces of an incident are what they look like: their addresses are dead
    #[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell incidents confirm 5f0c… --note 'the provider closed down'"))]
    Confirm(Rule),
    /// Rule that the bounces of an incident never counted: their recipients are released
    #[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell incidents undo 5f0c… --note 'their status page says so'"))]
    Undo(Rule),
}

/// Arguments of `incidents list`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXIT_CODES}\n\nExample:\n  quell incidents list --output json"))]
pub(crate) struct List {
    #[command(flatten)]
    api: ApiArgs,
}

/// Arguments of `incidents confirm` and `undo`.
#[derive(Debug, Args)]
pub(crate) struct Rule {
    /// The incident, as the list shows it
    #[arg(value_name = "ID")]
    id: String,
    /// Why; kept with the evidence
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who rules; without it, the login name
    #[arg(long, env = "QUELL_BY", value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl IncidentsCommand {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        match self {
            Self::List(list) => {
                let found = list.api.connect()?.get("/v1/incidents", &[]).await?;
                print(output, &found, |out| show(out, &found))?;
            }
            Self::Confirm(rule) => rule.run("confirm", output).await?,
            Self::Undo(rule) => rule.run("undo", output).await?,
        }
        Ok(Verdict::Yes)
    }
}

impl Rule {
    async fn run(self, verdict: &str, output: Output) -> anyhow::Result<()> {
        let by = act::actor(self.by)?;
        let body = json!({ "verdict": verdict, "by": by, "note": self.note });
        let path = format!("/v1/incidents/{}", encoded(&self.id));
        let answer = self.api.connect()?.act(Method::POST, &path, &body).await?;
        print(output, &answer, |out| {
            let (ruling, group) = (text(&answer["ruling"]), plain(&text(&answer["group"])));
            writeln!(out, "the incident of {group} is {ruling}; its recipients are decided anew in the background")
        })
    }
}

fn show(out: &mut String, found: &Value) -> std::fmt::Result {
    let incidents = items(found, "incidents");
    if incidents.is_empty() {
        return writeln!(out, "no incidents");
    }
    let mut table = Table::new(&["id", "group", "from", "to", "state", "bounced", "engaged", "ruled by", "note"]);
    for incident in incidents {
        let cell = |name: &str| text(&incident[name]);
        let state = match (incident["is_over"] == true, cell("ruling").as_str()) {
            (false, "held") => "goes on, held".to_owned(),
            (true, "held") => "over, held".to_owned(),
            (false, ruling) => format!("goes on, {ruling}"),
            (true, ruling) => ruling.to_owned(),
        };
        table.row([
            cell("id"),
            cell("group"),
            cell("from"),
            cell("to"),
            state,
            cell("bounced"),
            cell("engaged"),
            cell("ruled_by"),
            cell("note"),
        ]);
    }
    write!(out, "{table}")?;
    writeln!(out, "{}", counted(incidents.len() as u64, "incident", "incidents"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_goes_on_and_what_was_ruled() {
        let incident = |is_over: bool, ruling: &str| {
            json!({"id": "5f", "group": "mailbox:gmail.com", "from": "F", "to": "T", "is_over": is_over, "ruling": ruling,
                "bounced": 120, "engaged": 80, "ruled_by": null, "note": null})
        };
        let found = json!({"incidents": [incident(false, "held"), incident(true, "held"), incident(true, "undone")]});
        let mut out = String::new();
        show(&mut out, &found).unwrap();
        for part in ["mailbox:gmail.com  F", "goes on, held", "over, held", "undone", "3 incidents"] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
        out.clear();
        show(&mut out, &json!({"incidents": []})).unwrap();
        assert_eq!(out, "no incidents\n");
    }
}
