//! The two logs side by side: whatever is done to both, in any order and with the embedded one opened again now and
//! then, they hold the same.

use crate::harness::*;
use event_log::{
    Append, Browse, Session,
    embedded::EmbeddedLog,
    memory::{MemoryLog, SplitMix64},
};
use std::path::Path;

const SEEDS: u64 = 10;
const STEPS: u64 = 60;

/// Everything a reader can see.
async fn seen(log: &impl Browse) -> Vec<(String, u32, (u64, u64), Option<u64>, Vec<(u64, String)>)> {
    let mut out = Vec::new();
    for spec in topics() {
        for partition in 0..spec.partitions {
            let range = log.range(&spec.name, partition).await.unwrap();
            let committed = log.committed(GROUP, &spec.name, partition).await.unwrap();
            out.push((spec.name.to_string(), partition, range, committed, kept(log, &spec.name, partition).await));
        }
    }
    out
}

/// Some batches of one topic go into another, some are rewound instead.
fn copy(memory: &mut impl Session, embedded: &mut impl Session, random: &mut SplitMix64, to: &str) {
    for _ in 0..3 {
        let limits = limits(1 + random.below(6) as usize, 4 + random.below(40) as usize);
        let (ours, theirs) = (poll(memory, &limits), poll(embedded, &limits));
        let records = |batch: &Option<event_log::Batch>| batch.as_ref().map(|batch| batch.records.clone());
        assert_eq!(records(&ours), records(&theirs), "the same poll brings the same batch");
        assert_eq!(memory.lag(), embedded.lag());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
        if random.below(4) == 0 {
            memory.rewind().unwrap();
            embedded.rewind().unwrap();
        } else {
            memory.commit(&ours, &copy_to(to, &ours)).unwrap();
            embedded.commit(&theirs, &copy_to(to, &theirs)).unwrap();
        }
    }
}

async fn step(memory: &MemoryLog, embedded: &EmbeddedLog, random: &mut SplitMix64, now_ms: i64) {
    let topic = ["events", "single", "state", "tiny"][random.below(4) as usize];
    match random.below(10) {
        0..6 => {
            let key = format!("key{}", random.below(5));
            let value = format!("{}", random.below(1_000));
            let record = if random.below(4) == 0 { tombstone(now_ms, &key) } else { at(now_ms, &key, &value) };
            let ours = append(memory, topic, record.clone()).await;
            assert_eq!(append(embedded, topic, record).await, ours);
        }
        6..8 => {
            // Never into itself: the copy would feed the next poll.
            let (from, to) = [("events", "state"), ("single", "tiny"), ("state", "events")][random.below(3) as usize];
            copy(&mut Log::session(memory, from), &mut Log::session(embedded, from), random, to);
        }
        8 => assert_eq!(embedded.enforce_retention(now_ms).unwrap(), memory.enforce_retention(now_ms).unwrap()),
        _ => assert_eq!(embedded.raise_epoch().unwrap(), memory.raise_epoch().unwrap()),
    }
    assert_eq!(Append::partitions(memory, topic), Append::partitions(embedded, topic));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_logs_hold_the_same() {
    hold_the_same(open_embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_logs_hold_the_same_with_a_topic_in_segments() {
    hold_the_same(|directory| open_segmented(directory, &["single"])).await;
}

async fn hold_the_same(open: impl Fn(&Path) -> EmbeddedLog) {
    for seed in 0..SEEDS {
        let directory = tempfile::tempdir().unwrap();
        let memory = MemoryLog::new(&topics());
        let mut embedded = open(directory.path());
        let mut random = SplitMix64::new(seed);
        let mut now_ms = 0;
        for n in 0..STEPS {
            // Mostly within the retention; now and then beyond the life of a tombstone.
            now_ms += if random.below(20) == 0 { DAY_MS + 1 } else { random.below(400) as i64 };
            step(&memory, &embedded, &mut random, now_ms).await;
            if random.below(15) == 0 {
                drop(embedded);
                embedded = open(directory.path());
            }
            if n % 10 == 9 {
                assert_eq!(seen(&embedded).await, seen(&memory).await, "seed {seed}, step {n}");
            }
        }
    }
}
