//! The demo itself, from its command line to its exit code, against the `quell` of the same build.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// `quell` beside the demo's binary.
fn quell() -> PathBuf {
    let quell = Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("quell");
    assert!(quell.is_file(), "{} is not built: run `cargo build -p quell` first, or `./dev test`", quell.display());
    quell
}

#[test]
fn plays_the_story_and_leaves() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).arg("--quell").arg(quell()).arg("--exit").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("figures are what the input implies"), "{out}");
    for figure in ["3,471", "3,247", "2,847", "276", "89", "35", "224", "46,753", "6.5 %", "0.27 %"] {
        assert!(out.contains(figure), "{figure} is missing in\n{out}");
    }
}

#[test]
fn says_so_where_quell_is_missing() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_demo")).args(["--quell", "no-such-quell", "--exit"]).output().unwrap();
    assert!(!output.status.success());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("no-such-quell is not there"), "{err}");
}
