//! `store check|migrate`, and the doctor's eye on the cluster.

use crate::bed::{Bed, SMALL, ended};

#[test]
fn a_store_is_migrated_and_the_doctor_sees_it() {
    let bed = Bed::start_with_registry();
    let doctor = || bed.run(&["doctor", "--offline", "-o", "json"]);
    let health = |found: &serde_json::Value, check: &str| {
        let all = found["checks"].as_array().expect("checks");
        let found = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {found}"));
        (found["health"].as_str().expect("a word").to_owned(), found["detail"].as_str().expect("a text").to_owned())
    };

    let missing = bed.run(&["store", "check", "-o", "json"]).with(1).json();
    assert_eq!((&missing["version"], &missing["findings"][0]["kind"]), (&0.into(), &"missing".into()), "{missing}");
    let ill = doctor().with(1).json();
    assert_eq!(health(&ill, "kafka").0, "ok", "{ill}");
    for (check, next) in [("topics", "quell topics apply"), ("store", "quell store migrate")] {
        let (health, detail) = health(&ill, check);
        assert!(health == "fail" && detail.contains(next), "{check}: {health}: {detail}");
    }

    let unasked = bed.run(&["store", "migrate"]).with(2);
    assert!(unasked.err.contains("--yes") && unasked.out.contains("001_tables is not applied"), "{unasked:?}");
    let applied = bed.run(&["store", "migrate", "--yes", "-o", "json"]).with(0).json();
    assert_eq!(applied["applied"][0], "001_tables", "{applied}");
    let again = bed.run(&["store", "migrate", "--yes"]).with(0).out;
    assert!(again.ends_with("nothing to do\n"), "{again}");
    bed.run(&["store", "check"]).with(0);

    bed.run(&[&["topics", "apply", "--yes"], SMALL.as_slice()].concat()).with(0);
    let well = doctor().with(0).json();
    assert_eq!(health(&well, "store").0, "ok", "{well}");
    // One broker overrides the declaration's numbers, as all of its topics say.
    let (word, detail) = health(&well, "topics");
    assert!(word == "ok" && detail.ends_with(&format!("as declared, with {}", SMALL.join(" "))), "{detail}");

    // Other tests may have registered them.
    let (word, detail) = health(&well, "schema registry");
    assert!(word == "ok" && detail.contains("9 schemas"), "{detail}");
    let mut away = bed.command(&["doctor", "--offline", "-o", "json"]);
    let away = ended(away.env("QUELL__registry__url", "http://127.0.0.1:1")).with(1).json();
    let (word, detail) = health(&away, "schema registry");
    assert!(word == "fail" && detail.contains("registry.url"), "{detail}");

    let mut away = bed.command(&["store", "check"]);
    away.env("QUELL__store__contact_points", "[\"127.0.0.1:1\"]").env("QUELL__store__connect_timeout_ms", "500");
    let away = ended(&mut away).with(2).err;
    assert!(away.contains("store.contact_points (127.0.0.1:1)") && away.contains("start it"), "{away}");
}
