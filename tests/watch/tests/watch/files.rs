//! The files agree with one another: alerts, their unit tests, runbooks, dashboards, metrics, commands.

use crate::{child::run, instance::binary};
use regex::Regex;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};
use watch_tests::{dashboard::ANNOTATIONS, dashboards, repository};

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder: name → text.
fn folder(path: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), read(&format!("{path}/{name}")))).collect()
}

/// An alert as its file has it: keys of its lines.
type Alert = BTreeMap<String, String>;

/// Every alert. The files are ours, and written a line a key.
fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for line in folder("deploy/prometheus/rules").values().flat_map(|text| text.lines()) {
        let line = line.trim().trim_start_matches("- ");
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key {
            "alert" => alerts.push(Alert::from([(key.to_owned(), value.to_owned())])),
            "record" => alerts.push(Alert::new()),
            "severity" | "summary" | "description" | "runbook_url" | "dashboard_url" | "expr" => {
                let alert = alerts.last_mut().expect("a rule before its keys");
                alert.insert(key.to_owned(), value.trim_matches('\'').to_owned());
            }
            _ => {}
        }
    }
    alerts.retain(|alert| alert.contains_key("alert"));
    alerts
}

fn names() -> BTreeSet<String> {
    alerts().iter().map(|alert| alert["alert"].clone()).collect()
}

#[test]
fn dashboards_are_what_their_source_says() {
    let files = folder("deploy/grafana/dashboards");
    let written: BTreeSet<&str> = files.keys().map(String::as_str).collect();
    let named: Vec<String> = dashboards::all().iter().map(|dashboard| format!("{}.json", dashboard.uid)).collect();
    assert_eq!(written, named.iter().map(String::as_str).collect());
    for dashboard in dashboards::all() {
        let file: Value = serde_json::from_str(&files[&format!("{}.json", dashboard.uid)]).unwrap();
        assert!(
            file == dashboard.json(),
            "{} is not what it is generated from: run cargo run -p watch-tests --bin dashboards",
            dashboard.uid
        );
    }
}

/// What a reader of a dashboard relies on.
#[test]
fn dashboards_are_readable() {
    let uids: BTreeSet<&str> = dashboards::all().iter().map(|dashboard| dashboard.uid).collect();
    let links = Regex::new("/d/([a-z-]+)").unwrap();
    for dashboard in dashboards::all() {
        let first = &dashboard.rows[0];
        assert!(
            first.title.is_empty() && first.panels.iter().all(|panel| panel.width == 3),
            "{}: figures first",
            dashboard.uid
        );
        assert_eq!(first.panels.len() % 8, 0, "{}: whole rows of figures", dashboard.uid);
        for panel in dashboard.panels() {
            assert!(!panel.queries.is_empty() && panel.title.len() < 60, "{}: {:?}", dashboard.uid, panel.title);
        }
        let json = dashboard.json();
        for found in links.captures_iter(&json.to_string()) {
            assert!(uids.contains(&found[1]), "{} leads to {}, which is not there", dashboard.uid, &found[1]);
        }
        let panels = json["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{}: ids", dashboard.uid);
        for panel in panels {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{}: {panel}", dashboard.uid);
        }
    }
}

#[test]
fn alerts_say_what_is_wrong_and_where_to_look() {
    let uids: BTreeMap<&str, BTreeSet<&str>> = dashboards::all()
        .iter()
        .map(|dashboard| (dashboard.uid, dashboard.variables.iter().map(|variable| variable.name).collect()))
        .collect();
    let link = Regex::new(r"^https://grafana\.example\.com/d/([a-z-]+)(\?.*)?$").unwrap();
    let chosen = Regex::new(r"var-([a-z]+)=\{\{ \$labels\.([a-z]+) \}\}").unwrap();
    for alert in alerts() {
        let name = &alert["alert"];
        assert!(["critical", "warning", "info"].contains(&alert["severity"].as_str()), "{name}");
        assert!(alert["summary"].len() > 10 && alert["description"].len() > 30, "{name}");
        assert_eq!(alert["runbook_url"], format!("https://quell.example.com/runbooks/{name}.md"));
        let dashboard = link.captures(&alert["dashboard_url"]).unwrap_or_else(|| panic!("{name}: {alert:?}"));
        let variables = uids.get(&dashboard[1]).unwrap_or_else(|| panic!("{name}: no dashboard {}", &dashboard[1]));
        for variable in chosen.captures_iter(&alert["dashboard_url"]) {
            assert!(variables.contains(&variable[1]) && variable[1] == variable[2], "{name}: {}", &variable[0]);
        }
    }
    assert!(names().len() >= 29);
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let mut pages = folder("docs/runbooks");
    let index = pages.remove("README.md").unwrap();
    let written: BTreeSet<String> = pages.keys().map(|name| name.trim_end_matches(".md").to_owned()).collect();
    assert_eq!(written, names());
    let link = Regex::new(r"\]\(([^)]+\.md)\)").unwrap();
    for (name, text) in &pages {
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let title = format!("# {}", name.trim_end_matches(".md"));
        assert_eq!(headings, [title.as_str(), "## What it means", "## How to see it", "## What to do"], "{name}");
        assert!(index.contains(&format!("({name})")), "the index does not name {name}");
        for found in link.captures_iter(text) {
            assert!(pages.contains_key(&found[1]), "{name} leads to {}", &found[1]);
        }
    }
}

/// For each alert and severity the unit tests have a moment before it fires, one in which it does, and one after.
#[test]
fn every_alert_is_tested_before_its_trouble_in_it_and_after_it() {
    let mut seen: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for text in folder("deploy/prometheus/tests").values() {
        for test in text.split("\n  - interval:").skip(1) {
            // Alert → which severities fire, moment by moment.
            let mut moments: BTreeMap<&str, Vec<BTreeSet<&str>>> = BTreeMap::new();
            let mut alert = "";
            for line in test.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix("alertname: ") {
                    alert = name;
                    moments.entry(name).or_default().push(BTreeSet::new());
                } else if let Some((_, rest)) = line.split_once("severity: ") {
                    let severity = rest.split([',', '}']).next().unwrap();
                    moments.get_mut(alert).unwrap().last_mut().unwrap().insert(severity);
                }
            }
            for (name, moments) in moments {
                for severity in ["critical", "warning", "info"] {
                    let fires: String =
                        moments.iter().map(|firing| if firing.contains(severity) { '1' } else { '0' }).collect();
                    seen.entry((name.to_owned(), severity.to_owned())).or_default().insert(fires);
                }
            }
        }
    }
    let whole = Regex::new("^0+1+0").unwrap();
    for alert in alerts() {
        let of = (alert["alert"].clone(), alert["severity"].clone());
        let found = seen.get(&of).cloned().unwrap_or_default();
        assert!(found.iter().any(|fires| whole.is_match(fires)), "{of:?} before, in and after its trouble: {found:?}");
    }
}

/// Metric → labels, by the page that a test of `quell` holds to the code.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let row = Regex::new(r"(?m)^\| `([a-z_]+)` \| \w+ \| ([^|]*) \|").unwrap();
    let label = Regex::new("`([a-z_]+)`").unwrap();
    let page = read("docs/metrics.md");
    let one = |found: regex::Captures<'_>| {
        (found[1].to_owned(), label.captures_iter(&found[2]).map(|label| label[1].to_owned()).collect())
    };
    row.captures_iter(&page).map(one).collect()
}

/// Every text in which figures are named, by where it stands.
fn texts() -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = Vec::new();
    for path in ["deploy/prometheus/rules", "deploy/prometheus/tests", "docs/runbooks"] {
        texts.extend(folder(path).into_iter().map(|(name, text)| (format!("{path}/{name}"), text)));
    }
    for dashboard in dashboards::all() {
        let queries = dashboard.panels().flat_map(|panel| &panel.queries);
        texts.extend(queries.map(|query| (dashboard.uid.to_owned(), query.expr.clone())));
        texts.extend(
            dashboard
                .variables
                .iter()
                .map(|variable| (dashboard.uid.to_owned(), format!("{}{{{}=\"\"}}", variable.of, variable.name))),
        );
    }
    texts.extend(ANNOTATIONS.map(|[name, _, expr, _]| (name.to_owned(), expr.to_owned())));
    texts
}

#[test]
fn every_figure_that_is_asked_for_exists() {
    let documented = documented();
    assert!(documented.len() > 50, "{documented:?}");
    let rules = folder("deploy/prometheus/rules");
    let record = Regex::new(r"record: (\S+)").unwrap();
    let recorded: BTreeSet<&str> = rules
        .values()
        .flat_map(|text| record.captures_iter(text))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    let word = Regex::new("[a-zA-Z_][a-zA-Z0-9_:]*").unwrap();
    let ending = Regex::new("_(bucket|count|sum)$").unwrap();
    let selector = Regex::new(r"\b((?:quell|process)_[a-z_]+)\{([^}]*)\}").unwrap();
    let matcher = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let (mut asked, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    for (place, text) in texts() {
        for name in word.find_iter(&text).map(|found| found.as_str().trim_end_matches(':')) {
            let is_known = if name.contains(":quell_") {
                recorded.contains(name)
            } else if name.starts_with("quell_") || name.starts_with("process_") {
                asked.insert(ending.replace(name, "").into_owned());
                documented.contains_key(name) || documented.contains_key(ending.replace(name, "").as_ref())
            } else {
                continue;
            };
            if !is_known {
                wrong.insert(format!("{place}: {name}"));
            }
        }
        for found in selector.captures_iter(&text) {
            let Some(labels) = documented.get(ending.replace(&found[1], "").as_ref()) else { continue };
            for label in matcher.captures_iter(&found[2]).map(|label| label[1].to_owned()) {
                if !labels.contains(&label) && !["instance", "job", "le"].contains(&label.as_str()) {
                    wrong.insert(format!("{place}: {} has no label {label}", &found[1]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unwatched: Vec<&String> =
        documented.keys().filter(|name| !asked.contains(*name) && !UNWATCHED.contains(&name.as_str())).collect();
    assert!(unwatched.is_empty(), "on no dashboard and in no rule: {unwatched:?}");
}

/// What no dashboard shows: for looking at by hand.
const UNWATCHED: [&str; 0] = [];

/// A runbook names commands that there are.
#[test]
fn runbooks_name_commands_that_exist() {
    let mut pages = folder("docs/runbooks");
    pages.insert("watching.md".to_owned(), read("docs/watching.md"));
    let command = Regex::new(r"`quell((?: [a-z][a-z-]*)+)").unwrap();
    let commands: BTreeSet<String> =
        pages.values().flat_map(|text| command.captures_iter(text)).map(|found| found[1].trim().to_owned()).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for words in commands {
        run(Command::new(binary()).args(words.split(' ')).arg("--help"));
    }
}
