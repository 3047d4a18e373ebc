//! The stage: events in, deltas out, by rules R1, R2, R4, R6, R8 and R9.

mod erase;
mod gaps;
mod policies;
mod records;
mod seen;
mod tally;

pub use tally::{Counted, DeltaCount, Found, NoMetrics, SuppressorMetrics, is_inner, scope_sort};

use crate::{
    evidence::{Engagement, Evidence, History},
    guard::{count::Counter, known::Known},
    policy::{BUILT_IN_VERSION, Policy, decide, policy_version, trimmable},
    store::{Due, InForce, MessageEntry, Store, StoreError, Write},
};
use async_trait::async_trait;
use bytes::Bytes;
use domain::{CanonicalEvent, Decision, Delta, EventId, Kind, RecipientKey, Ruling, Scope, Standing, Trigger};
use event_log::{
    Batch, Consumed, Fate, Header, Output, Outputs, Position, Stage, StageError, Verdict, session::Assigned,
};
use futures_util::future::try_join;
use gaps::Gaps;
use policies::Policies;
pub(crate) use records::dead_letter;
use records::{Read, output, read};
use schemas::{
    DecodeError, encode, headers, topics,
    wire::{DeltaRecord, StateRecord},
};
use seen::trimmed_id;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tally::Tally;

/// The stage. One for each worker; its caches belong to one assignment (R8).
#[derive(Debug)]
pub struct Suppressor<S> {
    store: S,
    policies: Policies,
    incidents: Known,
    /// Of the batch that is open.
    counter: Counter,
    /// Epochs and partitions of which the store knows that something was committed.
    noted: HashSet<(u16, u32)>,
    gaps: Gaps,
    tally: Tally,
}

/// What one batch does to one recipient, while it is being worked out.
struct Work {
    history: History,
    write: Write,
    /// Registers or the address moved, or rows were added.
    touched: bool,
}

impl<S: Store> Suppressor<S> {
    /// A stage over a store.
    pub fn new(store: S, metrics: Arc<dyn SuppressorMetrics>) -> Self {
        Self {
            store,
            policies: Policies::default(),
            incidents: Known::default(),
            counter: Counter::default(),
            noted: HashSet::new(),
            gaps: Gaps::default(),
            tally: Tally::new(metrics),
        }
    }

    async fn work(&mut self, records: &[Consumed]) -> Result<Outputs, StageError> {
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await.map_err(away)?;
        let reads: Vec<Read> = records.iter().map(read).collect::<Result<_, _>>().map_err(away)?;
        for consumed in records {
            // A rewind drops them, and no assignment follows it.
            self.load_policies(consumed.position.partition).await?;
        }
        self.counter = Counter::default();
        let floors = self.floors(records);
        // Neither needs the other: one way to the store and back instead of two.
        let (mut works, plain) = try_join(self.load(&floors, records, &reads), self.seen_plain(&reads)).await?;
        let seen = self.seen(&reads, &works, plain).await?;
        let mut seen_here: HashMap<EventId, u64> = HashMap::new();
        let mut outputs = Outputs { verdicts: Vec::with_capacity(records.len()) };
        let mut applied: BTreeMap<u32, u64> = BTreeMap::new();
        for ((consumed, read), first) in records.iter().zip(reads).zip(seen) {
            let number = consumed.position.number();
            let partition = consumed.position.partition;
            applied.insert(partition, number);
            let verdict = match read {
                Read::Bad(reason, detail) => dead_letter("suppressor", consumed, reason, detail)?,
                Read::Policy(policy, record) => {
                    self.take_policy(partition, number, policy, &record).await?;
                    Verdict { fate: Fate::Emitted, outputs: Vec::new() }
                }
                Read::Incident(row) => {
                    let floor = floors.get(&partition).copied().unwrap_or(0);
                    self.take_incident(partition, number, *row, floor).await?;
                    Verdict { fate: Fate::Emitted, outputs: Vec::new() }
                }
                Read::Event(event) => {
                    let Some(work) = works.get_mut(&event.key()) else {
                        return Err(StageError::Broken("a recipient of the batch was not loaded".to_owned()));
                    };
                    let mut first = first;
                    if event.kind == Kind::Erased || Evidence::of(&event, 0, 0).is_none() {
                        let here = *seen_here.entry(event.event_id).or_insert(number);
                        first = first.or(Some(here));
                    }
                    let verdict = match event.kind {
                        Kind::Erased => self.erased(consumed, &event, first, work).await?,
                        _ => self.event(consumed, &event, first, work)?,
                    };
                    self.tally.processed(event, partition, number);
                    verdict
                }
            };
            outputs.verdicts.push(verdict);
        }
        if let Some(last) = outputs.verdicts.last_mut() {
            last.outputs.extend(std::mem::take(&mut self.counter).outputs().map_err(broken)?);
        }
        let writes = works.into_values().filter(|work| work.touched).map(finish).collect();
        let applied: Vec<(u32, u64)> = applied.into_iter().collect();
        self.store.apply(writes, &applied).await.map_err(unavailable)?;
        Ok(outputs)
    }

    /// Below which number of each partition nothing is processed or applied again. Everything below the batch's first record
    /// of a partition is committed; what the store may have lost of it decides on what it had before it, so that is kept for
    /// as long (R4).
    fn floors(&self, records: &[Consumed]) -> HashMap<u32, u64> {
        let window = self.store.sync_window();
        let mut floors: HashMap<u32, u64> = HashMap::new();
        for consumed in records {
            let number = consumed.position.number().saturating_sub(window);
            let floor = floors.entry(consumed.position.partition).or_insert(number);
            *floor = number.min(*floor);
        }
        floors
    }

    /// Loads every recipient of the batch once; what overridden, committed evidence allows is trimmed right here (R6).
    async fn load(
        &self,
        floors: &HashMap<u32, u64>,
        records: &[Consumed],
        reads: &[Read],
    ) -> Result<BTreeMap<RecipientKey, Work>, StageError> {
        let mut wanted: BTreeMap<RecipientKey, u32> = BTreeMap::new();
        for (consumed, read) in records.iter().zip(reads) {
            if let Read::Event(event) = read {
                wanted.insert(event.key(), consumed.position.partition);
            }
        }
        let keys: Vec<RecipientKey> = wanted.keys().cloned().collect();
        let histories = self.store.load(&keys).await.map_err(unavailable)?;
        let mut works = BTreeMap::new();
        for ((key, partition), mut history) in wanted.into_iter().zip(histories) {
            let mut trimmed = trimmable(&history, floors.get(&partition).copied().unwrap_or(0));
            if !trimmed.is_empty() && !self.policies.heal() {
                let soft = |row: &Evidence| row.kind == Kind::BouncedSoft;
                trimmed.retain(|gone| !history.rows.iter().any(|row| soft(row) && row.row_key() == *gone));
            }
            // Told again, a trimmed event is still a duplicate: else its later receipt would count as news.
            let mut seen = Vec::new();
            if !trimmed.is_empty() {
                let gone = history.rows.iter().filter(|row| trimmed.contains(&row.row_key()));
                seen.extend(gone.map(|row| (row.occurred_at, trimmed_id(&row.event_id, row.rules), row.position)));
                history.rows.retain(|row| !trimmed.contains(&row.row_key()));
            }
            let write = Write {
                key: key.clone(),
                rows: Vec::new(),
                trimmed,
                history: History::default(),
                in_force: None,
                seen,
                messages: Vec::new(),
                due: Vec::new(),
                audit: Vec::new(),
                forget: None,
            };
            works.insert(key, Work { history, write, touched: false });
        }
        Ok(works)
    }

    /// The store is to know that the group committed once: a missing position is then a lost one (R4).
    async fn note_committed(&mut self, epoch: u16, partition: u32) -> Result<(), StageError> {
        if !self.noted.contains(&(epoch, partition)) {
            self.store.put_note(&committed_note(epoch, partition), "once").await.map_err(unavailable)?;
            self.noted.insert((epoch, partition));
        }
        Ok(())
    }

    fn policy(&mut self, version: u32) -> Result<Arc<Policy>, StageError> {
        if let Some(policy) = self.policies.get(version) {
            return Ok(policy);
        }
        if version == BUILT_IN_VERSION {
            let policy = Arc::new(Policy::built_in());
            self.policies.by_version.insert(BUILT_IN_VERSION, Arc::clone(&policy));
            return Ok(policy);
        }
        Err(StageError::Broken(format!("policy version {version} is not in the store: restore it before going on")))
    }

    /// Processes one event at its position.
    fn event(
        &mut self,
        consumed: &Consumed,
        event: &CanonicalEvent,
        seen: Option<u64>,
        work: &mut Work,
    ) -> Result<Verdict, StageError> {
        let number = consumed.position.number();
        let partition = consumed.position.partition;
        let in_partition = self.policies.at(partition, number);
        let Some(mut row) = Evidence::of(event, number, in_partition) else {
            if seen.is_some_and(|first| first < number) {
                self.tally.found.is_duplicate = true;
                return Ok(Verdict { fate: Fate::Ignored("duplicate"), outputs: Vec::new() });
            }
            self.tally.note_order(event, number, &work.history);
            note_registers(event, work);
            work.write.seen.push((event.occurred_at, event.event_id, number));
            note_message(event, number, work);
            return Ok(Verdict { fate: Fate::Ignored("no_evidence"), outputs: Vec::new() });
        };
        let first = work.history.first_brought(&row).into_iter().chain(seen).min();
        if first.is_some_and(|first| first < number) {
            self.tally.found.is_duplicate = true;
            return Ok(Verdict { fate: Fate::Ignored("duplicate"), outputs: Vec::new() });
        }
        self.tally.found.is_clamped = row.clamped();
        if row.kind == Kind::BouncedHard {
            row.marks = self.incidents.marks(partition, number, &event.recipient, &row);
            self.tally.found.is_held = row.marks.iter().any(|mark| mark.ruling == Ruling::Held);
        }
        if !work.history.before(number).any(|known| known.is_of(&row)) {
            let settings = self.policy(in_partition)?.incidents;
            self.counter.note(event, &row, work.history.engagement, (in_partition, settings));
        }
        self.tally.note_order(event, number, &work.history);
        note_registers(event, work);
        note_message(event, number, work);

        // R2: the evidence before this position, and that plus this event. Evidence at or after it is left out, so a
        // replay finds the same difference again.
        let channel = event.channel;
        let was_version = policy_version(work.history.before(number));
        let was = match was_version {
            Some(version) => decide(work.history.before(number), channel, self.policy(version)?.as_ref()),
            None => Decision::default(),
        };
        let others = || work.history.before(number).filter(|known| known.row_key() != row.row_key());
        let now_version = policy_version(others().chain([&row])).unwrap_or(in_partition);
        let policy = self.policy(now_version)?;
        let now = decide(others().chain([&row]), channel, policy.as_ref());

        work.touched = true;
        work.history.insert(row.clone());
        work.write.rows.push(row);
        let outputs = self.deltas(consumed, event, Delta::between(&was, &now), &now, now_version, work)?;
        if was.causes().iter().map(|cause| cause.until).ne(now.causes().iter().map(|cause| cause.until)) {
            let ends = now.causes().iter().filter_map(|cause| cause.until.map(|at| (at, cause.scope.clone())));
            work.write.due.extend(ends.map(|(at, scope)| Due { at, key: event.key(), scope }));
        }
        let newer = work.write.in_force.as_ref().is_none_or(|known| known.position < number);
        if newer {
            let address = work.history.address.clone();
            work.write.in_force = Some(InForce { position: number, policy: now_version, address, decision: now });
        }
        Ok(Verdict { fate: Fate::Emitted, outputs })
    }

    fn deltas(
        &mut self,
        consumed: &Consumed,
        event: &CanonicalEvent,
        changes: Vec<Change>,
        now: &Decision,
        policy: u32,
        work: &mut Work,
    ) -> Result<Vec<Output>, StageError> {
        let number = consumed.position.number();
        let key = event.key();
        let log_key = key.to_log_key();
        let by_scope = now.by_scope();
        let in_force: Vec<_> = by_scope.iter().map(|(scope, cause)| ((*scope).clone(), cause.reason)).collect();
        let provisional = by_scope.iter().filter(|(_, cause)| cause.is_provisional());
        let provisional: Vec<_> = provisional.map(|(scope, _)| (*scope).clone()).collect();
        let mut outputs = Vec::new();
        for (scope, change, before, standing) in changes {
            let delta = Delta {
                delta_id: EventId::derive(&["delta", &log_key, &scope.to_string(), &number.to_string()]),
                key: key.clone(),
                address: work.history.address.clone(),
                scope: scope.clone(),
                change,
                before,
                now: standing,
                in_force: in_force.clone(),
                provisional: provisional.clone(),
                trigger: Trigger {
                    event_id: event.event_id,
                    kind: event.kind,
                    provider: event.provider.clone(),
                    source: event.source.clone(),
                    receipt_id: event.receipt_id.clone(),
                },
                decided_at: event.received_at,
                position: number,
                policy,
            };
            self.tally.delta(&delta.scope, change, delta.before.as_ref(), delta.now.as_ref());
            let state_key = StateRecord::log_key(&key, &scope);
            let record = DeltaRecord::from(delta);
            // Of who is erased nothing stays there, though it holds.
            let is_erased = change == domain::Change::Erased;
            let state = record.now.as_ref().filter(|_| !is_erased).map(|standing| StateRecord {
                tenant: record.tenant.clone(),
                channel: record.channel.clone(),
                recipient: record.recipient.clone(),
                address: record.address.clone(),
                scope: record.scope.clone(),
                standing: standing.clone(),
                position: record.position,
            });
            let bytes = encode(&record).map_err(broken)?;
            work.write.audit.push((number, scope, bytes.to_vec()));
            outputs.push(output(topics::DELTAS, consumed, log_key.clone(), Some(bytes)));
            let state = state.map(|state| encode(&state)).transpose().map_err(broken)?;
            // Where its recipient's events and deltas are: who reads one partition of each has all of a recipient.
            let mut output = output(topics::STATE, consumed, state_key, state);
            output.partition = Some(consumed.position.partition);
            if is_erased {
                output.record.headers.push(Header { name: headers::ERASED.into(), value: Bytes::new() });
            }
            outputs.push(output);
        }
        Ok(outputs)
    }
}

#[async_trait]
impl<S: Store> Stage for Suppressor<S> {
    fn name(&self) -> &'static str {
        "suppressor"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        self.tally.clear();
        self.work(&batch.records).await
    }

    async fn committed(&mut self, batch: &Batch) -> Result<(), StageError> {
        self.tally.committed();
        for consumed in &batch.records {
            self.note_committed(consumed.position.epoch, consumed.position.partition).await?;
        }
        Ok(())
    }

    async fn assigned(&mut self, assigned: &Assigned) -> Result<Option<u64>, StageError> {
        let (partition, epoch) = (assigned.partition, assigned.epoch);
        self.policies.since.remove(&partition);
        self.incidents.forget(partition);
        self.load_policies(partition).await?;
        let applied = self.store.applied(partition).await.map_err(unavailable)?;
        let applied = applied.map(|number| Position::from_number(number, partition));
        if let Some(applied) = applied.filter(|applied| applied.epoch > epoch) {
            return Err(StageError::Broken(format!(
                "partition {partition}: the log is of epoch {epoch}, but the store has applied epoch {}; refusing to \
                 number anew what was numbered before. Raise the log's epoch above the store's",
                applied.epoch
            )));
        }
        let Some(committed) = assigned.committed else {
            // What is applied may come from a first transaction that did not happen: only a commit counts.
            let note = self.store.note(&committed_note(epoch, partition)).await.map_err(unavailable)?;
            return match note {
                None => Ok(None),
                Some(_) => Err(StageError::Broken(format!(
                    "partition {partition}: the group has no committed position, but the store knows that it had one; \
                     refusing to start from zero. Restore the group's positions, or move to a new epoch"
                ))),
            };
        };
        // A store that may yet be refused learns nothing new: it would then refuse the way out, too.
        if !self.gaps.assigned(assigned, applied) {
            self.note_committed(epoch, partition).await?;
        }
        // What the store may have lost in a crash; after a restore, what came after the backup, as far as it is kept.
        let synced = committed.offset().saturating_sub(self.store.sync_window());
        let next = applied.filter(|applied| applied.epoch == epoch).map_or(0, |applied| applied.next().offset());
        Ok(Some(synced.min(next).max(assigned.oldest)).filter(|from| *from < committed.offset()))
    }

    async fn reapply(&mut self, records: &[Consumed]) -> Result<(), StageError> {
        self.gaps.check(records)?;
        let applied = self.work(records).await.map(|_| ());
        self.tally.clear();
        applied
    }

    fn revoked(&mut self, partitions: &[u32]) {
        self.tally.clear();
        for partition in partitions {
            self.policies.since.remove(partition);
            self.incidents.forget(*partition);
            self.noted.retain(|(_, noted)| noted != partition);
        }
    }
}

/// The store's note that the group committed something of a partition in an epoch.
fn committed_note(epoch: u16, partition: u32) -> String {
    format!("committed.{epoch}.{partition}")
}

/// A change in a scope, with what held before and what holds now.
type Change = (Scope, domain::Change, Option<Standing>, Option<Standing>);

fn finish(work: Work) -> Write {
    let mut write = work.write;
    write.history = work.history;
    write
}

fn note_registers(event: &CanonicalEvent, work: &mut Work) {
    let engagement = work.history.engagement.merge(Engagement::of(event));
    if engagement != work.history.engagement {
        work.history.engagement = engagement;
        work.touched = true;
    }
    if work.history.address.is_empty() {
        work.history.address.clone_from(&event.address);
        work.touched = true;
    }
}

fn note_message(event: &CanonicalEvent, number: u64, work: &mut Work) {
    work.touched = true;
    let Some(message_id) = &event.message_id else { return };
    let failure = event.failure.as_ref().map(|failure| {
        let code = failure.enhanced_status.clone().or_else(|| failure.smtp_code.map(|code| code.to_string()));
        let parts = [Some(failure.class.as_str().to_owned()), code, failure.diagnostic.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    work.write.messages.push(MessageEntry {
        key: event.key(),
        provider: event.provider.clone(),
        message_id: message_id.clone(),
        event_id: event.event_id,
        occurred_at: event.occurred_at.min(event.received_at),
        received_at: event.received_at,
        kind: event.kind,
        provider_kind: event.provider_kind.clone(),
        machine: event.machine,
        failure,
        campaign: event.campaign.clone(),
        receipt_id: event.receipt_id.clone(),
        position: number,
    });
}

fn unavailable(error: StoreError) -> StageError {
    match error {
        StoreError::Unavailable(_) => StageError::Unavailable(error.to_string()),
        StoreError::Corrupt(_) => StageError::Broken(error.to_string()),
    }
}

fn broken(error: impl std::fmt::Display) -> StageError {
    StageError::Broken(error.to_string())
}
