//! The reference: the committed events log folded record by record, with nothing but `decide` in common with the stage.

use crate::{Invariant, Red};
use domain::{
    CanonicalEvent, Change, Decision, Delta, Group, IncidentMark, Kind, RecipientKey, Ruling, Scope, Standing,
    Timestamp,
};
use event_log::Consumed;
use schemas::{
    decode,
    wire::{DeltaRecord, EventRecord, IncidentVerdict, PolicyApplied},
};
use std::{collections::BTreeMap, sync::Arc};
use suppressor::{
    Evidence, Policy,
    erasure::{ErasureKey, keep},
    evidence::inner,
    guard::incidents,
    policy::decide,
    store::IncidentRow,
};

/// How long an incident is known after its end.
const KEPT_MICROS: i64 = 180 * 86_400 * 1_000_000;

/// The key of every pseudonym here.
pub(crate) fn erasure_key() -> ErasureKey {
    ErasureKey::new(&[7; 32]).unwrap_or_else(|error| unreachable!("{error}"))
}

/// What a delta says, as far as it must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) position: u64,
    pub(crate) scope: Scope,
    pub(crate) change: Change,
    pub(crate) before: Option<Standing>,
    pub(crate) now: Option<Standing>,
    pub(crate) policy: u32,
}

impl TryFrom<DeltaRecord> for Told {
    type Error = String;
    fn try_from(record: DeltaRecord) -> Result<Self, String> {
        let Delta { position, scope, change, before, now, policy, .. } =
            Delta::try_from(record).map_err(|error| error.to_string())?;
        Ok(Self { position, scope, change, before, now, policy })
    }
}

/// One recipient, folded.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) rows: Vec<Evidence>,
    /// Every event, with its newest revision.
    known: BTreeMap<(Timestamp, domain::EventId), u32>,
    pub(crate) decision: Decision,
    pub(crate) policy: u32,
    pub(crate) told: Vec<Told>,
}

impl Folded {
    /// The rows that came after the newest erasure.
    pub(crate) fn since_erased(&self) -> impl Iterator<Item = &Evidence> {
        let erased = self.rows.iter().filter(|row| row.kind == Kind::Erased).map(|row| row.position).max();
        self.rows.iter().filter(move |row| erased.is_none_or(|erased| row.position > erased))
    }

    /// Whether an erasure kept the row with this event id.
    pub(crate) fn is_kept(&self, event_id: &domain::EventId) -> bool {
        self.rows.iter().any(|row| row.event_id == *event_id)
            && !self.since_erased().any(|row| row.event_id == *event_id)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) recipients: BTreeMap<RecipientKey, Folded>,
    pub(crate) events: Vec<CanonicalEvent>,
    /// Number and partition of records that are no events.
    pub(crate) bad: Vec<(u64, u32)>,
    /// What each partition was told of incidents.
    verdicts: BTreeMap<u32, Vec<IncidentVerdict>>,
    since: BTreeMap<u32, u32>,
    policies: BTreeMap<u32, Arc<Policy>>,
}

impl Fold {
    pub(crate) fn new() -> Self {
        let built_in = Policy::built_in();
        Self { policies: [(built_in.version, Arc::new(built_in))].into(), ..Self::default() }
    }

    /// The next record of its partition.
    pub(crate) fn take(&mut self, consumed: &Consumed) -> Result<(), Red> {
        let (number, partition) = (consumed.position.number(), consumed.position.partition);
        let value = consumed.record.value.as_deref().unwrap_or_default();
        if let Ok(applied) = decode::<PolicyApplied>(value) {
            let version = u32::try_from(applied.version).unwrap_or(u32::MAX);
            let policy = Policy::parse(version, &applied.document)
                .map_err(|error| Red::new(Invariant::Broken, error.to_string()))?;
            if self.policies.get(&version).is_some_and(|known| **known != policy) {
                return Err(Red::new(Invariant::PolicyReaches, format!("two policies are called version {version}")));
            }
            self.since.insert(partition, version);
            self.policies.insert(version, Arc::new(policy));
            return Ok(());
        }
        if let Ok(verdict) = decode::<IncidentVerdict>(value) {
            self.verdicts.entry(partition).or_default().push(verdict);
            return Ok(());
        }
        let event = decode::<EventRecord>(value).ok().and_then(|record| CanonicalEvent::try_from(record).ok());
        match event {
            Some(event) => self.event(event, number, partition),
            None => {
                self.bad.push((number, partition));
                Ok(())
            }
        }
    }

    fn event(&mut self, event: CanonicalEvent, number: u64, partition: u32) -> Result<(), Red> {
        let in_partition = self.since.get(&partition).copied().unwrap_or_default();
        let mut row = Evidence::of(&event, number, in_partition);
        if let Some(row) = row.as_mut().filter(|row| row.kind == Kind::BouncedHard && row.is_own_failure()) {
            let verdicts = self.verdicts.get(&partition).map(Vec::as_slice).unwrap_or_default();
            let known = Spoken::known(verdicts).into_values();
            let marks = known.filter(|spoken| spoken.has(&event.key(), row)).filter_map(|spoken| spoken.mark().ok());
            row.marks = marks.filter(|mark| mark.ruling != Ruling::Confirmed).collect();
        }
        let (key, channel, kind) = (event.key(), event.channel, event.kind);
        let forgets = event.metadata.contains_key(inner::FORGETS);
        self.events.push(event);
        // What is forgotten counted no more.
        let Some(row) = row.filter(|_| !forgets) else { return Ok(()) };
        if kind == Kind::Erased {
            let known = &mut self.recipients.entry(key.clone()).or_default().known;
            return match known.insert((row.occurred_at, row.event_id), row.rules) {
                None => self.erase(key, &row, in_partition),
                Some(_) => Ok(()),
            };
        }
        let folded = self.recipients.entry(key).or_default();
        // Told again, an event is the same one, also after an erasure.
        let known = folded.known.entry((row.occurred_at, row.event_id)).or_default();
        if *known >= row.rules {
            return Ok(());
        }
        *known = row.rules;
        folded.rows.push(row);
        folded.policy = version(&folded.rows);
        let Some(policy) = self.policies.get(&folded.policy) else {
            return Err(Red::new(Invariant::PolicyReaches, format!("no policy {} in the log", folded.policy)));
        };
        let now = decide(folded.rows.iter(), channel, policy);
        for (scope, change, before, standing) in Delta::between(&folded.decision, &now) {
            let policy = folded.policy;
            folded.told.push(Told { position: number, scope, change, before, now: standing, policy });
        }
        folded.decision = now;
        Ok(())
    }

    /// What is in force stays, and rests on what is kept.
    fn erase(&mut self, key: RecipientKey, row: &Evidence, in_partition: u32) -> Result<(), Red> {
        let (channel, log_key, pseudonym) = (key.recipient.channel(), key.to_log_key(), erasure_key().pseudonym(&key));
        let folded = self.recipients.entry(key).or_default();
        if folded.rows.is_empty() {
            folded.policy = in_partition;
        }
        let version = folded.policy;
        let Some(policy) = self.policies.get(&version) else {
            return Err(Red::new(Invariant::PolicyReaches, format!("no policy {version} in the log")));
        };
        let rows = keep(folded.rows.iter(), channel, policy, row, &pseudonym);
        let now = decide(rows.iter(), channel, policy);
        if !Delta::between(&folded.decision, &now).is_empty() {
            let detail = format!("{log_key}: erased, {:?} became {now:?}", folded.decision);
            return Err(Red::new(Invariant::ErasureKeeps, detail));
        }
        let before = folded.decision.by_scope();
        for (scope, cause) in now.by_scope() {
            let (scope, standing) = (scope.clone(), Some(cause.standing()));
            let before = before.get(&scope).map(|cause| cause.standing());
            let (position, change) = (row.position, Change::Erased);
            folded.told.push(Told { position, scope, change, before, now: standing, policy: version });
        }
        (folded.rows, folded.decision) = (rows, now);
        Ok(())
    }

    /// The policy of a version that the log holds.
    pub(crate) fn policy(&self, version: u32) -> Option<&Policy> {
        self.policies.get(&version).map(AsRef::as_ref)
    }
}

impl Fold {
    /// How many were told to the first partition.
    pub(crate) fn n_verdicts(&self) -> u64 {
        self.verdicts.get(&0).map_or(0, |verdicts| verdicts.len() as u64)
    }

    /// What a partition's store keeps of incidents is what it was told of those that are known. How many of the records are
    /// no longer kept.
    pub(crate) fn incidents_kept(&self, partition: u32, kept: &[IncidentRow]) -> Result<u64, Red> {
        let verdicts = self.verdicts.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let expected: Vec<_> = Spoken::known(verdicts).into_values().filter_map(|spoken| spoken.mark().ok()).collect();
        let mut found: Vec<_> = incidents(kept).into_values().map(|incident| incident.mark()).collect();
        found.sort_by_key(|mark| mark.incident.to_string());
        if found != expected {
            let detail = format!("partition {partition}: incidents kept are\n  {found:?}, known\n  {expected:?}");
            return Err(Red::new(Invariant::StateMatchesLog, detail));
        }
        Ok((verdicts.len() as u64).saturating_sub(kept.len() as u64))
    }

    /// Every bounce in an incident has been told what holds for it at last; none outside of one has.
    pub(crate) fn incidents_reach(&self) -> Result<(), Red> {
        let Some(verdicts) = self.verdicts.get(&0) else { return Ok(()) };
        let known = Spoken::known(verdicts);
        for (key, folded) in &self.recipients {
            // What was kept is not told again.
            let rows: Vec<Evidence> = folded.since_erased().cloned().collect();
            let rows = rows.as_slice();
            for row in rows.iter().filter(|row| row.kind == Kind::BouncedHard && row.is_own_failure()) {
                for spoken in known.values() {
                    let told = last_told(row, rows, &spoken.last.incident);
                    let is_in = spoken.has(key, row);
                    let is_right = match told {
                        None => !is_in || spoken.ruling == Ruling::Confirmed,
                        // The end may have been drawn in after it was marked by its position.
                        Some(told) => told == spoken.ruling || !is_in,
                    };
                    if !is_right {
                        let detail = format!("{}: told {told:?}, said is {spoken:?} of {row:?}", key.to_log_key());
                        return Err(Red::new(Invariant::IncidentReaches, detail));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the newest row says of a bounce in an incident.
fn last_told(bounce: &Evidence, rows: &[Evidence], incident: &str) -> Option<Ruling> {
    let told = rows.iter().filter(|row| {
        row.kind == Kind::Reconsidered || (row.event_id == bounce.event_id && row.position == bounce.position)
    });
    let marks = told.flat_map(|row| row.marks.iter().map(move |mark| (row.kind, row.position, mark)));
    let at = bounce.effective_at();
    let reaching = marks.filter(|(kind, _, mark)| {
        let is_told = *kind != Kind::Reconsidered || (mark.from <= at && at <= mark.to);
        let is_its = match &mark.group {
            Group::Provider(name) => *name == bounce.provider,
            Group::Mailbox(_) => true,
        };
        mark.incident.to_string() == incident && is_told && is_its
    });
    reaching.max_by_key(|(_, position, mark)| (*position, mark.ruling)).map(|(_, _, mark)| mark.ruling)
}

/// All that a partition was told of one incident, in its order.
#[derive(Debug)]
struct Spoken {
    last: IncidentVerdict,
    ruling: Ruling,
    ruled_at: i64,
}

impl Spoken {
    fn all(verdicts: &[IncidentVerdict]) -> BTreeMap<&str, Self> {
        let mut all: BTreeMap<&str, Self> = BTreeMap::new();
        for verdict in verdicts {
            let first = || Self { last: verdict.clone(), ruling: Ruling::Held, ruled_at: -1 };
            let spoken = all.entry(&verdict.incident).or_insert_with(first);
            let ruling = verdict.ruling.parse().unwrap_or(Ruling::Held);
            if verdict.revision > spoken.last.revision {
                spoken.last = verdict.clone();
            } else if verdict.revision == 0 && (verdict.decided_at, ruling) > (spoken.ruled_at, spoken.ruling) {
                (spoken.ruling, spoken.ruled_at) = (ruling, verdict.decided_at);
            }
        }
        all
    }

    /// Without what is forgotten: what ended half a year before the guard spoke last.
    fn known(verdicts: &[IncidentVerdict]) -> BTreeMap<&str, Self> {
        let spoken = verdicts.iter().filter(|verdict| verdict.revision > 0);
        let newest = spoken.map(|verdict| verdict.decided_at).max().unwrap_or_default();
        let mut all = Self::all(verdicts);
        all.retain(|_, spoken| spoken.last.to >= newest - KEPT_MICROS);
        all
    }

    fn has(&self, key: &RecipientKey, row: &Evidence) -> bool {
        let at = row.effective_at().as_micros();
        let is_of_group = match self.last.group.split_once(':') {
            Some(("mailbox", domain)) => key.recipient.as_str().ends_with(&format!("@{domain}")),
            Some((_, provider)) => key.recipient.as_str().contains('@') && row.provider == provider,
            None => false,
        };
        is_of_group && self.last.from <= at && at <= self.last.to
    }

    fn mark(&self) -> Result<IncidentMark, String> {
        let time = |micros| Timestamp::from_micros(micros).map_err(|error| error.to_string());
        Ok(IncidentMark {
            incident: self.last.incident.parse().map_err(|_| "id".to_owned())?,
            group: self.last.group.parse().map_err(|_| "group".to_owned())?,
            ruling: self.ruling,
            from: time(self.last.from)?,
            to: time(self.last.to)?,
        })
    }
}

/// Rows stand in order of positions; an erasure begins anew.
fn version(rows: &[Evidence]) -> u32 {
    let erased = rows.iter().find(|row| row.kind == Kind::Erased).map(|row| row.position);
    let later = rows.iter().filter(|row| erased.is_none_or(|erased| row.position > erased));
    let newest = later.clone().rev().find_map(|row| row.new_policy.filter(|_| row.kind == Kind::Reconsidered));
    newest.or_else(|| later.clone().chain(rows).next().map(|row| row.policy)).unwrap_or_default()
}
