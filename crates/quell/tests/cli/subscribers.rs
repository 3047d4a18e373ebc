//! Subscribers, end to end: the worked consumers against an instance that is cut off and killed.

use crate::{
    examples::{OTHER_SECRET, Receiver, SECRET, program, rows},
    instance::{Instance, READ_TOKEN, free_ports},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(90);

/// Events of a kind for some recipients; gives back the last one.
fn tell(instance: &Instance, kind: &str, users: std::ops::Range<u32>, at: &str) -> String {
    let address = |user: u32| format!("user{user}@example.com");
    let events = users.clone().map(|user| json!({"kind": kind, "recipient": address(user), "occurred_at": at}));
    instance.generic(&Value::Array(events.collect()));
    address(users.end - 1)
}

/// Every delta of the log; by recipient in order.
fn deltas(instance: &Instance) -> Vec<Value> {
    let mut lines = instance.lines("/v1/deltas");
    assert!(lines.pop().is_some_and(|last| last.get("delta_id").is_none()));
    lines
}

#[track_caller]
fn until_deltas(instance: &Instance, number: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let found = deltas(instance);
        if found.len() >= number {
            assert_eq!(found.len(), number);
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {number} deltas", found.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn texts(values: &[Value], name: &str) -> Vec<String> {
    values.iter().map(|value| value[name].as_str().expect("text").to_owned()).collect()
}

/// Lets so many bytes of each answer through, and then hangs up; after the last number all goes through.
fn cutting_proxy(to: u16, bytes: Vec<usize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut bytes = bytes.into_iter();
        for client in listener.incoming() {
            let left = bytes.next().unwrap_or(usize::MAX);
            std::thread::spawn(move || carry(client.expect("a connection"), to, left));
        }
    });
    port
}

fn carry(mut client: TcpStream, to: u16, mut left: usize) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).ok()?;
    let mut buffer = [0; 4_096];
    // A request without a body.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = client.read(&mut buffer).ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&buffer[..read]);
    }
    server.write_all(&head).ok()?;
    while left > 0 {
        let room = left.min(buffer.len());
        let read = server.read(&mut buffer[..room]).ok().filter(|read| *read > 0)?;
        client.write_all(&buffer[..read]).ok()?;
        left -= read;
    }
    Some(())
}

fn follow(port: u16, database: &Path) -> Command {
    let mut command = program("http/follow.py");
    command.arg(format!("http://127.0.0.1:{port}")).arg(database).env("QUELL_TOKEN", READ_TOKEN).stderr(Stdio::piped());
    command
}

/// Runs it until it has caught up; what it wrote.
#[track_caller]
fn catch_up(port: u16, database: &Path) -> String {
    let output = follow(port, database).arg("--once").output().expect("python3 runs: ./dev test installs it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The copy is what Quell says is in force.
#[track_caller]
fn check_copy(instance: &Instance, database: &Path) {
    let query = "SELECT recipient, scope, reason FROM suppression";
    let copy: BTreeSet<String> = rows(database, query).iter().map(Value::to_string).collect();
    let line = |line: &Value| json!([line["recipient"], line["scope"], line["reason"]]).to_string();
    let truth: BTreeSet<String> = instance.lines("/v1/export").iter().map(line).collect();
    assert_eq!(copy, truth);
    assert!(!truth.is_empty());
}

#[test]
fn the_stream_is_followed_through_cuts_and_kills() {
    let instance = Instance::start();
    let database = instance.path("copy.db");
    let lookup = instance.lookup_port();
    let applied = || -> Vec<String> {
        let rows = rows(&database, "SELECT delta_id FROM change");
        rows.iter().map(|row| row[0].as_str().expect("an id").to_owned()).collect()
    };
    // From scratch, with something there.
    tell(&instance, "complaint", 100..110, "2026-01-19T10:00:00Z");
    until_deltas(&instance, 10);
    catch_up(lookup, &database);
    assert_eq!(rows(&database, "SELECT count(*) FROM suppression"), [json!([10])]);

    // Cut in the middle of lines and between them.
    tell(&instance, "bounced_hard", 0..60, "2026-01-20T10:00:00Z");
    until_deltas(&instance, 70);
    let said = catch_up(cutting_proxy(lookup, vec![3_000, 9_000]), &database);
    assert_eq!(said.matches("going on in").count(), 2, "{said}");
    check_copy(&instance, &database);
    assert_eq!(applied().len(), 60);

    // Killed while it follows.
    let mut child = Killed(follow(lookup, &database).stderr(Stdio::null()).spawn().expect("python3 runs"));
    tell(&instance, "complaint", 0..40, "2026-01-21T10:00:00Z");
    let began = Instant::now();
    while applied().len() < 61 {
        assert!(began.elapsed() < PATIENCE, "it does not follow");
    }
    child.0.kill().expect("it runs");
    child.0.wait().expect("it ends");
    instance.run(&["release", "user7@example.com", "--note", "they wrote to us"]).with(0);
    instance.until(0, &["check", "user7@example.com"]);
    catch_up(lookup, &database);
    check_copy(&instance, &database);
    let all: BTreeSet<String> = texts(&deltas(&instance)[..], "delta_id").into_iter().collect();
    let applied: BTreeSet<String> = applied().into_iter().collect();
    assert_eq!((applied.len(), applied.is_subset(&all)), (all.len() - 10, true), "all since the copy began, once");
}

#[test]
fn a_follower_whose_cursor_is_gone_begins_anew() {
    let instance = Instance::start();
    let database = instance.path("copy.db");
    tell(&instance, "bounced_hard", 0..3, "2026-01-20T10:00:00Z");
    until_deltas(&instance, 3);
    catch_up(instance.lookup_port(), &database);
    // A cursor of another log.
    const SPOIL: &str = "import sqlite3, sys; database = sqlite3.connect(sys.argv[1]); \
        database.execute(\"UPDATE place SET cursor = 'p0:99,p1:99,p2:99,p3:99'\"); database.commit()";
    let spoilt = Command::new("python3").args(["-c", SPOIL]).arg(&database).status().expect("python3 runs");
    assert!(spoilt.success());
    let said = catch_up(instance.lookup_port(), &database);
    assert!(said.contains("copying anew"), "{said}");
    check_copy(&instance, &database);
}

#[test]
fn webhooks_arrive_once_each_whatever_is_killed() {
    let mut instance = Instance::prepare(2);
    let [port] = free_ports();
    instance.write("secret", SECRET);
    instance.write("secret2", OTHER_SECRET);
    let (one, two) = (instance.path("secret").display().to_string(), instance.path("secret2").display().to_string());
    instance.configure(&format!(
        "[[subscriber]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{port}/quell\"\nallow_private = true\n\
         secrets = [\"file:{one}\", \"file:{two}\"]\nin_flight_max = 2\n\
         [[subscriber]]\nname = \"deaf\"\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\nsecrets = [\"file:{one}\"]\n"
    ));
    instance.begin();
    // Nobody listens yet.
    tell(&instance, "bounced_hard", 0..40, "2026-01-20T10:00:00Z");
    until_deltas(&instance, 40);
    let receiver = Receiver::start(port, &instance.path(""));
    receiver.until(3);
    instance.kill();
    instance.begin();
    tell(&instance, "complaint", 0..20, "2026-01-21T10:00:00Z");
    instance.until(1, &["check", "user19@example.com"]);
    let all = until_deltas(&instance, 60);
    let kept = receiver.until(60);
    let mut ids = texts(&all, "delta_id");
    let mut received: Vec<String> = kept.iter().map(|(id, ..)| id.clone()).collect();
    ids.sort();
    received.sort();
    assert_eq!(received, ids, "every delta, under its own id");
    // Each recipient's in order, each as the stream tells it.
    let mut positions: BTreeMap<String, u64> = BTreeMap::new();
    for (id, kind, data) in &kept {
        assert_eq!(kind, &format!("quell.suppression.{}", data["change"].as_str().expect("a word")));
        let mut told = all.iter().find(|delta| delta["delta_id"] == id.as_str()).expect("it is a delta").clone();
        told.as_object_mut().expect("an object").remove("cursor");
        assert_eq!(data, &told);
        let position = data["position"].as_u64().expect("a number");
        let before = positions.insert(data["recipient"].to_string(), position);
        assert!(before.is_none_or(|before| before < position), "{data}");
    }
    let metrics = instance.admin("/metrics");
    let line = "quell_notifier_deliveries_total{outcome=\"not_sent\",subscriber=\"deaf\"}";
    assert!(metrics.contains(line), "{metrics}");
    instance.stop();
    let log = crate::instance::read(&instance.path("log"));
    assert!(!log.contains("@example.com") && !log.contains("whsec_"), "{log}");
}

/// What the library of Standard Webhooks says of each webhook by each secret, once there are so many. One may be posted twice.
#[track_caller]
fn as_the_library_verifies(output: &Path, number: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = crate::instance::read(output);
        // The last line may not be whole yet.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let by_id: BTreeMap<String, Value> = lines.map(|line| (line["id"].to_string(), line)).collect();
        if by_id.len() >= number {
            return by_id.into_values().collect();
        }
        assert!(began.elapsed() < PATIENCE, "{} of {number} came", by_id.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_library_of_standard_webhooks_verifies_what_is_posted() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../target/standard-webhooks/bin/python");
    assert!(python.exists(), "no {}: `./dev test` makes it, and so does `./dev webhooks-tool`", python.display());
    let mut instance = Instance::prepare(2);
    let [port] = free_ports();
    let one = instance.write("secret", SECRET).display().to_string();
    let two = instance.write("secret2", OTHER_SECRET).display().to_string();
    let to = format!("url = \"http://127.0.0.1:{port}/\"\nallow_private = true");
    instance.configure(&format!(
        "[alarms]\nevery_s = 1\nsuppressions_per_hour = 2\n{to}\nsecrets = [\"file:{two}\"]\n\
         [[subscriber]]\nname = \"crm\"\n{to}\nsecrets = [\"file:{one}\", \"file:{two}\"]\n"
    ));
    let output = instance.write("verified", "");
    let file = std::fs::OpenOptions::new().append(true).open(&output).expect("it is there");
    let third = "whsec_b3RoZXJzIGhhdmUgb3RoZXIgc2VjcmV0cyE=";
    let mut receiver = Command::new(python);
    receiver.arg("-B").arg(here.join("tests/cli/standard_webhooks/receive.py")).arg(port.to_string());
    let _receiver = Killed(receiver.args([SECRET, OTHER_SECRET, third]).stdout(file).spawn().expect("Python runs"));
    instance.begin();
    tell(&instance, "bounced_hard", 0..3, "2026-01-20T10:00:00Z");
    let mut types: Vec<Value> = Vec::new();
    for line in as_the_library_verifies(&output, 4) {
        assert_eq!(line["changed"], json!([null, null, null]), "{line}");
        types.push(line["types"].clone());
    }
    types.sort_by_key(Value::to_string);
    let suppressed = "quell.suppression.suppressed";
    let (delta, alarm) = (json!([suppressed, suppressed, null]), json!([null, "quell.alarm.raised", null]));
    assert_eq!(types, [delta.clone(), delta.clone(), delta, alarm]);
}

#[test]
fn a_subscriber_that_cannot_work_is_told_before_anything_starts() {
    let check = |keys: &str, expected: &str| {
        let instance = Instance::prepare(2);
        let secret = instance.write("secret", SECRET).display().to_string();
        instance.configure(&keys.replace("SECRET", &format!("secrets = [\"file:{secret}\"]")));
        let refused = instance.run(&["config", "check"]).with(78);
        assert!(refused.err.contains(expected) && !refused.err.contains(SECRET), "{refused:?}");
    };
    check("[[subscriber]]\nname = \"crm\"\nurl = \"http://crm.example.com\"\nSECRET", "https://");
    check("[[subscriber]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\nsecrets = []", "openssl rand");
    check("[[subscriber]]\nname = \"a b\"\nurl = \"https://crm.example.com\"\nSECRET", "`name`");
    let twice = "[[subscriber]]\nname = \"crm\"\nurl = \"https://crm.example.com\"\nSECRET\n";
    check(&twice.repeat(2), "two subscribers");
    check(&format!("{twice}retry_hours = 9000"), "retry_hours");
    check("[alarms]\nurl = \"https://ops.example.com\"", "alarms");
}
