//! `export --state` and `import --state`: from one process to a cluster, and from there to one with other partitions.

use crate::{
    bed::{Bed, Instance, PATIENCE, TOKEN},
    reader,
};
use schemas::topics;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const BOUNCED_AT: &str = "2026-01-20T14:32:15Z";
/// Of the first cluster: what [`Bed::set_up`] makes.
const PARTITIONS: u32 = 4;
const CATEGORY: &str = "category:news";

/// So many that several lie in each partition.
fn bounced() -> Vec<String> {
    (0..12).map(|n| format!("dead{n}@example.com")).collect()
}

/// `quell up`, with what is known of everybody before the moves.
fn embedded(dir: &std::path::Path) -> Instance {
    let config = |[gateway, lookup, admin]: [u16; 3]| {
        format!(
            "data_dir = \"{}\"\n[gateway]\nlisten = \"127.0.0.1:{gateway}\"\n[lookup]\nlisten = \"127.0.0.1:{lookup}\"\n\
             [[lookup.token]]\nname = \"desk\"\nsecret = \"env:BED_TOKEN\"\nrole = \"write\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n[engine]\npartitions = 3\n\
             [[source]]\nprovider = \"drip\"\nsecrets = [\"env:BED_DRIP\"]\n",
            dir.join("embedded").display(),
        )
    };
    let mut instance = Instance::spawn(dir, "embedded", config, &["up"]);
    instance.wait_ready();
    for address in bounced().iter().chain([&"freed@example.com".to_owned()]) {
        instance.drip_bounce(address, BOUNCED_AT);
        instance.until(1, &["check", address]);
    }
    instance.run(&["release", "freed@example.com", "--note", "moved house"]).with(0);
    instance.run(&["suppress", "news@example.com", "--scope", CATEGORY, "--note", "asked by phone"]).with(0);
    instance
}

/// What is in force, by recipient, as `why` tells it.
fn in_force(instance: &Instance, addresses: &[String]) -> BTreeMap<String, Value> {
    let told = |address: &String| instance.run(&["why", address, "-o", "json"]).with(0).json()["in_force"].clone();
    addresses.iter().map(|address| (address.clone(), told(address))).collect()
}

/// Takes the state out of a cluster, once nothing is left to process.
#[track_caller]
fn export_drained(bed: &Bed, file: &str) -> String {
    let began = Instant::now();
    loop {
        let ended = bed.run(&["export", file, "--state"]);
        if ended.code == 0 {
            return ended.err;
        }
        assert!(ended.err.contains("has not processed") && began.elapsed() < PATIENCE, "{ended:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What each recipient was told, in order.
fn changes(deltas: &[Value]) -> BTreeMap<&str, Vec<&str>> {
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for delta in deltas {
        let word = |field: &str| delta[field].as_str().expect("a word");
        told.entry(word("recipient")).or_default().push(word("change"));
    }
    told
}

/// Everybody stands as before, and what is said again says nothing: then the first news is told as what it is.
fn goes_on(instance: &Instance, before: &BTreeMap<String, Value>, again: &[String], released: &str, new: &str) {
    let addresses: Vec<String> = before.keys().cloned().collect();
    assert_eq!(&in_force(instance, &addresses), before);
    for (address, known) in before {
        let is_free = known.as_array().is_none_or(Vec::is_empty);
        // A category holds back what is sent in it alone.
        let code = i32::from(!is_free && address != "news@example.com");
        instance.run(&["check", address]).with(code);
    }
    assert_eq!(instance.deltas(), [] as [Value; 0], "a move tells nothing");

    let receipts: Vec<_> = again.iter().map(|address| instance.drip_bounce(address, BOUNCED_AT)).collect();
    receipts.iter().for_each(|receipt| instance.until_processed(receipt));
    instance.run(&["release", released, "--note", "they wrote to us"]).with(0);
    instance.until(0, &["check", released]);
    instance.drip_bounce(new, BOUNCED_AT);
    instance.until(1, &["check", new]);
}

/// Of all that went in after the move, two things were news.
fn told_only_news(deltas: &[Value], released: &str, new: &str) {
    assert_eq!(
        changes(deltas),
        BTreeMap::from([(released, vec!["released"]), (new, vec!["suppressed"])]),
        "{deltas:?}"
    );
    let of = |address: &str| deltas.iter().find(|delta| delta["recipient"] == address).expect("it is there");
    assert_eq!(of(released)["before"]["reason"], "hard_bounce", "it goes on from what was brought");
    assert_eq!((&of(released)["now"], &of(new)["before"]), (&Value::Null, &Value::Null));
}

/// Brings a state in, while nothing runs there.
fn import(bed: &Bed, file: &str, recipients: u32, suppressions: u32, epoch: u32) {
    let told = bed.run(&["import", file, "--state", "-o", "json"]).with(0).json();
    let expected =
        json!({"policies": 0, "recipients": recipients, "suppressions": suppressions, "erased": 0, "epoch": epoch});
    assert_eq!(told, expected);
    let again = bed.run(&["import", file, "--state"]).with(2);
    assert!(again.err.contains("brought in already"), "{again:?}");
}

#[test]
fn a_state_moves_up_to_a_cluster_and_on_to_other_partitions() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut old = embedded(dir.path());
    let mut known = [bounced(), vec!["freed@example.com".to_owned(), "news@example.com".to_owned()]].concat();
    let before = in_force(&old, &known);
    assert_eq!(old.terminate(), Some(0), "{}", old.log());
    let file = dir.path().join("state.ndjson").display().to_string();
    let told = old.run(&["export", &file, "--state"]).with(0).err;
    assert!(told.contains("14 recipients, 13 suppressions, 0 erasures and 0 policies, up to epoch 0"), "{told}");

    // To a cluster, whose records have the ids of a registry.
    let mut one = Bed::start_with_registry();
    one.set_up();
    let early = one.run(&["import", &file, "--state"]).with(2).err;
    assert!(early.contains("set kafka.epoch to 1"), "{early}");
    one.reached.push_str("epoch = 1\n");
    import(&one, &file, 14, 13, 1);
    let mut instance = one.serve("one", "gateway,normalizer,suppressor,lookup");
    instance.wait_ready();
    // What was said before the move says nothing new, also of who was released since.
    let again = [bounced(), vec!["freed@example.com".to_owned()]].concat();
    goes_on(&instance, &before, &again, "dead0@example.com", "first@example.com");
    let file = one.path("state.ndjson").display().to_string();
    let told = export_drained(&one, &file);
    assert!(told.contains("15 recipients, 13 suppressions, 0 erasures and 0 policies, up to epoch 1"), "{told}");
    told_only_news(&instance.deltas(), "dead0@example.com", "first@example.com");
    state_lies_with_the_deltas(&one);
    known.push("first@example.com".to_owned());
    let before = in_force(&instance, &known);
    assert_eq!(instance.terminate(), Some(0), "{}", instance.log());
    export_drained(&one, &file);

    // To another one, with other partitions and without a registry.
    let mut two = Bed::start();
    two.reached.push_str("epoch = 2\n");
    two.set_up_like(&["--partitions", "7", "--replication-factor", "1", "--min-insync", "1"]);
    import(&two, &file, 15, 13, 2);
    let mut instance = two.serve("two", "gateway,normalizer,suppressor,lookup");
    instance.wait_ready();
    // Of both logs before.
    let again = [again, vec!["first@example.com".to_owned()]].concat();
    goes_on(&instance, &before, &again, "dead1@example.com", "second@example.com");
    export_drained(&two, &two.path("state.ndjson").display().to_string());
    told_only_news(&instance.deltas(), "dead1@example.com", "second@example.com");
    let why = instance.run(&["why", "dead1@example.com", "-o", "json"]).with(0).json();
    assert_eq!(why["deltas"].as_array().map(Vec::len), Some(2), "what was told in the first log is still known: {why}");
    assert_eq!(instance.terminate(), Some(0), "{}", instance.log());
    assert!(!instance.log().contains(TOKEN), "{}", instance.log());
}

/// A recipient's state is where its deltas are: a copy of the table reads both, partition by partition.
fn state_lies_with_the_deltas(bed: &Bed) {
    let at = |topic: &str| -> BTreeMap<String, BTreeSet<u64>> {
        let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for record in reader::read(bed, topic) {
            let key = record["key"].as_str().expect("a key").split('\n').next().unwrap_or_default().to_owned();
            found.entry(key).or_default().insert(record["partition"].as_u64().expect("a partition"));
        }
        found
    };
    let (state, deltas) = (at(topics::STATE), at(topics::DELTAS));
    assert_eq!(state.len(), 14, "of everybody who was held back, and the first new one: {state:?}");
    for (key, partitions) in &deltas {
        assert_eq!(state.get(key), Some(partitions), "{key}");
    }
    for (key, partitions) in &state {
        let expected = event_log::partition::partition_of(key.as_bytes(), PARTITIONS);
        assert_eq!(partitions, &BTreeSet::from([u64::from(expected)]), "{key}");
    }
}
