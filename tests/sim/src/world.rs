//! The world: everything there is, and the one scheduler that decides who goes next.

use crate::{
    Bug, Invariant, Red, Scenario, Seen,
    act::{DAY, Item, LATE_DAYS, Outside, day},
    oracle::{Judge, NORMALIZERS, PARTITIONS, SUPPRESSORS},
    plant::Plant,
    provider::{LANES, Lanes},
    seams::{SimAppend, SimSession},
    weather::SimWeather,
    worker::{Role, SimSuppressor, Worker},
};
use domain::{RecipientKey, Ruling, Timestamp};
use event_log::{
    Fatal, Position, RunnerEvent, TopicSpec,
    memory::{MemberId, MemoryLog, NoFaults, SeededFaults, SplitMix64},
};
use normalizer::{Nobody, Normalizer};
use schemas::topics;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use suppressor::{
    Policy,
    jobs::{
        JobError,
        erasure::Erasures,
        expiry::Expiry,
        incidents::{self, Sweeps},
        reconsider, unengaged,
    },
    stage::NoMetrics,
    store::memory::MemoryStore,
};

const HISTORY_MAX: usize = 400;
/// Polls within which a lane is done with what it has.
const STEPS_TO_REST_MAX: u32 = 10_000;

/// One of each kind runs at a time, as in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    Expiry,
    Unengaged,
    ApplyPolicy,
    Sweep,
    Rule,
    SweepIncidents,
    Forget,
}

type JobFuture = Pin<Box<dyn Future<Output = Result<usize, JobError>> + Send>>;

/// See the module.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) random: SplitMix64,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) logs: Vec<MemoryLog>,
    pub(crate) memory: MemoryStore,
    pub(crate) store: Plant,
    pub(crate) weather: SimWeather,
    pub(crate) workers: Vec<Worker>,
    /// Dead, and the group has not noticed.
    pub(crate) unburied: Vec<MemberId>,
    /// With whether it began in calm weather.
    pub(crate) jobs: Vec<(JobKind, bool, JobFuture)>,
    pub(crate) lanes: Option<Lanes>,
    pub(crate) outside: Outside,
    /// To be sent again: the sender was not told that it worked.
    pub(crate) outbox: Vec<Item>,
    pub(crate) acknowledged: BTreeSet<String>,
    pub(crate) tick: u64,
    pub(crate) seen: Seen,
    pub(crate) is_calm: bool,
    /// The last sweep over incidents found nothing left to do.
    pub(crate) are_swept: bool,
    expiry: Arc<Mutex<Option<Expiry>>>,
    n_workers: u64,
    /// Lanes have begun.
    pub(crate) have_lanes: bool,
    pub(crate) group: String,
    history: Option<VecDeque<String>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, is_told: bool) -> Self {
        let weather = SimWeather::new(scenario.seed ^ 0x3ea7);
        let memory = MemoryStore::new(Arc::new(weather.clone()), scenario.sync_window);
        let clock = Arc::new(AtomicI64::new(day(14).as_micros()));
        let mut world = Self {
            random: SplitMix64::new(scenario.seed),
            store: Plant::new(memory.clone(), scenario.bug, Arc::clone(&clock)),
            lanes: (scenario.lanes > 0).then(|| Lanes::new(scenario.seed, Arc::clone(&clock))),
            outside: Outside::new(&scenario),
            clock,
            memory,
            weather,
            scenario,
            logs: Vec::new(),
            workers: Vec::new(),
            unburied: Vec::new(),
            jobs: Vec::new(),
            outbox: Vec::new(),
            acknowledged: BTreeSet::new(),
            tick: 0,
            seen: Seen::default(),
            is_calm: false,
            are_swept: false,
            expiry: Arc::default(),
            n_workers: 0,
            have_lanes: false,
            group: SUPPRESSORS.to_owned(),
            history: is_told.then(VecDeque::new),
        };
        world.push_log();
        world
    }

    /// Runs to the end, and judges.
    pub(crate) fn run(&mut self) -> Result<Seen, Red> {
        let mut acts_left = self.scenario.n_acts;
        let check_every = 1 + u64::from(acts_left) / 3;
        while acts_left > 0 {
            self.tick += 1;
            self.have_lanes |= acts_left <= self.scenario.lanes;
            match self.random.below(100) {
                0..=11 => {
                    self.act();
                    acts_left -= 1;
                    if u64::from(acts_left).is_multiple_of(check_every) {
                        self.check_outputs()?;
                    }
                }
                12..=15 => self.misfortune()?,
                _ => self.schedule()?,
            }
        }
        self.settle()?;
        self.seen.n_polls = self.tick;
        Ok(self.seen)
    }

    pub(crate) fn history(&mut self) -> Vec<String> {
        self.history.take().map(Vec::from).unwrap_or_default()
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let tick = self.tick;
        if let Some(history) = &mut self.history {
            if history.len() >= HISTORY_MAX {
                history.pop_front();
            }
            history.push_back(format!("{tick:>6} {}", line()));
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    #[expect(clippy::expect_used, reason = "a world begins with a log")]
    pub(crate) fn log(&self) -> MemoryLog {
        self.logs.last().expect("a log").clone()
    }

    pub(crate) fn judge(&self) -> Judge<'_> {
        Judge { logs: &self.logs, n_partitions: self.scenario.n_partitions, group: &self.group }
    }

    /// What was committed so far implies exactly the deltas there are.
    pub(crate) fn check_outputs(&self) -> Result<(), Red> {
        if self.scenario.bug == Bug::GroupLost {
            // Nobody can tell any more what was committed.
            return Ok(());
        }
        let fold = self.judge().fold()?;
        self.judge().deltas(&fold).map(|_| ())
    }

    fn chance(&mut self, per_cent: u64) -> bool {
        self.random.below(100) < per_cent
    }

    /// Something happens outside.
    fn act(&mut self) {
        let passed = i64::try_from(self.random.below(6)).unwrap_or(0) * 3_600;
        self.pass(passed);
        let now = self.now();
        let drawn = self.random.below(100);
        match drawn {
            0..=4 if self.scenario.erasures => {
                let (item, key) = self.outside.erase(now);
                self.outbox.retain(|item| !matches!(item, Item::Event(event) if event.key() == key));
                self.send(item);
            }
            94..=97 if self.scenario.erasures => self.begin(JobKind::Forget),
            5..=14 if self.scenario.time => self.begin(JobKind::Expiry),
            15..=17 if self.scenario.time => self.begin(JobKind::Unengaged),
            18..=23 if self.scenario.time => self.pass(DAY * (1 + drawn as i64 % 7)),
            24..=27 if self.scenario.policies => self.begin(JobKind::ApplyPolicy),
            28..=32 if self.scenario.policies => self.begin(JobKind::Sweep),
            33..=40 => {
                let item = self.act_by_hand(now);
                self.send(item);
            }
            41..=55 if !self.outbox.is_empty() => {
                let at = self.random.below(self.outbox.len() as u64) as usize;
                let item = self.outbox.swap_remove(at);
                self.send(item);
            }
            // Months later bounces of an incident may still be told, and then there is the next.
            56 | 57 if self.scenario.incidents => {
                let days = LATE_DAYS + i64::try_from(self.random.below(30)).unwrap_or(0);
                self.pass(DAY * days);
            }
            58..=61 if self.scenario.incidents => {
                for item in self.outside.incident(now, self.scenario.n_partitions) {
                    self.send(item);
                }
            }
            62..=65 if self.scenario.incidents => self.begin(JobKind::Rule),
            66..=71 if self.scenario.incidents => self.begin(JobKind::SweepIncidents),
            _ => {
                let item = self.outside.tell(now);
                self.send(item);
            }
        }
    }

    fn act_by_hand(&mut self, now: Timestamp) -> Item {
        let fold = self.judge().fold().unwrap_or_default();
        let newest = |key: &RecipientKey| {
            let rows = fold.recipients.get(key).map(|folded| folded.rows.as_slice()).unwrap_or_default();
            rows.iter().map(suppressor::Evidence::effective_at).max().unwrap_or(now)
        };
        self.outside.by_hand(now, newest)
    }

    /// Appends; what is not told to have worked is sent again later.
    pub(crate) fn send(&mut self, item: Item) {
        let now = self.now();
        let topic = if matches!(item, Item::Webhook(_)) { topics::RAW } else { topics::EVENTS };
        let Ok((record, receipt)) = self.outside.record(&item, now) else { return };
        let partition = if let Item::Incident(partition, _) = &item { Some(*partition) } else { None };
        let result = self.log().append_now(topic, partition, record);
        self.tell(|| format!("send {item:?} -> {result:?}"));
        match result {
            Ok(_) => self.acknowledged.extend(receipt),
            Err(_) => self.outbox.push(item),
        }
    }

    /// Starts a job, unless one of its kind is under way.
    pub(crate) fn begin(&mut self, kind: JobKind) {
        if self.jobs.iter().any(|(running, ..)| *running == kind) {
            return;
        }
        self.tell(|| format!("begin {kind:?}"));
        let store = self.store.for_process();
        let log = SimAppend { log: self.log(), bug: self.scenario.bug };
        let browse = self.log();
        let now = self.now();
        let expiry = Arc::clone(&self.expiry);
        let document = self.document();
        let drawn = self.random.below(64);
        self.jobs.push((
            kind,
            self.is_calm,
            match kind {
                JobKind::Expiry => Box::pin(async move {
                    let kept = expiry.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let mut scanner = kept.unwrap_or_default();
                    let result = scanner.run(&store, &log, now).await;
                    *expiry.lock().unwrap_or_else(PoisonError::into_inner) = Some(scanner);
                    result
                }),
                JobKind::Unengaged => Box::pin(async move {
                    unengaged::begin(&store, now).await?;
                    unengaged::step(&store, &log, 5).await.map(|progress| progress.found)
                }),
                JobKind::ApplyPolicy => {
                    Box::pin(
                        async move { reconsider::apply(&store, &log, &document, now, "jo").await.map(|v| v as usize) },
                    )
                }
                JobKind::Rule => Box::pin(async move {
                    let known: Vec<_> = incidents::known(&store).await?.into_keys().collect();
                    let Some(id) = known.get(drawn as usize % known.len().max(1)) else { return Ok(0) };
                    let ruling = if drawn.is_multiple_of(3) { Ruling::Confirmed } else { Ruling::Undone };
                    incidents::rule(&store, &log, *id, ruling, now, ("jo", "looked")).await.map(|_| 1)
                }),
                JobKind::SweepIncidents => Box::pin(async move {
                    let swept = Sweeps::default().step(&store, &log, now).await?;
                    Ok(usize::from(!swept.over))
                }),
                JobKind::Forget => Box::pin(async move { Erasures::default().step(&store, &log, &browse, now).await }),
                JobKind::Sweep => {
                    Box::pin(async move { reconsider::sweep(&store, &log, now).await.map(|(count, _)| count) })
                }
            },
        ));
    }

    /// One of a few policies.
    fn document(&mut self) -> String {
        let document = Policy::built_in().document;
        match self.random.below(4) {
            0 => document.replace("first_days = 7", "first_days = 3"),
            1 => document.replace("for_good_after = 5", "for_good_after = 1"),
            2 => document.replace("scope = \"non_critical\"", "scope = \"all\""),
            _ => document,
        }
    }

    /// Lets one worker or job go on.
    fn schedule(&mut self) -> Result<(), Red> {
        self.replace_dead();
        let n = self.workers.len() + self.jobs.len();
        let chosen = self.random.below(n as u64) as usize;
        match chosen.checked_sub(self.workers.len()) {
            Some(job) => self.poll_job(job).map(|_| ()),
            None if self.workers[chosen].stalled_until > self.tick => Ok(()),
            None => self.poll_worker(chosen),
        }
    }

    pub(crate) fn poll_worker(&mut self, at: usize) -> Result<(), Red> {
        let ended = match &self.lanes {
            Some(lanes) if self.workers[at].role == Role::Syncer => {
                lanes.pass(Duration::from_millis(self.random.below(2_000)));
                let _timers = lanes.enter();
                self.workers[at].poll()
            }
            _ => self.workers[at].poll(),
        };
        let (id, role) = (self.workers[at].id, self.workers[at].role);
        for event in self.workers[at].told() {
            self.seen.n_rewinds += u64::from(matches!(event, RunnerEvent::Rewound { .. }));
            self.seen.n_bootstraps += u64::from(matches!(event, RunnerEvent::Prepared(_)));
            if !matches!(event, RunnerEvent::Nothing | RunnerEvent::Waited) {
                self.tell(|| format!("{role:?} {id}: {event:?}"));
            }
        }
        let Some(fatal) = ended else { return Ok(()) };
        self.tell(|| format!("{role:?} {id} ended: {fatal}"));
        let worker = self.workers.swap_remove(at);
        self.bury(worker);
        match fatal {
            Fatal::Session(_) | Fatal::Commit(_) => Ok(()),
            // It was told of its partition before another owner's first commit.
            Fatal::Stage(why) if why.contains("no committed position") && self.is_committed() => Ok(()),
            other => Err(Red::new(Invariant::Broken, format!("{role:?} {id}: {other}"))),
        }
    }

    fn is_committed(&self) -> bool {
        let committed = |partition| self.log().committed_offset(&self.group, topics::EVENTS, partition);
        (0..self.scenario.n_partitions).any(|partition| committed(partition).is_some())
    }

    pub(crate) fn poll_job(&mut self, at: usize) -> Result<bool, Red> {
        let (kind, is_calm) = (self.jobs[at].0, self.jobs[at].1);
        let Poll::Ready(result) = self.jobs[at].2.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            return Ok(false);
        };
        drop(self.jobs.swap_remove(at));
        self.tell(|| format!("{kind:?} did {result:?}"));
        match (kind, result) {
            (JobKind::Expiry, Ok(count)) => self.seen.n_expired += count as u64,
            (JobKind::ApplyPolicy, Ok(_)) => self.seen.n_policies += 1,
            (JobKind::SweepIncidents, Ok(left)) => self.are_swept = left == 0,
            (_, Err(error)) if is_calm => {
                return Err(Red::new(Invariant::Broken, format!("{kind:?} failed in calm weather: {error}")));
            }
            _ => {}
        }
        Ok(true)
    }

    /// Something goes wrong.
    fn misfortune(&mut self) -> Result<(), Red> {
        let drawn = self.random.below(100);
        match drawn {
            0..=24 if self.scenario.crashes && !self.workers.is_empty() => {
                let at = self.random.below(self.workers.len() as u64) as usize;
                let worker = self.workers.swap_remove(at);
                self.bury(worker);
            }
            25..=30 if self.scenario.crashes && !self.jobs.is_empty() => {
                let at = self.random.below(self.jobs.len() as u64) as usize;
                let (kind, ..) = self.jobs.swap_remove(at);
                self.tell(|| format!("{kind:?} dies"));
            }
            31..=45 if self.scenario.zombies && !self.workers.is_empty() => {
                let at = self.random.below(self.workers.len() as u64) as usize;
                if self.workers[at].role == Role::Syncer {
                    // Nothing fences a call that is under way: who tells a provider is out only once it is dead.
                    return Ok(());
                }
                let (id, member, stall) = (self.workers[at].id, self.workers[at].member, self.random.below(400));
                self.workers[at].stalled_until = self.tick + stall;
                self.log().expel(member);
                self.seen.n_zombies += 1;
                self.tell(|| format!("worker {id} expelled, stalls {stall}"));
            }
            46..=55 if self.scenario.zombies && self.workers.len() < 6 => self.spawn(Role::Suppressor),
            56..=80 => {
                if let Some(member) = self.unburied.pop() {
                    self.log().expel(member);
                    self.tell(|| format!("{member:?} noticed as dead"));
                }
            }
            81..=86 if self.scenario.sync_window > 0 => self.lose_tail(),
            90..=95 if self.have_lanes => self.add_lane()?,
            87..=89 if self.logs.len() <= self.scenario.new_logs as usize => self.replace_log()?,
            _ => {}
        }
        Ok(())
    }

    fn bury(&mut self, worker: Worker) {
        let (id, role) = (worker.id, worker.role);
        self.seen.n_crashes += 1;
        let member = worker.kill();
        self.tell(|| format!("{role:?} {id} dies"));
        self.unburied.push(member);
    }

    /// Everyone dies and is noticed.
    pub(crate) fn end_all(&mut self) {
        while let Some(worker) = self.workers.pop() {
            self.bury(worker);
        }
        self.jobs.clear();
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for member in std::mem::take(&mut self.unburied) {
            self.log().expel(member);
        }
    }

    /// The store loses what it had not synced; every process dies with it.
    fn lose_tail(&mut self) {
        self.end_all();
        let epoch = self.log().epoch();
        let committed = self.log().committed_offset(&self.group, topics::EVENTS, 0).unwrap_or(0);
        let offset = committed.saturating_sub(self.scenario.sync_window);
        let floor = Position { epoch, partition: 0, offset }.number();
        let writes = 1 + self.random.below(12) as usize;
        self.memory.lose_newest(writes, floor);
        self.seen.n_losses += 1;
        self.tell(|| format!("the store loses up to {writes} writes at or above {floor}"));
    }

    /// A new log takes over from the old one, once that is drained; some of what it had done comes again.
    fn replace_log(&mut self) -> Result<(), Red> {
        self.end_all();
        if matches!(self.scenario.bug, Bug::R4FromZero | Bug::GroupLost) {
            self.group = format!("{SUPPRESSORS}-{}", self.logs.len());
            self.scenario.new_logs = 0;
            self.tell(|| "the group's positions are lost".to_owned());
            return Ok(());
        }
        let old = self.log();
        self.calm();
        self.drain()?;
        self.end_all();
        self.is_calm = false;
        let mut moved = Vec::new();
        for (group, topic, n_partitions) in
            [(NORMALIZERS, topics::RAW, PARTITIONS), (SUPPRESSORS, topics::EVENTS, self.scenario.n_partitions)]
        {
            for partition in 0..n_partitions {
                let done = old.committed_offset(group, topic, partition).unwrap_or(0);
                for consumed in old.records(topic, partition) {
                    if consumed.position.offset >= done || self.chance(25) {
                        moved.push((topic, partition, consumed.record));
                    }
                }
            }
        }
        // As `quell import --state` does: what is in force lies in the new log's `state` from the first.
        for partition in 0..self.scenario.n_partitions {
            let newest: BTreeMap<_, _> = old
                .records(topics::STATE, partition)
                .into_iter()
                .map(|consumed| (consumed.record.key.clone(), consumed.record))
                .collect();
            let in_force = newest.into_values().filter(|record| record.value.is_some());
            moved.extend(in_force.map(|record| (topics::STATE, partition, record)));
        }
        self.push_log();
        let log = self.log();
        log.set_faults(NoFaults);
        self.tell(|| format!("a new log takes over {} records", moved.len()));
        for (topic, partition, record) in moved {
            // Nothing fails here.
            let _ = log.append_now(topic, Some(partition), record);
        }
        self.set_faults();
        self.seen.n_logs += 1;
        Ok(())
    }

    fn push_log(&mut self) {
        let spec = |topic: topics::Topic| TopicSpec {
            name: topic.name.into(),
            // Those that go by recipient have one count.
            partitions: match topic.name {
                topics::EVENTS | topics::DELTAS | topics::STATE => self.scenario.n_partitions,
                _ => PARTITIONS,
            },
            retention_ms: topic.retention_ms,
        };
        let specs: Vec<TopicSpec> = topics::all().into_iter().map(spec).collect();
        let log = MemoryLog::new(&specs);
        if self.scenario.bug != Bug::R3SameEpoch {
            for _ in 0..self.logs.len() {
                let _ = log.raise_epoch();
            }
        }
        self.logs.push(log);
        self.set_faults();
    }

    fn set_faults(&self) {
        let seed = self.scenario.seed ^ 0xfa17 ^ self.logs.len() as u64;
        self.log().set_faults(SeededFaults::new(seed, self.scenario.rates()));
        self.weather.set(if self.scenario.store_faults { 15 } else { 0 }, 400);
        self.lanes.iter().for_each(|lanes| lanes.set(25));
    }

    /// There is always somebody of each stage.
    pub(crate) fn replace_dead(&mut self) {
        for (role, is_wanted) in
            [(Role::Normalizer, self.scenario.raw), (Role::Suppressor, true), (Role::Syncer, self.have_lanes)]
        {
            if is_wanted && !self.workers.iter().any(|worker| worker.role == role) {
                self.spawn(role);
            }
        }
    }

    /// Another process tells the provider too. Partitions move only when their owners look, as they do with a group that
    /// is cooperative.
    fn add_lane(&mut self) -> Result<(), Red> {
        if self.workers.iter().filter(|worker| worker.role == Role::Syncer).count() > 2 {
            return Ok(());
        }
        for _ in 0..STEPS_TO_REST_MAX {
            let busy = |worker: &Worker| worker.role == Role::Syncer && !worker.is_at_rest();
            let Some(at) = self.workers.iter().position(busy) else {
                self.spawn(Role::Syncer);
                return Ok(());
            };
            self.poll_worker(at)?;
        }
        Err(Red::new(Invariant::Progress, "a lane never comes to rest"))
    }

    fn spawn(&mut self, role: Role) {
        let (group, topic) = match role {
            Role::Normalizer => (NORMALIZERS, topics::RAW),
            Role::Suppressor => (self.group.as_str(), topics::EVENTS),
            Role::Syncer => (LANES, topics::DELTAS),
        };
        let Ok(session) = self.log().join(group, topic).map(SimSession::new) else { return };
        self.n_workers += 1;
        let (id, batch_max) = (self.n_workers, self.scenario.batch_max);
        let lane = self.lanes.as_ref().map(|lanes| lanes.lane(self.log(), self.scenario.bug));
        self.workers.push(match (role, lane) {
            (Role::Normalizer, _) => Worker::new(id, role, session, Normalizer::new(Arc::new(Nobody)), batch_max),
            (Role::Syncer, Some(lane)) => Worker::new(id, role, session, lane, batch_max),
            (Role::Suppressor | Role::Syncer, _) => {
                let stage: SimSuppressor = SimSuppressor::new(self.store.for_lookups(), Arc::new(NoMetrics));
                Worker::new(id, role, session, stage, batch_max)
            }
        });
        self.tell(|| format!("{role:?} {id} starts"));
    }
}

/// One of them.
pub(crate) fn pick<'a, T>(random: &mut SplitMix64, of: &'a [T]) -> &'a T {
    &of[random.below(of.len() as u64) as usize]
}
