//! `quell receipt`: a webhook as it came, and what became of it.

use super::{
    Output, Verdict,
    api::{ApiArgs, ApiError, encoded},
    show::{Table, items, plain, print, text},
};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};

/// Arguments of `receipt`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 found, 1 there is no such receipt (any more), 2 it could not be found out\n\n\
    Example:\n  quell receipt r0.3.1729.01jd5xg6z5c9xq6s3r9f0k2m4t")]
pub(crate) struct Receipt {
    /// The receipt id that the webhook was answered with
    id: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Receipt {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let query = [("tenant", api.tenant.as_deref())];
        let found = match api.get(&format!("/v1/receipts/{}", encoded(&self.id)), &query).await {
            Ok(found) => found,
            Err(ApiError::NotThere(detail)) => {
                let answer = json!({ "receipt_id": self.id, "status": null, "detail": detail });
                print(output, &answer, |out| writeln!(out, "{detail}"))?;
                return Ok(Verdict::No);
            }
            Err(error) => return Err(error.into()),
        };
        print(output, &found, |out| show(out, &found))?;
        Ok(Verdict::Yes)
    }
}

fn show(out: &mut String, found: &Value) -> fmt::Result {
    let field = |name: &str| plain(&text(&found[name]));
    writeln!(out, "receipt {}: {}", field("receipt_id"), field("status"))?;
    writeln!(
        out,
        "{}/{} for tenant {}, received {}, verified by {}{}",
        field("provider"),
        field("source"),
        field("tenant"),
        field("received_at"),
        field("verified"),
        if found["shadow"] == true { " (shadow mode: a failed proof was only reported)" } else { "" }
    )?;
    writeln!(out, "\n{} {}", field("method"), field("url"))?;
    for (name, value) in found["headers"].as_object().into_iter().flatten() {
        writeln!(out, "{}: {}", plain(name), plain(&text(value)))?;
    }
    let body =
        if found["body"].is_null() { format!("(base64) {}", field("body_base64")) } else { text(&found["body"]) };
    writeln!(out)?;
    for line in body.lines() {
        writeln!(out, "{}", plain(line))?;
    }
    show_fates(out, &found["events"])
}

/// What its elements became.
fn show_fates(out: &mut String, fates: &Value) -> fmt::Result {
    let mut table = Table::new(&["recipient", "kind", "occurred", "message", "failure", "event"]);
    for event in items(fates, "events") {
        let cell = |name: &str| text(&event[name]);
        let failure = &event["failure"];
        let failure = match failure["class"].as_str() {
            Some(class) => format!("{}: {class} by {}", text(&failure["attribution"]), text(&failure["rule"])),
            None => String::new(),
        };
        let recipient = if event["recipient"].is_object() { cell("address") } else { cell("recipient") };
        table.row([recipient, cell("kind"), cell("occurred_at"), cell("message_id"), failure, cell("event_id")]);
    }
    if !table.is_empty() {
        write!(out, "\nEvents in it\n{table}")?;
    }
    for (name, what) in [("ignored", "ignored"), ("dead", "dead letter")] {
        for element in items(fates, name) {
            writeln!(out, "element {}: {what}, {}", text(&element["index"]), plain(&text(&element["reason"])))?;
        }
    }
    if let Some(error) = fates["error"].as_str() {
        writeln!(out, "its events cannot be shown: {}", plain(error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_webhook_and_its_fates() {
        let found = json!({
            "receipt_id": "r-1", "status": "processed", "tenant": "default", "provider": "drip", "source": "default",
            "received_at": "R", "verified": "hmac-sha256", "shadow": false, "method": "POST",
            "url": "/webhooks/drip", "headers": {"content-type": "application/json"},
            "body": "{\n \"event\": \"subscriber.bounced\"\u{1b}\n}", "body_base64": null,
            "events": {
                "events": [{"recipient": "jane@example.com", "kind": "bounced_hard", "occurred_at": "S", "event_id": "e-1",
                    "failure": {"attribution": "recipient", "class": "unknown_recipient", "rule": "provider.hard"}}],
                "ignored": [{"index": 1, "reason": "no_recipient"}], "dead": [{"index": 2, "reason": "unreadable"}],
            },
        });
        let mut out = String::new();
        show(&mut out, &found).unwrap();
        for part in [
            "receipt r-1: processed",
            "verified by hmac-sha256",
            "\n \"event\": \"subscriber.bounced\"\u{b7}\n}",
            "recipient: unknown_recipient by provider.hard",
            "element 1: ignored, no_recipient",
            "element 2: dead letter, unreadable",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }
}
