//! The tools of others that are written in Python, which `./dev warehouse-tool` puts below target/.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Runs a script beside these tests over a text; what it wrote, or what it complained of.
pub(crate) fn run(script: &str, argument: impl AsRef<OsStr>, text: &str) -> Result<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../target/warehouse/bin/python");
    assert!(python.exists(), "no {}: `./dev test` makes it, and so does `./dev warehouse-tool`", python.display());
    let mut command = Command::new(&python);
    command.arg("-B").arg(here.join("tests/warehouse").join(script)).arg(argument);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if ended.status.success() { Ok(text(ended.stdout)) } else { Err(text(ended.stderr)) }
}
