//! One account's lane: the stage that tells its provider.

use crate::{
    Account, Metrics, ProviderApi,
    bootstrap::{Bootstrap, ReadError, Slice},
    caller::{Caller, Item},
    calls::LaneCalls,
    outcome::{self, Ending, Settled},
    plan::{Plan, Step, Target, plan},
    removed::Removed,
    status::{Halt, LaneStatus},
    waiting::Waiting,
};
use async_trait::async_trait;
use domain::{Change, Delta, EventId, RecipientKey};
use event_log::{Batch, Browse, Consumed, Limits, Outputs, Stage, StageError, Verdict, session::Assigned};
use providers::suppression_api::{Action, Edit, ItemResult};
use schemas::{DecodeError, decode, wire::DeltaRecord};
use service::{Clock, traces::Traces};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// Bounds of one poll of a lane: enough to fill a provider's largest call, little enough to be done with in minutes even if
/// every delta is a call of its own.
pub const LIMITS: Limits = Limits { records_max: 1_000, bytes_max: 4 * 1024 * 1024, wait: Duration::from_millis(200) };

/// How long the calls of one batch may take in one go.
const BATCH_MS_MAX: i64 = 60_000;

/// How many deltas before the committed position are looked through for releases whenever a partition is taken over: those
/// of some minutes.
const REMOVALS_BACK: u64 = 4_096;

/// What was done for a recipient since the last commit, under which delta.
#[derive(Debug)]
struct Done {
    delta_id: EventId,
    edits: HashMap<Edit, Settled>,
}

/// What became of a delta, as labels, and after how long where the provider took it.
#[derive(Debug)]
struct Count {
    action: &'static str,
    result: &'static str,
    delays: Option<Delays>,
}

/// How long it took until the provider had a delta, in milliseconds.
#[derive(Debug)]
struct Delays {
    /// Since the receipt of what brought it about.
    receipt: i64,
    /// Since its record's time.
    record: i64,
}

/// One account's lane.
#[derive(Debug)]
pub struct Lane {
    account: Arc<Account>,
    caller: Caller,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    status: LaneStatus,
    waiting: Waiting,
    /// What became of the deltas of the batch that is open; counted once it is committed.
    counts: Vec<Count>,
    /// Calls that need not be made again when a batch is rewound. At most one batch's worth: dropped at commit, and at
    /// assignment (R8), because another owner may have called meanwhile. A rewind alone changes no owner.
    done: HashMap<RecipientKey, Done>,
    removed: Removed,
    browse: Arc<dyn Browse>,
    /// The partition that is being begun. It outlives a rewind, and no assignment of its partition (R8).
    bootstrap: Option<Bootstrap>,
    /// Where the lane began in each partition of this assignment that it had to begin from `state`.
    starts: BTreeMap<u32, u64>,
}

impl Lane {
    /// A lane that has called nothing yet. Partitions in which it has no position begin from `state`, read by `browse`.
    pub fn new(
        account: Account,
        api: Arc<dyn ProviderApi>,
        browse: Arc<dyn Browse>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let (account, status) = (Arc::new(account), LaneStatus::new());
        let caller = Caller::new(Arc::clone(&account), api, Arc::clone(&clock), metrics.clone(), status.clone());
        let (done, removed, bootstrap, starts) = (HashMap::new(), Removed::default(), None, BTreeMap::new());
        let (waiting, counts) = (metrics.waiting(&account.name), Vec::new());
        Self { account, caller, clock, metrics, status, waiting, counts, done, removed, browse, bootstrap, starts }
    }

    /// The same with its calls traced; their traces are told to the provider only where that is wanted.
    #[must_use]
    pub fn traced(mut self, traces: Traces, tells_provider: bool) -> Self {
        self.caller.calls = LaneCalls::new(traces, &self.account, tells_provider);
        self
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A handle on how it fares.
    pub fn status(&self) -> LaneStatus {
        self.status.clone()
    }

    /// A handle on what waits in it, for who watches its runner.
    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    /// Makes every call of a plan that was not made yet, for as long as a batch may take: `false` where that is over. Then
    /// the session has a look at its group, and the same plan goes on where it was. A lane that is silent for longer loses
    /// its partitions to another, and two would call for one recipient.
    async fn execute(&mut self, plan: &Plan) -> Result<bool, Halt> {
        if self.account.dry_run {
            return Ok(true);
        }
        let account = Arc::clone(&self.account);
        let until_ms = self.clock.now_millis().saturating_add(BATCH_MS_MAX);
        for (edit, targets) in plan.by_edit() {
            let mut items = Vec::with_capacity(targets.len());
            for index in targets {
                let Some(target) = plan.targets.get(index) else { continue };
                let done = self
                    .done
                    .entry(target.key.clone())
                    .or_insert_with(|| Done { delta_id: target.delta_id, edits: HashMap::new() });
                if done.delta_id != target.delta_id {
                    // Calls made for another state of the recipient say nothing about this one.
                    *done = Done { delta_id: target.delta_id, edits: HashMap::new() };
                }
                if !done.edits.contains_key(edit) {
                    let address = target.key.recipient.as_str();
                    items.push(Item { target: index, delta_id: target.delta_id, address });
                }
            }
            let batch_max = account.lists.batch_max(edit).min(account.batch_max.unwrap_or(usize::MAX)).max(1);
            for chunk in items.chunks(batch_max) {
                if self.clock.now_millis() > until_ms {
                    return Ok(false);
                }
                self.execute_chunk(plan, edit, chunk).await?;
                self.waiting.settled(self.n_settled(plan));
            }
        }
        Ok(true)
    }

    /// Recipients of the plan with nothing left to tell.
    fn n_settled(&self, plan: &Plan) -> usize {
        let is_settled = |target: &&Target| {
            self.done.get(&target.key).is_some_and(|done| target.edits.iter().all(|edit| done.edits.contains_key(edit)))
        };
        plan.targets.iter().filter(is_settled).count()
    }

    /// Tells the next slice of what is in force. `true` once all is told.
    async fn tell_slice(&mut self, bootstrap: &mut Bootstrap) -> Result<bool, StageError> {
        let unread = |error: ReadError| StageError::Unavailable(error.to_string());
        let slice = bootstrap.slice(&self.account, &*self.browse).await.map_err(unread)?;
        let Slice::Plan(plan) = slice else { return Ok(true) };
        if self.execute(&plan).await.map_err(|halt| unavailable(&halt))? {
            self.done.clear();
            bootstrap.told();
        }
        Ok(false)
    }

    async fn execute_chunk(&mut self, plan: &Plan, edit: &Edit, chunk: &[Item<'_>]) -> Result<(), Halt> {
        if edit.action == Action::Remove {
            // Before the call: a call without an answer may have removed them too.
            chunk
                .iter()
                .filter_map(|item| plan.targets.get(item.target))
                .for_each(|target| self.removed.insert(&target.key));
        }
        let (done, clock) = (&mut self.done, Arc::clone(&self.clock));
        let mut sink = |item: &Item<'_>, result: ItemResult, attempts: u32| {
            let Some(target) = plan.targets.get(item.target) else { return };
            let refused = match result {
                ItemResult::Done => None,
                ItemResult::Refused(detail) => Some(detail),
            };
            if let Some(done) = done.get_mut(&target.key) {
                done.edits.insert(edit.clone(), Settled { refused, attempts, at_ms: clock.now_millis() });
            }
        };
        let settled = self.caller.settle(edit, chunk, &mut sink).await;
        if let Err(halt) = &settled {
            self.status.set_trouble(halt);
            tracing::warn!(account = %self.account.name, %halt, "lane stands still");
        }
        settled
    }

    fn verdict(
        &mut self,
        plan: &Plan,
        step: &Step,
        consumed: &Consumed,
        delta: Result<&Delta, &String>,
    ) -> Result<Verdict, schemas::EncodeError> {
        let settled = |target: usize, edit: usize| {
            let target = plan.targets.get(target)?;
            self.done.get(&target.key)?.edits.get(target.edits.get(edit)?).cloned()
        };
        let ending = match (step, delta) {
            (Step::Dead(reason), _) | (_, Err(reason)) => return outcome::dead_letter(&self.account, consumed, reason),
            (Step::Ignored(reason), Ok(_)) => return Ok(outcome::ignored(reason)),
            (Step::Skipped(reason), Ok(_)) => Ending::skipped(reason),
            (Step::Work { target, edits }, Ok(_)) => {
                Ending::of_work(plan, *target, edits, (!self.account.dry_run).then_some(&settled))
            }
        };
        match delta {
            Ok(delta) => {
                let taken = ending.settled_ms.filter(|_| ending.result == "done");
                self.counts.push(Count {
                    action: outcome::action(delta.change),
                    result: ending.result,
                    delays: taken.map(|at_ms| Delays {
                        receipt: at_ms.saturating_sub(delta.decided_at.as_millis()),
                        record: at_ms.saturating_sub(consumed.record.timestamp_ms),
                    }),
                });
                outcome::output(&self.account, consumed, delta, ending, self.clock.now_micros())
            }
            Err(reason) => outcome::dead_letter(&self.account, consumed, reason),
        }
    }

    fn note_read(&self, batch: &Batch, plan: &Plan, deltas: &[Result<Delta, String>]) {
        let mut open = plan.steps.iter().zip(deltas);
        self.waiting.read(batch.records.iter().map(|consumed| {
            let step = if self.is_covered(consumed) { None } else { open.next() };
            let delta =
                step.and_then(|(step, delta)| delta.as_ref().ok().filter(|_| matches!(step, Step::Work { .. })));
            (consumed, delta)
        }));
    }

    /// Counts what became of the batch that is committed.
    fn count(&mut self) {
        let account = self.account.name.as_str();
        let since_receipt = self.metrics.delta_delay.with_label_values(&[account]);
        let since_record = self.metrics.provider_delay.with_label_values(&[account]);
        // The log's clock may be ahead of ours.
        let seconds = |ms: i64| ms.max(0) as f64 / 1_000.0;
        for Count { action, result, delays } in self.counts.drain(..) {
            self.metrics.outcomes.with_label_values(&[account, action, result]).inc();
            if let Some(Delays { receipt, record }) = delays {
                since_receipt.observe(seconds(receipt));
                since_record.observe(seconds(record));
            }
        }
    }

    /// Whether the delta lies before the place where the lane began.
    fn is_covered(&self, consumed: &Consumed) -> bool {
        self.starts.get(&consumed.position.partition).is_some_and(|start| consumed.position.offset < *start)
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> StageError {
    StageError::Unavailable(why.to_string())
}

/// Who was released in some scope.
fn released(deltas: &[Result<Delta, String>]) -> impl Iterator<Item = &RecipientKey> {
    deltas.iter().flatten().filter(|delta| delta.change == Change::Released).map(|delta| &delta.key)
}

/// The inner error is the record's; the outer one says that it cannot be read yet.
fn read_delta(consumed: &Consumed) -> Result<Result<Delta, String>, DecodeError> {
    let Some(value) = &consumed.record.value else { return Ok(Err("no value".to_owned())) };
    Ok(match decode::<DeltaRecord>(value) {
        Ok(record) => Delta::try_from(record).map_err(|error| error.to_string()),
        Err(error) if error.is_unresolved() => return Err(error),
        Err(error) => Err(error.to_string()),
    })
}

#[async_trait]
impl Stage for Lane {
    fn name(&self) -> &'static str {
        "syncer"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let open: Vec<&Consumed> = batch.records.iter().filter(|consumed| !self.is_covered(consumed)).collect();
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(open.iter().filter_map(|consumed| consumed.record.value.as_deref())).await.map_err(away)?;
        let deltas: Vec<Result<Delta, String>> =
            open.iter().map(|consumed| read_delta(consumed)).collect::<Result<_, _>>().map_err(away)?;
        self.caller.calls.batch(open.iter().zip(&deltas));
        // A former owner of the partition may have made the removals of this batch before it was gone.
        let released: HashSet<&RecipientKey> = released(&deltas).collect();
        let plan = plan(&self.account, &deltas, &|key| self.removed.contains(key) || released.contains(key));
        self.note_read(batch, &plan, &deltas);
        let executed = self.execute(&plan).await;
        if !matches!(executed, Ok(true)) {
            self.waiting.failed();
        }
        if !executed.map_err(|halt| unavailable(&halt))? {
            return Err(unavailable(&"its calls take long; going on after a look at the group"));
        }
        self.counts.clear();
        let mut open = plan.steps.iter().zip(&deltas);
        let mut verdicts = Vec::with_capacity(batch.records.len());
        for consumed in &batch.records {
            let verdict = if self.is_covered(consumed) {
                outcome::ignored("covered_by_state")
            } else if let Some((step, delta)) = open.next() {
                self.verdict(&plan, step, consumed, delta.as_ref())
                    .map_err(|error| StageError::Broken(error.to_string()))?
            } else {
                return Err(StageError::Broken("a plan has fewer steps than the batch has deltas".to_owned()));
            };
            verdicts.push(verdict);
        }
        Ok(Outputs { verdicts })
    }

    async fn committed(&mut self, batch: &Batch) -> Result<(), StageError> {
        self.done.clear();
        self.waiting.committed(batch);
        self.count();
        Ok(())
    }

    /// What a former owner removed is found in the deltas: it may have undone what the provider told us since.
    async fn assigned(&mut self, assigned: &Assigned) -> Result<Option<u64>, StageError> {
        self.done.clear();
        self.bootstrap = self.bootstrap.take().filter(|known| known.partition() != assigned.partition);
        self.starts.remove(&assigned.partition);
        self.waiting.revoked(&[assigned.partition]);
        Ok(assigned.committed.map(|committed| committed.offset().saturating_sub(REMOVALS_BACK)))
    }

    async fn reapply(&mut self, records: &[Consumed]) -> Result<(), StageError> {
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await.map_err(away)?;
        let deltas: Vec<Result<Delta, String>> =
            records.iter().map(read_delta).collect::<Result<_, _>>().map_err(away)?;
        released(&deltas).for_each(|key| self.removed.insert(key));
        Ok(())
    }
    /// Tells what is in force, where the lane is new in the partition or was cut off from it.
    async fn prepare(&mut self, assigned: &Assigned) -> Result<bool, StageError> {
        let partition = assigned.partition;
        let bootstrap = match self.bootstrap.take().filter(|known| known.partition() == partition) {
            Some(known) => Some(known),
            None => {
                let found = Bootstrap::of(&self.account.group(), assigned, &*self.browse).await;
                found.map_err(|error| unavailable(&ReadError::from(error)))?
            }
        };
        let Some(mut bootstrap) = bootstrap else { return Ok(true) };
        let told = self.tell_slice(&mut bootstrap).await;
        if matches!(told, Ok(true)) {
            let Bootstrap { n_in_force, n_released, .. } = bootstrap;
            let account = &self.account.name;
            tracing::info!(%account, partition, n_in_force, n_released, "told a new account what is in force");
            self.starts.insert(partition, bootstrap.start());
        } else {
            self.bootstrap = Some(bootstrap);
        }
        told
    }
}
