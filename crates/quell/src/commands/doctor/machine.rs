//! What the machine gives: the time, files, room.

use super::{Findings, Health};
use crate::commands::moment;
use std::{fs, io::Write as _, path::Path, process::Command};

/// Webhooks are signed with times; a clock before this was never set. 2025-01-01.
const EARLIEST_SECONDS: i64 = 1_735_689_600;
const OPEN_FILES_MIN: u64 = 4_096;
const FREE_KIB_MIN: u64 = 1 << 20;
const FREE_KIB_FAIL: u64 = 100 << 10;

/// Whether the clock was ever set. What it shows beside a provider's is seen where accounts are asked.
pub(super) fn clock(findings: &mut Findings) {
    match moment::now() {
        Ok(now) if now.as_seconds() >= EARLIEST_SECONDS => findings.ok("clock", now.to_string()),
        Ok(now) => findings.fail(
            "clock",
            format!("{now} has long passed: set it (`timedatectl set-ntp true`), as signed webhooks bear times"),
        ),
        Err(error) => findings.fail("clock", format!("{error:#}")),
    }
}

/// How many files, and so connections, a process may have open.
pub(super) fn open_files(findings: &mut Findings) {
    // Only Linux tells here; elsewhere there is nothing to say.
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()).map(str::parse::<u64>) {
        Some(Ok(soft)) if soft < OPEN_FILES_MIN => {
            findings.warn(
                "open files",
                format!("at most {soft}, each connection is one: raise it (`ulimit -n 65536`, or LimitNOFILE)"),
            );
        }
        Some(Ok(soft)) => findings.ok("open files", format!("at most {soft}")),
        // `unlimited`.
        _ => findings.ok("open files", "no limit"),
    }
}

/// Whether the data directory can be written, and how much room it has.
pub(super) fn data_dir(dir: &Path, findings: &mut Findings) {
    let shown = dir.display();
    // Not made yet: the nearest folder above, where it will be made.
    let above = dir.ancestors().find(|above| above.as_os_str().is_empty() || above.is_dir()).unwrap_or(dir);
    let nearest = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let written = write_once(nearest);
    match (written, nearest == dir) {
        (Ok(()), true) => findings.ok("data_dir", format!("{shown} can be written")),
        (Ok(()), false) => findings
            .ok("data_dir", format!("{shown} is not there yet; `quell up` will make it in {}", nearest.display())),
        (Err(error), _) => {
            findings.fail(
                "data_dir",
                format!("{} cannot be written ({error}): change its owner, or set data_dir", nearest.display()),
            );
            return;
        }
    }
    let (health, detail) = room(free_kib(nearest));
    findings.add("disk", health, detail);
}

fn write_once(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".quell-doctor-{}", std::process::id()));
    let result = fs::File::create(&path).and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all()));
    let removed = if path.exists() { fs::remove_file(&path) } else { Ok(()) };
    result.and(removed)
}

/// Free space in KiB, as POSIX `df` tells it.
fn free_kib(dir: &Path) -> Option<u64> {
    let told = Command::new("df").arg("-Pk").arg(dir).output().ok()?;
    read_df(&String::from_utf8_lossy(&told.stdout))
}

fn read_df(told: &str) -> Option<u64> {
    told.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn room(free_kib: Option<u64>) -> (Health, String) {
    match free_kib {
        None => (Health::Warn, "free space is not known: look with `df`".to_owned()),
        Some(free) if free < FREE_KIB_FAIL => {
            (Health::Fail, format!("only {} MiB free: webhooks will soon be refused", free >> 10))
        }
        Some(free) if free < FREE_KIB_MIN => {
            (Health::Warn, format!("only {} MiB free: make room, or shorten engine.*_days", free >> 10))
        }
        Some(free) => (Health::Ok, format!("{} GiB free", free >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_room() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 1000 1 524288 1% /\n";
        assert_eq!(read_df(df), Some(524_288));
        assert_eq!(read_df("df: no such thing"), None);
        assert_eq!(room(Some(524_288)).0, Health::Warn);
        assert_eq!(room(Some(5 << 20)), (Health::Ok, "5 GiB free".to_owned()));
        assert_eq!(room(Some(1)).0, Health::Fail);
        assert_eq!(room(None).0, Health::Warn);
    }

    #[test]
    fn looks_at_the_folder_or_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        for dir in [folder.path().to_owned(), folder.path().join("not/yet")] {
            let mut findings = Findings::default();
            data_dir(&dir, &mut findings);
            assert_eq!(findings.0[0].health, Health::Ok, "{findings:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut findings = Findings::default();
        data_dir(Path::new("/proc/nowhere"), &mut findings);
        assert_eq!(findings.0[0].health, Health::Fail, "{findings:?}");
    }
}
