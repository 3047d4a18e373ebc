//! Measures appends to Kafka from many tasks, each waiting for its own delivery report, and what they cost this process
//! in CPU time (Linux: `/proc/self/stat`).
//!
//! `cargo run --release -p event-log --example kafka_append_rate -- HOST:PORT [TASKS] [RECORDS] [BYTES]`

use bytes::Bytes;
use event_log::{
    Append, Record,
    kafka::{Admin, Compression, KafkaConfig, KafkaLog, TopicWanted},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().ok_or("say where the broker is: HOST:PORT")?;
    let mut numbers = arguments.map(|argument| argument.parse::<usize>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default));
    let (tasks, records, bytes) = (next(64)?, next(100_000)?, next(500)?);
    let config = KafkaConfig { brokers, compression: Compression::None, ..KafkaConfig::default() };
    let topic = format!("append-rate-{}", std::process::id());
    let admin = Admin::connect(&config, None)?;
    let wanted = TopicWanted { name: topic.clone(), partitions: 8, replication: None, configs: BTreeMap::new() };
    admin.create(&[wanted]).await?;
    let log = KafkaLog::connect(config)?;
    append(log.clone(), topic.clone(), 1, bytes).await;

    let (began, spent) = (Instant::now(), cpu()?);
    let writers: Vec<_> =
        (0..tasks).map(|_| tokio::spawn(append(log.clone(), topic.clone(), records / tasks, bytes))).collect();
    let mut took = Vec::with_capacity(records);
    for writer in writers {
        took.extend(writer.await?);
    }
    let (elapsed, spent) = (began.elapsed(), cpu()?.saturating_sub(spent));
    took.sort_unstable();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "{tasks} tasks, {} records of {bytes} B: {:.0}/s, p50 {:?}, p99 {:?}, {:.1} µs of CPU each",
        took.len(),
        took.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        spent.as_secs_f64() * 1e6 / took.len().max(1) as f64
    );
    admin.delete(&[&topic]).await?;
    Ok(())
}

async fn append(log: KafkaLog, topic: String, records: usize, bytes: usize) -> Vec<Duration> {
    let mut took = Vec::with_capacity(records);
    let value = Bytes::from(vec![b'x'; bytes]);
    for _ in 0..records {
        let began = Instant::now();
        let record = Record { key: None, value: Some(value.clone()), headers: vec![], timestamp_ms: 0 };
        match log.append(&topic, None, record).await {
            Ok(_) => took.push(began.elapsed()),
            Err(error) => eprintln!("{error}"),
        }
    }
    took
}

/// CPU time of this process: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second.
fn cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}
