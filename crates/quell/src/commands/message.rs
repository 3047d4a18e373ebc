//! `quell message`: did it bounce?

use super::{
    Output, Verdict,
    api::{ApiArgs, ApiError, encoded},
    show::{Table, items, plain, print, text},
};
use clap::Args;
use serde_json::{Value, json};
use std::fmt::{self, Write as _};

/// Arguments of `message`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 found, 1 no event named such a message, 2 it could not be found out\n\n\
    Example:\n  quell message 14c5d75ce93.dfd.64b469@ismtpd-555 --provider sendgrid")]
pub(crate) struct Message {
    /// The provider's id of the message
    id: String,
    /// Only of this provider
    #[arg(long)]
    provider: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Message {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let query = [("tenant", api.tenant.as_deref()), ("provider", self.provider.as_deref())];
        let found = match api.get(&format!("/v1/messages/{}", encoded(&self.id)), &query).await {
            Ok(found) => found,
            Err(ApiError::NotThere(detail)) => {
                let answer = json!({ "message_id": self.id, "recipients": [], "detail": detail });
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
    writeln!(out, "message {}", plain(&text(&found["message_id"])))?;
    for recipient in items(found, "recipients") {
        let cell = |name: &str| plain(&text(&recipient[name]));
        let state = if recipient["state"].is_null() { "state unknown".to_owned() } else { cell("state") };
        writeln!(out, "\n{} by {}: {state} since {}", cell("recipient"), cell("provider"), cell("since"))?;
        let mut table = Table::new(&["occurred", "kind", "provider's word", "failure", "receipt"]);
        for entry in items(recipient, "timeline") {
            let failure = &entry["failure"];
            let failure = match failure["class"].as_str() {
                Some(class) => format!("{}: {class}, {}", text(&failure["attribution"]), text(&failure["diagnostic"])),
                None => String::new(),
            };
            let kind = if entry["machine"] == true { "by a machine: " } else { "" };
            let kind = format!("{kind}{}", text(&entry["kind"]));
            table.row([
                text(&entry["occurred_at"]),
                kind,
                text(&entry["provider_kind"]),
                failure.trim_end_matches([',', ' ']).to_owned(),
                text(&entry["receipt_id"]),
            ]);
        }
        write!(out, "{table}")?;
    }
    if found["truncated"] == true {
        writeln!(out, "\nThere is more than is shown.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_state_and_timeline() {
        let found = json!({"message_id": "m-1", "truncated": false, "recipients": [{
            "recipient": "jane@example.com", "provider": "drip", "state": "BOUNCED_HARD", "since": "S",
            "timeline": [
                {"occurred_at": "S", "kind": "bounced_hard", "provider_kind": "subscriber.bounced", "machine": false,
                 "failure": {"attribution": "recipient", "class": "unknown_recipient"}, "receipt_id": "r-1"},
                {"occurred_at": "O", "kind": "opened", "machine": true, "failure": null, "receipt_id": "r-2"}],
        }]});
        let mut out = String::new();
        show(&mut out, &found).unwrap();
        for part in [
            "jane@example.com by drip: BOUNCED_HARD since S",
            "recipient: unknown_recipient  r-1",
            "by a machine: opened",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }
}
