//! The fixtures of adapters: recorded requests with what must become of them, run through the very code that gateway and
//! normalizer run.

use crate::{
    config::Declared,
    inspect::{self, Recorded},
};
use domain::Timestamp;
use providers::{Providers, SourceSpec, declared::Fixture};
use serde::Serialize;
use serde_json::Value;

/// Differences told of one fixture; more say nothing new.
const DIFFERENCES_MAX: usize = 20;
const SHOWN_CHARS_MAX: usize = 160;

/// How an adapter's fixtures went.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The provider's word.
    pub(crate) adapter: &'static str,
    /// Its file, as the configuration names it.
    pub(crate) file: String,
    /// Each fixture, in the order of the file.
    pub(crate) fixtures: Vec<Outcome>,
}

/// How one fixture went.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) ok: bool,
    /// What was expected and what was found instead.
    pub(crate) differences: Vec<String>,
}

impl Report {
    pub(crate) fn failed(&self) -> usize {
        self.fixtures.iter().filter(|fixture| !fixture.ok).count()
    }
}

/// Runs every fixture of an adapter.
pub(crate) fn run(declared: &Declared, providers: Providers) -> Report {
    let fixtures = declared.fixtures.iter().map(|fixture| {
        let differences = try_out(fixture, declared.name, providers);
        Outcome { name: fixture.name.clone(), ok: differences.is_empty(), differences }
    });
    Report { adapter: declared.name, file: declared.file.display().to_string(), fixtures: fixtures.collect() }
}

fn try_out(fixture: &Fixture, adapter: &str, providers: Providers) -> Vec<String> {
    let recorded = Recorded {
        provider: adapter.to_owned(),
        method: fixture.method.clone(),
        url: if fixture.url.is_empty() { format!("/webhooks/{adapter}") } else { fixture.url.clone() },
        headers: fixture.headers.clone(),
        body: fixture.body.clone(),
        body_base64: fixture.body_base64.clone(),
        source: fixture.source.clone().unwrap_or(SourceSpec { unauthenticated: true, ..SourceSpec::default() }),
        // The operator's own rules are none of the adapter's.
        classify: Vec::new(),
        now: fixture.now,
    };
    let told = inspect::inspect(recorded, providers).and_then(|told| Ok(serde_json::to_value(told)?));
    match told {
        Ok(told) => compare(fixture, &told),
        Err(error) => vec![format!("it is no request: {error:#}")],
    }
}

/// What is not as the fixture has it. Where it names events, or what is ignored or dead, it names all of them.
fn compare(fixture: &Fixture, told: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    let reason = &told["authentication"]["reason"];
    if told["status"] != fixture.status {
        let why = match (&told["dead"][0]["reason"], reason.as_str()) {
            (Value::String(dead), Some("ok")) => format!(" (an element is dead: {dead})"),
            (_, Some(reason)) if reason != "ok" => format!(" (authentication: {reason})"),
            _ => String::new(),
        };
        differences.push(format!("status: expected {}, found {}{why}", fixture.status, told["status"]));
    }
    if let Some(expected) = &fixture.authentication
        && reason != expected.as_str()
    {
        differences.push(format!("authentication: expected {expected:?}, found {reason}"));
    }
    if fixture.events.is_some() || fixture.ignored.is_some() || fixture.dead.is_some() {
        events(fixture.events.as_deref().unwrap_or_default(), &told["events"], &mut differences);
        reasons("ignored", fixture.ignored.as_deref().unwrap_or_default(), &told["ignored"], &mut differences);
        reasons("dead", fixture.dead.as_deref().unwrap_or_default(), &told["dead"], &mut differences);
    }
    if differences.len() > DIFFERENCES_MAX {
        let more = differences.len() - DIFFERENCES_MAX;
        differences.truncate(DIFFERENCES_MAX);
        differences.push(format!("and {more} more differences"));
    }
    differences
}

fn events(expected: &[Value], found: &Value, differences: &mut Vec<String>) {
    let none = Vec::new();
    let found = found.as_array().unwrap_or(&none);
    for (index, expected) in expected.iter().enumerate() {
        match found.get(index) {
            Some(found) => differ(&format!("event {}", index + 1), &plain(expected), found, differences),
            None => differences.push(format!("event {}: expected {}, found none", index + 1, shown(&plain(expected)))),
        }
    }
    for (index, found) in found.iter().enumerate().skip(expected.len()) {
        let (kind, recipient) = (&found["kind"], &found["recipient"]);
        differences.push(format!("event {}: expected none, found {kind} of {recipient}", index + 1));
    }
}

fn reasons(what: &str, expected: &[String], found: &Value, differences: &mut Vec<String>) {
    let none = Vec::new();
    let found = found.as_array().unwrap_or(&none);
    for place in 0..expected.len().max(found.len()) {
        let reason = found.get(place).map(|left| left["reason"].as_str().unwrap_or_default());
        match (expected.get(place), reason) {
            (Some(expected), Some(reason)) if reason.starts_with(expected.as_str()) => {}
            (Some(expected), Some(reason)) => {
                differences.push(format!("{what} {}: expected {expected:?}, found {reason:?}", place + 1));
            }
            (Some(expected), None) => {
                differences.push(format!("{what} {}: expected {expected:?}, found none", place + 1))
            }
            (None, Some(reason)) => differences.push(format!("{what} {}: expected none, found {reason:?}", place + 1)),
            (None, None) => {}
        }
    }
}

/// Objects are compared in the fields that are expected; null stands for a field that is not there.
fn differ(place: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, expected) in expected {
                differ(&format!("{place}, {name}"), expected, found.get(name).unwrap_or(&Value::Null), differences);
            }
        }
        (Value::String(expected), Value::String(found)) if is_same(expected, found) => {}
        (expected, found) if expected == found => {}
        (expected, Value::Null) => differences.push(format!("{place}: expected {}, found nothing", shown(expected))),
        (expected, found) => differences.push(format!("{place}: expected {}, found {}", shown(expected), shown(found))),
    }
}

/// The same text, or the same time written in two ways.
fn is_same(expected: &str, found: &str) -> bool {
    let time = |text: &str| Timestamp::parse_rfc3339(text).ok();
    expected == found || time(expected).is_some_and(|expected| time(found) == Some(expected))
}

/// TOML's own times as text.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("$__toml_private_datetime") {
            Some(time) => time.clone(),
            None => fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        },
        Value::Array(values) => values.iter().map(plain).collect(),
        other => other.clone(),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Adapters;

    const LARKPOST: &str = include_str!("../../../deploy/adapters/larkpost.toml");

    fn report(text: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.toml"), text).unwrap();
        let adapters = Adapters::load(&["a.toml".into()], Some(&folder.path().join("quell.toml"))).unwrap();
        run(&adapters.declared[0], adapters.providers)
    }

    fn differences(text: &str) -> Vec<String> {
        report(text).fixtures.into_iter().flat_map(|fixture| fixture.differences).collect()
    }

    #[test]
    fn the_worked_example_does_as_it_says() {
        let report = report(LARKPOST);
        assert_eq!((report.adapter, report.fixtures.len(), report.failed()), ("larkpost", 7, 0), "{report:?}");
    }

    #[test]
    fn every_difference_is_told() {
        let check = |from: &str, to: &str, expected: &[&str]| {
            assert!(LARKPOST.contains(from), "{from}");
            assert_eq!(differences(&LARKPOST.replacen(from, to, 1)), expected, "{to}");
        };
        check(
            "{ kind = \"bounced_hard\", recipient",
            "{ kind = \"bounced_soft\", machine = true, echo = \"no\", recipient",
            &[
                "event 1, echo: expected \"no\", found false",
                "event 1, kind: expected \"bounced_soft\", found \"bounced_hard\"",
                "event 1, machine: expected true, found false",
            ],
        );
        check(
            "class = \"mailbox_full\"",
            "class = \"size\"",
            &["event 1, failure, class: expected \"size\", found \"mailbox_full\""],
        );
        check(
            "    { kind = \"opened\", machine = true },\n",
            "",
            &[
                "event 1, kind: expected \"unknown\", found \"opened\"",
                "event 1, provider_kind: expected \"teleported\", found \"open\"",
                "event 2: expected none, found \"unknown\" of \"jane@example.com\"",
            ],
        );
        check(
            "    { kind = \"complaint\" },\n",
            "    { kind = \"complaint\" },\n    { kind = \"unsubscribed\" },\n",
            &[
                "event 3, scope: expected \"category:weekly\", found \"marketing\"",
                "event 4: expected {\"kind\":\"unsubscribed\",\"scope\":\"marketing\"}, found none",
            ],
        );
        check("ignored = [\"ignored_by_adapter\"]\n", "", &["ignored 1: expected none, found \"ignored_by_adapter\""]);
        check(
            "dead = [\"unreadable",
            "dead = [\"x\", \"unreadable",
            &[
                "dead 1: expected \"x\", found \"unreadable_recipient: not an email address\"",
                "dead 2: expected \"unreadable_recipient\", found none",
            ],
        );
        check(
            "status = 401\nauthentication = \"stale\"",
            "status = 202",
            &["status: expected 202, found 401 (authentication: stale)"],
        );
        check(
            "authentication = \"stale\"",
            "authentication = \"ok\"",
            &["authentication: expected \"ok\", found \"stale\""],
        );
        check(
            "name = \"the set-up handshake\"",
            "name = \"x\"\nbody = \"a\"\nbody_base64 = \"YQ==\"",
            &["it is no request: give body or body_base64, not both"],
        );
    }

    #[test]
    fn times_are_the_same_however_written() {
        let text = "occurred_at = \"2026-01-20T14:32:15Z\"";
        for same in ["occurred_at = \"2026-01-20T15:32:15.000+01:00\"", "occurred_at = 2026-01-20T14:32:15Z"] {
            assert!(differences(&LARKPOST.replacen(text, same, 1)).is_empty(), "{same}");
        }
        let other = differences(&LARKPOST.replacen(text, "occurred_at = 2026-01-20T14:32:16Z", 1));
        assert_eq!(other, ["event 1, occurred_at: expected \"2026-01-20T14:32:16Z\", found \"2026-01-20T14:32:15Z\""]);
    }
}
