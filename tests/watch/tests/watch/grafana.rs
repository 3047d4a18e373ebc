//! The dashboards by Grafana's own types: the compiler of TypeScript holds each file to them.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};
use watch_tests::{dashboards, repository};

/// Mistakes that Grafana would pass over in silence: the panel is drawn by its defaults, or not at all.
const MISTAKES: [(&str, &str); 9] = [
    (r#""graphMode":"area""#, r#""graphMode":"wave""#),
    (r#""drawStyle""#, r#""drawstyle""#),
    (r#""mode":"multi""#, r#""mode":"all""#),
    (r#""refId":"A""#, r#""refID":"A""#),
    (r#""overrides":[]"#, r#""overrides":{}"#),
    (r#""h":4"#, r#""h":"4""#),
    (r#""type":"stat""#, r#""type":"figure""#),
    (r#""graphTooltip":1"#, r#""graphTooltip":7"#),
    (r#""target":{"#, r#""targets":{"#),
];

/// Grafana's types and a compiler for them, below target/. `./dev test` has put them there; else this does.
fn tools() -> PathBuf {
    let made = Command::new("bash")
        .arg("dev")
        .arg("dashboard-tool")
        .current_dir(repository("."))
        .stdin(Stdio::null())
        .output();
    let made = made.expect("bash runs");
    assert!(made.status.success(), "the tools cannot be had: {}", String::from_utf8_lossy(&made.stderr));
    repository("target/grafana-schema")
}

#[test]
fn dashboards_are_what_grafana_takes() {
    let tools = tools();
    let mut source = String::from("import type { Dashboard } from './types';\n");
    for dashboard in dashboards::all() {
        let path = repository(&format!("deploy/grafana/dashboards/{}.json", dashboard.uid));
        let file = fs::read_to_string(path).unwrap();
        writeln!(source, "export const {}: Dashboard = {file};", dashboard.uid.replace('-', "_")).unwrap();
    }
    // On one line, so that the compiler's word about it is expected where it comes.
    let overview = dashboards::all().iter().find(|found| found.uid == "quell-overview").unwrap().json().to_string();
    for (n, (right, wrong)) in MISTAKES.iter().enumerate() {
        assert!(overview.contains(right), "{right} is not in the overview");
        let mistaken = overview.replacen(right, wrong, 1);
        writeln!(source, "// @ts-expect-error\nexport const mistake{n}: Dashboard = {mistaken};").unwrap();
    }
    // Within the tools' folder the compiler finds Grafana's types.
    let folder = tempfile::tempdir_in(&tools).unwrap();
    for name in ["types.ts", "tsconfig.json"] {
        fs::copy(repository(&format!("tests/watch/grafana/{name}")), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("dashboards.ts"), source).unwrap();
    let said = Command::new("node")
        .arg(tools.join("node_modules/typescript/bin/tsc"))
        .arg("-p")
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}
