//! What a batch of the guard costs: `guard_batch GROUPS PARTITIONS BATCHES`.
//!
//! So many groups lie in so many partitions, each with the rhythm of three days; then come batches that touch three groups,
//! each of which is committed. Prints nanoseconds a batch. Instructions, which other work on the machine does not change,
//! are what is left of two runs' totals, one of them without batches:
//!
//! ```text
//! cargo build -p suppressor --example guard_batch
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/debug/examples/guard_batch 1000 1 0
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/debug/examples/guard_batch 1000 1 200
//! ```

use event_log::{Batch, Consumed, Position, Record, Stage};
use schemas::{
    encode, topics,
    wire::{GroupCount, Statistics},
};
use std::{error::Error, sync::Arc, time::Instant};
use suppressor::{
    guard::{Guard, NoGuardMetrics},
    store::memory::MemoryStore,
};

const SLOT_MICROS: i64 = 600_000_000;
/// Slots of three days, of which one in six is told of: every group has all its hours.
const SLOTS: i64 = 432;
const TOUCHED: usize = 3;

fn record(partition: u32, offset: u64, groups: &[usize], slot: i64) -> Result<Consumed, Box<dyn Error>> {
    let at = (3_000_000 + slot) * SLOT_MICROS;
    let count = |group: &usize| GroupCount {
        group: format!("mailbox:d{group}.example"),
        at,
        delivered: 90,
        bounced: 1,
        engaged_delivered: 30,
        engaged_bounced: 0,
    };
    let counts = groups.iter().map(count).collect();
    let statistics = Statistics { bucket: "b01".to_owned(), policy: 0, counted_at: at, counts };
    Ok(Consumed {
        topic: topics::STATISTICS.into(),
        position: Position { epoch: 0, partition, offset },
        record: Record { key: None, value: Some(encode(&statistics)?), headers: Vec::new(), timestamp_ms: at / 1_000 },
    })
}

fn argument(at: usize) -> Result<usize, Box<dyn Error>> {
    Ok(std::env::args().nth(at).ok_or("usage: guard_batch GROUPS PARTITIONS BATCHES")?.parse()?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (n_groups, n_partitions, n_batches) = (argument(1)?, argument(2)?, argument(3)?);
    let mut guard = Guard::new(MemoryStore::default(), 1, Arc::new(NoGuardMetrics));
    let partition_of = |group: usize| group % n_partitions;
    let mut offset = 0;
    // The last of them notes the memory, as it does every quarter of an hour of what is counted: the batches do not.
    for slot in (0..=SLOTS).step_by(6) {
        let mut records = Vec::new();
        for partition in 0..n_partitions {
            let groups: Vec<usize> = (0..n_groups).filter(|group| partition_of(*group) == partition).collect();
            records.push(record(u32::try_from(partition)?, offset, &groups, slot)?);
        }
        offset += 1;
        let batch = Batch { records, generation: 1 };
        guard.process(&batch).await?;
        guard.committed(&batch).await?;
    }
    let mut batches = Vec::new();
    for number in 0..n_batches {
        let records = (0..TOUCHED).map(|n| {
            let group = (number * TOUCHED + n) % n_groups;
            record(u32::try_from(partition_of(group))?, offset + (number * TOUCHED + n) as u64, &[group], SLOTS)
        });
        batches.push(Batch { records: records.collect::<Result<_, Box<dyn Error>>>()?, generation: 1 });
    }
    let begun = Instant::now();
    for batch in &batches {
        guard.process(batch).await?;
        guard.committed(batch).await?;
    }
    let took = begun.elapsed().as_nanos() / (n_batches.max(1) as u128);
    println!("{n_groups} groups in {n_partitions} partitions: {took} ns a batch");
    Ok(())
}
