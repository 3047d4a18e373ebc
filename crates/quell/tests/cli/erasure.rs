//! `erase`: whoever is erased stays suppressed, and after retention no byte of the log or the store names them.

use crate::instance::{Instance, READ_TOKEN, WRITE_TOKEN, ended, read};
use event_log::{
    Append as _, Consumed, Record, TopicSpec,
    embedded::{EmbeddedLog, Limits, SegmentOptions, open_database},
};
use schemas::{headers, topics, wire::DeadLetter};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};
use suppressor::store::embedded::{EmbeddedStore, Retention, Sweep};
use testkit::fake::{Fake, FakeProvider};

const LOCAL_PART: &str = "zaphod.beeblebrox";
const ADDRESS: &str = "zaphod.beeblebrox@example.com";
const OTHER: &str = "trillian@example.com";
const MESSAGE: &str = "msg-of-the-erased";
const PARTITIONS: u32 = 4;
const DAY_MS: i64 = 86_400_000;
/// Later than anything is kept by default.
const LATER_DAYS: i64 = 400;

/// Two recipients with everything that can be known of one.
fn told(more: &str) -> Instance {
    let mut instance = Instance::prepare(PARTITIONS);
    instance.configure(more);
    instance.begin();
    for address in [ADDRESS, OTHER] {
        instance.drip_bounce(address, "2026-01-20T14:32:15Z");
    }
    let about = |kind: &str| json!({"kind": kind, "recipient": ADDRESS, "occurred_at": "2026-01-21T10:00:00Z", "message_id": MESSAGE});
    instance.generic(&json!([about("delivered"), about("complaint"), {"kind": "complaint", "recipient": LOCAL_PART}]));
    let note = ["--note", "Zaphod.Beeblebrox called"];
    instance.run(&[&["suppress", ADDRESS, "--scope", "marketing", "--for", "30d"], note.as_slice()].concat()).with(0);
    for address in [ADDRESS, OTHER] {
        instance.until(1, &["check", address]);
    }
    instance.until(0, &["message", MESSAGE]);
    instance
}

/// A provider that can be told, with what serves it.
fn provider() -> (tokio::runtime::Runtime, Fake, String) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let provider = FakeProvider::Mailgun { api_key: WRITE_TOKEN.to_owned(), domains: vec!["m.example.com".to_owned()] };
    let provider = runtime.block_on(Fake::start(provider)).expect("a port");
    let account = format!(
        "[[account]]\nname = \"main\"\nprovider = \"mailgun\"\nbase_url = \"{}\"\nallow_private = true\n\
         domain = \"m.example.com\"\ncredential = \"env:CLI_WRITE\"\n",
        provider.url()
    );
    (runtime, provider, account)
}

#[track_caller]
fn until_told(provider: &Fake, address: &str) {
    let began = Instant::now();
    while !provider.holds("m.example.com/bounces", address) {
        assert!(began.elapsed().as_secs() < 20, "the provider was never told");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn scopes(found: &Value) -> BTreeSet<(String, String)> {
    let rows = found["in_force"].as_array().expect("a list").iter();
    rows.map(|row| (row["scope"].to_string(), row["reason"].to_string())).collect()
}

fn deltas(instance: &Instance) -> Vec<Value> {
    instance.lines("/v1/deltas").into_iter().filter(|delta| delta["recipient"] == ADDRESS).collect()
}

#[test]
fn an_erased_person_stays_suppressed() {
    let (_runtime, provider, account) = provider();
    let instance = told(&account);
    until_told(&provider, ADDRESS);
    let why = || instance.run(&["why", ADDRESS, "-o", "json"]).with(0).json();
    let before = why();
    assert_eq!(before["erased"], Value::Null);
    let refused = ended(instance.command(READ_TOKEN).args(["erase", ADDRESS, "--note", "n"])).with(2);
    assert!(refused.err.contains("write role"), "{refused:?}");

    let erased = instance.run(&["erase", ADDRESS, "--note", "ticket 4713", "--wait", "-o", "json"]).with(0).json();
    assert_eq!(erased["forgotten"], true, "{erased}");
    let places: Vec<&str> =
        erased["gone"].as_array().expect("a list").iter().filter_map(|row| row["what"].as_str()).collect();
    for topic in topics::all().iter().filter(|topic| topic.name != topics::STATISTICS) {
        assert!(places.contains(&topic.name), "{}: {places:?}", topic.name);
    }
    let after = why();
    assert_eq!(scopes(&after), scopes(&before));
    assert_eq!((&after["erased"]["by"], &after["erased"]["forgotten"]), (&json!("tester"), &json!(true)));
    assert_eq!((&after["deltas"], &after["address"]), (&json!([]), &json!("")));
    let text = instance.run(&["why", ADDRESS]).with(0).out;
    assert!(text.contains("Erased at") && text.contains("by tester"), "{text}");
    instance.run(&["check", ADDRESS]).with(1);
    instance.run(&["message", MESSAGE]).with(1);

    let listed = instance.run(&["export"]).with(0).out;
    assert!(listed.contains(OTHER) && !listed.contains(LOCAL_PART), "{listed}");
    let changes: Vec<Value> = deltas(&instance).into_iter().map(|delta| delta["change"].clone()).collect();
    assert!(changes.contains(&json!("erased")) && !changes.contains(&json!("released")), "{changes:?}");

    assert!(provider.holds("m.example.com/bounces", ADDRESS), "the provider still refuses them");

    // Whoever wants mail again is released by hand, as anybody.
    instance.run(&["release", ADDRESS, "--note", "signed up again"]).with(0);
    instance.until(0, &["check", ADDRESS]);
    let receipt = ended(instance.command(WRITE_TOKEN).args(["erase", OTHER, "--note", "n", "--wait"])).with(0).out;
    assert!(receipt.contains("still in force for trillian@example.com: all (hard_bounce)"), "{receipt}");
    assert!(receipt.contains("1 person: forgotten") && receipt.contains("quell.raw.v1"), "{receipt}");
}

fn names_them(row: &[u8]) -> bool {
    let row = row.to_ascii_lowercase();
    row.windows(LOCAL_PART.len()).any(|part| part == LOCAL_PART.as_bytes())
}

/// Every table of the database, which read as bytes holds the address's local part, whatever its letters' case.
fn tables_that_name_them(data: &Path) -> BTreeSet<String> {
    let db = open_database(data, 8 << 20).expect("nobody else has it open");
    let names = db.list_keyspace_names();
    assert!(names.len() > 20, "{names:?}");
    let mut found = BTreeSet::new();
    // Raw webhooks lie in files beside the tables.
    let log = EmbeddedLog::open_with_segments(db.clone(), &specs(), Limits::default(), &segments(data));
    let log = log.expect("the log opens");
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        loop {
            let records = log.read_blocking(topics::RAW, partition, offset, 1_000).expect("a read");
            let Some(last) = records.last() else { break };
            offset = last.position.offset + 1;
            if records.iter().any(|read| names_them(read.record.value.as_deref().unwrap_or_default())) {
                found.insert(topics::RAW.to_owned());
            }
        }
    }
    for file in std::fs::read_dir(data.join("segments").join(topics::RAW)).expect("the segments") {
        if names_them(&std::fs::read(file.expect("a file").path()).expect("its bytes")) {
            found.insert(topics::RAW.to_owned());
        }
    }
    for name in names {
        let table = db.keyspace(&name, Default::default).expect("the table opens");
        for guard in table.iter() {
            let (key, value) = guard.into_inner().expect("a row");
            if names_them(&[key.as_ref(), value.as_ref()].concat()) {
                found.insert(name.to_string());
            }
        }
    }
    found
}

fn specs() -> Vec<TopicSpec> {
    let spec = |topic: &topics::Topic| TopicSpec {
        name: topic.name.into(),
        partitions: PARTITIONS,
        retention_ms: topic.retention_ms,
    };
    topics::all().iter().map(spec).collect()
}

/// As `quell up` opens its log.
fn segments(data: &Path) -> SegmentOptions {
    SegmentOptions::new(data.join("segments"), &[topics::RAW])
}

/// What `quell up` does every minute, as if that much time had passed.
fn retain(data: &Path) {
    let db = open_database(data, 8 << 20).expect("nobody else has it open");
    let log = EmbeddedLog::open_with_segments(db.clone(), &specs(), Limits::default(), &segments(data));
    let log = log.expect("the log opens");
    let later = domain::Timestamp::from_seconds(crate::instance::unix() + LATER_DAYS * DAY_MS / 1_000).expect("a time");
    while log.enforce_retention(later.as_millis()).expect("retention") > 0 {}
    let store = EmbeddedStore::open(db).expect("the store opens");
    let kept = Retention { seen_days: 30, messages_days: 90 };
    while store.retain(&mut Sweep::default(), kept, later, 100_000).expect("retention") > 0 {}
}

/// What the notifier writes of their deltas once a subscriber has taken none for as long as it is offered, which is an hour at
/// least: longer than a test waits.
fn give_up(runtime: &tokio::runtime::Runtime, data: &Path) {
    let db = open_database(data, 8 << 20).expect("nobody else has it open");
    let log = EmbeddedLog::open_with_segments(db, &specs(), Limits::default(), &segments(data)).expect("the log opens");
    let deltas = (0..PARTITIONS)
        .flat_map(|partition| log.read_blocking(topics::DELTAS, partition, 0, 1_000).expect("a read of the deltas"));
    let of_them: Vec<Consumed> =
        deltas.filter(|delta| names_them(delta.record.value.as_deref().unwrap_or_default())).collect();
    assert!(!of_them.is_empty(), "no delta names them");
    for delta in of_them {
        let letter = DeadLetter {
            stage: headers::NOTIFIER.to_owned(),
            reason: "undelivered".to_owned(),
            detail: "subscriber deaf: no answer".to_owned(),
            topic: topics::DELTAS.to_owned(),
            partition: i32::try_from(delta.position.partition).expect("a few partitions"),
            offset: i64::try_from(delta.position.number()).expect("a few deltas"),
            element: None,
            attempt: 5,
            receipt_id: String::new(),
            provider: "drip".to_owned(),
            tenant: "default".to_owned(),
            key: delta.record.key.as_ref().map(|key| key.to_vec()),
            value: delta.record.value.as_ref().map(|value| value.to_vec()),
            headers: BTreeMap::from([(headers::SUBSCRIBER.to_owned(), "deaf".to_owned())]),
            dead_at: delta.record.timestamp_ms * 1_000,
        };
        let value = Some(schemas::encode(&letter).expect("a letter"));
        let record = Record { key: delta.record.key, value, headers: Vec::new(), ..delta.record };
        runtime.block_on(log.append(topics::DEAD_LETTER, None, record)).expect("the log takes it");
    }
}

/// Sends what the subscriber did not take on its way once more.
fn redeliver(instance: &Instance) {
    let letters = instance.run(&["dead-letters", "list", "-o", "json"]).with(0).json();
    let letters = letters["dead_letters"].as_array().expect("a list").clone();
    let of_notifier = letters.iter().filter(|letter| letter["stage"] == "notifier");
    let ids: Vec<&str> = of_notifier.filter_map(|letter| letter["id"].as_str()).collect();
    assert!(!ids.is_empty(), "{letters:?}");
    instance.run(&[&["dead-letters", "replay"], ids.as_slice()].concat()).with(0);
}

#[test]
fn after_retention_nothing_names_an_erased_person() {
    // An account that is told, and a subscriber that takes nothing.
    let (runtime, provider, account) = provider();
    let mut instance = told(&format!(
        "{account}[[subscriber]]\nname = \"deaf\"\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\n\
         secrets = [\"env:CLI_GENERIC\"]\n"
    ));
    let data = instance.path("data");
    until_told(&provider, ADDRESS);
    instance.stop();
    give_up(&runtime, &data);
    instance.begin();
    redeliver(&instance);
    instance.stop();
    let found = tables_that_name_them(&data);
    for topic in topics::all().iter().filter(|topic| topic.name != topics::STATISTICS) {
        assert!(found.iter().any(|name| name.contains(topic.name)), "{}: {found:?}", topic.name);
    }
    for part in ["store.recipients", "store.in_force", "store.audit", "store.messages", "store.due"] {
        assert!(found.contains(part), "{part}: {found:?}");
    }

    instance.begin();
    instance.run(&["erase", ADDRESS, "--note", "ticket 4713", "--wait"]).with(0);
    instance.stop();
    let found = tables_that_name_them(&data);
    for part in ["store.recipients", "store.in_force", "store.audit", "store.due", "store.erased"] {
        assert!(!found.contains(part), "{part}: {found:?}");
    }
    retain(&data);
    assert_eq!(tables_that_name_them(&data), BTreeSet::new());
    assert!(!read(&instance.path("log")).to_lowercase().contains(LOCAL_PART), "the log of the process");

    instance.begin();
    instance.run(&["check", ADDRESS]).with(1);
    instance.run(&["check", OTHER]).with(1);
    let why = instance.run(&["why", ADDRESS, "-o", "json"]).with(0).json();
    assert_eq!(why["erased"]["forgotten"], true, "{why}");
}
