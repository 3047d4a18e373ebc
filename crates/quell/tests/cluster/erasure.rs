//! `quell erase` on a cluster: once retention has passed, no topic names whoever was erased, and they stay suppressed. (What the
//! tables of the store hold then is a test of the store's.)

use crate::bed::{Bed, PATIENCE, SMALL, until};
use event_log::{
    Browse as _,
    kafka::{KafkaConfig, KafkaLog},
};
use schemas::topics;
use std::{collections::BTreeSet, time::Instant};
use testkit::servers::KafkaOptions;

const LOCAL_PART: &[u8] = b"forget.me";

/// The declaration, with times that a test can wait for.
fn short(declaration: &str) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some(("\"retention.ms\"", _)) => "\"retention.ms\" = 1".to_owned(),
        Some(("\"segment.ms\"", _)) => "\"segment.ms\" = 1000".to_owned(),
        Some(("\"delete.retention.ms\"", _)) => "\"delete.retention.ms\" = 1".to_owned(),
        Some(("\"max.compaction.lag.ms\"", _)) => "\"max.compaction.lag.ms\" = 1000".to_owned(),
        _ => line.to_owned(),
    };
    declaration.lines().map(|text| line(text) + "\n").collect()
}

/// Topics of which a record names them, as anybody reads it who may read the topic.
fn traces(bed: &Bed) -> BTreeSet<&'static str> {
    let config = KafkaConfig { brokers: bed.kafka.bootstrap().to_owned(), ..KafkaConfig::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = KafkaLog::connect(config).expect("a log");
        let mut found = BTreeSet::new();
        for topic in topics::all() {
            for partition in 0..log.partitions(topic.name).expect("the topic is there") {
                let mut offset = 0;
                loop {
                    // What is taken away meanwhile names nobody any more.
                    let Ok(records) = log.read(topic.name, partition, offset, 1_000).await else {
                        (offset, _) = log.range(topic.name, partition).await.expect("a range");
                        continue;
                    };
                    let Some(last) = records.last() else { break };
                    offset = last.position.offset + 1;
                    if records.iter().any(|consumed| names(&consumed.record)) {
                        found.insert(topic.name);
                    }
                }
            }
        }
        found
    })
}

fn names(record: &event_log::Record) -> bool {
    let holds = |bytes: &[u8]| bytes.to_ascii_lowercase().windows(LOCAL_PART.len()).any(|part| part == LOCAL_PART);
    let parts = record.key.iter().chain(&record.value);
    parts.chain(record.headers.iter().map(|header| &header.value)).any(|part| holds(part))
}

#[test]
fn of_whoever_was_erased_no_topic_keeps_a_trace() {
    // It looks for what is over, and cleans, at once.
    let at_once = ["log.retention.check.interval.ms", "log.cleaner.backoff.ms", "log.initial.task.delay.ms"];
    let settings = at_once.map(|name| (name.to_owned(), "200".to_owned())).to_vec();
    let bed = Bed::start_like(&KafkaOptions { settings, ..KafkaOptions::default() });
    bed.set_up();
    let mut all = bed.serve("all", "gateway,normalizer,suppressor,lookup");
    all.wait_ready();
    all.drip_bounce("Forget.Me@example.com", "2026-01-20T10:00:00Z");
    all.until(1, &["check", "forget.me@example.com"]);
    // Lookups know before the transaction shows.
    until("what is looked for can be found", || {
        let before = traces(&bed);
        [topics::RAW, topics::EVENTS, topics::DELTAS, topics::STATE].iter().all(|topic| before.contains(topic))
    });

    all.run(&["erase", "forget.me@example.com", "--note", "asked to be forgotten", "--wait"]).with(0);
    all.run(&["check", "forget.me@example.com"]).with(1);
    until("both changes are told", || {
        let changes: Vec<_> = all.deltas().iter().map(|delta| delta["change"].clone()).collect();
        changes == ["suppressed", "erased"]
    });

    let declaration = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/topics.toml"));
    let file = bed.write("short.toml", &short(&declaration.expect("the declaration")));
    bed.run(&[&["topics", "apply", "--yes", "--file", &file], SMALL.as_slice()].concat()).with(0);
    let began = Instant::now();
    for round in 0.. {
        // A partition is cleaned up to its newest segment: others' changes begin new ones.
        for n in 0..12 {
            let other = format!("other{n}@example.com");
            let verb = if round % 2 == 0 { "suppress" } else { "release" };
            all.run(&[verb, &other, "--note", "goes on"]).with(0);
        }
        let left = traces(&bed);
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "still named in {left:?}");
    }
    all.run(&["check", "forget.me@example.com"]).with(1);
    assert_eq!(all.terminate(), Some(0), "{}", all.log());
}
