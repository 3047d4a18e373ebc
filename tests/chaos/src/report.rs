//! The figures of a run: a table for people, a line of JSON for programs.

use crate::{faults::Outages, judge::Verdict, load::Seen, rolling::Rolled};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// Lines shown of each sort of fault.
const SHOWN: usize = 5;

/// Everything that a run found.
#[derive(Debug)]
pub struct Report {
    pub(crate) seed: u64,
    pub(crate) took_seconds: f64,
    pub(crate) settled_seconds: f64,
    pub(crate) facts: u64,
    pub(crate) seen: Seen,
    pub(crate) kills: BTreeMap<&'static str, u64>,
    pub(crate) ended: Vec<String>,
    pub(crate) outages: Outages,
    pub(crate) rolled: Option<Rolled>,
    pub(crate) provider_calls: u64,
    pub(crate) erasures_refused: u64,
    pub(crate) verdict: Verdict,
}

impl Report {
    /// What must not be, a line each.
    pub fn wrong(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, found) in self.verdict.wrong.iter().filter(|(_, found)| !found.is_empty()) {
            lines.push(format!("{what}: {}", found.len()));
            lines.extend(found.iter().take(SHOWN).map(|line| format!("    {line}")));
        }
        lines
    }

    /// How many instances were killed.
    pub fn n_kills(&self) -> u64 {
        self.kills.values().sum()
    }

    /// How many people were erased.
    pub fn n_erased(&self) -> u64 {
        self.verdict.erased[0]
    }

    /// How often an outage of this sort was: the words of its line in the table, such as `broker stopped`.
    pub fn n_outages(&self, words: &str) -> u64 {
        self.outages.iter().filter(|(what, _)| what.words() == words).map(|(_, count)| *count).sum()
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let wrong = self.verdict.wrong.iter().map(|(what, found)| ((*what).to_owned(), json!(found.len())));
        let outages = self.outages.iter().map(|(what, count)| (what.words().to_owned(), json!(count)));
        let statuses = self.seen.statuses.iter().map(|(status, count)| (status.to_string(), json!(count)));
        let Verdict { raw_webhooks, spooled, events, duplicates, expired, deltas, in_force, erased, .. } =
            &self.verdict;
        json!({
            "seed": self.seed,
            "seconds": self.took_seconds.round(),
            "settled_seconds": self.settled_seconds.round(),
            "facts": self.facts,
            "events": events,
            "duplicates_dropped": duplicates,
            "expired": expired,
            "webhooks": self.seen.obligations.len(),
            "raw_webhooks": raw_webhooks,
            "answers": statuses.collect::<serde_json::Map<String, Value>>(),
            "unsent": self.seen.unsent,
            "unanswered": self.seen.unanswered,
            "spooled": spooled,
            "kills": self.n_kills(),
            "kills_by_role": self.kills,
            "ended_by_themselves": self.ended.len(),
            "outages": outages.collect::<serde_json::Map<String, Value>>(),
            "replaced": self.rolled.as_ref().map(|rolled| json!({
                "instances": rolled.n_replaced,
                "seconds": rolled.seconds.round(),
                "lag_normal_after_seconds": rolled.normal_after_seconds,
            })),
            "provider_calls": self.provider_calls,
            "deltas": deltas,
            "in_force": in_force,
            "erased": erased[0],
            "erased_and_silent": erased[1],
            "erasures_refused": self.erasures_refused,
            "wrong": wrong.collect::<serde_json::Map<String, Value>>(),
            "ok": self.wrong().is_empty(),
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "  {name:<46}{value:>12}");
        let Verdict { raw_webhooks, spooled, events, duplicates, expired, deltas, in_force, erased, wrong } =
            &self.verdict;
        line("seed", self.seed.to_string())?;
        line("seconds under load and faults", format!("{:.0}", self.took_seconds))?;
        line("seconds until all had settled", format!("{:.0}", self.settled_seconds))?;
        line("facts", self.facts.to_string())?;
        line("webhooks answered 2xx", self.seen.obligations.len().to_string())?;
        line("  of them spooled", spooled.to_string())?;
        for (status, count) in self.seen.statuses.iter().filter(|(status, _)| !(200..300).contains(*status)) {
            line(&format!("answers {status}, sent again"), count.to_string())?;
        }
        line("attempts that found nobody", self.seen.unsent.to_string())?;
        line("attempts without an answer", self.seen.unanswered.to_string())?;
        line("raw webhooks in the log", raw_webhooks.to_string())?;
        line("events in the log", events.to_string())?;
        line("  of them duplicates, dropped", duplicates.to_string())?;
        line("  of them ends that passed", expired.to_string())?;
        line("deltas", deltas.to_string())?;
        line("suppressions in force", in_force.to_string())?;
        line("people erased", erased[0].to_string())?;
        line("  of them told of no more", erased[1].to_string())?;
        line("  asked for again, as refused", self.erasures_refused.to_string())?;
        line("calls of providers", self.provider_calls.to_string())?;
        line("kill -9", self.n_kills().to_string())?;
        for (role, count) in &self.kills {
            line(&format!("  {role}"), count.to_string())?;
        }
        line("processes that ended by themselves", self.ended.len().to_string())?;
        for (what, count) in &self.outages {
            line(what.words(), count.to_string())?;
        }
        if let Some(rolled) = &self.rolled {
            line("instances replaced", rolled.n_replaced.to_string())?;
            line("  seconds for all of them", format!("{:.0}", rolled.seconds))?;
            line("  seconds until the lag was normal", format!("{:.1}", rolled.normal_after_seconds))?;
        }
        for (what, found) in wrong {
            line(&format!("{} {what}", if found.is_empty() { "✔" } else { "✘" }), found.len().to_string())?;
        }
        Ok(())
    }
}
