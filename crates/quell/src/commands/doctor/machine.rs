//! What the machine gives: the time, files, room.

use super::{Findings, Health};
use crate::commands::moment;
use std::{fs, io::Write as _, path::Path};

/// Webhooks are signed with times; a clock before this was never set. 2025-01-01.
const EARLIEST_SECONDS: i64 = 1_735_689_600;
const OPEN_FILES_MIN: u64 = 4_096;
const FREE_KIB_MIN: u64 = 1 << 20;
const FREE_KIB_FAIL: u64 = 100 << 10;
/// What the data directory needs with `quell serve`, where it holds what is remembered of the schema registry alone.
const FREE_KIB_CLUSTER: u64 = 1 << 10;

/// Whether the clock was ever set. How it stands to others is seen where they are asked.
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

/// Whether the data directory can be written, and whether it has room for what lies there: log and store, or with
/// `quell serve` next to nothing.
pub(super) fn data_dir(dir: &Path, is_cluster: bool, findings: &mut Findings) {
    let shown = dir.display();
    let nearest = nearest(dir);
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
    let free = free_kib(nearest);
    let (health, detail) = if is_cluster { room_of_cluster(free) } else { room(free) };
    findings.add("disk", health, detail);
}

/// Whether a folder can be written and grow to so many bytes; none if it cannot be written.
pub(super) fn room_for(dir: &Path, bytes_max: u64) -> Option<(Health, String)> {
    let nearest = nearest(dir);
    write_once(nearest).ok()?;
    let used: u64 = fs::read_dir(dir)
        .map(|entries| entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum())
        .unwrap_or_default();
    let (shown, wanted) = (dir.display(), bytes_max.saturating_sub(used));
    Some(match free_kib(nearest) {
        None => (Health::Warn, format!("{shown}: free space is not known: look with `df`")),
        Some(free) if free.saturating_mul(1_024) < wanted => {
            let detail = format!(
                "{shown} may grow by {} MiB, and the disk has {} MiB free: make room, or lower gateway.spool.bytes_max",
                wanted >> 20,
                free >> 10
            );
            (Health::Warn, detail)
        }
        Some(free) => (Health::Ok, format!("{shown} can be written, {} MiB used, {} GiB free", used >> 20, free >> 20)),
    })
}

/// The folder, or where it is not made yet, the nearest one above, in which it will be.
fn nearest(dir: &Path) -> &Path {
    let above = dir.ancestors().find(|above| above.as_os_str().is_empty() || above.is_dir()).unwrap_or(dir);
    if above.as_os_str().is_empty() { Path::new(".") } else { above }
}

fn write_once(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".quell-doctor-{}", std::process::id()));
    let result = fs::File::create(&path).and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all()));
    let removed = if path.exists() { fs::remove_file(&path) } else { Ok(()) };
    result.and(removed)
}

/// Free space in KiB for who is not root.
fn free_kib(dir: &Path) -> Option<u64> {
    let told = rustix::fs::statvfs(dir).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize) >> 10)
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

/// As [`room`], where log and store are elsewhere.
fn room_of_cluster(free_kib: Option<u64>) -> (Health, String) {
    match free_kib {
        Some(free) if free < FREE_KIB_CLUSTER => {
            (Health::Warn, format!("only {free} KiB free: the schema registry's ids may not be remembered"))
        }
        Some(free) if free < FREE_KIB_MIN => (Health::Ok, format!("{} MiB free", free >> 10)),
        other => room(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_room() {
        let here = free_kib(Path::new(".")).unwrap();
        assert!(here > 0 && here < 1 << 50, "{here}");
        assert_eq!(free_kib(Path::new("/nowhere")), None);
        assert_eq!(room(Some(524_288)).0, Health::Warn);
        assert_eq!(room(Some(5 << 20)), (Health::Ok, "5 GiB free".to_owned()));
        assert_eq!(room(Some(1)).0, Health::Fail);
        assert_eq!(room(None).0, Health::Warn);
        // A small file system of its own is enough for who keeps next to nothing there.
        assert_eq!(room_of_cluster(Some(16 << 10)), (Health::Ok, "16 MiB free".to_owned()));
        assert_eq!(room_of_cluster(Some(5 << 20)), (Health::Ok, "5 GiB free".to_owned()));
        assert_eq!(room_of_cluster(Some(1)).0, Health::Warn);
        assert_eq!(room_of_cluster(None).0, Health::Warn);
    }

    #[test]
    fn room_to_grow_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.segment"), vec![0; 2 << 20]).unwrap();
        let judged = |bytes_max| room_for(folder.path(), bytes_max).map(|(health, _)| health);
        // It has that already.
        assert_eq!(judged(2 << 20), Some(Health::Ok));
        assert_eq!(judged(1 << 60), Some(Health::Warn));
        assert_eq!(room_for(Path::new("/proc/nowhere"), 1), None);
    }

    #[test]
    fn looks_at_the_folder_or_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        for dir in [folder.path().to_owned(), folder.path().join("not/yet")] {
            let mut findings = Findings::default();
            data_dir(&dir, false, &mut findings);
            assert_eq!(findings.0[0].health, Health::Ok, "{findings:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut findings = Findings::default();
        data_dir(Path::new("/proc/nowhere"), false, &mut findings);
        assert_eq!(findings.0[0].health, Health::Fail, "{findings:?}");
    }
}
