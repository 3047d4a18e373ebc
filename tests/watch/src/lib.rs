//! What watches Quell from outside: the dashboards' source, from which `deploy/grafana/dashboards` is written. The tests
//! hold the files to it, run every query in a real Prometheus, and put the alerts to the test.

pub mod dashboard;
pub mod dashboards;
pub mod panel;

use std::path::{Path, PathBuf};

/// A path in the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
