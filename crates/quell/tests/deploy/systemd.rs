//! The systemd units, by systemd's own eyes.

use crate::{
    binary::Deployed,
    tools::{file, root, said, systemd_analyze},
};
use std::collections::BTreeMap;

const UNITS: [&str; 2] = ["quell.service", "quell@.service"];

/// What a unit says, a line a pair; a key may stand several times.
fn pairs(unit: &str) -> Vec<(String, String)> {
    let text = file(&format!("deploy/systemd/{unit}"));
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().expect("a folder");
    for unit in UNITS {
        // The binary is not installed here.
        let text = file(&format!("deploy/systemd/{unit}")).replace("/usr/bin/quell", env!("CARGO_BIN_EXE_quell"));
        std::fs::write(folder.path().join(unit), text).expect("a file");
    }
    for unit in ["quell.service", "quell@gateway.service"] {
        let mut verify = systemd_analyze();
        verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(folder.path().join(unit));
        let told = said(verify.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display())));
        assert!(told.as_ref().is_ok_and(|told| told.is_empty()), "{unit}: {told:?}");
    }
}

#[test]
fn the_units_give_away_little() {
    for unit in UNITS {
        let path = root().join("deploy/systemd").join(unit);
        let mut security = systemd_analyze();
        // Of 100: what a service could do to the machine; without any hardening it is 96.
        security.args(["security", "--offline=yes", "--threshold=20", "--no-pager"]).arg(&path);
        if let Err(told) = said(&mut security) {
            panic!("{unit} gives away too much:\n{told}");
        }
        let pairs = pairs(unit);
        let has = |key: &str, value: &str| pairs.iter().any(|pair| pair == &(key.to_owned(), value.to_owned()));
        for (key, value) in
            [("User", "quell"), ("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("Restart", "always")]
        {
            assert!(has(key, value), "{unit}: {key}={value}");
        }
        let seconds = |key: &str| -> u64 {
            pairs
                .iter()
                .find(|pair| pair.0 == key)
                .and_then(|pair| pair.1.parse().ok())
                .unwrap_or_else(|| panic!("{key}"))
        };
        // The gateway drains for 25 s.
        assert!(seconds("TimeoutStopSec") > 25 && seconds("LimitNOFILE") >= 4_096);
    }
}

#[test]
fn the_binary_starts_as_the_units_say() {
    let environment = |unit: &str, instance: &str| -> BTreeMap<String, String> {
        let set = pairs(unit).into_iter().filter(|pair| pair.0 == "Environment");
        set.filter_map(|pair| {
            let (name, value) = pair.1.split_once('=')?;
            Some((name.to_owned(), value.replace("%i", instance).replace("%H", "host")))
        })
        .collect()
    };
    let commands = |unit: &str, instance: &str| -> Vec<Vec<String>> {
        let lines = pairs(unit).into_iter().filter(|pair| pair.0.starts_with("ExecStart"));
        let words = |line: String| -> Vec<String> {
            let words: Vec<String> = line.replace("%i", instance).split(' ').map(str::to_owned).collect();
            assert_eq!(words[0], "/usr/bin/quell");
            words[1..].to_vec()
        };
        lines.map(|pair| words(pair.1)).collect()
    };
    let config = file("deploy/systemd/quell.toml");
    let one = commands("quell.service", "");
    assert_eq!(one, [vec!["config", "check"], vec!["up"]]);
    let mut up = Deployed::new(&config, environment("quell.service", ""));
    up.is_sound();
    up.starts_alone(&one[1]);
    for role in ["gateway", "notifier"] {
        let cluster = format!("{config}\n[kafka]\nbrokers = \"kafka:9092\"\n");
        let mut serve = Deployed::new(&cluster, environment("quell@.service", role));
        serve.is_sound();
        let shown = said(serve.command().args(["config", "print"])).expect("it prints");
        assert!(shown.contains(&format!("instance = \"host-{role}\"")), "{shown}");
        serve.starts(&commands("quell@.service", role)[1]);
    }
}
