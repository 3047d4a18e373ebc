//! `quell erase`: forget a person, keep them suppressed, and say when the last trace is gone.

use super::{
    Output, Verdict,
    act::{RECIPIENTS_MAX, actor},
    api::{Api, ApiArgs, ApiError, encoded},
    show::{Table, counted, items, plain, print, text},
};
use anyhow::bail;
use clap::Args;
use domain::Channel;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::{
    fmt::{self, Write as _},
    time::{Duration, Instant},
};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Arguments of `erase`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 accepted (and forgotten, with --wait), 2 it could not be done\n\n\
    Examples:\n  quell erase jane@example.com --note 'asked to be forgotten, ticket 4713' --wait\n  \
    quell erase jane@example.com --by ann --note 'ticket 4713' --output json")]
pub(crate) struct Erase {
    /// Email addresses, and phone numbers as +COUNTRY NUMBER
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Why; it travels with the event and is not kept longer
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Who does this; kept with the erasure. Without it, the login name
    #[arg(long, env = "QUELL_BY", value_name = "NAME")]
    by: Option<String>,
    /// How they are reached: email, sms or push; guessed if not given
    #[arg(long)]
    channel: Option<Channel>,
    /// Wait until the store has forgotten them
    #[arg(long)]
    wait: bool,
    /// With --wait: give up waiting after so many seconds; the erasure goes on
    #[arg(long, default_value_t = 600, requires = "wait", value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    api: ApiArgs,
}

impl Erase {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let by = actor(self.by.clone())?;
        let (mut accepted, mut asked_at, mut gone): (Vec<Value>, _, _) = (Vec::new(), Value::Null, Value::Null);
        for addresses in self.addresses.chunks(RECIPIENTS_MAX) {
            let mut body = json!({ "recipients": addresses, "by": by, "note": self.note });
            let channel = self.channel.map(|channel| channel.to_string());
            for (name, value) in [("tenant", api.tenant.clone()), ("channel", channel)] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            let mut answer = api.act(Method::POST, "/v1/erasures", &body).await?;
            accepted.extend_from_slice(items(&answer, "accepted"));
            // The first call began earliest, and the last one's receipt has the latest dates.
            if asked_at.is_null() {
                asked_at = answer["asked_at"].take();
            }
            gone = answer["gone"].take();
        }
        let in_force = if self.wait { Some(self.forgotten(&api, &accepted, &asked_at).await?) } else { None };
        let answer = json!({
            "asked_at": asked_at, "accepted": accepted, "forgotten": self.wait, "in_force": in_force, "gone": gone,
        });
        print(output, &answer, |out| show(out, &answer))?;
        Ok(Verdict::Yes)
    }

    /// Waits until each is forgotten by this erasure or a later one; gives back what still holds for each.
    async fn forgotten(&self, api: &Api, accepted: &[Value], asked_at: &Value) -> anyhow::Result<Vec<Value>> {
        let until = Instant::now() + Duration::from_secs(self.timeout);
        let bar = ProgressBar::new(accepted.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{elapsed} {pos} of {len} forgotten {wide_bar}") {
            bar.set_style(style);
        }
        let mut in_force = Vec::with_capacity(accepted.len());
        for one in accepted {
            let path = format!("/v1/erasures/{}", encoded(text(&one["recipient"]).trim()));
            let query = [("tenant", api.tenant.as_deref()), ("channel", self.channel.map(Channel::as_str))];
            let found = loop {
                match api.get(&path, &query).await {
                    Ok(found) if found["state"] == "forgotten" && is_since(&found, asked_at) => break found,
                    Ok(_) | Err(ApiError::NotThere(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                if Instant::now() >= until {
                    bail!(
                        "accepted, but not forgotten after {} s; it goes on by itself: look at the suppressors' lag, and ask \
                         again with `quell why`",
                        self.timeout
                    );
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            in_force.push(json!({ "recipient": one["recipient"], "in_force": found["in_force"] }));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(in_force)
    }
}

/// Whether it is this erasure, or a later one. Both times are RFC 3339 in UTC.
fn is_since(found: &Value, asked_at: &Value) -> bool {
    let at = |value: &Value| domain::Timestamp::parse_rfc3339(value.as_str().unwrap_or_default()).ok();
    at(&found["erased_at"]) >= at(asked_at)
}

fn show(out: &mut String, answer: &Value) -> fmt::Result {
    for one in items(answer, "accepted") {
        writeln!(out, "erased {}, event {}", plain(&text(&one["recipient"])), text(&one["event_id"]))?;
    }
    for one in items(answer, "in_force") {
        let held: Vec<String> = items(one, "in_force")
            .iter()
            .map(|row| format!("{} ({})", text(&row["scope"]), text(&row["reason"])))
            .collect();
        let held = if held.is_empty() { "nothing, as nothing was before".to_owned() } else { held.join(", ") };
        writeln!(out, "still in force for {}: {}", plain(&text(&one["recipient"])), plain(&held))?;
    }
    let number = counted(items(answer, "accepted").len() as u64, "person", "persons");
    let when =
        if answer["forgotten"] == true { "forgotten" } else { "accepted; the store forgets within about a minute" };
    writeln!(out, "{number}: {when}\n\nWhat is left, and when its last trace is gone")?;
    let mut table = Table::new(&["where", "what", "gone by", "kept for", "how"]);
    for row in items(answer, "gone") {
        let by = if row["gone_by"].is_null() { "never by itself".to_owned() } else { text(&row["gone_by"]) };
        table.row([text(&row["place"]), text(&row["what"]), by, kept_for(row), text(&row["how"])]);
    }
    write!(out, "{table}")
}

/// How long it is kept, and what the engine adds.
fn kept_for(row: &Value) -> String {
    let span = |seconds: u64| match seconds {
        0 => String::new(),
        seconds if seconds.is_multiple_of(86_400) => counted(seconds / 86_400, "day", "days"),
        seconds if seconds >= 86_400 => format!("{} days", seconds.div_ceil(86_400)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    };
    let Some(keeps) = row["keeps_seconds"].as_u64() else { return "without end".to_owned() };
    let parts = [span(keeps), span(row["adds_seconds"].as_u64().unwrap_or(0))];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_a_table() {
        let answer = json!({
            "asked_at": "2026-01-01T00:00:00Z",
            "accepted": [{ "recipient": "jane@example.com", "event_id": "e-1" }],
            "forgotten": true,
            "in_force": [{ "recipient": "jane@example.com", "in_force": [{ "scope": "all", "reason": "complaint" }] }],
            "gone": [
                { "place": "topic", "what": "quell.raw.v1", "gone_by": "2026-01-09T02:00:00Z", "keeps_seconds": 604_800,
                  "adds_seconds": 86_460, "how": "by time" },
                { "place": "topic", "what": "own", "gone_by": null, "keeps_seconds": null, "adds_seconds": 0, "how": "no" },
            ],
        });
        let mut out = String::new();
        show(&mut out, &answer).unwrap();
        for part in [
            "erased jane@example.com, event e-1",
            "still in force for jane@example.com: all (complaint)",
            "1 person: forgotten",
            "quell.raw.v1  2026-01-09T02:00:00Z  7 days + 2 days  by time",
            "never by itself",
            "without end",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }

    #[test]
    fn an_earlier_erasure_is_not_this_one() {
        let at = |text: &str| json!({ "erased_at": text });
        let asked = json!("2026-01-01T00:00:00.5Z");
        assert!(!is_since(&at("2026-01-01T00:00:00Z"), &asked));
        assert!(is_since(&at("2026-01-01T00:00:00.5Z"), &asked));
        assert!(is_since(&at("2026-01-01T00:00:01Z"), &asked));
    }
}
