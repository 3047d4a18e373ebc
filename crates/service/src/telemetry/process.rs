//! Figures of this process under Prometheus' conventional names, read from `/proc` when somebody asks.

use super::{Metrics, TelemetryError};
use prometheus::{Counter, Gauge};
use std::time::{SystemTime, UNIX_EPOCH};

/// Clock ticks a second in `/proc/self/stat`: `USER_HZ`, 100 on every Linux ABI.
const TICKS_A_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process {
    resident: Gauge,
    cpu: Counter,
    fds: Gauge,
    threads: Gauge,
}

impl Process {
    pub(super) fn register(metrics: &Metrics) -> Result<Self, TelemetryError> {
        let gauge = |name: &str, help| metrics.add(name, Gauge::new(name, help));
        let started = gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")?;
        started.set(started_at().unwrap_or_else(now_seconds));
        let cpu = "process_cpu_seconds_total";
        Ok(Self {
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            cpu: metrics.add(cpu, Counter::new(cpu, "User and system CPU time spent, in seconds."))?,
        })
    }

    pub(super) fn refresh(&self) {
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            if let Some(bytes) = resident_of(&status) {
                self.resident.set(bytes as f64);
            }
            if let Some(threads) = field(&status, "Threads:").and_then(|text| text.parse::<u32>().ok()) {
                self.threads.set(f64::from(threads));
            }
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // The listing's own descriptor is among them.
            self.fds.set(entries.count().saturating_sub(1) as f64);
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn resident_of(status: &str) -> Option<u64> {
    field(status, "VmRSS:")?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Resident memory of this process in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// A field of `/proc/self/stat`, by its number in proc(5). The second, the command in brackets, may hold spaces.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// User and system CPU time of this process in seconds, where the system tells.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    Some((stat_field(&stat, 14)? + stat_field(&stat, 15)?) as f64 / TICKS_A_SECOND)
}

/// When this process started, in seconds since the epoch: ticks after the boot, whose time `/proc/stat` tells.
fn started_at() -> Option<f64> {
    let ticks = stat_field(&std::fs::read_to_string("/proc/self/stat").ok()?, 22)?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: u64 = field(&system, "btime ")?.parse().ok()?;
    Some(booted as f64 + ticks as f64 / TICKS_A_SECOND)
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_started_a_short_while_ago() {
        let started = started_at().unwrap();
        let ago = now_seconds() - started;
        // The boot's time is in whole seconds.
        assert!((-2.0..86_400.0).contains(&ago), "{ago}");
    }

    #[test]
    fn a_command_may_hold_spaces_and_brackets() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19";
        assert_eq!((stat_field(stat, 14), stat_field(stat, 22)), (Some(11), Some(19)));
    }
}
