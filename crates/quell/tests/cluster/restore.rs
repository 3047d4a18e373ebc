//! A store restored from a backup that is older than what the log keeps: refused, and the way out that docs/backup.md tells.

use crate::bed::{Bed, Instance, PATIENCE, SMALL, until};
use event_log::{
    Browse as _,
    kafka::{KafkaConfig, KafkaLog},
    partition::partition_of,
};
use schemas::topics;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use testkit::servers::{CqlOptions, JvmCql, KafkaOptions};

const BOUNCED_AT: &str = "2026-01-20T14:32:15Z";
/// So much younger is what stays in the log, and so long is kept what goes.
const GAP: Duration = Duration::from_secs(50);
const KEPT_MS: &str = "45000";
/// What a stopped node of the store has on its disk.
const FOLDERS: [&str; 2] = ["data", "commitlog"];

/// What [`Bed::set_up`] makes.
const PARTITIONS: u32 = 4;

/// Two in each partition of the events.
fn people(name: &str) -> Vec<String> {
    let own = |partition| {
        let all = (0..).map(move |n| format!("{name}{n}@example.com"));
        all.filter(move |who| partition_of(format!("default/email/{who}").as_bytes(), PARTITIONS) == partition).take(2)
    };
    (0..PARTITIONS).flat_map(own).collect()
}

/// One node of a store, whose backup is a copy of what it has on its disk while it is stopped.
struct Node {
    server: JvmCql,
    backup: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let server =
            JvmCql::start(&CqlOptions { durable: true, measured: false }).unwrap_or_else(|error| panic!("{error}"));
        Self { server, backup: tempfile::tempdir().expect("a temporary directory") }
    }

    fn folder(&self) -> PathBuf {
        self.server.log_path().parent().expect("a folder").to_owned()
    }

    fn while_stopped(&self, work: impl FnOnce(&Path, &Path)) {
        self.server.stop().expect("it stops");
        work(&self.folder(), self.backup.path());
        self.server.start_again().expect("it starts again");
    }

    fn back_up(&self) {
        self.while_stopped(|node, backup| FOLDERS.iter().for_each(|name| copy(&node.join(name), &backup.join(name))));
    }

    fn restore(&self) {
        self.while_stopped(|node, backup| {
            for name in FOLDERS {
                std::fs::remove_dir_all(node.join(name)).expect("it was there");
                copy(&backup.join(name), &node.join(name));
            }
        });
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} to {}", from.display(), to.display());
}

/// They bounce, and are suppressed for it.
fn bounce(instance: &Instance, people: &[String]) {
    people.iter().for_each(|who| drop(instance.drip_bounce(who, BOUNCED_AT)));
    are(instance, people, 1);
}

/// `check` comes to this code for all of them.
fn are(instance: &Instance, people: &[String], code: i32) {
    people.iter().for_each(|who| drop(instance.until(code, &["check", who])));
}

/// The declaration of topics, with other settings for events.
fn declared(settings: &[(&str, &str)]) -> String {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/topics.toml"));
    let (mut is_events, mut text) = (false, String::new());
    for line in file.expect("the declaration").lines() {
        if let Some((_, name)) = line.split_once("name = ") {
            is_events = name.trim_matches('"') == topics::EVENTS;
        }
        if is_events && line.starts_with("\"retention.ms\"") && !settings.is_empty() {
            settings.iter().for_each(|(name, value)| text.push_str(&format!("\"{name}\" = {value}\n")));
        } else {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

fn apply(bed: &Bed, settings: &[(&str, &str)]) {
    let file = bed.write("topics.toml", &declared(settings));
    bed.run(&[&["topics", "apply", "--yes", "--file", &file], SMALL.as_slice()].concat()).with(0);
}

/// The oldest offset of each partition of the events that is kept.
fn oldest(bed: &Bed) -> Vec<u64> {
    let config = KafkaConfig { brokers: bed.kafka.bootstrap().to_owned(), ..KafkaConfig::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = KafkaLog::connect(config).expect("a log");
        let mut oldest = Vec::new();
        for partition in 0..log.partitions(topics::EVENTS).expect("the topic is there") {
            let (first, end) = log.range(topics::EVENTS, partition).await.expect("a range");
            assert!(end > first, "something is kept of partition {partition}");
            oldest.push(first);
        }
        oldest
    })
}

/// What goes from the log before its time, and what stays.
fn overtaken(bed: &Bed, all: &Instance, lost: &[String], kept: &[String]) {
    bounce(all, lost);
    let told_at = Instant::now();
    apply(bed, &[("segment.ms", "1000"), ("retention.ms", "7776000000")]);
    std::thread::sleep(GAP.saturating_sub(told_at.elapsed()));
    let before = oldest(bed);
    bounce(all, kept);
    apply(bed, &[("segment.ms", "1000"), ("retention.ms", KEPT_MS)]);
    let began = Instant::now();
    while oldest(bed).iter().zip(&before).any(|(now, before)| now <= before) {
        assert!(began.elapsed() < PATIENCE, "nothing goes: {before:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    apply(bed, &[]);
}

/// What each was told, in order.
fn told(instance: &Instance, who: &str) -> Vec<String> {
    let deltas = instance.deltas();
    let own = deltas.iter().filter(|delta| delta["recipient"] == who);
    own.map(|delta| delta["change"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn a_backup_that_is_too_old_is_refused_until_the_epoch_is_raised() {
    let node = Node::start();
    let at_once = ["log.retention.check.interval.ms", "log.initial.task.delay.ms"];
    let settings = at_once.map(|name| (name.to_owned(), "200".to_owned())).to_vec();
    let mut bed = Bed::start_like(&KafkaOptions { settings, ..KafkaOptions::default() });
    bed.store = Some(node.server.address().to_owned());
    bed.set_up();
    let (saved, lost, kept) = (people("saved"), people("lost"), people("kept"));
    let roles = "gateway,normalizer,suppressor,lookup";
    let mut all = bed.serve("all", roles);
    all.wait_ready();
    bounce(&all, &saved);
    assert_eq!(all.terminate(), Some(0), "{}", all.log());
    node.back_up();

    let mut all = bed.serve("all", roles);
    all.wait_ready();
    overtaken(&bed, &all, &lost, &kept);
    assert_eq!(all.terminate(), Some(0), "{}", all.log());

    node.restore();
    let mut refused = bed.serve("refused", "suppressor");
    assert_eq!(refused.until_ended(), Some(2));
    let said = refused.log();
    assert!(said.contains("the log keeps nothing before") && said.contains("raise the log's epoch"), "{said}");

    bed.reached.push_str("epoch = 1\n");
    let mut all = bed.serve("all", roles);
    all.wait_ready();
    are(&all, &kept, 1);
    are(&all, &saved, 1);
    are(&all, &lost, 0);
    for who in [&saved, &lost, &kept].into_iter().flatten() {
        until("their delta shows", || !told(&all, who).is_empty());
        assert_eq!(told(&all, who), ["suppressed"], "{who}: what is applied again is not told again");
    }
    // Told again by its provider it is news, and everybody else goes on from what was brought back.
    bounce(&all, &lost);
    until("it is news", || told(&all, &lost[0]) == ["suppressed", "suppressed"]);
    for who in [&saved[0], &kept[0]] {
        all.run(&["release", who, "--note", "moved house"]).with(0);
        all.until(0, &["check", who]);
        until("their release is told", || told(&all, who) == ["suppressed", "released"]);
    }
    assert_eq!(all.terminate(), Some(0), "{}", all.log());
}
