//! A folder of Parquet files, and the reader that knows nothing of ours: DuckDB, from Python.

use crate::python;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Runs statements in the folder's DuckDB; the rows of the last one.
#[track_caller]
pub(crate) fn query(folder: &Path, sql: &str) -> Vec<Value> {
    let out = python::run("query.py", folder, sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
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
