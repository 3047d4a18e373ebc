//! The deltas that a subscriber gets, and those that the log of events implies.

use crate::{
    erasures::{self, Model},
    oracle::{Effect, Standing, State, in_force},
    topic,
};
use event_log::{Consumed, kafka::KafkaLog};
use schemas::{
    codec, topics,
    wire::{DeltaRecord, EventRecord, StandingRecord, StateRecord},
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a subscriber makes of the deltas.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) count: u64,
    /// Of each recipient and scope, one after the other.
    pub(crate) chains: BTreeMap<(String, String), Vec<Option<Standing>>>,
    /// How often each was told to be erased, by scope.
    pub(crate) erased: BTreeMap<String, BTreeMap<String, usize>>,
    /// Recipients and scopes of which the last that was told is an erasure.
    pub(crate) ends_erased: BTreeSet<(String, String)>,
    /// Deltas told twice.
    pub(crate) repeated: Vec<String>,
    /// Where one's before is not the former's now, or the change is not what it says.
    pub(crate) broken: Vec<String>,
}

fn standing(record: &StandingRecord) -> Standing {
    Standing { reason: record.reason.clone(), since: record.since, until: record.until }
}

impl Told {
    /// Follows the deltas, each partition in its order.
    pub(crate) fn fold(records: &[Consumed]) -> anyhow::Result<Self> {
        let mut told = Self::default();
        let mut ids = HashSet::new();
        for consumed in records {
            let delta: DeltaRecord = topic::read(consumed)?;
            told.count += 1;
            if !ids.insert(delta.delta_id.clone()) {
                told.repeated.push(format!("{} {} {}", delta.delta_id, delta.recipient, delta.scope));
            }
            let key = (delta.recipient.clone(), delta.scope.clone());
            let chain = told.chains.entry(key.clone()).or_default();
            let former = chain.last().cloned().flatten();
            let (before, now) = (delta.before.as_ref().map(standing), delta.now.as_ref().map(standing));
            let change = match (&before, &now) {
                (None, Some(_)) => "suppressed",
                (Some(_), Some(_)) => "updated",
                (Some(_), None) => "released",
                (None, None) => "nothing",
            };
            let is_erasure = erasures::is_erasure(&delta, before.as_ref(), now.as_ref());
            let change = if is_erasure { "erased" } else { change };
            if before != former || change != delta.change {
                let place = format!("{}/{}", consumed.position.partition, consumed.position.offset);
                told.broken.push(format!("{place}: {} {}: {before:?} after {former:?}", delta.recipient, delta.scope));
            }
            chain.push(now);
            if is_erasure {
                let scopes = told.erased.entry(delta.recipient.clone()).or_default();
                *scopes.entry(delta.scope.clone()).or_default() += 1;
                told.ends_erased.insert(key);
            } else {
                told.ends_erased.remove(&key);
            }
        }
        Ok(told)
    }

    /// All that was told of one recipient, by scope.
    pub(crate) fn of(&self, who: &str) -> impl Iterator<Item = (&(String, String), &Vec<Option<Standing>>)> {
        self.chains.iter().filter(move |((recipient, _), _)| recipient == who)
    }

    /// What it adds up to.
    pub(crate) fn state(&self) -> State {
        let last = self.chains.iter().filter_map(|(key, chain)| Some((key.clone(), chain.last()?.clone()?)));
        last.collect()
    }
}

/// How many suppressions have ended by now, in seconds, and are still told to be in force.
pub(crate) async fn overdue(log: &KafkaLog, now: i64) -> anyhow::Result<usize> {
    let told = Told::fold(&topic::read_all(log, topics::DELTAS).await?)?;
    let now = now * 1_000_000;
    // Ends of those who were erased pass untold.
    let state = told.state().into_iter().filter(|((recipient, _), _)| !told.erased.contains_key(recipient));
    Ok(state.filter(|(_, standing)| standing.until.is_some_and(|until| until <= now)).count())
}

/// The state topic, newest record a key.
pub(crate) fn state_topic(records: &[Consumed]) -> anyhow::Result<State> {
    let mut newest: BTreeMap<&[u8], &Consumed> = BTreeMap::new();
    for consumed in records {
        newest.insert(consumed.record.key.as_deref().unwrap_or_default(), consumed);
    }
    let mut state = State::new();
    for consumed in newest.into_values().filter(|consumed| consumed.record.value.is_some()) {
        let record: StateRecord = topic::read(consumed)?;
        state.insert((record.recipient, record.scope), standing(&record.standing));
    }
    Ok(state)
}

/// What the log of events holds.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) count: u64,
    /// Of them, those that were there already.
    pub(crate) duplicates: u64,
    /// Ends that passed.
    pub(crate) expired: u64,
    /// Recipient, time in microseconds and provider of all that was told.
    pub(crate) told: BTreeSet<(String, i64, String)>,
    /// What each recipient and scope has to be told of, one after the other.
    pub(crate) chains: BTreeMap<(String, String), Vec<Option<Standing>>>,
    /// Those who were erased.
    pub(crate) erased: BTreeMap<String, Model>,
    /// What is known of them in the end.
    pub(crate) evidence: BTreeMap<String, Vec<(Effect, i64)>>,
}

#[derive(Default)]
struct Recipient {
    ids: HashSet<String>,
    evidence: Vec<(Effect, i64)>,
    newest_receipt: i64,
    state: BTreeMap<String, Standing>,
}

impl Events {
    /// Decides anew after each event, in the order of the log.
    pub(crate) fn fold(records: &[Consumed]) -> anyhow::Result<Self> {
        let mut events = Self::default();
        let mut recipients: BTreeMap<String, Recipient> = BTreeMap::new();
        for consumed in records {
            // Applied policies lie there too.
            if !consumed.record.value.as_deref().is_some_and(codec::is::<EventRecord>) {
                continue;
            }
            let event: EventRecord = topic::read(consumed)?;
            let recipient = recipients.entry(event.recipient.clone()).or_default();
            if event.kind == "erased" {
                events.erase(&event, recipient);
            } else {
                events.take(event, recipient);
            }
        }
        let known = recipients.into_iter().filter(|(name, _)| events.erased.contains_key(name));
        events.evidence = known.map(|(name, recipient)| (name, recipient.evidence)).collect();
        Ok(events)
    }

    /// What holds is told again, as erased, and rests on what was kept.
    fn erase(&mut self, event: &EventRecord, recipient: &mut Recipient) {
        self.count += 1;
        if !recipient.ids.insert(event.event_id.clone()) {
            self.duplicates += 1;
            return;
        }
        let model = self.erased.entry(event.recipient.clone()).or_default();
        let Some(kept) = model.take(event, &recipient.state, &recipient.evidence) else { return };
        recipient.evidence = kept;
        for (scope, standing) in &recipient.state {
            let key = (event.recipient.clone(), scope.clone());
            self.chains.entry(key).or_default().push(Some(standing.clone()));
        }
    }

    fn take(&mut self, event: EventRecord, recipient: &mut Recipient) {
        self.count += 1;
        self.expired += u64::from(event.kind == "expired");
        if !recipient.ids.insert(event.event_id.clone()) {
            self.duplicates += 1;
            return;
        }
        let effect = effect(&event);
        let EventRecord { recipient: name, occurred_at, received_at, provider, kind, .. } = event;
        self.told.insert((name.clone(), occurred_at, provider));
        if ["accepted", "deferred", "rejected", "unknown"].contains(&kind.as_str()) {
            return;
        }
        self.erased.entry(name.clone()).and_modify(Model::goes_on);
        recipient.newest_receipt = recipient.newest_receipt.max(received_at);
        recipient.evidence.push((effect, occurred_at.min(received_at)));
        let state = in_force(&recipient.evidence, recipient.newest_receipt);
        let scopes: BTreeSet<String> = state.keys().chain(recipient.state.keys()).cloned().collect();
        for scope in scopes {
            let now = state.get(&scope).cloned();
            if now != recipient.state.get(&scope).cloned() {
                self.chains.entry((name.clone(), scope)).or_default().push(now);
            }
        }
        recipient.state = state;
    }
}

/// What an event of the log does.
fn effect(event: &EventRecord) -> Effect {
    let class = event.failure.as_ref().map_or("", |failure| failure.class.as_str());
    let scope = || event.scope.clone().unwrap_or_else(|| "marketing".to_owned());
    match (event.kind.as_str(), event.channel.as_str()) {
        ("delivered", _) => Effect::Delivered,
        ("bounced_soft", _) => Effect::Soft,
        ("bounced_hard", "sms") if class == "carrier" => Effect::Dead("carrier_rejection"),
        ("bounced_hard", "sms") => Effect::Dead("invalid_number"),
        ("bounced_hard", _) => Effect::Dead("hard_bounce"),
        ("complaint", _) => Effect::Complaint,
        ("unsubscribed", _) => Effect::Left(scope()),
        ("resubscribed", _) => Effect::Back(scope()),
        _ => Effect::Nothing,
    }
}

/// Deltas that are missing, and those that should not be: what the events imply, against what was told.
pub(crate) fn compare(
    implied: &BTreeMap<(String, String), Vec<Option<Standing>>>,
    told: &BTreeMap<(String, String), Vec<Option<Standing>>>,
) -> (Vec<String>, Vec<String>) {
    let none = Vec::new();
    let (mut missing, mut extra) = (Vec::new(), Vec::new());
    let keys: BTreeSet<_> = implied.keys().chain(told.keys()).collect();
    for key in keys {
        let (ought, is) = (implied.get(key).unwrap_or(&none), told.get(key).unwrap_or(&none));
        let same = ought.iter().zip(is).take_while(|(ought, is)| ought == is).count();
        // From the first that differs on, both ways.
        missing.extend(ought.iter().skip(same).map(|one| format!("{key:?}: {one:?} after {same} that were right")));
        extra.extend(is.iter().skip(same).map(|one| format!("{key:?}: {one:?} after {same} that were right")));
    }
    (missing, extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_too_much() {
        let standing = |since| Some(Standing { reason: "hard_bounce".to_owned(), since, until: None });
        let chains = |all: &[Option<Standing>]| BTreeMap::from([(("a".to_owned(), "all".to_owned()), all.to_vec())]);
        let check = |ought: &[Option<Standing>], is: &[Option<Standing>], expected: (usize, usize)| {
            let (missing, extra) = compare(&chains(ought), &chains(is));
            assert_eq!((missing.len(), extra.len()), expected, "{ought:?} {is:?}");
        };
        check(&[standing(1), None], &[standing(1), None], (0, 0));
        check(&[standing(1), None], &[standing(1)], (1, 0));
        check(&[standing(1)], &[standing(1), standing(1)], (0, 1));
        check(&[standing(1)], &[standing(2)], (1, 1));
    }
}
