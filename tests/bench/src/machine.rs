//! What was measured where.

use crate::stats;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::{io::Write as _, path::Path, process::Command, time::Instant};

/// Cores, kernel, processor, memory, commit, and what a sync costs on the disk under `data`.
pub(crate) fn facts(data: &Path) -> anyhow::Result<Value> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    Ok(json!({
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(1),
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").trim(),
        "git_commit": git(&["rev-parse", "HEAD"]),
        "git_changed_files": git(&["status", "--porcelain"]).map(|text| text.lines().count()),
        "fdatasync_ms": sync_cost(data)?,
    }))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Appends of 4 KiB, each synced: what the gateway's promise costs at least.
fn sync_cost(data: &Path) -> anyhow::Result<Value> {
    let mut file = tempfile::tempfile_in(data).context("cannot write where data is to lie")?;
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(stats::spread(took))
}
