//! The reference: the committed events log folded record by record, with nothing but `decide` in common with the stage.

use crate::{Invariant, Red};
use domain::{CanonicalEvent, Change, Decision, Delta, Kind, RecipientKey, Scope, Standing};
use event_log::Consumed;
use schemas::{
    decode,
    wire::{DeltaRecord, EventRecord, PolicyApplied},
};
use std::{collections::BTreeMap, sync::Arc};
use suppressor::{Evidence, Policy, policy::decide};

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
    pub(crate) decision: Decision,
    pub(crate) policy: u32,
    pub(crate) told: Vec<Told>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) recipients: BTreeMap<RecipientKey, Folded>,
    pub(crate) events: Vec<CanonicalEvent>,
    /// Number and partition of records that are no events.
    pub(crate) bad: Vec<(u64, u32)>,
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
        let row = Evidence::of(&event, number, in_partition);
        let (key, channel) = (event.key(), event.channel);
        self.events.push(event);
        let Some(row) = row else { return Ok(()) };
        let folded = self.recipients.entry(key).or_default();
        let is_same = |known: &&Evidence| known.occurred_at == row.occurred_at && known.event_id == row.event_id;
        if folded.rows.iter().filter(is_same).any(|known| known.rules >= row.rules) {
            return Ok(());
        }
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

    /// The policy of a version that the log holds.
    pub(crate) fn policy(&self, version: u32) -> Option<&Policy> {
        self.policies.get(&version).map(AsRef::as_ref)
    }
}

/// Rows stand in order of positions; an erasure begins anew.
fn version(rows: &[Evidence]) -> u32 {
    let rows = &rows[rows.iter().rposition(|row| row.kind == Kind::Erased).unwrap_or(0)..];
    let newest = rows.iter().rev().find_map(|row| row.new_policy.filter(|_| row.kind == Kind::Reconsidered));
    newest.or_else(|| rows.first().map(|row| row.policy)).unwrap_or_default()
}
