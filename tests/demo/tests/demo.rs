//! The demo itself, from its command line to its exit code, against the `quell` of the same build.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// `quell` beside the demo's binary.
fn quell() -> PathBuf {
    let quell = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("quell");
    assert!(quell.is_file(), "{} is not built: run `cargo build -p quell` first, or `./dev test`", quell.display());
    quell
}

#[track_caller]
fn demo(quell: &Path) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    // What a visitor's own environment says to `quell` must not matter.
    let output = command.arg("--quell").arg(quell).arg("--exit").env("QUELL_API", "http://nowhere.invalid").output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn plays_the_story_and_leaves() {
    let (is_well, out, err) = demo(&quell());
    assert!(is_well, "{out}\n{err}");
    assert!(out.contains("figures are what the input implies"), "{out}");
    for (name, expected) in [
        ("email, answered 2xx", "3,471"),
        ("SMS, answered 2xx", "40"),
        ("duplicates dropped", "224"),
        ("email addresses", "3,247"),
        ("hard_bounce", "2,847"),
        ("soft_bounce", "276"),
        ("spam_complaint", "89"),
        ("unsubscribe", "35"),
        ("recipients in the file", "50,000"),
        ("left to send to", "46,753"),
        ("dead, of whom nobody told", "124"),
        ("bounce rate before", "6.5 %"),
        ("bounce rate after", "0.27 %"),
    ] {
        assert_eq!(figure(&out, name), expected, "{name} in\n{out}");
    }
    assert!(!err.contains("log is kept"), "{err}");
}

/// A figure of the report by its name, without the note behind it.
fn figure<'a>(report: &'a str, name: &str) -> &'a str {
    let mut lines = report.lines().map(|line| line.trim_start_matches(['✔', '✘', ' ']));
    let found = lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    found.trim_start().split("  ").next().unwrap_or_default()
}

/// A `quell` whose `filter` holds nobody back: the demo has to notice, and to say which figures are wrong.
#[test]
fn names_the_figures_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("quell");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = filter ]; then\n  cp \"$2\" \"$3\" && head -n 1 \"$2\" > \"$5\" && echo \
         '{{\"suppressed\":0}}'\nelse\n  exec {:?} \"$@\"\nfi\n",
        quell().display().to_string()
    );
    fs::write(&broken, script).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let (is_well, out, err) = demo(&broken);
    assert!(!is_well, "{out}\n{err}");
    let expected = "held back is 0, but the input implies 3,247";
    assert!(err.contains(expected), "{err}");
    let log = err.lines().find_map(|line| line.split_once("quell's log is kept in ")).unwrap().1;
    assert!(fs::read_to_string(log).unwrap().contains("quell is up"), "{log}");
    fs::remove_file(log).unwrap();
}

#[test]
fn says_so_where_quell_is_missing() {
    let (is_well, _, err) = demo(Path::new("no-such-quell"));
    assert!(!is_well && err.contains("no-such-quell is not there"), "{err}");
}
