//! The stage: counts in, verdicts on incidents out, to every partition of the events.

use super::{
    detect::Finding,
    memory::{Memory, Undo},
};
use crate::{
    Policy, Store,
    policy::{BUILT_IN_VERSION, Incidents},
    stage::dead_letter,
};
use async_trait::async_trait;
use domain::{Group, Ruling};
use event_log::{
    Batch, Consumed, Fate, Output, Outputs, Position, Record, Stage, StageError, Verdict, session::Assigned,
};
use schemas::{
    DecodeError, decode, encode, topics,
    wire::{IncidentVerdict, Statistics},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// A memory is noted in the store when so many records were folded since, or so much time was counted.
const SNAPSHOT_RECORDS: u64 = 4_096;
const SNAPSHOT_SECONDS: i64 = 900;
/// Who decides.
const GUARD: &str = "guard";

/// Hears what committed batches found.
pub trait GuardMetrics: Send + Sync + std::fmt::Debug {
    /// An incident began.
    fn opened(&self);
    /// An incident is over.
    fn released(&self);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoGuardMetrics;

impl GuardMetrics for NoGuardMetrics {
    fn opened(&self) {}
    fn released(&self) {}
}

/// What is noted of a partition's memory.
#[derive(Debug, Default)]
struct Owned {
    /// As of the batch that is open, or of what is committed where none is.
    memory: Memory,
    /// The way back, as long as a batch is open that touched it.
    undo: Option<Undo>,
    /// What the store has: the position, and the time.
    noted: (u64, i64),
}

/// The stage. One for each worker.
#[derive(Debug)]
pub struct Guard<S> {
    store: S,
    /// Partitions of the events: each gets every verdict.
    n_events_partitions: u32,
    metrics: Arc<dyn GuardMetrics>,
    owned: HashMap<u32, Owned>,
    settings: HashMap<u32, Incidents>,
    /// Incidents that the open batch begins and ends.
    found: (u32, u32),
}

impl<S: Store> Guard<S> {
    /// A stage over a store, for events of so many partitions.
    pub fn new(store: S, n_events_partitions: u32, metrics: Arc<dyn GuardMetrics>) -> Self {
        Self { store, n_events_partitions, metrics, owned: HashMap::new(), settings: HashMap::new(), found: (0, 0) }
    }

    /// The settings of a policy; it is in the store before anything is counted by it.
    async fn settings(&mut self, version: u32) -> Result<Incidents, StageError> {
        if let Some(settings) = self.settings.get(&version) {
            return Ok(*settings);
        }
        let settings =
            if version == BUILT_IN_VERSION { Policy::built_in().incidents } else { self.find(version).await? };
        self.settings.insert(version, settings);
        Ok(settings)
    }

    async fn find(&self, version: u32) -> Result<Incidents, StageError> {
        for partition in 0..self.n_events_partitions {
            let rows = self.store.policies(partition).await.map_err(unavailable)?;
            if let Some((_, row)) = rows.into_iter().find(|(_, row)| row.version == version) {
                let policy = Policy::parse(version, &row.document);
                return policy.map(|policy| policy.incidents).map_err(|error| StageError::Broken(error.to_string()));
            }
        }
        Err(StageError::Unavailable(format!("policy version {version} is not in the store yet")))
    }

    /// Folds a record into its partition's memory. Waits before it touches anything.
    async fn fold(
        &mut self,
        position: Position,
        record: &Statistics,
        is_committed: bool,
    ) -> Result<Vec<(Group, Finding)>, StageError> {
        let known = self.owned.get(&position.partition).map_or(0, |owned| owned.memory.policy);
        let policy = known.max(u32::try_from(record.policy).unwrap_or(0));
        let settings = self.settings(policy).await?;
        let Owned { memory, undo, .. } = self.owned.entry(position.partition).or_default();
        let undo = (!is_committed).then(|| undo.get_or_insert_with(|| Undo::of(memory)));
        memory.policy = policy;
        Ok(memory.fold(position.number(), record, &settings, undo))
    }

    /// Takes back what was folded and not committed.
    fn undo(&mut self) {
        self.found = (0, 0);
        for owned in self.owned.values_mut() {
            if let Some(undo) = owned.undo.take() {
                owned.memory.undo(undo);
            }
        }
    }

    /// Notes memories that grew or aged since. What cannot be noted now is noted with a later batch: it only saves time.
    async fn note(&mut self, partitions: impl Iterator<Item = u32>) {
        for partition in partitions {
            let Some(owned) = self.owned.get_mut(&partition) else { continue };
            let (next, counted) = (owned.memory.next, owned.memory.counted_at.as_seconds());
            let (noted, noted_at) = owned.noted;
            if next < noted.saturating_add(SNAPSHOT_RECORDS) && counted < noted_at.saturating_add(SNAPSHOT_SECONDS) {
                continue;
            }
            let Ok(text) = owned.memory.snapshot() else { continue };
            match self.store.put_note(&note_of(partition), &text).await {
                Ok(()) => owned.noted = (next, counted),
                Err(error) => tracing::warn!(%error, partition, "the guard's memory could not be noted; trying later"),
            }
        }
    }

    fn verdict(&self, consumed: &Consumed, found: Vec<(Group, Finding)>) -> Result<Verdict, StageError> {
        let memory = self.owned.get(&consumed.position.partition).map(|owned| &owned.memory);
        let (policy, counted_at) = memory.map(|memory| (memory.policy, memory.counted_at)).unwrap_or_default();
        let mut outputs = Vec::new();
        for (group, finding) in found {
            let record = IncidentVerdict {
                incident: finding.incident.to_string(),
                group: group.to_string(),
                from: finding.from.as_micros(),
                to: finding.to.as_micros(),
                revision: i32::try_from(finding.revision).unwrap_or(i32::MAX),
                is_over: finding.is_over,
                ruling: Ruling::Held.as_str().to_owned(),
                policy: i32::try_from(policy).unwrap_or(i32::MAX),
                bounced: i64::from(finding.counts.bounced),
                engaged: i64::from(finding.counts.engaged_bounced),
                decided_at: counted_at.as_micros(),
                decided_by: GUARD.to_owned(),
                note: String::new(),
            };
            let value = encode(&record).map_err(|error| StageError::Broken(error.to_string()))?;
            outputs.extend((0..self.n_events_partitions).map(|partition| Output {
                topic: topics::EVENTS.into(),
                partition: Some(partition),
                record: Record {
                    key: None,
                    value: Some(value.clone()),
                    headers: Vec::new(),
                    timestamp_ms: consumed.record.timestamp_ms,
                },
            }));
        }
        Ok(Verdict { fate: Fate::Emitted, outputs })
    }
}

#[async_trait]
impl<S: Store> Stage for Guard<S> {
    fn name(&self) -> &'static str {
        "guard"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(batch.records.iter().filter_map(|consumed| consumed.record.value.as_deref()))
            .await
            .map_err(away)?;
        self.undo();
        let mut outputs = Outputs { verdicts: Vec::with_capacity(batch.records.len()) };
        for consumed in &batch.records {
            let verdict = match read(consumed) {
                Err(error) if error.is_unresolved() => return Err(away(error)),
                Err(error) => dead_letter("guard", consumed, "undecodable", error.to_string())?,
                Ok(record) => {
                    let found = self.fold(consumed.position, &record, false).await?;
                    for (_, finding) in &found {
                        self.found.0 += u32::from(finding.revision == 1);
                        self.found.1 += u32::from(finding.is_over);
                    }
                    self.verdict(consumed, found)?
                }
            };
            outputs.verdicts.push(verdict);
        }
        Ok(outputs)
    }

    async fn committed(&mut self, batch: &Batch) -> Result<(), StageError> {
        let (opened, released) = std::mem::take(&mut self.found);
        (0..opened).for_each(|_| self.metrics.opened());
        (0..released).for_each(|_| self.metrics.released());
        self.owned.values_mut().for_each(|owned| owned.undo = None);
        let partitions: BTreeSet<u32> = batch.records.iter().map(|consumed| consumed.position.partition).collect();
        self.note(partitions.into_iter()).await;
        Ok(())
    }

    /// The memory is taken up from its snapshot, or else from the oldest counts that are kept.
    async fn assigned(&mut self, assigned: &Assigned) -> Result<Option<u64>, StageError> {
        let (partition, epoch) = (assigned.partition, assigned.epoch);
        let note = self.store.note(&note_of(partition)).await.map_err(unavailable)?;
        let memory = note.as_deref().and_then(Memory::read).unwrap_or_default();
        let next = Position::from_number(memory.next, partition);
        // Counts of another log are of groups that may be another owner's by now.
        let memory = if next.epoch == epoch { memory } else { Memory::default() };
        let from = if next.epoch == epoch { next.offset } else { 0 };
        let noted = (memory.next, memory.counted_at.as_seconds());
        self.owned.insert(partition, Owned { memory, undo: None, noted });
        let committed = assigned.committed.map_or(0, |committed| committed.offset());
        Ok(Some(from).filter(|from| *from < committed))
    }

    async fn reapply(&mut self, records: &[Consumed]) -> Result<(), StageError> {
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await.map_err(away)?;
        for consumed in records {
            match read(consumed) {
                Err(error) if error.is_unresolved() => return Err(away(error)),
                Err(_) => {}
                Ok(record) => drop(self.fold(consumed.position, &record, true).await?),
            }
        }
        Ok(())
    }

    /// Also called at every rewind, after which no partition is assigned anew: what is committed stays, and an assignment
    /// replaces it.
    fn revoked(&mut self, _partitions: &[u32]) {
        self.undo();
    }
}

fn read(consumed: &Consumed) -> Result<Statistics, DecodeError> {
    decode(consumed.record.value.as_deref().unwrap_or_default())
}

fn note_of(partition: u32) -> String {
    format!("guard.{partition}")
}

fn unavailable(error: crate::StoreError) -> StageError {
    match error {
        crate::StoreError::Unavailable(_) => StageError::Unavailable(error.to_string()),
        crate::StoreError::Corrupt(_) => StageError::Broken(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::{NoGuardMetrics, count},
        store::memory::MemoryStore,
    };
    use schemas::wire::GroupCount;

    fn batch(slot: i64, bounced: i32) -> Batch {
        let at = count::slot_start(slot).as_micros();
        let record = |partition: u32| {
            let group = format!("mailbox:of{partition}.example");
            let (delivered, engaged_delivered, engaged_bounced) = (900, 270, bounced / 3);
            let count = GroupCount { group, at, delivered, bounced, engaged_delivered, engaged_bounced };
            let statistics = Statistics { bucket: "b01".to_owned(), policy: 0, counted_at: at, counts: vec![count] };
            let value = Some(encode(&statistics).unwrap());
            let position = Position { epoch: 0, partition, offset: slot.unsigned_abs() };
            let record = Record { key: None, value, headers: Vec::new(), timestamp_ms: at / 1_000 };
            Consumed { topic: topics::STATISTICS.into(), position, record }
        };
        Batch { records: (0..2).map(record).collect(), generation: 1 }
    }

    #[tokio::test]
    async fn a_batch_that_was_not_committed_is_found_again_and_counted_once() {
        let guard = || Guard::new(MemoryStore::default(), 2, Arc::new(NoGuardMetrics));
        let (mut calm, mut shaken) = (guard(), guard());
        let mut n_outputs = 0;
        for slot in 0..500 {
            let batch = batch(slot, if slot > 440 && slot < 460 { 104 } else { 4 });
            let expected = calm.process(&batch).await.unwrap();
            calm.committed(&batch).await.unwrap();
            for turn in 0..slot % 3 {
                assert_eq!(shaken.process(&batch).await.unwrap(), expected, "{slot}");
                if turn == 0 {
                    shaken.revoked(&[0, 1]);
                }
            }
            assert_eq!(shaken.process(&batch).await.unwrap(), expected, "{slot}");
            shaken.committed(&batch).await.unwrap();
            shaken.revoked(&[]);
            n_outputs += expected.verdicts.iter().map(|verdict| verdict.outputs.len()).sum::<usize>();
            for partition in 0..2 {
                assert_eq!(shaken.owned[&partition].memory, calm.owned[&partition].memory, "{slot}");
            }
        }
        assert!(n_outputs >= 16, "{n_outputs}");
    }
}
