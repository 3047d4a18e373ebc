//! Partitions that begin from `state`: alone, among several instances of a lane, and moving in the middle of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{
    Limits, Record, RunnerEvent,
    memory::{MemoryLog, MemorySession},
    partition::partition_of,
    runner::{PhaseName, Runner, RunnerOptions},
};
use proptest::prelude::*;
use schemas::{
    encode, topics,
    wire::{StandingRecord, StateRecord},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use support::{DOMAIN, Direct, PROVIDERS, STREAM, config, fake_of, lane_on, record};
use syncer::Lane;
use testkit::{Fault, builders::delta, fake::FakeApi};

const PARTITIONS: u32 = 2;
const DELTAS_MS: u64 = 5_000;
const SCOPES: [(Scope, Reason, Kind); 2] =
    [(Scope::All, Reason::HardBounce, Kind::BouncedHard), (Scope::Marketing, Reason::Unsubscribe, Kind::Unsubscribed)];

type LaneRunner = Runner<MemorySession, Lane>;

/// What the suppressor writes, the provider, and instances of one account's lane.
struct World {
    provider: &'static str,
    log: MemoryLog,
    fake: FakeApi,
    in_force: BTreeMap<String, BTreeMap<Scope, Reason>>,
    position: u64,
    lanes: Vec<LaneRunner>,
}

impl World {
    fn new(provider: &'static str) -> Self {
        let (log, fake) = (support::log_keeping(DELTAS_MS), FakeApi::new(fake_of(provider)));
        Self { provider, log, fake, in_force: BTreeMap::new(), position: 0, lanes: Vec::new() }
    }

    /// A change as the suppressor decides it, if it is one.
    fn decide(&mut self, address: &str, scope: usize, is_on: bool) -> Option<Delta> {
        let (scope, reason, kind) = &SCOPES[scope];
        let mine = self.in_force.entry(address.to_owned()).or_default();
        let is_news = match is_on {
            true => mine.insert(scope.clone(), *reason).is_none(),
            false => mine.remove(scope).is_some(),
        };
        let now: Vec<(Scope, Reason)> = mine.iter().map(|(scope, reason)| (scope.clone(), *reason)).collect();
        let trigger = if is_on { ("drip", *kind) } else { ("quell", Kind::ReleasedManually) };
        self.position += 1;
        is_news.then(|| delta(address, scope, &now, trigger, self.position))
    }

    /// A change, with its delta and its state in the recipient's partition.
    fn change(&mut self, address: &str, scope: usize, is_on: bool) {
        if let Some(delta) = self.decide(address, scope, is_on) {
            self.log.append_now(topics::DELTAS, None, record(&delta)).unwrap();
            put_state(&self.log, &delta);
        }
    }

    /// Every delta so far is kept no longer.
    fn expire(&mut self) {
        self.position += 60;
        let now = delta("a@example.com", &Scope::All, &[], ("quell", Kind::ReleasedManually), self.position).decided_at;
        self.log.enforce_retention(now.as_millis()).unwrap();
    }

    fn join(&mut self) {
        let lane = lane_on(&self.log, config(self.provider), Arc::new(Direct(self.fake.clone())));
        let session = self.log.join(&lane.account().group(), topics::DELTAS).unwrap();
        let limits = Limits { records_max: 5, bytes_max: 1 << 20, wait: Duration::ZERO };
        self.lanes.push(Runner::new(session, lane, RunnerOptions::new(limits)));
    }

    fn crash(&mut self, lane: usize) {
        let (session, _lane) = self.lanes.remove(lane).into_parts();
        self.log.expel(session.crash());
    }

    /// Whether partitions may move: a group waits until each member has answered, and none does while it works.
    fn may_move(&self) -> bool {
        self.lanes.iter().all(|lane| !matches!(lane.phase(), PhaseName::Process | PhaseName::Commit))
    }

    /// One step; the log in memory does not wait by itself.
    async fn step(&mut self, lane: usize) -> RunnerEvent {
        let event = self.lanes[lane].step().await.unwrap();
        if let RunnerEvent::Rewound { wait, .. } = event {
            tokio::time::sleep(wait).await;
        }
        event
    }

    /// Lets every lane run until there is nothing left to do.
    async fn settle(&mut self) {
        for _ in 0..20_000 {
            let mut is_idle = true;
            for lane in 0..self.lanes.len() {
                is_idle &= self.step(lane).await == RunnerEvent::Nothing;
            }
            if is_idle {
                return;
            }
        }
        panic!("the lanes do not come to an end");
    }

    /// The provider's lists are what is in force.
    #[track_caller]
    fn check(&self) {
        let with = |scopes: &[Scope]| -> Vec<&str> {
            let holds = |mine: &BTreeMap<Scope, Reason>| scopes.iter().any(|scope| mine.contains_key(scope));
            self.in_force.iter().filter(|(_, mine)| holds(mine)).map(|(address, _)| address.as_str()).collect()
        };
        let any = with(&[Scope::All, Scope::Marketing]);
        match self.provider {
            "mailgun" => {
                assert_eq!(self.fake.addresses(&format!("{DOMAIN}/bounces")), with(&[Scope::All]));
                assert_eq!(self.fake.addresses(&format!("{DOMAIN}/unsubscribes")), with(&[Scope::Marketing]));
            }
            "sendgrid" => assert_eq!(self.fake.addresses("global"), any),
            _ => assert_eq!(self.fake.addresses(STREAM), any),
        }
    }

    fn committed(&self, partition: u32) -> Option<u64> {
        self.log.committed_offset(&format!("quell.syncer.{}-main", self.provider), topics::DELTAS, partition)
    }
}

fn put_state(log: &MemoryLog, delta: &Delta) {
    let value = delta.now.clone().map(|standing| StateRecord {
        tenant: delta.key.tenant.to_string(),
        channel: delta.key.recipient.channel().to_string(),
        recipient: delta.key.recipient.as_str().to_owned(),
        address: delta.address.clone(),
        scope: delta.scope.to_string(),
        standing: StandingRecord::from(standing),
        position: i64::try_from(delta.position).unwrap(),
    });
    let record = Record {
        key: Some(StateRecord::log_key(&delta.key, &delta.scope).into_bytes().into()),
        value: value.map(|value| encode(&value).unwrap()),
        headers: Vec::new(),
        timestamp_ms: delta.decided_at.as_millis(),
    };
    let partition = partition_of(delta.key.to_log_key().as_bytes(), PARTITIONS);
    log.append_now(topics::STATE, Some(partition), record).unwrap();
}

fn user(who: u64) -> String {
    format!("user{who:04}@example.com")
}

/// Changes of long ago, some of them undone, of which only `state` tells.
fn long_ago(provider: &'static str) -> World {
    let mut world = World::new(provider);
    (0..30).for_each(|who| world.change(&user(who), 0, true));
    (0..10).for_each(|who| world.change(&user(who), 0, false));
    world.change(&user(0), 0, true);
    world.change(&user(1), 1, true);
    world.expire();
    world
}

#[tokio::test(start_paused = true)]
async fn a_new_lane_begins_from_state() {
    for provider in PROVIDERS {
        let mut world = long_ago(provider);
        // What the provider did by itself for a recipient who was released since.
        world.fake.bounced_by_itself(if provider == "mailgun" { DOMAIN } else { STREAM }, &user(2));
        world.join();
        world.fake.next_faults([Fault::Status(500); 7]);
        // What comes while state is told, is told by the deltas.
        let (mut n_rewinds, mut is_changed) = (0, false);
        for _ in 0..200 {
            n_rewinds += usize::from(matches!(world.step(0).await, RunnerEvent::Rewound { .. }));
            if world.fake.held() > 5 && !std::mem::replace(&mut is_changed, true) {
                world.change(&user(20), 0, false);
                world.change(&user(2), 0, true);
            }
        }
        assert!(n_rewinds > 0 && is_changed, "{provider}");
        world.settle().await;
        world.check();
        assert_eq!(world.fake.in_flight_max(), 1, "{provider}");
        // Once something is committed, another start begins nothing anew: only what is new is told.
        (26..30).for_each(|who| world.change(&user(who), 1, true));
        world.settle().await;
        assert!((0..PARTITIONS).all(|partition| world.committed(partition).is_some()));
        world.crash(0);
        let calls = world.fake.calls();
        world.change(&user(25), 0, false);
        world.join();
        world.settle().await;
        world.check();
        assert!(world.fake.calls() <= calls + 5, "{provider}: {} after {calls}", world.fake.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_log_has_nothing_to_begin_from() {
    let mut world = World::new("sendgrid");
    world.join();
    for _ in 0..2 {
        assert!(!matches!(world.step(0).await, RunnerEvent::Prepared(_)));
    }
    world.settle().await;
    world.change(&user(1), 0, true);
    world.settle().await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_lane_behind_what_the_log_keeps_begins_from_state() {
    let mut world = World::new("mailgun");
    (0..20).for_each(|who| world.change(&user(who), 0, true));
    world.join();
    world.settle().await;
    world.check();
    world.crash(0);
    // More changes happen while it is away, and are kept no longer; the compacted state still tells of them.
    (0..20).for_each(|who| world.change(&user(who), 0, false));
    world.change("new@example.com", 0, true);
    world.expire();
    (20..25).for_each(|who| world.change(&user(who), 0, true));
    world.join();
    world.settle().await;
    world.check();
    world.change("new@example.com", 0, false);
    world.settle().await;
    world.check();
}

/// A transaction becomes visible in each partition by itself.
#[tokio::test(start_paused = true)]
async fn a_delta_that_is_there_before_its_state_is_told() {
    let mut world = long_ago("mailgun");
    let deltas: Vec<Delta> = (20..40).filter_map(|who| world.decide(&user(who), 0, who >= 30)).collect();
    for delta in &deltas {
        world.log.append_now(topics::DELTAS, None, record(delta)).unwrap();
    }
    world.join();
    world.settle().await;
    world.check();
    deltas.iter().for_each(|delta| put_state(&world.log, delta));
    world.settle().await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn deltas_from_before_the_beginning_are_covered() {
    let mut world = World::new("mailgun");
    let mut n_here = 0;
    while n_here < 8_192 + 100 {
        n_here += 1;
        world.change(&user(1), 0, n_here % 2 == 1);
    }
    world.join();
    world.step(0).await;
    let mut ignored = 0;
    for _ in 0..100 {
        if let RunnerEvent::Committed(report) = world.step(0).await {
            ignored += report.ignored.get("covered_by_state").copied().unwrap_or(0);
        }
        if ignored == 100 {
            break;
        }
    }
    assert_eq!((ignored, world.fake.held()), (100, 0));
    world.change(&user(1), 0, true);
    world.crash(0);
    world.join();
    for _ in 0..6_000 {
        world.step(0).await;
    }
    world.check();
}

/// The former owner holds what it found of `state`; its successor has told what is newer.
#[tokio::test(start_paused = true)]
async fn a_former_owner_tells_nothing_after_its_successor() {
    for n_slices in 1..4 {
        let mut world = long_ago("sendgrid");
        world.join();
        let mut left = n_slices;
        for _ in 0..20 {
            left -= usize::from(matches!(world.step(0).await, RunnerEvent::Prepared(_)));
            if left == 0 {
                break;
            }
        }
        assert_eq!(left, 0);
        world.join();
        let member = world.lanes[0].session().id();
        world.log.expel(member);
        for who in 0..30 {
            world.change(&user(who), 0, who < 10);
        }
        for _ in 0..200 {
            world.step(1).await;
        }
        world.check();
        for _ in 0..200 {
            world.step(0).await;
            world.check();
        }
    }
}

/// More than one slice of each kind, with the owner changing between any two.
#[tokio::test(start_paused = true)]
async fn a_partition_that_moves_in_the_middle_is_begun_by_each_owner() {
    let mut world = World::new("sendgrid");
    (0..6_000).for_each(|who| world.change(&user(who), 0, true));
    (0..2_600).for_each(|who| world.change(&user(who), 0, false));
    (0..50).for_each(|who| world.change(&user(who), 1, true));
    world.expire();
    world.join();
    let mut n_prepared = 0;
    for round in 0..6 {
        for _ in 0..(3 + round) {
            n_prepared += u32::from(matches!(world.step(0).await, RunnerEvent::Prepared(_)));
        }
        world.change(&user(round), 0, true);
        world.change(&user(2_600 + round), 0, false);
        world.join();
        if round % 2 == 0 {
            world.crash(0);
        }
    }
    assert!(n_prepared > 20, "{n_prepared}");
    world.settle().await;
    world.check();
    assert!(world.fake.largest_call() > 500 && world.fake.in_flight_max() == 1);
    assert!((0..PARTITIONS).all(|partition| world.committed(partition).is_some()));
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Steps(u8, u8),
    Change {
        who: u8,
        scope: u8,
        is_on: bool,
    },
    Join,
    Crash(u8),
    Leave(u8),
    /// Deltas are kept no longer, while no instance lives.
    Expire,
    Fault(Fault),
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop_oneof![
        Just(Fault::Status(500)),
        Just(Fault::RateLimited(2)),
        Just(Fault::RateLimited(90)),
        Just(Fault::FailedAfterEffect),
        Just(Fault::SilentAfterEffect),
        Just(Fault::Slow(Duration::from_secs(30))),
    ];
    prop_oneof![
        12 => (0..3u8, 1..12u8).prop_map(|(lane, n)| Act::Steps(lane, n)),
        6 => (0..6u8, 0..2u8, any::<bool>()).prop_map(|(who, scope, is_on)| Act::Change { who, scope, is_on }),
        2 => Just(Act::Join),
        1 => (0..3u8).prop_map(Act::Crash),
        1 => (0..3u8).prop_map(Act::Leave),
        1 => Just(Act::Expire),
        1 => fault.prop_map(Act::Fault),
    ]
}

async fn play(provider: &'static str, before: &[(u8, u8, bool)], acts: &[Act]) {
    let mut world = World::new(provider);
    for (who, scope, is_on) in before {
        world.change(&user(u64::from(*who)), usize::from(*scope), *is_on);
    }
    world.expire();
    world.join();
    world.join();
    for act in acts {
        let place = |lane: u8| (usize::from(lane) < world.lanes.len()).then_some(usize::from(lane));
        match *act {
            Act::Steps(lane, n) => {
                if let Some(lane) = place(lane) {
                    for _ in 0..n {
                        world.step(lane).await;
                    }
                }
            }
            Act::Change { who, scope, is_on } => world.change(&user(u64::from(who)), usize::from(scope), is_on),
            Act::Join if world.lanes.len() < 3 && world.may_move() => world.join(),
            Act::Crash(lane) if world.may_move() => {
                if let Some(lane) = place(lane) {
                    world.crash(lane);
                }
            }
            Act::Leave(lane) if world.may_move() => {
                if let Some(lane) = place(lane) {
                    drop(world.lanes.remove(lane));
                }
            }
            Act::Expire if world.lanes.is_empty() => world.expire(),
            Act::Fault(fault) => world.fake.next_faults([fault; 3]),
            Act::Join | Act::Crash(_) | Act::Leave(_) | Act::Expire => {}
        }
    }
    if world.lanes.is_empty() {
        world.join();
    }
    world.settle().await;
    world.check();
    assert!(world.fake.in_flight_max() <= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn however_partitions_move_the_lists_end_as_state_says(
        provider in prop::sample::select(&PROVIDERS[..]),
        before in prop::collection::vec((0..6u8, 0..2u8, any::<bool>()), 0..25),
        acts in prop::collection::vec(act(), 0..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(provider, &before, &acts));
    }
}

/// Recipients of one partition are told by its owner only.
#[test]
fn the_partitions_of_a_recipient_are_the_same() {
    let places: BTreeSet<u32> = (0..50)
        .map(|who| partition_of(testkit::builders::recipient_key(&user(who)).to_log_key().as_bytes(), PARTITIONS))
        .collect();
    assert_eq!(places, (0..PARTITIONS).collect(), "the cases above use both");
}
