//! A folder of Parquet files, and the reader that knows nothing of ours: DuckDB, from Python.

use serde_json::Value;
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Runs statements in the folder's DuckDB; the rows of the last one.
#[track_caller]
pub(crate) fn query(folder: &Path, sql: &str) -> Vec<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../target/warehouse/bin/python");
    assert!(python.exists(), "no {}: `./dev test` makes it, and so does `./dev warehouse-tool`", python.display());
    let mut command = Command::new(&python);
    command.arg("-B").arg(here.join("tests/warehouse/query.py")).arg(folder);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python runs");
    child.stdin.take().expect("a pipe").write_all(sql.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{sql}\n{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Every file below a folder, by its path there.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("below it").display().to_string());
            }
        }
    }
    found.sort();
    found
}
