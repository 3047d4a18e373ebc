//! Log, store, stages and jobs, driven by the hand of a test: production code over memory, killed at random.

use domain::{CanonicalEvent, Delta, EventId, Kind, Timestamp};
use event_log::{
    Browse as _, Limits, PhaseName, Record, Runner, RunnerEvent, RunnerOptions, Stage, TopicSpec,
    memory::{MemoryLog, MemorySession, SplitMix64},
};
use schemas::{
    decode, encode, topics,
    wire::{DeltaRecord, EventRecord, IncidentVerdict, Statistics},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use suppressor::{
    Policy, Store as _, Suppressor,
    guard::{Guard, NoGuardMetrics, memory::Memory},
    jobs::{expiry::Expiry, incidents::Sweeps, reconsider},
    stage::NoMetrics,
    store::memory::MemoryStore,
};
use testkit::builders::{event, recipient_key};

pub(crate) const HOUR: i64 = 3_600;
pub(crate) const DAY: i64 = 24 * HOUR;
/// A step of the world: of traffic, and of everything that runs.
pub(crate) const STEP: i64 = 600;
pub(crate) const STEPS_A_DAY: u64 = (DAY / STEP) as u64;
pub(crate) const PARTITIONS: u32 = 2;
/// 2020-12-10.
pub(crate) const START: i64 = 1_607_558_400;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds).unwrap()
}

/// The policy of a smaller sender than the default is made for.
pub(crate) fn guarded() -> String {
    Policy::built_in().document.replace("minimum = 25", "minimum = 5")
}

pub(crate) type Running<T> = Option<Runner<MemorySession, T>>;

/// Log, store, stages and jobs.
pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) store: MemoryStore,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) suppressor: Running<Suppressor<MemoryStore>>,
    pub(crate) guard: Running<Guard<MemoryStore>>,
    pub(crate) expiry: Expiry,
    pub(crate) sweeps: Sweeps,
    pub(crate) random: SplitMix64,
    /// In a thousand steps of a runner it dies.
    pub(crate) dies: u64,
    pub(crate) n_deaths: u32,
    pub(crate) n_events: u64,
    pub(crate) now: i64,
}

impl World {
    pub(crate) fn new(seed: u64, dies: u64, document: &str) -> Self {
        let spec = |topic: topics::Topic| TopicSpec {
            name: topic.name.into(),
            partitions: PARTITIONS,
            retention_ms: topic.retention_ms,
        };
        let log = MemoryLog::new(&topics::all().into_iter().map(spec).collect::<Vec<_>>());
        let mut world = Self {
            log,
            store: MemoryStore::default(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            suppressor: None,
            guard: None,
            expiry: Expiry::default(),
            sweeps: Sweeps::default(),
            random: SplitMix64::new(seed),
            dies,
            n_deaths: 0,
            n_events: 0,
            now: 0,
        };
        world.runtime.block_on(reconsider::apply(&world.store, &world.log, document, at(0), "jo")).unwrap();
        world.settle();
        world
    }

    pub(crate) fn tell(&mut self, address: &str, kind: Kind, seconds: i64) {
        self.n_events += 1;
        let key = recipient_key(address);
        let event = CanonicalEvent {
            event_id: EventId::derive(&["outage", &self.n_events.to_string()]),
            occurred_at: at(seconds),
            received_at: at(seconds + 2),
            message_id: None,
            receipt_id: "r".to_owned(),
            ..event(kind, address, 0)
        };
        let record = Record {
            key: Some(key.to_log_key().into()),
            value: Some(encode(&EventRecord::from(event)).unwrap()),
            headers: Vec::new(),
            timestamp_ms: at(seconds + 2).as_millis(),
        };
        self.log.append_now(topics::EVENTS, None, record).unwrap();
    }

    pub(crate) fn is_stopped(&self, address: &str, now: i64) -> bool {
        let rows = self.runtime.block_on(self.store.in_force(&[recipient_key(address)])).unwrap();
        let row = rows.into_iter().flatten().next();
        row.is_some_and(|row| row.decision.causes().iter().any(|cause| cause.until.is_none_or(|end| end > at(now))))
    }

    /// Everything that was told is processed, every end that passed is told of, every sweep goes on.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            self.drain();
            let now = at(self.now);
            let expired = self.runtime.block_on(self.expiry.run(&self.store, &self.log, now)).unwrap();
            let swept = self.runtime.block_on(self.sweeps.step(&self.store, &self.log, now)).unwrap();
            if expired == 0 && swept.over && self.is_drained() {
                return;
            }
        }
        panic!("never settles");
    }

    pub(crate) fn drain(&mut self) {
        let (log, store) = (self.log.clone(), self.store.clone());
        while !self.is_drained() {
            let new = || Suppressor::new(store.clone(), Arc::new(NoMetrics));
            let dies = self.random.below(1_000) < self.dies;
            let n = 1 + self.random.below(20);
            self.n_deaths += turn(&self.runtime, &log, &mut self.suppressor, ("s", topics::EVENTS), (n, dies), new);
            let new = || Guard::new(store.clone(), PARTITIONS, Arc::new(NoGuardMetrics));
            let dies = self.random.below(1_000) < self.dies;
            self.n_deaths += turn(&self.runtime, &log, &mut self.guard, ("g", topics::STATISTICS), (n, dies), new);
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        [("s", topics::EVENTS), ("g", topics::STATISTICS)].into_iter().all(|(group, topic)| {
            (0..PARTITIONS).all(|partition| {
                let (_, end) = self.runtime.block_on(self.log.range(topic, partition)).unwrap();
                self.log.committed_offset(group, topic, partition).unwrap_or(0) >= end
            })
        })
    }

    /// Verdicts of the guard, as each partition of the events has them.
    pub(crate) fn verdicts(&self, partition: u32) -> Vec<IncidentVerdict> {
        let records = self.log.records(topics::EVENTS, partition).into_iter();
        records.filter_map(|consumed| decode(&consumed.record.value.unwrap()).ok()).collect()
    }

    pub(crate) fn deltas(&self) -> Vec<Delta> {
        let records = (0..PARTITIONS).flat_map(|partition| self.log.records(topics::DELTAS, partition));
        let read = records.map(|consumed| decode::<DeltaRecord>(&consumed.record.value.unwrap()).unwrap());
        read.map(|record| Delta::try_from(record).unwrap()).collect()
    }

    /// The guard said what its counts imply, once, in every partition of the events.
    pub(crate) fn check_guard(&self) {
        let settings = Policy::parse(1, &guarded()).unwrap();
        let mut expected = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let mut memory = Memory::default();
            for consumed in self.log.records(topics::STATISTICS, partition) {
                let record: Statistics = decode(&consumed.record.value.unwrap()).unwrap();
                assert_eq!(record.policy, 1);
                memory.policy = 1;
                for (group, found) in memory.fold(consumed.position.number(), &record, &settings.incidents, None) {
                    let (from, to) = (found.from.as_micros(), found.to.as_micros());
                    expected.insert((group.to_string(), found.revision, from, to, found.is_over));
                }
            }
        }
        for partition in 0..PARTITIONS {
            let verdicts = self.verdicts(partition);
            let said: BTreeSet<_> = verdicts
                .iter()
                .filter(|verdict| verdict.revision > 0)
                .map(|verdict| {
                    (
                        verdict.group.clone(),
                        u32::try_from(verdict.revision).unwrap(),
                        verdict.from,
                        verdict.to,
                        verdict.is_over,
                    )
                })
                .collect();
            assert_eq!(said, expected, "partition {partition}");
            assert_eq!(verdicts.iter().filter(|verdict| verdict.revision > 0).count(), said.len(), "none twice");
        }
    }
}

/// Lets a stage take some steps, or die between any two; the next one begins anew.
pub(crate) fn turn<T: Stage>(
    runtime: &tokio::runtime::Runtime,
    log: &MemoryLog,
    running: &mut Running<T>,
    (group, topic): (&str, &str),
    (n, dies): (u64, bool),
    new: impl FnOnce() -> T,
) -> u32 {
    let limits = Limits { records_max: 200, bytes_max: 1 << 20, wait: Duration::ZERO };
    let options =
        RunnerOptions { backoff_first: Duration::ZERO, backoff_max: Duration::ZERO, ..RunnerOptions::new(limits) };
    let mut runner = running.take().unwrap_or_else(|| Runner::new(log.join(group, topic).unwrap(), new(), options));
    for _ in 0..n {
        match runtime.block_on(runner.step()).unwrap() {
            RunnerEvent::Nothing if !dies => break,
            _ => {}
        }
        // In the middle of a batch rather than between two.
        if dies && matches!(runner.phase(), PhaseName::Process | PhaseName::Commit) {
            let (session, _) = runner.into_parts();
            log.expel(session.crash());
            return 1;
        }
    }
    *running = Some(runner);
    0
}
