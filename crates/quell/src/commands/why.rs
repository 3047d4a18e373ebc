//! `quell why`: the decision about a recipient, and everything it rests on.

use super::{
    Output, Verdict,
    api::{ApiArgs, encoded},
    moment,
    show::{Table, items, plain, print, text},
};
use clap::Args;
use domain::{Channel, Timestamp};
use serde_json::Value;
use std::fmt::{self, Write as _};

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 explained, whatever the decision, 2 it could not be found out\n\n\
    Examples:\n  quell why jane@example.com\n  quell why jane@example.com --at 2026-01-18 --known-at 2026-01-20T12:00:00Z")]
pub(crate) struct Why {
    /// Email address, phone number as +COUNTRY NUMBER, or device token with --channel push
    address: String,
    /// As of this moment: only what had happened by then
    #[arg(long, value_name = "TIME", value_parser = moment::point_arg)]
    at: Option<Timestamp>,
    /// As it was known then: only what had been received by then
    #[arg(long, value_name = "TIME", value_parser = moment::point_arg)]
    known_at: Option<Timestamp>,
    /// How the recipient is reached: email, sms or push; guessed if not given
    #[arg(long)]
    channel: Option<Channel>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Why {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<Verdict> {
        let api = self.api.connect()?;
        let (at, known_at) = (self.at.map(|at| at.to_string()), self.known_at.map(|at| at.to_string()));
        let query = [
            ("tenant", api.tenant.as_deref()),
            ("channel", self.channel.map(Channel::as_str)),
            ("at", at.as_deref()),
            ("known_at", known_at.as_deref()),
        ];
        let found = api.get(&format!("/v1/recipients/{}", encoded(self.address.trim())), &query).await?;
        print(output, &found, |out| show(out, &found))?;
        Ok(Verdict::Yes)
    }
}

fn show(out: &mut String, found: &Value) -> fmt::Result {
    let field_of = |value: &Value| plain(&text(value));
    let field = |name: &str| field_of(&found[name]);
    let verdict = if found["suppressed"] == true { "SUPPRESSED" } else { "not suppressed" };
    writeln!(out, "{} ({}, tenant {})", field("recipient"), field("channel"), field("tenant"))?;
    write!(out, "{verdict} as of {}", field("as_of"))?;
    if !found["known_at"].is_null() {
        write!(out, ", as known at {}", field("known_at"))?;
    }
    writeln!(out, ", by policy {}", field("policy"))?;
    let erased = &found["erased"];
    if !erased.is_null() {
        let by = if erased["by"].is_null() { "nobody named".to_owned() } else { field_of(&erased["by"]) };
        let rest = if erased["forgotten"] == true { "the rest is forgotten" } else { "the rest is being forgotten" };
        writeln!(out, "Erased at {} by {by}: what suppresses was kept, {rest}", field_of(&erased["at"]))?;
    }
    if found["basis"] == "audit" {
        writeln!(out, "Told from the changes recorded then: evidence of that time is no longer kept.")?;
    }
    for sentence in items(found, "why") {
        writeln!(out, "  {}", plain(&text(sentence)))?;
    }
    show_in_force(out, found)?;
    show_evidence(out, found)?;
    show_changes(out, found)?;
    let seen = &found["engagement"];
    if !seen["sent_at"].is_null() {
        let engaged = if seen["engaged_at"].is_null() { "never".to_owned() } else { text(&seen["engaged_at"]) };
        writeln!(out, "\nLast sent to {}, last opened or clicked {engaged}", text(&seen["sent_at"]))?;
    }
    Ok(())
}

fn show_in_force(out: &mut String, found: &Value) -> fmt::Result {
    let mut table = Table::new(&["scope", "reason", "since", "until", "rule", "supported by"]);
    for row in items(found, "in_force") {
        let until = if row["until"].is_null() { "for good".to_owned() } else { text(&row["until"]) };
        let cell = |name: &str| text(&row[name]);
        table.row([cell("scope"), cell("reason"), cell("since"), until, cell("rule"), cell("providers")]);
    }
    if table.is_empty() { Ok(()) } else { write!(out, "\nIn force\n{table}") }
}

fn show_evidence(out: &mut String, found: &Value) -> fmt::Result {
    let rows = items(found, "evidence");
    let mut table = Table::new(&["occurred", "kind", "from", "detail", "effect", "receipt"]);
    for row in rows {
        let cell = |name: &str| text(&row[name]);
        let from = format!("{}/{}", cell("provider"), cell("source"));
        let receipt = cell("receipt_id");
        table.row([cell("occurred_at"), cell("kind"), from, detail(row), cell("effect"), receipt]);
    }
    if table.is_empty() {
        return writeln!(out, "\nNo evidence is known of this recipient.");
    }
    let total = found["evidence_total"].as_u64().unwrap_or(rows.len() as u64);
    writeln!(out, "\nEvidence, newest first ({} of {total})\n{table}", rows.len())?;
    for row in rows.iter().filter(|row| row["clamped"] == true) {
        writeln!(
            out,
            "  the {} of {} claims a time after its receipt {}; the receipt counts",
            text(&row["kind"]),
            text(&row["occurred_at"]),
            text(&row["received_at"])
        )?;
    }
    Ok(())
}

/// What a row says beside its kind: whose failure and by which rule, or who did it and why.
fn detail(row: &Value) -> String {
    let failure = &row["failure"];
    let mut parts = Vec::new();
    if !failure.is_null() {
        let code = [&failure["enhanced_status"], &failure["smtp_code"], &failure["provider_code"]];
        parts.push(format!("{}: {}", text(&failure["attribution"]), text(&failure["class"])));
        parts.extend(code.into_iter().find(|code| !code.is_null()).map(text));
        parts.push(format!("rule {}", text(&failure["rule"])));
    }
    for (name, word) in [("scope", "scope"), ("by", "by"), ("until", "until"), ("note", "note:")] {
        if !row[name].is_null() {
            parts.push(format!("{word} {}", text(&row[name])));
        }
    }
    let long = parts.join(", ");
    if long.chars().count() <= 80 { long } else { long.chars().take(79).chain(['\u{2026}']).collect() }
}

fn show_changes(out: &mut String, found: &Value) -> fmt::Result {
    let mut table = Table::new(&["decided", "change", "scope", "reason", "until", "by the", "receipt"]);
    for delta in items(found, "deltas") {
        let (now, trigger) = (&delta["now"], &delta["trigger"]);
        table.row([
            text(&delta["decided_at"]),
            text(&delta["change"]),
            text(&delta["scope"]),
            text(&now["reason"]),
            text(&now["until"]),
            text(&trigger["kind"]),
            text(&trigger["receipt_id"]),
        ]);
    }
    if table.is_empty() { Ok(()) } else { write!(out, "\nChanges told, newest first\n{table}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn explains_in_words_and_tables() {
        let found = json!({
            "tenant": "default", "channel": "email", "recipient": "jane@example.com", "as_of": "T", "known_at": null,
            "basis": "evidence", "suppressed": true, "policy": 1,
            "why": ["suppressed in scope all for hard_bounce since S, for good: told by drip, by rule hard"],
            "in_force": [{"scope": "all", "reason": "hard_bounce", "since": "S", "until": null, "rule": "hard", "providers": ["drip"]}],
            "evidence_total": 1,
            "evidence": [{
                "occurred_at": "S", "received_at": "R", "clamped": true, "kind": "bounced_hard", "provider": "drip",
                "source": "default", "effect": "suppresses", "receipt_id": "r-1", "scope": null, "by": null, "note": null,
                "until": null,
                "failure": {"attribution": "recipient", "class": "unknown_recipient", "enhanced_status": "5.1.1", "rule": "code.5.1.1"},
            }],
            "deltas": [{"decided_at": "R", "change": "suppressed", "scope": "all", "now": {"reason": "hard_bounce", "until": null},
                "trigger": {"kind": "bounced_hard", "receipt_id": "r-1"}}],
            "engagement": {"sent_at": "A", "engaged_at": null},
        });
        let mut out = String::new();
        show(&mut out, &found).unwrap();
        for part in [
            "jane@example.com (email, tenant default)",
            "SUPPRESSED as of T, by policy 1",
            "by rule hard",
            "all    hard_bounce  S      for good  hard  drip",
            "recipient: unknown_recipient, 5.1.1, rule code.5.1.1",
            "the receipt counts",
            "suppresses  r-1",
            "Last sent to A, last opened or clicked never",
        ] {
            assert!(out.contains(part), "{part} is not in\n{out}");
        }
    }

    #[test]
    fn a_stranger_is_explained_too() {
        let mut out = String::new();
        let found = json!({"recipient": "x@example.com", "suppressed": false, "why": ["not suppressed: no evidence"]});
        show(&mut out, &found).unwrap();
        assert!(out.contains("not suppressed as of") && out.contains("No evidence"), "{out}");
    }
}
