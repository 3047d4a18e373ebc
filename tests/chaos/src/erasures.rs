//! People who are erased in the middle of it all (decision 0016): asked for over the lookup API, forgotten, still suppressed.
//!
//! Many have not been told of wholly by then: what is told afterwards is new data, and stands beside what was kept.

use crate::{
    deltas::{Events, Told},
    dice::Dice,
    http::Http,
    journal::Journal,
    load::Load,
    oracle::{self, Effect, Standing, State},
};
use anyhow::{Context as _, bail};
use event_log::Consumed;
use http::StatusCode;
use schemas::{
    headers, topics,
    wire::{DeltaRecord, EventRecord},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The secret of their pseudonyms.
const VARIABLE: &str = "CHAOS_ERASURE_KEY";
const KEY: &str = "chaos-0123456789abcdef0123456789abcdef";
/// Requests, and people in each.
const ROUNDS: u64 = 12;
const PEOPLE: usize = 3;
/// Those of each that were told of already, and of whom nothing is to come but what lies in a spool.
const TOLD_OF: usize = 2;
/// The shares of the load between which they are asked for, in percent. Early, as a cluster forgets a minute later.
const BETWEEN: [u64; 2] = [10, 45];
const AGAIN: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_secs(1);
/// How long the API may refuse, whatever is out.
const ASKED_MAX: Duration = Duration::from_secs(180);

/// Who was erased, as the API accepted it.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) recipients: BTreeSet<String>,
    /// Attempts that were refused, or found nobody.
    pub(crate) n_refused: u64,
}

/// The configuration's part, and the secret that it names.
pub(crate) fn config() -> (String, (String, String)) {
    (format!("\n[erasure]\nkey = \"env:{VARIABLE}\"\n"), (VARIABLE.to_owned(), KEY.to_owned()))
}

/// Erases people while the load goes on.
pub(crate) async fn ask(load: &Load, lookup: &str, journal: &Journal) -> anyhow::Result<Asked> {
    let mut dice = Dice::new(load.seed, 5);
    let (mut asked, count) = (Asked::default(), load.webhooks.len() as u64);
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, webhook) in load.webhooks.iter().enumerate() {
        last.extend(webhook.facts.iter().map(|fact| (fact.recipient.as_str(), at)));
    }
    let everybody: Vec<&str> = last.keys().copied().collect();
    for round in 0..ROUNDS {
        let [from, to] = BETWEEN.map(|percent| count * percent / 100);
        let at = usize::try_from(from + (to - from) * round / ROUNDS)?;
        while load.progress().0 < at {
            tokio::time::sleep(AGAIN).await;
        }
        let through: Vec<&str> =
            everybody.iter().copied().filter(|who| last.get(who).is_some_and(|n| *n < at / 3 * 2)).collect();
        let people: BTreeSet<&str> = (0..PEOPLE)
            .filter_map(|n| dice.pick(if n < TOLD_OF && !through.is_empty() { &through } else { &everybody }))
            .filter(|who| !asked.recipients.contains(*who))
            .collect();
        if people.is_empty() {
            continue;
        }
        let body = json!({ "recipients": people, "by": "chaos", "note": format!("round {round}") });
        asked.n_refused += accepted(&load.http, lookup, &format!("round-{round}"), &body).await?;
        asked.recipients.extend(people.into_iter().map(str::to_owned));
    }
    journal.say(&format!("{} people were erased, asked again {} times", asked.recipients.len(), asked.n_refused));
    Ok(asked)
}

/// Asks until it is accepted; how often it was not.
async fn accepted(http: &Http, lookup: &str, key: &str, body: &Value) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let mut n_refused = 0;
    loop {
        let url = format!("http://{lookup}/v1/erasures");
        match http.post(&url, &[("idempotency-key", key)], body).await {
            Ok((StatusCode::ACCEPTED, _)) => return Ok(n_refused),
            Ok((status, said)) if status.is_client_error() => bail!("an erasure was answered {status}: {said}"),
            refused if begun.elapsed() > ASKED_MAX => bail!("an erasure was not accepted in time: {refused:?}"),
            _ => n_refused += 1,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn url(lookup: &str, what: &str, who: &str) -> String {
    format!("http://{lookup}/v1/{what}/{}", who.replace('+', "%2B"))
}

/// Waits until the store holds nothing more of them than it is to keep.
pub(crate) async fn forgotten(http: &Http, lookup: &str, asked: &Asked, max: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut left: Vec<&String> = asked.recipients.iter().collect();
    loop {
        let mut waiting = Vec::new();
        for who in left {
            let told = http.get(&url(lookup, "erasures", who)).await.unwrap_or_default();
            let told: Value = serde_json::from_str(&told).unwrap_or_default();
            if told["state"] != "forgotten" {
                waiting.push(who);
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > max {
            bail!("{} erased people are not forgotten after {} s: {waiting:?}", waiting.len(), max.as_secs());
        }
        left = waiting;
        tokio::time::sleep(LOOK).await;
    }
}

/// What the log's events make of one who was erased.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Erasures in the log, each once.
    n_erased: usize,
    /// Events that ordered what lay below an erasure to be forgotten.
    n_forgets: usize,
    /// How often `erased` is to be told, by scope.
    scopes: BTreeMap<String, usize>,
    /// Evidence since the newest erasure.
    n_later: usize,
}

impl Model {
    /// Takes the event in: at its erasure, what is kept of the evidence.
    pub(crate) fn take(
        &mut self,
        event: &EventRecord,
        state: &BTreeMap<String, Standing>,
        evidence: &[(Effect, i64)],
    ) -> Option<Vec<(Effect, i64)>> {
        if event.metadata.contains_key("quell.forgets") {
            self.n_forgets += 1;
            return None;
        }
        self.n_erased += 1;
        self.n_later = 0;
        state.keys().for_each(|scope| *self.scopes.entry(scope.clone()).or_default() += 1);
        Some(kept(evidence))
    }

    pub(crate) fn goes_on(&mut self) {
        self.n_later += 1;
    }
}

/// What an erasure keeps: all that suppresses, or counts for what may, and that nothing undid.
fn kept(evidence: &[(Effect, i64)]) -> Vec<(Effect, i64)> {
    let newest = |wanted: &Effect| evidence.iter().filter(|(effect, _)| effect == wanted).map(|(_, at)| *at).max();
    let stays = |(effect, at): &(Effect, i64)| match effect {
        Effect::Soft => newest(&Effect::Delivered).is_none_or(|delivered| *at >= delivered),
        Effect::Left(scope) => newest(&Effect::Back(scope.clone())).is_none_or(|back| *at >= back),
        Effect::Dead(_) | Effect::Complaint => true,
        Effect::Delivered | Effect::Back(_) | Effect::Nothing => false,
    };
    evidence.iter().filter(|one| stays(one)).cloned().collect()
}

/// What is compared for them, once everything has settled.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) http: &'a Http,
    pub(crate) lookup: &'a str,
    pub(crate) events: &'a Events,
    pub(crate) told: &'a Told,
    /// As the API exports it.
    pub(crate) table: &'a State,
    /// Every record of the state topic.
    pub(crate) state: &'a [Consumed],
    /// Microseconds.
    pub(crate) now: i64,
}

impl Found<'_> {
    /// What is not as it is to be, a line each.
    pub(crate) async fn wrong(&self, asked: &Asked) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let newest = self.newest_states();
        for who in &asked.recipients {
            let Some(model) = self.events.erased.get(who).filter(|model| model.n_erased > 0) else {
                wrong.push(format!("{who}: no erasure in the log"));
                continue;
            };
            let mut say = |what: String| wrong.push(format!("{who}: {what}"));
            if model.n_forgets == 0 {
                say("nothing ordered what lay below the erasure to be forgotten".to_owned());
            }
            let told = self.told.erased.get(who).cloned().unwrap_or_default();
            if told != model.scopes {
                say(format!("erased was told {told:?}, not {:?}", model.scopes));
            }
            self.topic(who, &newest).into_iter().for_each(&mut say);
            let due = oracle::in_force(self.events.evidence.get(who).map_or(&[][..], Vec::as_slice), self.now);
            self.table(who, model, &due).into_iter().for_each(&mut say);
            self.answers(who, model, &due).await?.into_iter().for_each(&mut say);
        }
        Ok(wrong)
    }

    /// How many of them nothing was told of afterwards.
    pub(crate) fn n_silent(&self, asked: &Asked) -> u64 {
        let models = asked.recipients.iter().filter_map(|who| self.events.erased.get(who));
        models.filter(|model| model.n_later == 0).count() as u64
    }

    fn newest_states(&self) -> BTreeMap<String, &Consumed> {
        let key = |consumed: &Consumed| {
            String::from_utf8_lossy(consumed.record.key.as_deref().unwrap_or_default()).into_owned()
        };
        self.state.iter().map(|consumed| (key(consumed), consumed)).collect()
    }

    /// The newest record of each scope: a tombstone that says why, unless something was told since the erasure.
    fn topic(&self, who: &str, newest: &BTreeMap<String, &Consumed>) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((_, scope), chain) in self.told.of(who) {
            let end = format!("/{who}\n{scope}");
            let Some((_, found)) = newest.iter().find(|(key, _)| key.ends_with(&end)) else {
                wrong.push(format!("nothing in {} for {scope}", topics::STATE));
                continue;
            };
            let is_bare = found.record.value.is_none();
            let is_erased = found.record.headers.iter().any(|header| &*header.name == headers::ERASED);
            let last_is_erased = self.told.ends_erased.contains(&(who.to_owned(), scope.clone()));
            let ought = (last_is_erased || chain.last().is_some_and(Option::is_none), last_is_erased);
            if (is_bare, is_erased) != ought {
                wrong.push(format!(
                    "{} has for {scope}: tombstone, erased: {:?}, not {ought:?}",
                    topics::STATE,
                    (is_bare, is_erased)
                ));
            }
        }
        wrong
    }

    /// No export names who was erased, but for what came later.
    fn table(&self, who: &str, model: &Model, due: &BTreeMap<String, Standing>) -> Vec<String> {
        let goes_on = |standing: &Standing| standing.until.is_none_or(|until| until > self.now);
        let own = self.table.iter().filter(|((recipient, _), standing)| recipient == who && goes_on(standing));
        let own: BTreeMap<String, Standing> =
            own.map(|((_, scope), standing)| (scope.clone(), standing.clone())).collect();
        let ought = if model.n_later == 0 { BTreeMap::new() } else { due.clone() };
        if own == ought { Vec::new() } else { vec![format!("exported is {own:?}, not {ought:?}")] }
    }

    /// The API says that they are suppressed as ever, and nothing else of before.
    async fn answers(&self, who: &str, model: &Model, due: &BTreeMap<String, Standing>) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let question = json!({ "recipients": [who], "class": "marketing", "categories": [crate::fact::STREAM] });
        let (status, said) = self.http.post(&format!("http://{}/v1/check", self.lookup), &[], &question).await?;
        let checked: Value =
            serde_json::from_str(&said).with_context(|| format!("a check was answered {status}: {said}"))?;
        if checked["results"][0]["suppressed"] != !due.is_empty() {
            wrong.push(format!("checked: {}, but in force is {due:?}", checked["results"][0]));
        }
        let shown: Value = serde_json::from_str(&self.http.get(&url(self.lookup, "recipients", who)).await?)?;
        let rows = |name: &str| shown[name].as_array().cloned().unwrap_or_default();
        let scopes: BTreeSet<(String, String)> = rows("in_force")
            .iter()
            .map(|one| {
                (
                    one["scope"].as_str().unwrap_or_default().to_owned(),
                    one["reason"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        let ought: BTreeSet<(String, String)> =
            due.iter().map(|(scope, at)| (scope.clone(), at.reason.clone())).collect();
        if scopes != ought {
            wrong.push(format!("shown is {scopes:?}, not {ought:?}"));
        }
        if shown["erased"]["forgotten"] != true {
            wrong.push(format!("shown as erased: {}", shown["erased"]));
        }
        let of_before = rows("evidence").into_iter().filter(|row| row["kept"] != true).count();
        if of_before > model.n_later {
            wrong.push(format!(
                "{of_before} rows of evidence are shown that were not kept, {} came later",
                model.n_later
            ));
        }
        let names =
            |row: &Value| row["receipt_id"].as_str().is_some_and(|id| !id.is_empty()) || row["message_id"].is_string();
        if rows("evidence").iter().any(|row| row["kept"] == true && names(row)) {
            wrong.push("what was kept names messages or receipts".to_owned());
        }
        if model.n_later == 0 && (shown["address"] != "" || !rows("deltas").is_empty()) {
            wrong.push(format!("shown are the address {} and {} changes", shown["address"], rows("deltas").len()));
        }
        Ok(wrong)
    }
}

/// Whether a delta tells of an erasure, and nothing else with it.
pub(crate) fn is_erasure(delta: &DeltaRecord, before: Option<&Standing>, now: Option<&Standing>) -> bool {
    delta.change == "erased" && before.is_some() && before == now
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use event_log::{Header, Position, Record};

    #[test]
    fn kept_is_what_suppresses_and_nothing_undid() {
        let (soft, back) = (Effect::Soft, Effect::Back("marketing".to_owned()));
        let left = Effect::Left("marketing".to_owned());
        let check = |evidence: &[(Effect, i64)], expected: &[(Effect, i64)]| {
            assert_eq!(kept(evidence), expected, "{evidence:?}");
            assert_eq!(oracle::in_force(expected, 9), oracle::in_force(evidence, 9), "{evidence:?}");
        };
        let at = |effect: &Effect, at: i64| (effect.clone(), at);
        check(&[at(&soft, 1), at(&Effect::Delivered, 2), at(&soft, 3)], &[at(&soft, 3)]);
        check(&[at(&left, 1), at(&back, 2)], &[]);
        check(&[at(&back, 1), at(&left, 2), at(&Effect::Complaint, 1)], &[at(&left, 2), at(&Effect::Complaint, 1)]);
        check(&[at(&Effect::Dead("hard_bounce"), 4), at(&Effect::Nothing, 5)], &[at(&Effect::Dead("hard_bounce"), 4)]);
    }

    /// A record of the state topic for `acme/email/a@example.com` and `all`.
    fn record(value: Option<&'static str>, is_erased: bool) -> Consumed {
        let named = Header { name: headers::ERASED.into(), value: Bytes::new() };
        let record = Record {
            key: Some(Bytes::from("acme/email/a@example.com\nall")),
            value: value.map(Bytes::from),
            headers: is_erased.then_some(named).into_iter().collect(),
            timestamp_ms: 0,
        };
        Consumed { topic: topics::STATE.into(), position: Position { epoch: 0, partition: 0, offset: 1 }, record }
    }

    #[test]
    fn only_a_tombstone_that_says_why_is_an_erasure_in_the_state_topic() {
        let key = ("a@example.com".to_owned(), "all".to_owned());
        let standing = Standing { reason: "manual".to_owned(), since: 1, until: None };
        let mut told = Told { chains: [(key.clone(), vec![Some(standing)])].into(), ..Told::default() };
        let (http, events, table) = (Http::new(1).unwrap(), Events::default(), State::new());
        let n_wrong = |told: &Told, state: &[Consumed]| {
            let found = Found { http: &http, lookup: "", events: &events, told, table: &table, state, now: 0 };
            found.topic(&key.0, &found.newest_states()).len()
        };
        assert_eq!(n_wrong(&told, &[record(Some("value"), false)]), 0, "not erased, and in force");
        told.ends_erased.insert(key.clone());
        assert_eq!(n_wrong(&told, &[record(Some("value"), false), record(None, true)]), 0, "the newest counts");
        for wrong in [record(Some("value"), false), record(Some("value"), true), record(None, false)] {
            assert_eq!(n_wrong(&told, &[record(None, true), wrong]), 1);
        }
        assert_eq!(n_wrong(&told, &[]), 1);
    }
}
