//! What a stranger reads: a Java program, `deploy/examples/java`, that knows the brokers, a topic's name and the registry's
//! URL, and nothing of ours.

use crate::bed::{Bed, PATIENCE};
use schemas::topics;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

const KEY: &str = "default/email/jane@example.com";

/// Every committed record of a topic, as the program prints it.
pub(crate) fn read(bed: &Bed, topic: &str) -> Vec<Value> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples/java/ReadTopic.java");
    let mut program = testkit::servers::java_client(&source).unwrap_or_else(|error| panic!("{error}"));
    let registry = bed.registry.as_deref().expect("the bed has a registry");
    program.args([bed.kafka.bootstrap(), registry, topic]).stdin(Stdio::null()).current_dir(bed.path(""));
    let ended = program.output().expect("java runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let lines = String::from_utf8(ended.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Reads until there are so many records: a lookup may know of a batch whose transaction is not over yet.
#[track_caller]
fn read_all(bed: &Bed, topic: &str, records: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let found = read(bed, topic);
        if found.len() >= records {
            assert_eq!(found.len(), records, "{found:?}");
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{found:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The newest record of each key, as a compacted topic means it: of one key all records lie in one partition.
fn newest(records: &[Value]) -> BTreeMap<&str, &Value> {
    records.iter().map(|record| (record["key"].as_str().expect("a key"), &record["value"])).collect()
}

#[test]
fn a_plain_client_in_another_language_reads_deltas_and_state() {
    let mut bed = Bed::start_with_registry();
    bed.set_up();
    let mut all = bed.serve("all", "gateway,normalizer,suppressor,lookup");
    all.wait_ready();
    let receipt = all.drip_bounce("Jane@Example.com", "2026-01-20T10:00:00Z");
    all.until(1, &["check", "jane@example.com"]);

    let deltas = read_all(&bed, topics::DELTAS, 1);
    let (delta, told) = (&deltas[0], &deltas[0]["value"]);
    assert_eq!((&delta["schema"], &delta["key"]), (&json!("quell.v1.Delta"), &json!(KEY)), "{delta}");
    assert!((1..0x5155_0000).contains(&delta["id"].as_i64().expect("an id")), "an id of the registry: {delta}");
    assert_eq!(
        (&told["recipient"], &told["address"]),
        (&json!("jane@example.com"), &json!("Jane@Example.com")),
        "{told}"
    );
    assert_eq!((&told["change"], &told["scope"], &told["before"]), (&json!("suppressed"), &json!("all"), &json!(null)));
    assert_eq!(told["now"]["quell.v1.Standing"]["reason"], "hard_bounce", "{told}");
    assert_eq!(told["trigger"]["receipt_id"], json!(receipt), "{told}");
    assert_eq!(delta["headers"]["receipt-id"], json!(receipt), "{delta}");

    let state_key = format!("{KEY}\nall");
    let state = read_all(&bed, topics::STATE, 1);
    let in_force = newest(&state)[state_key.as_str()];
    assert_eq!(state[0]["schema"], "quell.v1.State", "{state:?}");
    assert_eq!((&in_force["recipient"], &in_force["scope"]), (&json!("jane@example.com"), &json!("all")), "{in_force}");
    assert_eq!(in_force["standing"]["reason"], "hard_bounce", "{in_force}");
    assert_eq!(in_force["position"], told["position"], "as far as the delta");

    // The same once more says nothing new; the release is the next thing that is told.
    let again = all.drip_bounce("Jane@Example.com", "2026-01-20T10:00:00Z");
    all.until_processed(&again);
    all.run(&["release", "jane@example.com", "--note", "they wrote to us"]).with(0);
    all.until(0, &["check", "jane@example.com"]);
    let deltas = read_all(&bed, topics::DELTAS, 2);
    let changes: Vec<_> = deltas.iter().map(|delta| delta["value"]["change"].clone()).collect();
    assert_eq!(changes, ["suppressed", "released"], "each exactly once, in order");
    let state = read_all(&bed, topics::STATE, 2);
    assert_eq!(newest(&state), BTreeMap::from([(state_key.as_str(), &Value::Null)]), "nothing is in force any more");
    assert_eq!(state[1].get("schema"), None, "a tombstone was written with no schema");
    assert_eq!(all.terminate(), Some(0), "{}", all.log());

    // Who is started without the registry cannot read that log, and says so instead of burying it.
    bed.registry = None;
    let mut forgotten = bed.serve("forgotten", "suppressor");
    assert_eq!(forgotten.until_ended(), Some(2), "{}", forgotten.log());
    assert!(forgotten.log().contains("set url in [registry]"), "{}", forgotten.log());
}
