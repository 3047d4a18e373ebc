//! The log of a running `quell up`: lines for machines, with ids, without addresses, and bounded under attack.

use crate::instance::{Instance, read};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Of `[logs] lines_per_minute`.
const LINES_MAX: usize = 60;
const REFUSED: usize = 100_000;
const CONNECTIONS: usize = 4;

/// An instance that writes JSON, filtered like this.
fn instance(filter: &str) -> Instance {
    let mut instance = Instance::prepare(2);
    let config = read(&instance.path("quell.toml"));
    let logs = format!("filter = \"{filter}\"\nformat = \"json\"\n");
    instance.write("quell.toml", &config.replace("filter = \"warn\"\n", &logs));
    instance.begin();
    instance
}

/// Every line of its log, each of which must be JSON.
#[track_caller]
fn lines(instance: &Instance) -> Vec<Value> {
    let text = read(&instance.path("log"));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"));
    text.lines().map(parse).collect()
}

fn of<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

/// Sends unsigned webhooks over one connection, many in flight, and reads as many refusals.
fn flood(address: &str, n_requests: usize) {
    let request =
        "POST /webhooks/drip HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let batch = 250;
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    const ANSWER: &[u8] = b"HTTP/1.1 401 ";
    let (mut buffer, mut text) = (vec![0; 256 * 1024], Vec::new());
    for _ in 0..n_requests / batch {
        stream.write_all(request.repeat(batch).as_bytes()).expect("it reads");
        let mut n_answers = 0;
        while n_answers < batch {
            let n_bytes = stream.read(&mut buffer).expect("it answers");
            assert!(n_bytes > 0, "it hung up: {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..n_bytes]);
            n_answers += text.windows(ANSWER.len()).filter(|bytes| *bytes == ANSWER).count();
            // One that is not whole yet is looked for again.
            text.drain(..text.len().saturating_sub(ANSWER.len() - 1));
        }
    }
}

#[test]
fn a_hundred_thousand_refused_webhooks_write_a_bounded_number_of_lines() {
    let mut instance = instance("info");
    let address = instance.url("").trim_start_matches("http://").to_owned();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| flood(&address, REFUSED / CONNECTIONS));
        }
    });
    // It may reach into a further minute than it lasts; the last is told at the end.
    let minutes = began.elapsed().as_secs() as usize / 60 + 2;
    let counted = instance.metrics();
    let refused =
        "quell_gateway_webhooks_total{cause=\"missing_signature\",provider=\"drip\",source=\"default\",status=\"401\"}";
    assert!(counted.contains(&format!("{refused} {REFUSED}\n")), "{counted}");
    instance.stop();
    let lines = lines(&instance);
    let refusals = of(&lines, "refused a webhook");
    assert_eq!((&refusals[0]["provider"], &refusals[0]["status"]), (&"drip".into(), &401.into()));
    let told: Vec<&Value> = lines.iter().filter(|line| line["like"] == "refused a webhook").collect();
    let n_left_out: usize = told
        .iter()
        .filter_map(|line| line["message"].as_str()?.strip_prefix("suppressed ")?.strip_suffix(" similar"))
        .map(|count| count.parse::<usize>().expect("a count"))
        .sum();
    assert_eq!(refusals.len() + n_left_out, REFUSED);
    assert!(refusals.len() <= minutes * LINES_MAX && told.len() <= minutes, "{} in {minutes}", refusals.len());
    assert!(lines.len() < minutes * LINES_MAX + 50, "{}", lines.len());
}

#[test]
fn a_records_way_is_found_by_its_ids_and_names_nobody() {
    let mut instance = instance("info,quell=debug,ingest_gateway=debug");
    let address = "jane.doe@example.com";
    let receipt = instance.generic(&json!([
        {"kind": "complaint", "recipient": address, "occurred_at": "2026-01-20T10:00:00Z"},
        {"kind": "complaint", "recipient": "jane.doe at example", "occurred_at": "2026-01-20T10:00:00Z"},
    ]));
    instance.until(1, &["check", address]);
    let began = Instant::now();
    let by = |lines: &[Value], stage: &str| {
        lines.iter().find(|line| line["stage"] == stage && line["receipt_id"] == *receipt).cloned()
    };
    while by(&lines(&instance), "suppressor").is_none() {
        assert!(began.elapsed() < PATIENCE, "{:#?}", lines(&instance));
        std::thread::sleep(Duration::from_millis(50));
    }
    instance.stop();
    let lines = lines(&instance);
    assert_eq!(of(&lines, "took a webhook")[0]["receipt_id"], *receipt);
    let dead = of(&lines, "what cannot be processed lies in dead-letter");
    assert_eq!(
        (&dead[0]["receipt_id"], &dead[0]["stage"], &dead[0]["level"]),
        (&(*receipt).into(), &"normalizer".into(), &"WARN".into())
    );
    let suppressor = by(&lines, "suppressor").expect("a line");
    let event_id = suppressor["event_id"].as_str().expect("an event id");
    // The suppressor may be done with an event before the normalizer tells of it.
    let processed = of(&lines, "processed a record");
    let normalizer = processed.iter().find(|line| line["stage"] == "normalizer").expect("a line of the normalizer");
    assert!(normalizer["brought"].as_str().is_some_and(|brought| brought.contains(event_id)), "{normalizer:#?}");
    let text = read(&instance.path("log"));
    assert!(!text.contains("jane"), "{text}");
}
