//! The end of every world: the faults stop, everything is drained, every end passes; then it is judged.

use crate::{
    Invariant, Red,
    act::DAY,
    fold::{Fold, Told},
    oracle::{NORMALIZERS, PARTITIONS},
    provider::LANES,
    worker::{Role, Worker},
    world::{JobKind, World},
};
use domain::{Decision, Kind, RecipientKey};
use event_log::{
    Batch, Consumed, Position, Stage,
    memory::{NoFaults, SplitMix64},
};
use schemas::topics;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use suppressor::{
    Store, Suppressor,
    policy::decide,
    stage::NoMetrics,
    store::memory::{Calm, MemoryStore},
};

/// Rounds over all workers within which everything must be drained.
const ROUNDS_MAX: u32 = 3_000;
/// Longer than any suppression that ends.
const LONG: i64 = 400 * DAY;

impl World {
    pub(crate) fn settle(&mut self) -> Result<(), Red> {
        self.last_storm()?;
        let zombies = self.set_zombies_aside();
        self.calm();
        while let Some(item) = self.outbox.pop() {
            self.send(item);
        }
        self.drain()?;
        self.check_outputs()?;
        if self.scenario.policies {
            self.run_job(JobKind::ApplyPolicy)?;
            self.drain()?;
            self.run_job(JobKind::Sweep)?;
            self.drain()?;
        }
        self.sweep_incidents()?;
        self.pass(LONG);
        // The first scan finds what is due, the second drops what was applied.
        for _ in 0..2 {
            self.run_job(JobKind::Expiry)?;
            self.drain()?;
        }
        self.forget()?;
        // Who stood still all the while writes what it was about to write.
        self.workers.extend(zombies);
        self.drain()?;
        self.verdict()
    }

    /// Until nothing is left to do.
    fn sweep_incidents(&mut self) -> Result<(), Red> {
        if !self.scenario.incidents {
            return Ok(());
        }
        // Whoever ruled may have been cut off in the middle.
        self.pass(DAY);
        // What lay beyond an end that was moved too late is reached when it is over.
        for item in self.outside.end_incidents(self.now(), self.scenario.n_partitions) {
            self.send(item);
        }
        self.drain()?;
        for _ in 0..ROUNDS_MAX {
            self.run_job(JobKind::SweepIncidents)?;
            self.drain()?;
            if self.are_swept {
                return Ok(());
            }
        }
        Err(Red::new(Invariant::Progress, "the sweeps over incidents do not end"))
    }

    /// Whoever was erased is forgotten, but for what came later.
    fn forget(&mut self) -> Result<(), Red> {
        if !self.scenario.erasures {
            return Ok(());
        }
        self.run_job(JobKind::Forget)?;
        self.drain()?;
        let fold = self.judge().fold()?;
        for (key, folded) in &fold.recipients {
            let erased = folded.rows.iter().filter(|row| row.kind == Kind::Erased).map(|row| row.position).max();
            let Some(erased) = erased else { continue };
            let keys = std::slice::from_ref(key);
            let left = now(self.memory.load(keys)).and_then(Result::ok).into_iter().flatten();
            let is_left = left.flat_map(|history| history.rows).any(|row| row.position < erased);
            let in_force = now(self.memory.in_force(keys)).and_then(Result::ok).into_iter().flatten().flatten();
            let audit = now(self.memory.audit(key, 100)).and_then(Result::ok).into_iter().flatten();
            if is_left
                || in_force.into_iter().any(|row| row.position <= erased)
                || audit.into_iter().any(|(position, ..)| position <= erased)
            {
                let detail = format!("{}: erased at {erased}, and still known", key.to_log_key());
                return Err(Red::new(Invariant::ErasureForgets, detail));
            }
            self.seen.n_forgotten += 1;
        }
        Ok(())
    }

    /// Every end passes while scans still fail.
    fn last_storm(&mut self) -> Result<(), Red> {
        if !self.scenario.time {
            return Ok(());
        }
        self.pass(LONG);
        for _ in 0..3 {
            self.run_job(JobKind::Expiry)?;
            self.pass(DAY);
        }
        Ok(())
    }

    /// Workers that are expelled, perhaps in the middle of a batch, and go on only after everything else.
    fn set_zombies_aside(&mut self) -> Vec<Worker> {
        let mut random = SplitMix64::new(self.scenario.seed ^ 0x20b1);
        if !self.scenario.zombies {
            return Vec::new();
        }
        let (aside, left) = std::mem::take(&mut self.workers).into_iter().partition(|worker: &Worker| {
            worker.role != Role::Syncer && (worker.stalled_until > self.tick || random.below(2) == 0)
        });
        self.workers = left;
        for worker in &aside {
            self.log().expel(worker.member);
            self.seen.n_zombies += 1;
            self.tell(|| format!("{:?} {} stands still", worker.role, worker.id));
        }
        aside
    }

    pub(crate) fn calm(&mut self) {
        self.tell(|| "the weather is calm".to_owned());
        self.is_calm = true;
        self.weather.set(0, 0);
        self.log().set_faults(NoFaults);
        self.lanes.iter().for_each(|lanes| lanes.set(0));
        for member in std::mem::take(&mut self.unburied) {
            self.log().expel(member);
        }
        self.workers.iter_mut().for_each(|worker| worker.stalled_until = 0);
    }

    /// Polls everyone in turn until nothing is left to do.
    pub(crate) fn drain(&mut self) -> Result<(), Red> {
        for _ in 0..ROUNDS_MAX {
            self.replace_dead();
            for at in (0..self.workers.len()).rev() {
                self.tick += 1;
                self.poll_worker(at)?;
            }
            for at in (0..self.jobs.len()).rev() {
                self.poll_job(at)?;
            }
            for member in std::mem::take(&mut self.unburied) {
                self.log().expel(member);
            }
            if self.jobs.is_empty() && self.is_drained() {
                return Ok(());
            }
        }
        let stuck = self.workers.iter().map(|worker| format!("{:?} {}", worker.role, worker.id)).collect::<Vec<_>>();
        Err(Red::new(Invariant::Progress, format!("not drained after {ROUNDS_MAX} rounds, with {stuck:?}")))
    }

    fn is_drained(&self) -> bool {
        let log = self.log();
        let is_done = |group: &str, topic: &str, partition| {
            let done = log.committed_offset(group, topic, partition).unwrap_or(0);
            log.records(topic, partition).last().is_none_or(|last| last.position.offset < done)
        };
        let raw = !self.scenario.raw || (0..PARTITIONS).all(|partition| is_done(NORMALIZERS, topics::RAW, partition));
        let told = !self.have_lanes
            || (0..self.scenario.n_partitions).all(|partition| is_done(LANES, topics::DELTAS, partition));
        raw && told && (0..self.scenario.n_partitions).all(|partition| is_done(&self.group, topics::EVENTS, partition))
    }

    fn run_job(&mut self, kind: JobKind) -> Result<(), Red> {
        // What was begun in a storm may be of the same kind.
        for is_begun in [false, true] {
            if is_begun {
                self.begin(kind);
            }
            let mut rounds = 0..ROUNDS_MAX;
            while let Some(last) = self.jobs.len().checked_sub(1) {
                self.poll_job(last)?;
                if rounds.next().is_none() {
                    return Err(Red::new(Invariant::Progress, format!("{kind:?} does not end")));
                }
            }
        }
        Ok(())
    }

    fn verdict(&mut self) -> Result<(), Red> {
        let fold = self.judge().fold()?;
        self.seen.n_events = fold.events.len() as u64;
        self.seen.n_deltas = self.judge().deltas(&fold)?;
        self.judge().state_topic(&fold)?;
        self.table(&fold)?;
        self.seen.n_dead = self.judge().webhooks(&self.acknowledged, &fold)?;
        self.judge().expired_ids(&fold)?;
        self.ended(&fold)?;
        if let Some(lanes) = self.lanes.as_ref().filter(|_| self.have_lanes) {
            lanes.verdict(&fold)?;
        }
        if self.scenario.policies {
            swept(&fold)?;
        }
        self.seen.n_verdicts = fold.n_verdicts();
        for partition in 0..self.scenario.n_partitions {
            let rows = now(self.memory.incidents(partition)).and_then(Result::ok).unwrap_or_default();
            let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
            self.seen.n_verdicts_spent += fold.incidents_kept(partition, &rows)?;
        }
        let told = fold.recipients.values().flat_map(|folded| &folded.told);
        let is_provisional = |told: &&Told| told.now.as_ref().is_some_and(|now| now.incident.is_some());
        self.seen.n_provisional = told.filter(is_provisional).count() as u64;
        fold.incidents_reach()?;
        self.any_order(&fold)
    }

    /// What a lookup reads is what the log implies.
    fn table(&self, fold: &Fold) -> Result<(), Red> {
        for (key, folded) in &fold.recipients {
            let found = in_force(&self.store.for_lookups(), key)?;
            if found != folded.decision {
                let (key, expected) = (key.to_log_key(), &folded.decision);
                return Err(Red::new(
                    Invariant::StateMatchesLog,
                    format!("{key}: the table holds\n  {found:?}, the log implies\n  {expected:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Nothing is in force whose end has passed.
    fn ended(&self, fold: &Fold) -> Result<(), Red> {
        let now = self.now();
        for (key, folded) in &fold.recipients {
            // Of who was erased no end is waited for: lookups compare it with the clock.
            let causes = folded.decision.causes().iter().filter(|cause| !folded.is_kept(&cause.event_id));
            if let Some(late) = causes.clone().find(|cause| cause.until.is_some_and(|end| end <= now)) {
                return Err(Red::new(Invariant::Expires, format!("{}: still in force: {late:?}", key.to_log_key())));
            }
        }
        Ok(())
    }

    /// The same events shuffled, doubled and cut otherwise, through the stage, give the same state.
    fn any_order(&mut self, fold: &Fold) -> Result<(), Red> {
        if self.scenario.policies
            || self.scenario.incidents
            || self.scenario.erasures
            || self.scenario.bug != crate::Bug::None
        {
            return Ok(());
        }
        let mut first: BTreeMap<_, Consumed> = BTreeMap::new();
        for log in &self.logs {
            for partition in 0..self.scenario.n_partitions {
                for consumed in log.records(topics::EVENTS, partition) {
                    let value = consumed.record.value.as_deref().unwrap_or_default();
                    let Ok(record) = schemas::decode::<schemas::wire::EventRecord>(value) else { continue };
                    first.entry((record.occurred_at, record.event_id, record.rules)).or_insert(consumed);
                }
            }
        }
        let mut records: Vec<Consumed> = first.into_values().collect();
        let again: Vec<Consumed> = records.iter().filter(|_| self.random.below(4) == 0).cloned().collect();
        records.extend(again);
        shuffle(&mut self.random, &mut records);
        for (offset, consumed) in (0..).zip(&mut records) {
            consumed.position = Position { epoch: 0, partition: 0, offset };
        }
        let store = MemoryStore::new(Arc::new(Calm), 0);
        let mut stage = Suppressor::new(store.clone(), Arc::new(NoMetrics));
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(1 + self.random.below(7) as usize));
            let batch = Batch { records: batch.to_vec(), generation: 1 };
            now(stage.process(&batch))
                .and_then(Result::ok)
                .ok_or_else(|| Red::new(Invariant::Broken, "the stage failed on events in another order"))?;
            rest = after;
        }
        for (key, folded) in &fold.recipients {
            let found = in_force(&store, key)?;
            if found != folded.decision {
                let (key, expected) = (key.to_log_key(), &folded.decision);
                let detail = format!("{key}: in another order\n  {found:?}, in the log's\n  {expected:?}");
                return Err(Red::new(Invariant::AnyOrder, detail));
            }
        }
        Ok(())
    }
}

/// The newest policy holds for everyone, and says what is in force.
fn swept(fold: &Fold) -> Result<(), Red> {
    let newest = fold.recipients.values().map(|folded| folded.policy).max().unwrap_or_default();
    for (key, folded) in &fold.recipients {
        if folded.policy != newest && folded.since_erased().next().is_none() {
            // Nobody is left whom a sweep could find.
            continue;
        }
        if folded.policy != newest {
            let (key, policy) = (key.to_log_key(), folded.policy);
            return Err(Red::new(Invariant::PolicyReaches, format!("{key} is left with policy {policy} of {newest}")));
        }
        let policy = fold.policy(newest).ok_or_else(|| Red::new(Invariant::PolicyReaches, "no such policy"))?;
        if decide(folded.rows.iter(), key.recipient.channel(), policy) != folded.decision {
            return Err(Red::new(Invariant::PolicyReaches, format!("{} was not decided anew", key.to_log_key())));
        }
    }
    Ok(())
}

fn in_force(store: &dyn Store, key: &RecipientKey) -> Result<Decision, Red> {
    let rows = now(store.in_force(std::slice::from_ref(key))).and_then(Result::ok);
    let rows = rows.ok_or_else(|| Red::new(Invariant::Progress, "the store does not answer"))?;
    Ok(rows.into_iter().flatten().next().map(|row| row.decision).unwrap_or_default())
}

/// The answer of a future that has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn shuffle<T>(random: &mut SplitMix64, of: &mut [T]) {
    for at in (1..of.len()).rev() {
        of.swap(at, random.below(at as u64 + 1) as usize);
    }
}
