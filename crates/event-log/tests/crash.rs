//! A process that appends (to a topic in segments) and commits is killed with SIGKILL at any moment, again and again, over one directory: nothing
//! that it was told is done may be missing, and every commit is there whole or not at all.
//!
//! The test runs itself as the child: with an argument it writes until it is killed, telling on its standard output
//! what was acknowledged.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test without the harness: whatever fails ends it")]

use bytes::Bytes;
use event_log::{
    Append, Browse, Fate, Limits, Output, Outputs, Polled, Record, Session, TopicSpec, Verdict,
    embedded::{self, EmbeddedLog, SegmentOptions, open_database},
};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const ROUNDS: u32 = 6;
const PARTITIONS: u32 = 3;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("child") {
        child(Path::new(&arguments.next().expect("a directory")));
        return;
    }
    nothing_acknowledged_is_lost_and_commits_are_whole();
    println!("test nothing_acknowledged_is_lost_and_commits_are_whole ... ok ({ROUNDS} kills)");
}

fn topics() -> Vec<TopicSpec> {
    let spec = |name: &str, retention_ms| TopicSpec { name: name.into(), partitions: PARTITIONS, retention_ms };
    vec![spec("in", Some(u64::MAX)), spec("out", Some(u64::MAX)), spec("state", None)]
}

fn open(directory: &Path) -> EmbeddedLog {
    let db = open_database(directory, 8 << 20).expect("the database opens after a kill");
    // Small files, so that kills come while one is begun, too.
    let segments = SegmentOptions { segment_bytes: 4_096, ..SegmentOptions::new(directory.join("segments"), &["in"]) };
    EmbeddedLog::open_with_segments(db, &topics(), embedded::Limits::default(), &segments)
        .expect("the log opens after a kill")
}

fn record(key: &str, value: String) -> Record {
    Record { key: Some(Bytes::from(key.to_owned())), value: Some(value.into()), headers: vec![], timestamp_ms: 1 }
}

/// Appends from several tasks and copies `in` to `out` and `state`, until killed.
fn child(directory: &Path) {
    let log = open(directory);
    let mut session = log.session("copy", "in", &[0, 1, 2]).expect("a session");
    std::thread::spawn(move || {
        let limits = Limits { records_max: 7, bytes_max: 1 << 20, wait: Duration::from_millis(50) };
        loop {
            let Polled::Batch(batch) = session.poll(&limits).expect("polls") else { continue };
            let verdict = |consumed: &event_log::Consumed| {
                let output =
                    |topic: &str| Output { topic: topic.into(), partition: None, record: consumed.record.clone() };
                Verdict { fate: Fate::Emitted, outputs: vec![output("out"), output("state")] }
            };
            let outputs = Outputs { verdicts: batch.records.iter().map(verdict).collect() };
            session.commit(&batch, &outputs).expect("commits");
            for (_, partition, next) in batch.next_offsets() {
                tell(&format!("committed {partition} {}", next.offset()));
            }
        }
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let writers = (0..8).map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..u64::MAX {
                    let value = format!("{}-{writer}-{n}", std::process::id());
                    let appended = log.append("in", None, record(&format!("key{}", n % 50), value.clone())).await;
                    let position = appended.expect("appends");
                    tell(&format!("appended {} {} {value}", position.partition, position.offset));
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer never ends");
        }
    });
}

/// One line in one write, so that a kill leaves no half line before a whole one.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

fn nothing_acknowledged_is_lost_and_commits_are_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut appended: HashMap<(u32, u64), String> = HashMap::new();
    let mut committed: HashMap<u32, u64> = HashMap::new();
    for round in 0..ROUNDS {
        let before = appended.len();
        // A kill comes after so many lines, so at another moment of the group commit each time.
        run_and_kill(directory.path(), 150 + round as usize * 61, &mut appended, &mut committed);
        assert!(appended.len() > before, "round {round} appended nothing");
        check(directory.path(), &appended, &committed);
    }
    assert!(committed.len() == PARTITIONS as usize, "every partition was committed: {committed:?}");
}

fn run_and_kill(
    directory: &Path,
    lines: usize,
    appended: &mut HashMap<(u32, u64), String>,
    committed: &mut HashMap<u32, u64>,
) {
    let me = std::env::current_exe().expect("this test");
    let mut child =
        Command::new(me).arg("child").arg(directory).stdout(Stdio::piped()).spawn().expect("the child starts");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut take = |line: &str| {
        let mut words = line.split(' ');
        let mut next = || words.next().expect("a word");
        let (what, partition, offset) = (next(), next().parse().unwrap(), next().parse().unwrap());
        if what == "appended" {
            let twice = appended.insert((partition, offset), next().to_owned());
            assert_eq!(twice, None, "offset {offset} of partition {partition} was given twice");
        } else {
            committed.insert(partition, offset);
        }
    };
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        assert!(out.read_line(&mut line).expect("a line") > 0, "the child ended by itself");
        take(line.trim_end());
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("it is gone");
    // What it told before it died counts too; a cut last line does not.
    line.clear();
    while out.read_line(&mut line).expect("a line") > 0 && line.ends_with('\n') {
        take(line.trim_end());
        line.clear();
    }
}

fn check(directory: &Path, appended: &HashMap<(u32, u64), String>, committed: &HashMap<u32, u64>) {
    let log = open(directory);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut inputs: Vec<Vec<(String, String)>> = Vec::new();
        for partition in 0..PARTITIONS {
            let records = all(&log, "in", partition).await;
            for (offset, value) in records.iter().map(|(offset, _, value)| (*offset, value)) {
                // Nothing acknowledged lies elsewhere or says something else.
                assert!(appended.get(&(partition, offset)).is_none_or(|told| told == value));
            }
            let n_told = appended.keys().filter(|(p, _)| *p == partition).count();
            let n_found = records.iter().filter(|(o, ..)| appended.contains_key(&(partition, *o))).count();
            assert_eq!(n_found, n_told, "acknowledged appends are missing from partition {partition}");

            let next = log.committed("copy", "in", partition).await.expect("reads").unwrap_or(0);
            let told = committed.get(&partition).copied().unwrap_or(0);
            assert!(next >= told, "partition {partition} stands at {next}, {told} was acknowledged");
            inputs.push(records.into_iter().filter(|(o, ..)| *o < next).map(|(_, k, v)| (k, v)).collect());
        }
        // Same keys, same number of partitions: each input partition went to the one of the same number, in order.
        for (partition, input) in inputs.iter().enumerate() {
            let of = |records: Vec<(u64, String, String)>| records.into_iter().map(|(_, k, v)| (k, v));
            let out: Vec<_> = of(all(&log, "out", partition as u32).await).collect();
            assert_eq!(&out, input, "outputs of partition {partition} are exactly those of the committed inputs");
            let newest: HashMap<_, _> = input.iter().cloned().collect();
            let state: Vec<_> = of(all(&log, "state", partition as u32).await).collect();
            assert_eq!(state.len(), newest.len(), "one record a key");
            assert_eq!(state.into_iter().collect::<HashMap<_, _>>(), newest, "the newest of each key");
        }
    });
}

async fn all(log: &EmbeddedLog, topic: &str, partition: u32) -> Vec<(u64, String, String)> {
    let (mut records, mut offset) = (Vec::new(), 0);
    let text = |bytes: &Option<Bytes>| String::from_utf8(bytes.clone().unwrap_or_default().to_vec()).expect("text");
    loop {
        let read = log.read(topic, partition, offset, 1_000).await.expect("reads");
        let Some(last) = read.last() else { return records };
        offset = last.position.offset + 1;
        records.extend(read.iter().map(|c| (c.position.offset, text(&c.record.key), text(&c.record.value))));
    }
}
