//! docs/backup.md, done line by line on an instance of `quell up`.

use crate::{instance::Instance, tools::file};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{path::Path, process::Command};

/// The commands of a section of the page, up to the next heading.
fn commands(heading: &str) -> Vec<String> {
    let text = file("docs/backup.md");
    let (_, section) = text.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n#").next().expect("a section");
    let block = section.split("```").nth(1).unwrap_or_else(|| panic!("no commands for {heading}"));
    let lines = block.lines().skip(1).map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Does what a section says: systemd's part is the test's, and /var/lib/quell and /var/backups are folders of its own.
#[track_caller]
fn done(heading: &str, instance: &mut Instance) {
    for line in commands(heading) {
        match line.as_str() {
            "systemctl stop quell" => instance.stop(),
            "systemctl start quell" => instance.begin(),
            line if line.starts_with("quell ") => {
                let words: Vec<&str> = line.split(' ').skip(1).collect();
                instance.run(&words).with(0);
            }
            line => {
                let own = |name: &str| instance.path(name).display().to_string();
                std::fs::create_dir_all(instance.path("backups")).expect("a folder");
                let line = line.replace("/var/lib/quell", &own("")).replace("/var/backups", &own("backups"));
                let ran = Command::new("bash").args(["-euc", &line]).output().expect("bash runs");
                assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
            }
        }
    }
}

/// What is known of a recipient, without what tells of the moment.
fn why(instance: &Instance, address: &str) -> Value {
    let mut told = instance.run(&["why", address, "-o", "json"]);
    assert!(told.code < 2, "{told:?}");
    let mut value: Value = serde_json::from_str(&std::mem::take(&mut told.out)).expect("JSON");
    for key in ["as_of", "now"] {
        value.as_object_mut().expect("an object").remove(key);
    }
    value
}

/// An instance that knows of two recipients, and a third that it learnt of after the backup.
fn backed_up(how: impl FnOnce(&mut Instance)) -> (Instance, Value) {
    let mut instance = Instance::prepare(4);
    instance.begin();
    instance.drip_bounce("before@example.com", "2026-01-20T10:00:00Z");
    instance.drip_bounce("released@example.com", "2026-01-20T10:00:00Z");
    instance.until(1, &["check", "before@example.com"]);
    instance.until(1, &["check", "released@example.com"]);
    instance.run(&["release", "released@example.com", "--note", "asked us"]).with(0);
    instance.until(0, &["check", "released@example.com"]);
    let known = why(&instance, "before@example.com");
    how(&mut instance);
    instance.drip_bounce("after@example.com", "2026-01-20T11:00:00Z");
    instance.until(1, &["check", "after@example.com"]);
    (instance, known)
}

/// What was backed up is there, what came after it is not, and work goes on where it was.
fn is_restored(instance: &Instance, known: &Value) {
    assert_eq!(&why(instance, "before@example.com"), known, "with its explanation");
    instance.run(&["check", "before@example.com"]).with(1);
    instance.run(&["check", "released@example.com"]).with(0);
    instance.run(&["check", "after@example.com"]).with(0);
    // The provider tells it again: the same event, taken as new; one that is known stays a duplicate.
    instance.drip_bounce("before@example.com", "2026-01-20T10:00:00Z");
    instance.drip_bounce("after@example.com", "2026-01-20T11:00:00Z");
    instance.until(1, &["check", "after@example.com"]);
    assert_eq!(&why(instance, "before@example.com"), known, "known events change nothing");
    let changes = |address: &str| why(instance, address)["changes"].as_array().map(Vec::len);
    assert_eq!(changes("before@example.com"), changes("after@example.com"), "one change each");
}

#[test]
fn a_backup_is_restored_and_work_goes_on() {
    let (mut instance, known) = backed_up(|instance| done("Backup: stopped for a moment", instance));
    done("Restore", &mut instance);
    is_restored(&instance, &known);
}

#[test]
fn a_snapshot_of_a_running_instance_is_a_backup() {
    let (mut instance, known) = backed_up(|instance| {
        // As a snapshot of the file system is: everything of one moment, while the process runs.
        let process = process_of(&instance.path("quell.toml"));
        kill_process(process, Signal::STOP).expect("it runs");
        let copied = Command::new("cp").arg("-a").args([instance.path("data"), instance.path("snapshot")]).status();
        kill_process(process, Signal::CONT).expect("it runs");
        assert!(copied.expect("cp runs").success());
    });
    instance.stop();
    std::fs::remove_dir_all(instance.path("data")).expect("it is there");
    std::fs::rename(instance.path("snapshot"), instance.path("data")).expect("it is there");
    instance.begin();
    is_restored(&instance, &known);
}

/// The process that was started with this configuration.
fn process_of(config: &Path) -> Pid {
    let config = config.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|words| String::from_utf8_lossy(&words).contains(&config))
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let found = processes.filter(is_it).filter_map(number).next().expect("it runs");
    Pid::from_raw(found).expect("a process")
}
