//! What must hold, checked against the fold.

use crate::{
    Invariant, Red,
    fold::{Fold, Told},
};
use domain::{Change, RecipientKey, Scope, Standing, Timestamp};
use event_log::{Consumed, memory::MemoryLog};
use schemas::{
    decode, headers,
    receipt::ReceiptId,
    topics,
    wire::{DeadLetter, DeltaRecord, RawWebhook, StateRecord},
};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the suppressor's group.
pub(crate) const SUPPRESSORS: &str = topics::SUPPRESSORS;
/// The name of the normalizer's group.
pub(crate) const NORMALIZERS: &str = "normalizer";
/// Partitions of every topic but events.
pub(crate) const PARTITIONS: u32 = 2;

/// Every log there ever was, oldest first; the last is the one in use.
pub(crate) struct Judge<'a> {
    pub(crate) logs: &'a [MemoryLog],
    pub(crate) n_partitions: u32,
    /// The suppressors' group as it is called now.
    pub(crate) group: &'a str,
}

impl Judge<'_> {
    /// Records of a topic below what its group committed.
    fn committed(&self, log: &MemoryLog, group: &str, topic: &str, partitions: u32) -> Vec<Consumed> {
        let mut records = Vec::new();
        for partition in 0..partitions {
            let end = log.committed_offset(group, topic, partition).unwrap_or(0);
            let all = log.records(topic, partition).into_iter();
            records.extend(all.filter(|consumed| consumed.position.offset < end));
        }
        records
    }

    fn all(&self, topic: &str) -> impl Iterator<Item = Consumed> {
        let logs = self.logs.iter();
        logs.flat_map(move |log| {
            (0..PARTITIONS).flat_map(|partition| log.records(topic, partition)).collect::<Vec<_>>()
        })
    }

    /// Folds what is committed.
    pub(crate) fn fold(&self) -> Result<Fold, Red> {
        let mut fold = Fold::new();
        for log in self.logs {
            for consumed in self.committed(log, self.group, topics::EVENTS, self.n_partitions) {
                fold.take(&consumed)?;
            }
        }
        Ok(fold)
    }

    /// Deltas as a reader of committed records sees them: none twice, a chain for each recipient and scope, and those
    /// that the fold implies.
    pub(crate) fn deltas(&self, fold: &Fold) -> Result<u64, Red> {
        let mut ids = BTreeSet::new();
        let mut told: BTreeMap<RecipientKey, Vec<Told>> = BTreeMap::new();
        let mut last: BTreeMap<(RecipientKey, Scope), Option<Standing>> = BTreeMap::new();
        for consumed in self.all(topics::DELTAS) {
            let value = consumed.record.value.as_deref().unwrap_or_default();
            let record = decode::<DeltaRecord>(value).map_err(|error| red(Invariant::Broken, error))?;
            let log_key = format!("{}/{}/{}", record.tenant, record.channel, record.recipient);
            if !ids.insert(record.delta_id.clone()) {
                return Err(red(Invariant::NoDup, format!("delta twice: {record:?}")));
            }
            let key = RecipientKey::from_log_key(&log_key).ok_or_else(|| red(Invariant::Broken, &log_key))?;
            let delta = Told::try_from(record).map_err(|error| red(Invariant::Broken, error))?;
            let former = last.insert((key.clone(), delta.scope.clone()), delta.now.clone()).flatten();
            if essence(former.as_ref()) != essence(delta.before.as_ref()) {
                return Err(red(Invariant::KeyOrder, format!("{log_key}: after {former:?} came {delta:?}")));
            }
            told.entry(key).or_default().push(delta);
        }
        let none = Vec::new();
        for (key, folded) in &fold.recipients {
            let found = told.remove(key).unwrap_or_default();
            same_deltas(key, &folded.told, &found)?;
        }
        match told.into_iter().find(|(_, found)| *found != none) {
            Some((key, found)) => {
                Err(red(Invariant::NoDup, format!("{}: no event implies {found:?}", key.to_log_key())))
            }
            None => Ok(ids.len() as u64),
        }
    }

    /// The state topic as its compacted view holds it.
    pub(crate) fn state_topic(&self, fold: &Fold) -> Result<(), Red> {
        let mut view: BTreeMap<String, Consumed> = BTreeMap::new();
        for consumed in self.all(topics::STATE) {
            let key = consumed.record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            view.insert(key, consumed);
        }
        let mut expected = BTreeMap::new();
        for (key, folded) in &fold.recipients {
            for (scope, cause) in folded.decision.by_scope() {
                // Of who was erased nothing stays there, though it holds.
                let newest = folded.told.iter().rev().find(|told| told.scope == *scope);
                if newest.is_some_and(|told| told.change == Change::Erased) {
                    continue;
                }
                expected.insert(StateRecord::log_key(key, scope), essence(Some(&cause.standing())));
            }
        }
        let mut found = BTreeMap::new();
        for (key, consumed) in view {
            let Some(value) = consumed.record.value else { continue };
            let record = decode::<StateRecord>(&value).map_err(|error| red(Invariant::Broken, error))?;
            let (_, _, standing) = record.parts().map_err(|error| red(Invariant::Broken, error))?;
            found.insert(key, essence(Some(&standing)));
        }
        if found == expected {
            return Ok(());
        }
        Err(red(Invariant::StateMatchesLog, format!("state topic holds {found:?}, the log implies {expected:?}")))
    }

    /// in = emitted + ignored + dead, for every webhook in the raw topic: each good element is in the events topic once,
    /// each bad one in dead-letter once. Returns how many dead letters there are.
    pub(crate) fn webhooks(&self, acknowledged: &BTreeSet<String>, fold: &Fold) -> Result<u64, Red> {
        let mut arrived = BTreeSet::new();
        let mut n_dead = 0;
        for log in self.logs {
            let (mut events, mut dead) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
            for partition in 0..self.n_partitions {
                for consumed in log.records(topics::EVENTS, partition) {
                    let header = consumed.record.headers.iter().find(|header| header.name == headers::RECEIPT_ID);
                    let receipt = header.map(|header| String::from_utf8_lossy(&header.value).into_owned());
                    *events.entry(receipt.unwrap_or_default()).or_default() += 1;
                }
            }
            for partition in 0..PARTITIONS {
                for consumed in log.records(topics::DEAD_LETTER, partition) {
                    let value = consumed.record.value.as_deref().unwrap_or_default();
                    let letter = decode::<DeadLetter>(value).map_err(|error| red(Invariant::Broken, error))?;
                    if letter.stage == "normalizer" {
                        *dead.entry(format!("{}.{}", letter.partition, letter.offset)).or_default() += 1;
                    }
                }
            }
            for consumed in self.committed(log, NORMALIZERS, topics::RAW, PARTITIONS) {
                let value = consumed.record.value.as_deref().unwrap_or_default();
                let raw = decode::<RawWebhook>(value).map_err(|error| red(Invariant::Broken, error))?;
                let position = consumed.position;
                let receipt = ReceiptId::of(&raw.receipt_id, position.epoch, position.partition, position.offset);
                let bad = raw.body.windows(5).filter(|window| window == b"\"bad\"").count() as u32;
                let elements = raw.body.windows(6).filter(|window| window == b"\"kind\"").count() as u32;
                let found = events.get(&receipt.to_string()).copied().unwrap_or_default();
                let number = format!("{}.{}", position.partition, position.number());
                let lost = dead.get(&number).copied().unwrap_or_default();
                n_dead += u64::from(lost);
                if (found, lost) != (elements - bad, bad) {
                    let invariant = if found < elements - bad { Invariant::NoLoss } else { Invariant::NoDup };
                    let wanted = elements - bad;
                    return Err(red(
                        invariant,
                        format!("{receipt}: {found} of {wanted} events, {lost} of {bad} dead letters"),
                    ));
                }
                arrived.insert(raw.receipt_id);
            }
        }
        if let Some(lost) = acknowledged.iter().find(|receipt| !arrived.contains(*receipt)) {
            return Err(red(Invariant::NoLoss, format!("webhook {lost} was acknowledged and is not in the log")));
        }
        self.dead_events(fold).map(|n| n + n_dead)
    }

    fn dead_events(&self, fold: &Fold) -> Result<u64, Red> {
        let mut letters = Vec::new();
        for consumed in self.all(topics::DEAD_LETTER) {
            let value = consumed.record.value.as_deref().unwrap_or_default();
            let letter = decode::<DeadLetter>(value).map_err(|error| red(Invariant::Broken, error))?;
            if letter.stage == "suppressor" {
                letters.push((u64::try_from(letter.offset).unwrap_or(0), u32::try_from(letter.partition).unwrap_or(0)));
            }
        }
        let mut bad = fold.bad.clone();
        letters.sort_unstable();
        bad.sort_unstable();
        if letters == bad {
            return Ok(bad.len() as u64);
        }
        Err(red(Invariant::NoLoss, format!("unreadable records at {bad:?}, dead letters of {letters:?}")))
    }

    /// An end has one event id, however often it was scanned.
    pub(crate) fn expired_ids(&self, fold: &Fold) -> Result<u64, Red> {
        let mut ids: BTreeMap<(RecipientKey, Option<Scope>, Timestamp), BTreeSet<String>> = BTreeMap::new();
        for event in fold.events.iter().filter(|event| event.kind == domain::Kind::Expired) {
            let end = (event.key(), event.scope.clone(), event.occurred_at);
            ids.entry(end).or_default().insert(event.event_id.to_string());
        }
        match ids.iter().find(|(_, ids)| ids.len() > 1) {
            Some((end, ids)) => Err(red(Invariant::Expires, format!("the end {end:?} has the ids {ids:?}"))),
            None => Ok(ids.len() as u64),
        }
    }
}

fn same_deltas(key: &RecipientKey, expected: &[Told], found: &[Told]) -> Result<(), Red> {
    if expected == found {
        return Ok(());
    }
    let at = expected.iter().zip(found).take_while(|(one, two)| one == two).count();
    let (one, two) = (expected.get(at), found.get(at));
    let invariant = match (one, two) {
        (Some(_), None) => Invariant::NoLoss,
        (None, Some(_)) => Invariant::NoDup,
        (Some(one), Some(two)) if one.position < two.position => Invariant::NoLoss,
        _ => Invariant::StateMatchesLog,
    };
    let key = key.to_log_key();
    Err(red(invariant, format!("{key}: delta {at}: the log implies\n  {one:?}, found\n  {two:?}")))
}

/// What a delta's before has in common with the former's now.
pub(crate) fn essence(standing: Option<&Standing>) -> Option<(domain::Reason, Timestamp, Option<Timestamp>)> {
    standing.map(|standing| (standing.reason, standing.since, standing.until))
}

fn red(invariant: Invariant, detail: impl std::fmt::Display) -> Red {
    Red::new(invariant, detail.to_string())
}
