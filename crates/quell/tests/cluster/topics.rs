//! `topics check|apply`.

use crate::bed::{Bed, SMALL, ended};

const DECLARATION: &str = include_str!("../../../../deploy/topics.toml");

/// The declaration, with changes that each must find their place.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(DECLARATION.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

const FOR_ONE: [(&str, &str); 3] = [
    ("\npartitions = 32", "\npartitions = 4"),
    ("\nreplication_factor = 3", "\nreplication_factor = 1"),
    ("\"min.insync.replicas\" = 2", "\"min.insync.replicas\" = 1"),
];

#[test]
fn a_cluster_follows_its_declaration() {
    let bed = Bed::start();
    let small = |args: &[&str]| bed.run(&[args, SMALL.as_slice()].concat());

    // Nothing there: told, not made without a word, then made.
    let missing = small(&["topics", "check", "-o", "json"]).with(1).json();
    let found = missing["differences"].as_array().expect("a list");
    assert_eq!((found.len(), &found[0]["act"]), (8, &"create".into()), "{missing}");
    let unasked = small(&["topics", "apply"]).with(2);
    assert!(unasked.err.contains("--yes") && unasked.out.contains("quell.state.v1"), "{unasked:?}");
    small(&["topics", "check"]).with(1);
    let applied = small(&["topics", "apply", "--yes"]).with(0);
    assert!(applied.out.contains("creates it") && applied.out.ends_with("as declared\n"), "{applied:?}");
    assert_eq!(small(&["topics", "check"]).with(0).out, "the topics are as declared\n");
    let again = small(&["topics", "apply", "--yes", "-o", "json"]).with(0).json();
    assert_eq!((&again["ok"], &again["applied"]), (&true.into(), &false.into()), "{again}");

    // A setting, and partitions of a topic without keys.
    let raw = ("name = \"quell.raw.v1\"\n", "name = \"quell.raw.v1\"\npartitions = 6\n");
    let shorter = ("\"retention.ms\" = 604800000", "\"retention.ms\" = 86400000");
    let file = bed.write("topics.toml", &changed(&[FOR_ONE.as_slice(), &[raw, shorter]].concat()));
    let with_file = |args: &[&str]| bed.run(&[args, &["--file", &file]].concat());
    let differs = with_file(&["topics", "check"]).with(1).out;
    let row = |what: &str| differs.lines().find(|line| line.contains(what)).unwrap_or_default().to_owned();
    let (retention, partitions) = (row("retention.ms"), row("partitions"));
    assert!(retention.contains("604800000  86400000") && differs.contains("older records go"), "{differs}");
    assert!(partitions.contains("quell.raw.v1") && partitions.contains("adds them"), "{differs}");
    with_file(&["topics", "apply", "--yes"]).with(0);
    with_file(&["topics", "check"]).with(0);
    small(&["topics", "check"]).with(1);

    // A keyed topic keeps its partitions, and then nothing else is changed either.
    let wider = changed(&[FOR_ONE[1], FOR_ONE[2], ("\npartitions = 32", "\npartitions = 8")]);
    let wider = bed.write("wider.toml", &wider);
    let refused = bed.run(&["topics", "apply", "--yes", "--file", &wider]).with(1).out;
    assert!(refused.contains("REFUSES") && refused.contains("kafka.epoch"), "{refused}");
    assert!(refused.ends_with("refused; nothing was changed\n"), "{refused}");
    with_file(&["topics", "check"]).with(0);

    // What cannot be told.
    let three = bed.run(&["topics", "check", "--replication-factor", "1"]).with(2).err;
    assert!(three.contains("--min-insync 1"), "{three}");
    bed.kafka.kill().expect("it runs");
    let mut away = bed.command(&["topics", "check"]);
    let away = ended(away.env("QUELL__kafka__request_timeout_ms", "1500")).with(2).err;
    assert!(away.contains("kafka.brokers") && away.contains("start it"), "{away}");
}

/// A broker alone cannot have three replicas.
#[test]
fn what_the_cluster_refuses_is_told_with_the_way_out() {
    let bed = Bed::start();
    let refused = bed.run(&["topics", "apply", "--yes"]).with(2).err;
    assert!(refused.contains("replication factor") && refused.contains("--replication-factor"), "{refused}");
}
