//! The incident guard on a cluster of two processes: a mailbox provider refuses living readers, the process that guards is
//! killed in the middle of it, and the broker goes away for a moment.

use crate::bed::{Bed, Instance, PATIENCE, TOKEN};
use domain::Timestamp;
use event_log::{
    Browse as _, Consumed,
    kafka::{KafkaConfig, KafkaLog},
};
use schemas::{
    decode, topics,
    wire::{IncidentVerdict, Statistics},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use suppressor::{Policy, guard::memory::Memory};
use testkit::{
    fake::{Fake, FakeProvider},
    sign,
};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const ROLES: &str = "gateway,normalizer,suppressor,syncer,lookup";
/// Slots of the guard.
const SLOT: i64 = 600;
/// Readers elsewhere, to whom everything is delivered: what the provider tells as a whole is no jump.
const ELSEWHERE: usize = 200;
/// Readers at the mailbox that refuses them: before it is found (as many as it takes, so that none comes after), while its
/// guard dies, and while the broker is away.
const EARLY: Range<usize> = 0..25;
const KILLED: Range<usize> = 25..33;
const AWAY: Range<usize> = 33..39;
/// Readers there who get their mail again.
const LATE: Range<usize> = 39..44;
const BOUNCES: &str = "m.example.com/bounces";

fn elsewhere(n: usize) -> String {
    format!("r{n}@readers{}.example", n % 5)
}

fn refused(n: usize) -> String {
    format!("r{n}@mailbox.example")
}

/// The servers, and when it begins: two hours ago, so that all of it has happened.
struct Scene {
    bed: Bed,
    provider: Fake,
    base: i64,
    _runtime: tokio::runtime::Runtime,
}

impl Scene {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let provider = FakeProvider::Mailgun { api_key: TOKEN.to_owned(), domains: vec!["m.example.com".to_owned()] };
        let provider = runtime.block_on(Fake::start(provider)).expect("a port");
        let bed = Bed::start();
        bed.set_up();
        Self { bed, provider, base: now() / SLOT * SLOT - 7_200, _runtime: runtime }
    }

    fn serve(&self, name: &str) -> Instance {
        let secret = self.bed.write("generic", SECRET);
        let more = format!(
            "[[source]]\nprovider = \"generic\"\nsecrets = [\"file:{secret}\"]\n\
             [[account]]\nname = \"main\"\nprovider = \"mailgun\"\nbase_url = \"{}\"\nallow_private = true\n\
             domain = \"m.example.com\"\ncredential = \"env:BED_TOKEN\"\n",
            self.provider.url()
        );
        std::fs::create_dir_all(self.bed.path(name)).expect("a folder");
        let config = |ports| format!("{}{more}", self.bed.config(name, ports));
        Instance::spawn(&self.bed.path(""), name, config, &["serve", "--role", ROLES])
    }

    /// One thing that happened, so many seconds after the beginning.
    fn event(&self, kind: &str, address: &str, seconds: i64) -> Value {
        let at = Timestamp::from_seconds(self.base + seconds).expect("a time").to_string();
        let mut event = json!({ "kind": kind, "recipient": address, "occurred_at": at });
        if kind == "bounced_hard" {
            event["failure"] = json!({ "permanent": true, "smtp_code": 550, "enhanced_status": "5.1.1" });
        }
        event
    }

    fn bounces(&self, readers: Range<usize>, seconds: i64) -> Vec<Value> {
        readers.map(|n| self.event("bounced_hard", &refused(n), seconds)).collect()
    }

    /// Every committed record of a topic, by partition.
    fn records(&self, topic: &str) -> Vec<Vec<Consumed>> {
        let config = KafkaConfig { brokers: self.bed.kafka.bootstrap().to_owned(), ..KafkaConfig::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let log = KafkaLog::connect(config).expect("a log");
            let mut all = Vec::new();
            for partition in 0..log.partitions(topic).expect("the topic is there") {
                let mut found: Vec<Consumed> = Vec::new();
                loop {
                    let next = found.last().map_or(0, |last| last.position.offset + 1);
                    let records = log.read(topic, partition, next, 1_000).await.expect("the broker answers");
                    if records.is_empty() {
                        break;
                    }
                    found.extend(records);
                }
                all.push(found);
            }
            all
        })
    }

    fn counts(&self) -> Vec<Vec<(u64, Statistics)>> {
        let counts = |consumed: Consumed| {
            (consumed.position.number(), decode(&consumed.record.value.expect("a value")).expect("statistics"))
        };
        self.records(topics::STATISTICS).into_iter().map(|records| records.into_iter().map(counts).collect()).collect()
    }

    /// What each partition of the events was told of incidents by the guard.
    fn verdicts(&self) -> Vec<Vec<IncidentVerdict>> {
        let verdict = |consumed: Consumed| decode::<IncidentVerdict>(&consumed.record.value?).ok();
        let told = |records: Vec<Consumed>| {
            records.into_iter().filter_map(verdict).filter(|verdict| verdict.revision > 0).collect()
        };
        self.records(topics::EVENTS).into_iter().map(told).collect()
    }

    /// Waits until so many deliveries of what the provider tells are counted.
    #[track_caller]
    fn until_counted(&self, delivered: i32) {
        until("counted", || {
            let counts = self.counts();
            let groups = counts.iter().flatten().flat_map(|(_, record)| &record.counts);
            let of_provider = groups.filter(|count| count.group == "provider:generic");
            of_provider.map(|count| count.delivered).sum::<i32>() == delivered
        });
    }

    /// The guard said what the counts imply, in every partition of the events, and nothing twice: whoever counted.
    #[track_caller]
    fn check_verdicts(&self) -> BTreeSet<String> {
        let settings = Policy::built_in().incidents;
        let mut expected = Vec::new();
        for partition in self.counts() {
            let mut memory = Memory::default();
            for (number, record) in partition {
                expected.extend(memory.fold(number, &record, &settings, None).into_iter().map(|(group, found)| {
                    (found.incident.to_string(), group.to_string(), u64::from(found.revision), found.is_over)
                }));
            }
        }
        expected.sort();
        for told in self.verdicts() {
            let mut told: Vec<_> = told
                .into_iter()
                .map(|v| (v.incident, v.group, u64::try_from(v.revision).expect("a number"), v.is_over))
                .collect();
            told.sort();
            assert_eq!(told, expected);
        }
        expected.into_iter().map(|(incident, ..)| incident).collect()
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("soon")
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Sends events; gives back the receipt.
#[track_caller]
fn send(to: &Instance, events: &[Value]) -> String {
    let body = json!(events).to_string().into_bytes();
    let id = format!("msg_{}_{}", events.len(), events[0]);
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let url = format!("{}/email/events", to.webhooks());
    let (status, answer) = to.send(&sign::standard_webhooks(&url, SECRET, &id, now(), body).expect("a key"));
    assert_eq!(status, 202, "{answer}\n{}", to.log());
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["receipt_id"].as_str().expect("a receipt").to_owned()
}

/// Waits until all of them are held, and are so in this incident.
#[track_caller]
fn until_held(asked: &Instance, readers: Range<usize>, incident: &str) {
    for n in readers {
        let began = Instant::now();
        loop {
            let told = asked.run(&["check", &refused(n), "-o", "json"]);
            if told.code == 1 && told.out.contains("\"provisional\"") && told.out.contains(incident) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "never held in {incident}: {told:?}\n{}", asked.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What was told of each reader there, in order: the change, and whether it was said to be provisional.
fn told(instance: &Instance) -> BTreeMap<String, Vec<(String, bool)>> {
    let mut all: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for delta in instance.deltas() {
        let is_provisional = delta["provisional"].as_array().is_some_and(|scopes| !scopes.is_empty());
        let text = |name: &str| delta[name].as_str().expect("text").to_owned();
        all.entry(text("recipient")).or_default().push((text("change"), is_provisional));
    }
    all
}

#[test]
fn an_incident_is_found_once_though_its_guard_is_killed_and_is_undone() {
    let scene = Scene::start();
    let mut running = vec![scene.serve("one"), scene.serve("two")];
    running.iter_mut().for_each(Instance::wait_ready);
    let opened: Vec<Value> = (0..ELSEWHERE)
        .map(elsewhere)
        .chain((0..LATE.end).map(refused))
        .map(|address| scene.event("opened", &address, -86_400))
        .collect();
    running[0].until_processed(&send(&running[0], &opened));
    for slots in [0..3, 3..6] {
        let delivered: Vec<Value> = slots
            .flat_map(|slot| (0..ELSEWHERE).map(move |n| (n, slot * SLOT)))
            .map(|(n, seconds)| scene.event("delivered", &elsewhere(n), seconds))
            .collect();
        send(&running[1], &delivered);
    }
    scene.until_counted(6 * i32::try_from(ELSEWHERE).expect("few"));
    // Really dead, and elsewhere.
    send(&running[0], &[scene.event("bounced_hard", "dead@readers0.example", 300)]);

    let half = EARLY.end / 2 + 1;
    let early = [scene.bounces(0..half, 300), scene.bounces(half..EARLY.end, 300 + SLOT)].concat();
    send(&running[0], &early);
    let listed = |instance: &Instance| instance.run(&["incidents", "list", "-o", "json"]).with(0).json();
    until("an incident", || listed(&running[1])["incidents"].as_array().is_some_and(|found| !found.is_empty()));
    let found = listed(&running[1])["incidents"].clone();
    assert_eq!(
        (found[0]["group"].as_str(), found.as_array().map(Vec::len)),
        (Some("mailbox:mailbox.example"), Some(1))
    );
    let incident = found[0]["id"].as_str().expect("an id").to_owned();
    until_held(&running[1], EARLY, &incident);

    // Who found it guards it: killed while the next bounces are on their way.
    let opened = r#"quell_guard_incidents_total{verdict="opened"} 1"#;
    let owner = running.iter().position(|instance| instance.metrics().contains(opened)).expect("one of them found it");
    let killed = ["one", "two"][owner];
    let survivor = running.remove(1 - owner);
    send(&survivor, &scene.bounces(KILLED, 300 + 2 * SLOT));
    drop(running);
    until_held(&survivor, KILLED, &incident);

    let mut again = scene.serve(killed);
    again.wait_ready();
    scene.bed.kafka.stop().expect("the broker stops");
    let spooled = send(&survivor, &scene.bounces(AWAY, 300 + 3 * SLOT));
    scene.bed.kafka.start_again().expect("the broker starts");
    survivor.until_processed(&spooled);
    until_held(&survivor, AWAY, &incident);

    // Their mail arrives again.
    let late = LATE.flat_map(|n| (0..20).map(move |second| (n, 300 + 7 * SLOT + second)));
    let late = late.map(|(n, seconds)| scene.event("delivered", &refused(n), seconds));
    send(&again, &late.collect::<Vec<_>>());
    until("over", || scene.verdicts().iter().all(|told| told.iter().any(|verdict| verdict.is_over)));
    assert_eq!(scene.check_verdicts(), [incident.clone()].into());

    // No provider was told of whoever is held since it was found.
    until("told of the dead", || scene.provider.holds(BOUNCES, "dead@readers0.example"));
    for n in KILLED.start..AWAY.end {
        assert!(!scene.provider.holds(BOUNCES, &refused(n)), "{}", refused(n));
    }
    survivor.run(&["incidents", "undo", &incident, "--note", "their status page says so"]).with(0);
    for n in 0..AWAY.end {
        survivor.until(0, &["check", &refused(n)]);
    }
    survivor.run(&["check", "dead@readers0.example"]).with(1);
    until("released at the provider", || (0..AWAY.end).all(|n| !scene.provider.holds(BOUNCES, &refused(n))));
    assert!(scene.provider.holds(BOUNCES, "dead@readers0.example"));

    let told = told(&survivor);
    for n in 0..AWAY.end {
        let [suppressed, held, released] =
            [("suppressed", EARLY.end <= n), ("updated", true), ("released", false)].map(|(c, p)| (c.to_owned(), p));
        let expected = if n < EARLY.end { vec![suppressed, held, released] } else { vec![suppressed, released] };
        assert_eq!(told[&refused(n)], expected, "{}", refused(n));
    }
    assert_eq!(scene.check_verdicts(), [incident].into(), "an operator's ruling moves no verdict");
    assert_eq!(again.terminate(), Some(0), "{}", again.log());
}
