//! The rules by promtool, the Alertmanager's configuration by amtool.

use crate::child::{installed, run};
use std::process::Command;
use watch_tests::repository;

fn promtool() -> Command {
    let mut command = Command::new(installed(&["promtool"], "prometheus"));
    command.current_dir(repository("deploy/prometheus"));
    command
}

#[track_caller]
fn unit_tests(files: &[&str]) {
    for file in files {
        let said = run(promtool().args(["test", "rules"]).arg(format!("tests/{file}.yml")));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn configurations_are_sound() {
    let said = run(promtool().args(["check", "config", "prometheus.yml"]));
    assert!(said.contains("6 rule files found"), "{said}");
    let said = run(Command::new(installed(&["amtool"], "prometheus-alertmanager"))
        .arg("check-config")
        .arg(repository("deploy/prometheus/alertmanager.yml")));
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn alerts_fire_in_trouble_alone() {
    unit_tests(&["mail", "mail_days", "silence", "ingest", "pipeline", "sync", "process"]);
}

#[test]
fn nine_quiet_days_raise_nothing() {
    unit_tests(&["quiet"]);
}

/// No file of tests is left out above.
#[test]
fn every_file_of_unit_tests_is_run() {
    let mut names: Vec<String> = std::fs::read_dir(repository("deploy/prometheus/tests"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let run = ["ingest", "mail", "mail_days", "pipeline", "process", "quiet", "silence", "sync"];
    assert_eq!(names, run.map(|name| format!("{name}.yml")));
}
