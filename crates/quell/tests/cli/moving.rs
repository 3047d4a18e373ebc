//! `export --state` and `import --state`: from one log and partition count to another.

use crate::instance::{Instance, read, unix};
use domain::Timestamp;
use serde_json::json;

const DEAD: &str = "dead@example.com";

#[test]
fn a_state_moves_without_losing_or_repeating_anything() {
    let mut old = Instance::start();
    old.drip_bounce(DEAD, "2026-01-20T14:32:15Z");
    // Recent, whatever the day: what is held back for soft bounces ends by itself.
    let yesterday = Timestamp::from_seconds(unix() - 86_400).expect("a time").to_string();
    let soft = json!({"kind": "bounced_soft", "recipient": "full@example.com", "occurred_at": yesterday});
    old.generic(&json!([soft]));
    old.until(1, &["check", DEAD]);
    old.until(1, &["check", "full@example.com"]);
    old.run(&["release", "full@example.com", "--note", "moved house"]).with(0);
    old.until(0, &["check", "full@example.com"]);

    // A log that is in use cannot be read.
    let file = old.path("state.ndjson").display().to_string();
    let refused = old.run(&["export", &file, "--state"]).with(2);
    assert!(refused.err.contains("data_dir"), "{}", refused.err);
    let explained = old.run(&["why", DEAD, "--output", "json"]).with(0).json();
    old.stop();
    let told = old.run(&["export", &file, "--state"]).with(0);
    assert!(
        told.err.contains("2 recipients, 1 suppressions, 0 erasures and 0 policies, up to epoch 0"),
        "{}",
        told.err
    );
    assert_eq!(read(&old.path("state.ndjson")).lines().count(), 3);

    let mut new = Instance::prepare(3);
    let told = new.run(&["import", &file, "--state", "--output", "json"]).with(0).json();
    assert_eq!(told, json!({"policies": 0, "recipients": 2, "suppressions": 1, "erased": 0, "epoch": 1}));
    let again = new.run(&["import", &file, "--state"]).with(2);
    assert!(again.err.contains("brought in already"), "{}", again.err);
    new.begin();
    new.run(&["check", DEAD]).with(1);
    new.run(&["check", "full@example.com"]).with(0);
    let again = new.run(&["why", DEAD, "--output", "json"]).with(0).json();
    for part in ["in_force", "evidence", "deltas"] {
        assert_eq!(again[part], explained[part], "{part}");
    }

    // What was known before the move is a duplicate after it, and a newer event goes on from what was in force.
    new.drip_bounce(DEAD, "2026-01-20T14:32:15Z");
    new.run(&["release", DEAD, "--note", "they wrote to us"]).with(0);
    new.until(0, &["check", DEAD]);
    let changes = new.run(&["why", DEAD, "--output", "json"]).with(0).json()["deltas"].clone();
    let kinds: Vec<_> = changes.as_array().expect("a list").iter().map(|change| change["change"].clone()).collect();
    assert_eq!(kinds.len(), 2, "{changes}");
    assert!(kinds.contains(&json!("suppressed")) && kinds.contains(&json!("released")), "{changes}");

    // Nothing is poured over what is there.
    new.stop();
    let other = old.path("other.ndjson").display().to_string();
    new.run(&["export", &other, "--state"]).with(0);
    let refused = new.run(&["import", &other, "--state"]).with(2);
    assert!(refused.err.contains("into an empty one"), "{}", refused.err);
}
