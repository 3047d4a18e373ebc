//! Measures the embedded log: appends from many tasks, each waiting for its own to be on disk; then a session that
//! copies all of it into another topic.
//!
//! `cargo run --release -p event-log --example append_rate -- [TASKS] [RECORDS] [BYTES]`

use bytes::Bytes;
use event_log::{
    Append, Fate, Limits, Output, Outputs, Polled, Record, Session, TopicSpec, Verdict,
    embedded::{self, EmbeddedLog, open_database},
};
use std::time::{Duration, Instant};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (tasks, records, bytes) = (next(64)?, next(200_000)?, next(500)?);
    let directory = tempfile::tempdir()?;
    let topics = ["in", "out"].map(|name| TopicSpec { name: name.into(), partitions: 8, retention_ms: Some(u64::MAX) });
    let log = EmbeddedLog::open(open_database(directory.path(), 32 << 20)?, &topics, embedded::Limits::default())?;

    let began = Instant::now();
    let writers: Vec<_> =
        (0..tasks).map(|task| tokio::spawn(append(log.clone(), task, records / tasks, bytes))).collect();
    let mut took = Vec::with_capacity(records);
    for writer in writers {
        took.extend(writer.await?);
    }
    let elapsed = began.elapsed();
    took.sort_unstable();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "append: {tasks} tasks, {} records of {bytes} B: {:.0}/s, p50 {:?}, p90 {:?}, p99 {:?}",
        took.len(),
        took.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.9),
        at(0.99)
    );

    let total = took.len();
    let copied = std::thread::spawn(move || copy(&log, total)).join().map_err(|_| "the copy panicked")??;
    println!("copy: {total} records in batches of 500, each committed: {:.0}/s", total as f64 / copied.as_secs_f64());
    Ok(())
}

async fn append(log: EmbeddedLog, task: usize, records: usize, bytes: usize) -> Vec<Duration> {
    let mut took = Vec::with_capacity(records);
    let value = Bytes::from(vec![b'x'; bytes]);
    for n in 0..records {
        let began = Instant::now();
        let key = Some(Bytes::from(format!("{task}-{n}")));
        let record = Record { key, value: Some(value.clone()), headers: vec![], timestamp_ms: 0 };
        match log.append("in", None, record).await {
            Ok(_) => took.push(began.elapsed()),
            Err(error) => eprintln!("{error}"),
        }
    }
    took
}

fn copy(log: &EmbeddedLog, total: usize) -> Result<Duration, String> {
    let began = Instant::now();
    let partitions: Vec<u32> = (0..8).collect();
    let mut session = log.session("copy", "in", &partitions).map_err(|error| error.to_string())?;
    let limits = Limits { records_max: 500, bytes_max: 8 << 20, wait: Duration::from_millis(10) };
    let mut copied = 0;
    while copied < total {
        let Polled::Batch(batch) = session.poll(&limits).map_err(|error| error.to_string())? else { continue };
        let verdict = |consumed: &event_log::Consumed| {
            let output = Output { topic: "out".into(), partition: None, record: consumed.record.clone() };
            Verdict { fate: Fate::Emitted, outputs: vec![output] }
        };
        let outputs = Outputs { verdicts: batch.records.iter().map(verdict).collect() };
        session.commit(&batch, &outputs).map_err(|error| error.to_string())?;
        copied += batch.records.len();
    }
    Ok(began.elapsed())
}
