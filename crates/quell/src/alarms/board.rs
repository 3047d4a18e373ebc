//! What is firing: raised once, told once more when it becomes critical, resolved once. Pure.

use super::rules::{Finding, Level, Rule, Severity};
use domain::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All must be well for so long before an alarm is over: what comes and goes is one alarm.
const CALM_MS: i64 = 5 * 60 * 1_000;
/// Alarms that are over and still shown.
const OVER_MAX: usize = 50;

/// One alarm about one subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alarm {
    pub(super) rule: &'static Rule,
    pub(super) subject: String,
    pub(super) severity: Severity,
    pub(super) summary: String,
    pub(super) raised_ms: i64,
    pub(super) over_ms: Option<i64>,
}

impl Alarm {
    /// Its page.
    pub(super) fn runbook(&self) -> String {
        format!("docs/runbooks/{}.md", self.rule.name)
    }

    /// As the admin port and webhooks show it.
    pub(super) fn json(&self) -> Value {
        let time = |ms: i64| Timestamp::from_millis(ms).ok();
        let mut shown = json!({
            "alarm": self.rule.name,
            "subject": self.subject,
            "severity": self.severity,
            "summary": self.summary,
            "what_to_do": self.rule.advice,
            "runbook": self.runbook(),
            "raised_at": time(self.raised_ms),
        });
        if let Some(over_ms) = self.over_ms {
            shown["resolved_at"] = json!(time(over_ms));
        }
        shown
    }
}

/// What a look changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Raised(Alarm),
    /// It was raised before, as less severe.
    Worsened(Alarm),
    Resolved(Alarm),
}

/// How one alarm stands.
#[derive(Debug)]
enum State {
    /// Bad since then, and not for long enough yet.
    Pending(i64),
    /// Raised; well since then, if it is.
    Firing(Alarm, Option<i64>),
}

type Key = (&'static str, String);

/// Every alarm.
#[derive(Debug, Default)]
pub(super) struct Board {
    states: BTreeMap<Key, State>,
    over: VecDeque<Alarm>,
}

impl Board {
    /// Takes note of what was found. What is not named is well.
    pub(super) fn step(&mut self, now_ms: i64, findings: Vec<Finding>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut named: BTreeSet<Key> = BTreeSet::new();
        for finding in findings {
            let key = (finding.rule.name, finding.subject.clone());
            named.insert(key.clone());
            match finding.level {
                Level::Bad => changes.extend(self.bad(now_ms, key, finding)),
                Level::Between => self.between(&key),
                Level::Well => changes.extend(self.well(now_ms, &key)),
            }
        }
        let unnamed: Vec<Key> = self.states.keys().filter(|key| !named.contains(*key)).cloned().collect();
        for key in unnamed {
            changes.extend(self.well(now_ms, &key));
        }
        changes
    }

    fn bad(&mut self, now_ms: i64, key: Key, finding: Finding) -> Option<Change> {
        let state = self.states.entry(key).or_insert(State::Pending(now_ms));
        match state {
            State::Pending(since_ms) if now_ms.saturating_sub(*since_ms) >= finding.rule.after_ms => {
                let Finding { rule, subject, severity, summary, .. } = finding;
                let alarm = Alarm { rule, subject, severity, summary, raised_ms: now_ms, over_ms: None };
                *state = State::Firing(alarm.clone(), None);
                Some(Change::Raised(alarm))
            }
            State::Pending(_) => None,
            State::Firing(alarm, well_since_ms) => {
                *well_since_ms = None;
                // It shows how it stands now, and the worst that it was.
                alarm.summary = finding.summary;
                let is_worse = finding.severity > alarm.severity;
                alarm.severity = alarm.severity.max(finding.severity);
                is_worse.then(|| Change::Worsened(alarm.clone()))
            }
        }
    }

    fn between(&mut self, key: &Key) {
        match self.states.get_mut(key) {
            Some(State::Pending(_)) => drop(self.states.remove(key)),
            Some(State::Firing(_, well_since_ms)) => *well_since_ms = None,
            None => {}
        }
    }

    fn well(&mut self, now_ms: i64, key: &Key) -> Option<Change> {
        match self.states.get_mut(key)? {
            State::Pending(_) => {
                self.states.remove(key);
                None
            }
            State::Firing(alarm, well_since_ms) => {
                let since_ms = *well_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since_ms) < CALM_MS {
                    return None;
                }
                let alarm = Alarm { over_ms: Some(now_ms), ..alarm.clone() };
                self.states.remove(key);
                self.over.push_front(alarm.clone());
                self.over.truncate(OVER_MAX);
                Some(Change::Resolved(alarm))
            }
        }
    }

    /// What is firing.
    pub(super) fn firing(&self) -> impl Iterator<Item = &Alarm> {
        self.states.values().filter_map(|state| match state {
            State::Firing(alarm, _) => Some(alarm),
            State::Pending(_) => None,
        })
    }

    /// As the admin port shows it.
    pub(super) fn json(&self) -> Value {
        let mut firing: Vec<&Alarm> = self.firing().collect();
        firing.sort_by_key(|alarm| (std::cmp::Reverse(alarm.severity), alarm.raised_ms));
        json!({
            "firing": firing.into_iter().map(Alarm::json).collect::<Vec<_>>(),
            "resolved": self.over.iter().map(Alarm::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &Rule = &Rule { name: "QuellTest", after_ms: 60_000, advice: "look" };

    fn found(level: Level) -> Vec<Finding> {
        found_as(level, Severity::Warning)
    }

    fn found_as(level: Level, severity: Severity) -> Vec<Finding> {
        let (subject, summary) = ("a".to_owned(), "it is bad".to_owned());
        vec![Finding { rule: RULE, subject, level, severity, summary }]
    }

    /// Plays levels, one a minute; what each brings about.
    fn play(levels: &str) -> String {
        let mut board = Board::default();
        let step = |(minute, level): (i64, char)| {
            let findings = match level {
                'b' => found(Level::Bad),
                'B' => found_as(Level::Bad, Severity::Critical),
                '-' => found(Level::Between),
                'w' => found(Level::Well),
                _ => Vec::new(),
            };
            match board.step(minute * 60_000, findings).as_slice() {
                [] => '.',
                [Change::Raised(alarm)] if alarm.over_ms.is_none() => 'R',
                [Change::Worsened(alarm)] if alarm.severity == Severity::Critical => 'W',
                [Change::Resolved(alarm)] if alarm.over_ms.is_some() => 'O',
                more => panic!("{more:?}"),
            }
        };
        (0..).zip(levels.chars()).map(step).collect()
    }

    #[test]
    fn what_is_bad_for_long_enough_is_raised_once() {
        assert_eq!(play("bbbbb"), ".R...");
        assert_eq!(play("bwbwb"), ".....", "never for long enough");
        assert_eq!(play("b-bbb"), "...R.", "at the limit is not bad");
    }

    #[test]
    fn it_is_over_once_all_is_well_for_a_while() {
        assert_eq!(play("bbwwwwww"), ".R.....O");
        assert_eq!(play("bb      "), ".R.....O", "what is not there any more is well");
    }

    #[test]
    fn what_comes_and_goes_is_one_alarm() {
        assert_eq!(play("bbwwbwwbwwb-wwwwwww"), ".R...............O.");
    }

    #[test]
    fn it_is_told_once_more_when_it_becomes_critical() {
        assert_eq!(play("bbbBBbB-B"), ".R.W.....", "and not when it steps down");
        assert_eq!(play("bBBb"), ".R..", "raised as critical");
        assert_eq!(play("bbBwwwwwwbbB"), ".RW.....O.RW", "each alarm by itself");
    }

    #[test]
    fn it_shows_how_it_stands_and_what_was() {
        let mut board = Board::default();
        board.step(0, found(Level::Bad));
        board.step(60_000, found(Level::Bad));
        let shown = board.json();
        let alarm = &shown["firing"][0];
        assert_eq!((&alarm["alarm"], &alarm["subject"]), (&json!("QuellTest"), &json!("a")));
        assert_eq!(
            (&alarm["runbook"], &alarm["raised_at"]),
            (&json!("docs/runbooks/QuellTest.md"), &json!("1970-01-01T00:01:00Z"))
        );
        board.step(120_000, Vec::new());
        board.step(420_000, Vec::new());
        let shown = board.json();
        assert_eq!((shown["firing"].as_array().map(Vec::len), board.firing().count()), (Some(0), 0));
        assert_eq!(shown["resolved"][0]["resolved_at"], json!("1970-01-01T00:07:00Z"));
    }
}
