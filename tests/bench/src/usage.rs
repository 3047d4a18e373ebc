//! What a process uses, from `/proc` (Linux).

use anyhow::Context as _;
use std::collections::BTreeMap;

/// Ticks a second of `/proc/PID/stat`: 100 on every Linux (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process so far, user and system, all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name in parentheses may hold anything; fields are counted after it.
    let rest = text.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("/proc/PID/stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Resident now, in MB (10^6 bytes).
pub(crate) fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    status_mb(pid, "VmRSS:")
}

/// Resident at most so far, in MB.
pub(crate) fn peak_mb(pid: u32) -> anyhow::Result<f64> {
    status_mb(pid, "VmHWM:")
}

fn status_mb(pid: u32, name: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("/proc/PID/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("/proc/PID/status")?;
    Ok(kib * 1_024.0 / 1e6)
}

/// CPU seconds of a process so far by thread name; threads of one name together. Names are cut to 15 bytes.
pub(crate) fn cpu_seconds_by_thread(pid: u32) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut by_name = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
        let path = task?.path();
        let (Ok(name), Ok(stat)) =
            (std::fs::read_to_string(path.join("comm")), std::fs::read_to_string(path.join("schedstat")))
        else {
            continue; // It ended meanwhile.
        };
        let nanos: f64 = stat.split(' ').next().and_then(|text| text.parse().ok()).context("schedstat")?;
        *by_name.entry(name.trim().to_owned()).or_default() += nanos / 1e9;
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        let (now, peak) = (resident_mb(pid).unwrap(), peak_mb(pid).unwrap());
        assert!(now > 0.5 && peak > 0.5, "{now} {peak}");
        assert!(!cpu_seconds_by_thread(pid).unwrap().is_empty());
    }
}
