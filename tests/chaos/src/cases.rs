//! What is known of recipients that came out wrong, one after the other: for whoever looks for the cause.

use crate::{fact::Fact, judge::Verdict, topic};
use domain::Timestamp;
use event_log::kafka::KafkaLog;
use schemas::{
    topics,
    wire::{DeltaRecord, OutcomeRecord},
};
use std::{collections::BTreeSet, fmt::Write as _};

/// Recipients described, at most.
const CASES_MAX: usize = 20;

fn time(micros: i64) -> String {
    Timestamp::from_micros(micros).unwrap_or_default().to_string()
}

/// Facts, deltas and outcomes of every recipient that a line names.
pub(crate) async fn describe(log: &KafkaLog, facts: &[Fact], verdict: &Verdict) -> anyhow::Result<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "@.+".contains(c);
    let words: BTreeSet<&str> =
        verdict.wrong.values().flatten().flat_map(|line| line.split(|c: char| !is_part(c))).collect();
    let recipients: BTreeSet<&str> = facts.iter().map(|fact| fact.recipient.as_str()).collect();
    let named: Vec<&str> = recipients.intersection(&words).copied().take(CASES_MAX).collect();
    let mut text = String::new();
    if named.is_empty() {
        return Ok(text);
    }
    let read = async |name| topic::read_all(log, name).await;
    let deltas: Vec<DeltaRecord> = read(topics::DELTAS).await?.iter().map(topic::read).collect::<Result<_, _>>()?;
    let outcomes: Vec<OutcomeRecord> =
        read(topics::OUTCOMES).await?.iter().map(topic::read).collect::<Result<_, _>>()?;
    for recipient in named {
        let mut own: Vec<&Fact> = facts.iter().filter(|fact| fact.recipient == recipient).collect();
        own.sort_by_key(|fact| fact.unix);
        writeln!(text, "{recipient}")?;
        for fact in own {
            writeln!(text, "  fact    {} {:?} by {}", time(fact.unix * 1_000_000), fact.what, fact.teller.word())?;
        }
        for delta in deltas.iter().filter(|delta| delta.recipient == recipient) {
            let reason = delta.now.as_ref().map_or("-", |now| now.reason.as_str());
            let (trigger, at) = (&delta.trigger, time(delta.decided_at));
            let (kind, provider) = (&trigger.kind, &trigger.provider);
            writeln!(text, "  delta   {at} {} {} {reason}, for {kind} by {provider}", delta.change, delta.scope)?;
        }
        for outcome in outcomes.iter().filter(|outcome| outcome.recipient == recipient) {
            writeln!(text, "  outcome {outcome:?}")?;
        }
    }
    Ok(text)
}
