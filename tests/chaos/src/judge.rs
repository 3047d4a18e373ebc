//! The verdict: what the senders saw, against what is in the log, in the store and at the providers.

use crate::{
    deltas::{self, Events, Told},
    erasures::{Asked, Found},
    fact::Fact,
    http::Http,
    load::{Obligation, digest, unix_now},
    oracle::{self, Standing, State},
    providers::Providers,
    topic,
};
use anyhow::Context as _;
use domain::Timestamp;
use event_log::{Consumed, kafka::KafkaLog};
use schemas::{
    Receipt, topics,
    wire::{DeadLetter, RawWebhook},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Receipts that are asked for through the lookup API: of those from the log, and of those from a spool.
const RECEIPTS_MAX: usize = 100;

/// What was found. Everything in `wrong` must be empty.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) raw_webhooks: u64,
    pub(crate) spooled: u64,
    pub(crate) events: u64,
    pub(crate) duplicates: u64,
    pub(crate) expired: u64,
    pub(crate) deltas: u64,
    pub(crate) in_force: u64,
    /// Who was erased, and of them those of whom nothing was told afterwards.
    pub(crate) erased: [u64; 2],
    /// Sort of fault → one line each.
    pub(crate) wrong: BTreeMap<&'static str, Vec<String>>,
}

/// What is judged by.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) log: &'a KafkaLog,
    pub(crate) http: &'a Http,
    /// Address of the lookup API.
    pub(crate) lookup: &'a str,
    pub(crate) facts: &'a [Fact],
    pub(crate) obligations: &'a [Obligation],
    pub(crate) providers: &'a Providers,
    pub(crate) asked: &'a Asked,
}

impl Judge<'_> {
    pub(crate) async fn judge(&self) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        self.webhooks(&mut verdict).await?;
        let events = Events::fold(&topic::read_all(self.log, topics::EVENTS).await?)?;
        let told = Told::fold(&topic::read_all(self.log, topics::DELTAS).await?)?;
        (verdict.events, verdict.duplicates, verdict.expired) = (events.count, events.duplicates, events.expired);
        verdict.deltas = told.count;
        let untold = self.facts.iter().filter(|fact| {
            let key = (fact.recipient.clone(), fact.unix * 1_000_000, fact.teller.word().to_owned());
            !events.told.contains(&key)
        });
        verdict.wrong.insert("events lost", untold.map(|fact| format!("{fact:?}")).collect());
        let (missing, extra) = deltas::compare(&events.chains, &told.chains);
        verdict.wrong.insert("deltas missing", missing);
        verdict.wrong.insert("deltas not implied", extra);
        verdict.wrong.insert("deltas repeated", told.repeated.clone());
        verdict.wrong.insert("deltas whose before is not the former's now", told.broken.clone());

        let now = unix_now() * 1_000_000;
        let table = self.export().await?;
        let records = topic::read_all(self.log, topics::STATE).await?;
        verdict.in_force = table.len() as u64;
        let Self { http, lookup, .. } = *self;
        let found = Found { http, lookup, events: &events, told: &told, table: &table, state: &records, now };
        verdict.wrong.insert("erasures that are not as they are to be", found.wrong(self.asked).await?);
        verdict.erased = [self.asked.recipients.len() as u64, found.n_silent(self.asked)];
        self.states(&mut verdict, now, &table, &deltas::state_topic(&records)?, &told.state());
        let dead = topic::read_all(self.log, topics::DEAD_LETTER).await?;
        let dead: anyhow::Result<Vec<DeadLetter>> = dead.iter().map(topic::read).collect();
        let dead = dead?.into_iter().map(|dead| format!("{} {}: {}", dead.stage, dead.reason, dead.detail));
        verdict.wrong.insert("dead letters", dead.collect());
        verdict.wrong.insert("receipts not found", self.receipts().await);
        Ok(verdict)
    }

    /// The table, the fold, the topic and the providers' lists, against what the senders know. Of who was erased only the
    /// providers know as before: they hold what they were told last.
    fn states(&self, verdict: &mut Verdict, now: i64, table: &State, state: &State, fold: &State) {
        let of_others = |state: &State| -> State {
            let others = state.iter().filter(|((recipient, _), _)| !self.asked.recipients.contains(recipient));
            others.map(|(key, standing)| (key.clone(), standing.clone())).collect()
        };
        let mut expected = of_others(&oracle::expected(self.facts, now));
        verdict.wrong.insert("differences of the suppression table", differences(&expected, &of_others(table)));
        verdict.wrong.insert("differences of the deltas' fold", differences(&expected, &of_others(fold)));
        verdict.wrong.insert("differences of the state topic", differences(&expected, &of_others(state)));
        let erased = fold.iter().filter(|((recipient, _), _)| self.asked.recipients.contains(recipient));
        expected.extend(erased.map(|(key, standing)| (key.clone(), standing.clone())));
        for (name, lines) in self.providers.differences(&expected) {
            let what = match name {
                "sendgrid" => "differences of SendGrid's lists",
                "mailgun" => "differences of Mailgun's lists",
                _ => "differences of Postmark's list",
            };
            verdict.wrong.insert(what, lines);
        }
    }

    /// Every webhook that was answered 2xx lies in the log, whole.
    async fn webhooks(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let records = topic::read_all(self.log, topics::RAW).await?;
        let read = |consumed: &Consumed| {
            let raw: RawWebhook = topic::read(consumed)?;
            let place = (consumed.position.partition, consumed.position.offset);
            anyhow::Ok((raw.receipt_id, (place, digest(&raw.body))))
        };
        let by_inner: BTreeMap<String, _> = records.iter().map(read).collect::<anyhow::Result<_>>()?;
        let mut lost = Vec::new();
        for Obligation { receipt, body } in self.obligations {
            let parsed: Receipt = receipt.parse().with_context(|| format!("the receipt {receipt:?}"))?;
            let (inner, place) = match &parsed {
                Receipt::Logged(id) => (id.inner(), Some((id.partition(), id.offset()))),
                Receipt::Spooled(id) => (id.inner(), None),
            };
            verdict.spooled += u64::from(place.is_none());
            let found =
                by_inner.get(inner).is_some_and(|(at, is)| is == body && place.is_none_or(|place| place == *at));
            if !found {
                lost.push(receipt.clone());
            }
        }
        verdict.raw_webhooks = records.len() as u64;
        verdict.wrong.insert("webhooks lost", lost);
        Ok(())
    }

    /// The suppression table as the lookup API tells it.
    async fn export(&self) -> anyhow::Result<State> {
        let text = self.http.get(&format!("http://{}/v1/export", self.lookup)).await?;
        let mut state = State::new();
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).with_context(|| format!("a line of the export: {line}"))?;
            let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let micros = |name: &str| match row[name].as_str() {
                Some(text) => Timestamp::parse_rfc3339(text).map(|time| Some(time.as_micros())),
                None => Ok(None),
            };
            let since = micros("since")?.context("a suppression without a beginning")?;
            let standing = Standing { reason: word("reason"), since, until: micros("until")? };
            state.insert((word("recipient"), word("scope")), standing);
        }
        Ok(state)
    }

    /// Asks for some receipts; those that are not found, or not worked through.
    async fn receipts(&self) -> Vec<String> {
        let (spooled, logged): (Vec<&Obligation>, Vec<&Obligation>) =
            self.obligations.iter().partition(|one| one.receipt.starts_with('s'));
        let mut wrong = Vec::new();
        for all in [spooled, logged] {
            let step = (all.len() / RECEIPTS_MAX).max(1);
            for one in all.into_iter().step_by(step) {
                let told = self.http.get(&format!("http://{}/v1/receipts/{}", self.lookup, one.receipt)).await;
                let told = told.and_then(|told| Ok(serde_json::from_str::<Value>(&told)?));
                match told {
                    Ok(told) if told["status"] == "processed" => {}
                    Ok(told) => wrong.push(format!("{}: {}", one.receipt, told["status"])),
                    Err(error) => wrong.push(format!("{}: {error:#}", one.receipt)),
                }
            }
        }
        wrong
    }
}

fn differences(expected: &State, found: &State) -> Vec<String> {
    let missing = expected.iter().filter(|(key, standing)| found.get(*key) != Some(standing));
    let missing = missing.map(|(key, standing)| format!("{key:?}: expected {standing:?}, found {:?}", found.get(key)));
    let extra = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    missing.chain(extra.map(|(key, standing)| format!("{key:?}: expected nothing, found {standing:?}"))).collect()
}
