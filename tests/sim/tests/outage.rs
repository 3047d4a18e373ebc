//! The incident guard in a world of senders: a large mailbox provider refuses valid recipients for hours, as one did in
//! December 2020; and weeks in which nothing of the kind happens. Production stages and jobs over a log and a store in
//! memory, killed and expelled at random; what the guard says must be what its counts imply, however often it died.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

use domain::{
    Attribution, CanonicalEvent, Change, Delta, EventId, Failure, FailureClass, Group, Kind, Recipient, RecipientKey,
    Ruling, Scope, Tenant, Timestamp, event::RULES_REVISION, incident::incident_id,
};
use event_log::{
    Browse as _, Limits, PhaseName, Record, Runner, RunnerEvent, RunnerOptions, Stage, TopicSpec,
    memory::{MemoryLog, MemorySession, SplitMix64},
};
use schemas::{
    decode, encode, topics,
    wire::{DeltaRecord, EventRecord, IncidentVerdict, Statistics},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use suppressor::{
    Policy, Store as _, Suppressor,
    guard::{Guard, NoGuardMetrics, memory::Memory},
    jobs::{
        expiry::Expiry,
        incidents::{self, Sweeps},
        reconsider,
    },
    stage::NoMetrics,
    store::memory::MemoryStore,
};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// A step of the world: of traffic, and of everything that runs.
const STEP: i64 = 600;
const STEPS_A_DAY: u64 = (DAY / STEP) as u64;
const PARTITIONS: u32 = 2;
/// 2020-12-10.
const START: i64 = 1_607_558_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(START + seconds).unwrap()
}

fn key(address: &str) -> RecipientKey {
    RecipientKey { tenant: Tenant::default(), recipient: Recipient::email(address).unwrap() }
}

/// The policy of a smaller sender than the default is made for.
fn guarded() -> String {
    Policy::built_in().document.replace("minimum = 25", "minimum = 5")
}

type Running<T> = Option<Runner<MemorySession, T>>;

/// Log, store, stages and jobs.
struct World {
    log: MemoryLog,
    store: MemoryStore,
    runtime: tokio::runtime::Runtime,
    suppressor: Running<Suppressor<MemoryStore>>,
    guard: Running<Guard<MemoryStore>>,
    expiry: Expiry,
    sweeps: Sweeps,
    random: SplitMix64,
    /// In a thousand steps of a runner it dies.
    dies: u64,
    n_deaths: u32,
    n_events: u64,
    now: i64,
}

impl World {
    fn new(seed: u64, dies: u64, document: &str) -> Self {
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

    fn tell(&mut self, address: &str, kind: Kind, seconds: i64) {
        self.n_events += 1;
        let key = key(address);
        let failure = (kind == Kind::BouncedHard).then(|| Failure {
            attribution: Attribution::Recipient,
            class: FailureClass::UnknownRecipient,
            smtp_code: Some(550),
            enhanced_status: Some("5.1.1".to_owned()),
            provider_code: None,
            attempt: None,
            diagnostic: None,
            rule: "code.5.1.1".to_owned(),
        });
        let event = CanonicalEvent {
            event_id: EventId::derive(&["outage", &self.n_events.to_string()]),
            tenant: key.tenant.clone(),
            channel: key.recipient.channel(),
            address: address.to_owned(),
            recipient: key.recipient.clone(),
            kind,
            provider_kind: kind.as_str().to_owned(),
            occurred_at: at(seconds),
            received_at: at(seconds + 2),
            rules: RULES_REVISION,
            provider: "sendgrid".to_owned(),
            source: "default".to_owned(),
            message_id: None,
            campaign: None,
            categories: Vec::new(),
            failure,
            scope: None,
            machine: false,
            echo: false,
            metadata: BTreeMap::new(),
            receipt_id: "r".to_owned(),
        };
        let record = Record {
            key: Some(key.to_log_key().into()),
            value: Some(encode(&EventRecord::from(event)).unwrap()),
            headers: Vec::new(),
            timestamp_ms: at(seconds + 2).as_millis(),
        };
        self.log.append_now(topics::EVENTS, None, record).unwrap();
    }

    fn is_stopped(&self, address: &str, now: i64) -> bool {
        let rows = self.runtime.block_on(self.store.in_force(&[key(address)])).unwrap();
        let row = rows.into_iter().flatten().next();
        row.is_some_and(|row| row.decision.causes().iter().any(|cause| cause.until.is_none_or(|end| end > at(now))))
    }

    /// Everything that was told is processed, every end that passed is told of, every sweep goes on.
    fn settle(&mut self) {
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

    fn drain(&mut self) {
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

    fn is_drained(&self) -> bool {
        [("s", topics::EVENTS), ("g", topics::STATISTICS)].into_iter().all(|(group, topic)| {
            (0..PARTITIONS).all(|partition| {
                let (_, end) = self.runtime.block_on(self.log.range(topic, partition)).unwrap();
                self.log.committed_offset(group, topic, partition).unwrap_or(0) >= end
            })
        })
    }

    /// Verdicts of the guard, as each partition of the events has them.
    fn verdicts(&self, partition: u32) -> Vec<IncidentVerdict> {
        let records = self.log.records(topics::EVENTS, partition).into_iter();
        records.filter_map(|consumed| decode(&consumed.record.value.unwrap()).ok()).collect()
    }

    fn deltas(&self) -> Vec<Delta> {
        let records = (0..PARTITIONS).flat_map(|partition| self.log.records(topics::DELTAS, partition));
        let read = records.map(|consumed| decode::<DeltaRecord>(&consumed.record.value.unwrap()).unwrap());
        read.map(|record| Delta::try_from(record).unwrap()).collect()
    }

    /// The guard said what its counts imply, once, in every partition of the events.
    fn check_guard(&self) {
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
fn turn<T: Stage>(
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

/// Who is written to once a day.
#[derive(Debug, Clone)]
struct Person {
    address: String,
    reads: bool,
    /// The mailbox is gone from then on.
    dead_from: Option<i64>,
}

fn people(domain: &str, n: usize) -> Vec<Person> {
    let person = |n| Person { address: format!("p{n}@{domain}"), reads: true, dead_from: None };
    (0..n).map(person).collect()
}

/// A sender who asks before it sends. `refuses` says which living recipient is refused.
fn send(world: &mut World, people: &[Person], seconds: i64, refuses: impl Fn(&str, i64) -> bool) {
    for person in people {
        if world.is_stopped(&person.address, seconds) {
            continue;
        }
        let is_dead = person.dead_from.is_some_and(|from| from <= seconds);
        if is_dead || refuses(&person.address, seconds) {
            world.tell(&person.address, Kind::BouncedHard, seconds);
        } else {
            world.tell(&person.address, Kind::Delivered, seconds);
            if person.reads && world.random.below(2) == 0 {
                world.tell(&person.address, Kind::Opened, seconds + 60);
            }
        }
    }
}

/// Days of mail: each step a share of the people.
fn days(world: &mut World, people: &[Person], days: std::ops::Range<i64>, refuses: impl Fn(&str, i64) -> bool) {
    for step in days.start * STEPS_A_DAY as i64..days.end * STEPS_A_DAY as i64 {
        let seconds = step * STEP;
        world.now = seconds + STEP;
        let turn = step.rem_euclid(STEPS_A_DAY as i64) as usize;
        let share: Vec<Person> = people
            .iter()
            .enumerate()
            .filter(|(n, _)| n % STEPS_A_DAY as usize == turn)
            .map(|(_, p)| p.clone())
            .collect();
        send(world, &share, seconds, &refuses);
        world.settle();
    }
}

/// The third day, 11:38 to 15:58: every tenth of the valid recipients of one domain is refused.
const OUTAGE: std::ops::Range<i64> = (2 * DAY + 11 * HOUR)..(2 * DAY + 16 * HOUR);

fn outage(seed: u64, dies: u64, document: &str) -> (World, Vec<Person>) {
    let mut people = [people("gmail.example", 2_880), people("other.example", 576)].concat();
    for (n, person) in people.iter_mut().enumerate() {
        // Some really die, of both domains, in the outage and before.
        person.dead_from = match n % 101 {
            50 => Some(OUTAGE.start),
            51 => Some(DAY / 2),
            _ => None,
        };
        person.reads = !n.is_multiple_of(7);
    }
    let mut world = World::new(seed, dies, document);
    let refused = |address: &str, seconds: i64| {
        let number: u64 = address.trim_start_matches('p').split('@').next().unwrap().parse().unwrap();
        OUTAGE.contains(&seconds) && address.ends_with("@gmail.example") && (number / STEPS_A_DAY).is_multiple_of(10)
    };
    days(&mut world, &people, 0..11, refused);
    (world, people)
}

fn check_outage(world: &World, people: &[Person]) {
    world.check_guard();
    let known = world.runtime.block_on(incidents::known(&world.store)).unwrap();
    let groups: Vec<String> = known.values().map(|incident| incident.group.to_string()).collect();
    assert!(groups.contains(&"mailbox:gmail.example".to_owned()), "{groups:?}");
    assert!(!groups.contains(&"mailbox:other.example".to_owned()), "{groups:?}");
    let incident = known.values().find(|incident| incident.group.to_string() == "mailbox:gmail.example").unwrap();
    assert!(incident.from <= at(OUTAGE.start) && incident.from >= at(OUTAGE.start - HOUR), "{}", incident.from);
    assert!(incident.is_over && incident.to >= at(OUTAGE.end - STEP) && incident.to <= at(OUTAGE.end + 2 * HOUR));

    // Refused in the outage, and written to again since: all are free.
    let end = 11 * DAY;
    let (mut n_living, mut n_stopped, mut n_dead, mut n_confirmed) = (0, 0, 0, 0);
    for person in people {
        let is_stopped = world.is_stopped(&person.address, end);
        match person.dead_from {
            None => (n_living, n_stopped) = (n_living + 1, n_stopped + u32::from(is_stopped)),
            Some(_) => (n_dead, n_confirmed) = (n_dead + 1, n_confirmed + u32::from(is_stopped)),
        }
    }
    assert!(n_stopped * 1_000 < n_living, "{n_stopped} of {n_living} living are still suppressed");
    assert_eq!(n_confirmed, n_dead, "every dead address is known");
    // A second bounce made them so, and they are for good.
    let deltas = world.deltas();
    let held: BTreeSet<&RecipientKey> =
        deltas.iter().filter(|delta| delta.provisional == [Scope::All]).map(|delta| &delta.key).collect();
    assert!(held.len() > 20, "{}", held.len());
    let told_at_once = deltas.iter().filter(|delta| {
        let is_in = delta.decided_at >= at(OUTAGE.start) && delta.decided_at <= at(OUTAGE.end);
        is_in
            && delta.change == Change::Suppressed
            && delta.provisional.is_empty()
            && delta.key.recipient.domain() == Some("gmail.example")
    });
    let (n_told, n_held) = (told_at_once.count(), held.len());
    assert!(n_told * 3 < n_held, "{n_told} were told to providers before it was found, {n_held} held");
    for person in people.iter().filter(|person| person.dead_from == Some(OUTAGE.start)) {
        let key = key(&person.address);
        let rows = world.runtime.block_on(world.store.in_force(std::slice::from_ref(&key))).unwrap();
        let row = rows.into_iter().flatten().next().unwrap();
        assert!(row.decision.causes().iter().all(|cause| cause.until.is_none() && !cause.is_provisional()), "{row:?}");
    }
}

#[test]
fn valid_recipients_come_back_and_dead_ones_are_confirmed() {
    let (world, people) = outage(1, 0, &guarded());
    check_outage(&world, &people);
    assert_eq!(world.n_deaths, 0);
}

/// What the guard is for.
#[test]
fn without_the_guard_readers_are_lost() {
    let (world, people) = outage(1, 0, &guarded().replace("enabled = true", "enabled = false"));
    let living = people.iter().filter(|person| person.dead_from.is_none());
    let n_lost = living.filter(|person| world.is_stopped(&person.address, 11 * DAY)).count();
    assert!(n_lost > 40, "{n_lost}");
    assert_eq!(
        (0..PARTITIONS).map(|partition| world.log.records(topics::STATISTICS, partition).len()).sum::<usize>(),
        0
    );
}

#[test]
fn stages_that_die_say_the_same() {
    let (world, people) = outage(2, 120, &guarded());
    check_outage(&world, &people);
    assert!(world.n_deaths > 50, "{}", world.n_deaths);
}

#[test]
fn a_quiet_week_and_a_campaign_to_an_old_list_are_no_incident() {
    let mut people = people("gmail.example", 720);
    // As everywhere, somebody dies every day.
    for (n, person) in people.iter_mut().enumerate().filter(|(n, _)| n.is_multiple_of(60)) {
        person.dead_from = Some(n as i64 * 600);
    }
    let mut world = World::new(3, 0, &guarded());
    days(&mut world, &people, 0..7, |_, _| false);
    assert_eq!(world.verdicts(0), []);
    // Addresses of years ago, of many domains: one in six is gone, and nobody reads.
    let domains = ["gmail.example", "yahoo.example", "web.example"];
    for step in 0..12 {
        let seconds = 7 * DAY + step * STEP;
        for n in 0..150_usize {
            let rare = format!("d{}.example", n % 50);
            let domain = if n.is_multiple_of(3) { rare.as_str() } else { domains[n / 3 % domains.len()] };
            let kind = if (n / 7).is_multiple_of(6) { Kind::BouncedHard } else { Kind::Delivered };
            world.tell(&format!("old-{step}-{n}@{domain}"), kind, seconds);
        }
        world.now = seconds + STEP;
        world.settle();
    }
    assert_eq!(world.verdicts(0), []);
    world.check_guard();
}

#[test]
fn an_operator_undoes_and_confirms_a_whole_incident() {
    let people = people("gmail.example", 1_440);
    let mut world = World::new(4, 20, &guarded());
    let refused = |_: &str, seconds: i64| OUTAGE.contains(&seconds);
    days(&mut world, &people, 0..3, refused);
    let stopped = |world: &World| people.iter().filter(|person| world.is_stopped(&person.address, 3 * DAY)).count();
    let n_held = stopped(&world);
    assert!(n_held > 200, "{n_held}");
    let known = world.runtime.block_on(incidents::known(&world.store)).unwrap();
    let mut rule = |ruling| {
        world.now += 60;
        for id in known.keys() {
            let ruled = incidents::rule(&world.store, &world.log, *id, ruling, at(world.now), ("jo", "looked"));
            world.runtime.block_on(ruled).unwrap().unwrap();
        }
        world.settle();
        let is_provisional = |delta: &&Delta| delta.decided_at >= at(world.now) && !delta.provisional.is_empty();
        assert_eq!(world.deltas().iter().filter(is_provisional).count(), 0);
        stopped(&world)
    };
    assert_eq!(rule(Ruling::Undone), 0);
    assert_eq!(rule(Ruling::Confirmed), n_held);
    assert_eq!(rule(Ruling::Undone), 0);
    world.check_guard();
}

/// What the guard says of one incident: it begins, goes on, and is over.
fn say(world: &World, group: &str, hours: std::ops::Range<i64>) -> EventId {
    let group: Group = group.parse().unwrap();
    let incident = incident_id(&group, at(hours.start * HOUR));
    for revision in 1..=(hours.end - hours.start) {
        let to = hours.start + revision;
        let verdict = IncidentVerdict {
            incident: incident.to_string(),
            group: group.to_string(),
            from: at(hours.start * HOUR).as_micros(),
            to: at(to * HOUR).as_micros(),
            revision: i32::try_from(revision).unwrap(),
            is_over: to == hours.end,
            ruling: Ruling::Held.as_str().to_owned(),
            policy: 1,
            bounced: 100,
            engaged: 50,
            decided_at: at(to * HOUR).as_micros(),
            decided_by: "guard".to_owned(),
            note: String::new(),
        };
        for partition in 0..PARTITIONS {
            let (key, value) = (None, Some(encode(&verdict).unwrap()));
            let record = Record { key, value, headers: Vec::new(), timestamp_ms: at(to * HOUR).as_millis() };
            world.log.append_now(topics::EVENTS, Some(partition), record).unwrap();
        }
    }
    incident
}

/// Three years with an incident every fifth day, each ruled on: what is kept of them is bounded by half a year.
#[test]
fn years_of_incidents_leave_rows_of_half_a_year() {
    let mut world = World::new(5, 100, &guarded());
    let (mut most, mut told) = (0, 0);
    let people: Vec<String> = (0..220).map(|n| format!("p{n}@gmail.example")).collect();
    for (n, address) in (0..).zip(&people) {
        let hour = n * 5 * 24;
        world.tell(address, Kind::BouncedHard, hour * HOUR + 60);
        let incident = say(&world, "mailbox:gmail.example", hour..hour + 6);
        told += 6;
        world.now = (hour + 7) * HOUR;
        world.settle();
        for ruling in [Ruling::Confirmed, Ruling::Undone, Ruling::Confirmed] {
            world.now += 60;
            let ruled = incidents::rule(&world.store, &world.log, incident, ruling, at(world.now), ("jo", ""));
            world.runtime.block_on(ruled).unwrap().unwrap();
            told += 1;
        }
        world.settle();
        let rows = world.runtime.block_on(world.store.incidents(0)).unwrap();
        most = most.max(rows.len());
        let note = world.runtime.block_on(world.store.note("incidents")).unwrap().unwrap();
        assert_eq!(note.lines().count(), world.runtime.block_on(incidents::known(&world.store)).unwrap().len());
    }
    // Of each in 180 days the newest verdict and ruling; of the newest two, and what came since the last verdict, all.
    let known = 180 / 5 + 1;
    assert!(most <= known * 2 + 3 * 9, "{most} rows of {told} that were told");
    assert!(most >= known * 2 && told > 1_900, "{most} of {told}");
    for partition in 0..PARTITIONS {
        let rows = world.runtime.block_on(world.store.incidents(partition)).unwrap();
        assert!(rows.len() <= most, "{} in partition {partition}", rows.len());
    }
    assert!(world.n_deaths > 50, "{}", world.n_deaths);

    // Each was confirmed, so all are stopped, and stay so: what was marked is not unmarked by what is forgotten.
    let stopped = people.iter().filter(|address| world.is_stopped(address, world.now));
    assert_eq!(stopped.count(), people.len());
    // A bounce of an incident that is known is told late, and one of an incident that is not.
    let last = (people.len() as i64 - 1) * 5 * 24 * HOUR;
    say(&world, "mailbox:gmail.example", last / HOUR + 24..last / HOUR + 30);
    world.settle();
    world.tell("late@gmail.example", Kind::BouncedHard, last + 25 * HOUR);
    world.tell("forgotten@gmail.example", Kind::BouncedHard, 60);
    world.settle();
    let held = |address: &str| {
        let rows = world.runtime.block_on(world.store.in_force(&[key(address)])).unwrap();
        rows.into_iter().flatten().next().unwrap().decision.causes()[0].is_provisional()
    };
    assert!(held("late@gmail.example") && !held("forgotten@gmail.example"));
}
