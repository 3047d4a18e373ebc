//! How a cluster's topics differ from the declaration, and what applying it would do. Pure.

use super::declaration::Declared;
use crate::commands::show::{Table, counted};
use event_log::kafka::{TopicNow, TopicWanted};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// What `apply` does about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Makes the topic.
    Create,
    /// Changes the setting.
    Change,
    /// Adds partitions.
    Grow,
    /// Nothing, and nothing else either.
    Refuse,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) topic: String,
    /// `topic`, `partitions`, `replication_factor`, or a setting's name.
    pub(crate) what: String,
    /// None where there is nothing, or the cluster does not tell.
    pub(crate) now: Option<String>,
    pub(crate) declared: String,
    pub(crate) act: Act,
    /// What to mind; of what is refused, why and what to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Every difference, by topic in the order of the declaration.
pub(crate) fn differences(declared: &[Declared], now: &BTreeMap<String, TopicNow>) -> Vec<Difference> {
    declared
        .iter()
        .flat_map(|declared| match now.get(&declared.topic.name) {
            None => vec![missing(&declared.topic)],
            Some(now) => of_topic(declared, now),
        })
        .collect()
}

fn missing(topic: &TopicWanted) -> Difference {
    let partitions = counted(topic.partitions.into(), "partition", "partitions");
    let replicas = topic.replication.map(|n| format!(", {}", counted(n.into(), "replica", "replicas")));
    Difference {
        topic: topic.name.clone(),
        what: "topic".to_owned(),
        now: None,
        declared: partitions + &replicas.unwrap_or_default(),
        act: Act::Create,
        note: None,
    }
}

fn of_topic(declared: &Declared, now: &TopicNow) -> Vec<Difference> {
    let wanted = &declared.topic;
    let mut found = Vec::new();
    let mut differ = |what: &str, was: Option<String>, declared: String, (act, note): (Act, Option<String>)| {
        let (topic, what) = (wanted.name.clone(), what.to_owned());
        found.push(Difference { topic, what, now: was, declared, act, note });
    };
    if now.partitions != wanted.partitions {
        let judged = repartitioned(declared.keyed, now.partitions, wanted.partitions);
        differ("partitions", Some(now.partitions.to_string()), wanted.partitions.to_string(), judged);
    }
    if let Some(replicas) = wanted.replication.filter(|replicas| *replicas != now.replication) {
        let note = format!(
            "replicas are moved by the cluster's own tool (kafka-reassign-partitions.sh), or keep {} with \
             --replication-factor",
            now.replication
        );
        differ(
            "replication_factor",
            Some(now.replication.to_string()),
            replicas.to_string(),
            (Act::Refuse, Some(note)),
        );
    }
    for (name, value) in &wanted.configs {
        let was = now.configs.get(name);
        if was != Some(value) {
            differ(name, was.cloned(), value.clone(), (Act::Change, shortened(name, was, value)));
        }
    }
    found
}

fn repartitioned(keyed: bool, now: u32, wanted: u32) -> (Act, Option<String>) {
    if keyed {
        let note = format!(
            "with another number, recipients would change partitions and lose their order: keep {now} (--partitions), or \
             move to new topics under a new kafka.epoch with `quell export` and `quell import`"
        );
        return (Act::Refuse, Some(note));
    }
    if wanted < now {
        return (Act::Refuse, Some(format!("Kafka takes no partition away: keep {now}")));
    }
    (Act::Grow, Some("processes that run use the new ones after a while".to_owned()))
}

/// Warns of records that go because of a change.
fn shortened(name: &str, was: Option<&String>, wanted: &str) -> Option<String> {
    // -1 is without end.
    let length = |text: &str| text.parse::<i64>().ok().map(|n| if n < 0 { i64::MAX } else { n });
    let note = match name {
        "retention.ms" | "retention.bytes" if length(wanted)? < length(was?)? => "kept for shorter: older records go",
        "cleanup.policy" => "decides which records go",
        _ => return None,
    };
    Some(note.to_owned())
}

/// For people: a table, and below it what to mind, once each.
pub(crate) fn table(differences: &[Difference]) -> String {
    let mut notes: Vec<&str> = Vec::new();
    let mut table = Table::new(&["topic", "what", "now", "declared", "apply"]);
    for Difference { topic, what, now, declared, act, note } in differences {
        let act = match act {
            Act::Create => "creates it",
            Act::Change => "changes it",
            Act::Grow => "adds them",
            Act::Refuse => "REFUSES",
        };
        let mut act = act.to_owned();
        if let Some(note) = note.as_deref() {
            let known = notes.iter().position(|known| *known == note).unwrap_or(notes.len());
            if known == notes.len() {
                notes.push(note);
            }
            act += &format!(" [{}]", known + 1);
        }
        table.row([topic, what, now.as_deref().unwrap_or_default(), declared, &act]);
    }
    notes.iter().enumerate().fold(table.to_string(), |mut text, (index, note)| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "[{}] {note}", index + 1);
        text
    })
}

/// What `apply` would do with all of them.
pub(crate) fn is_refused(differences: &[Difference]) -> bool {
    differences.iter().any(|difference| difference.act == Act::Refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(keyed: bool) -> Declared {
        let configs = [("cleanup.policy", "delete"), ("retention.ms", "1000")];
        Declared {
            topic: TopicWanted {
                name: "t".to_owned(),
                partitions: 4,
                replication: Some(3),
                configs: configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            },
            keyed,
        }
    }

    fn now(partitions: u32, replication: u32, configs: &[(&str, &str)]) -> TopicNow {
        let defaults = [("cleanup.policy", "delete"), ("retention.ms", "1000"), ("flush.ms", "9")];
        let all = defaults.iter().chain(configs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut configs: BTreeMap<String, String> = all.collect();
        configs.retain(|_, value| !value.is_empty());
        TopicNow { name: "t".to_owned(), partitions, replication, configs, own: Default::default() }
    }

    #[track_caller]
    fn check(keyed: bool, now: Option<TopicNow>, expected: &[(&str, Option<&str>, &str, Act, &str)]) {
        let now = now.map(|now| (now.name.clone(), now)).into_iter().collect();
        let found = differences(&[declared(keyed)], &now);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, (what, now, declared, act, note)) in found.iter().zip(expected) {
            let Difference { what: is, now: was, declared: will, act: does, .. } = found;
            assert_eq!((is.as_str(), was.as_deref(), will.as_str(), *does), (*what, *now, *declared, *act));
            assert!(found.note.as_deref().unwrap_or_default().contains(note), "{found:?}");
            assert_eq!(found.note.is_none(), note.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn every_difference_has_its_act() {
        check(true, Some(now(4, 3, &[])), &[]);
        check(true, None, &[("topic", None, "4 partitions, 3 replicas", Act::Create, "")]);
        let partitions = |n| Some(now(n, 3, &[]));
        check(true, partitions(2), &[("partitions", Some("2"), "4", Act::Refuse, "kafka.epoch")]);
        check(true, partitions(8), &[("partitions", Some("8"), "4", Act::Refuse, "keep 8")]);
        check(false, partitions(2), &[("partitions", Some("2"), "4", Act::Grow, "after a while")]);
        check(false, partitions(8), &[("partitions", Some("8"), "4", Act::Refuse, "no partition away")]);
        check(true, Some(now(4, 1, &[])), &[("replication_factor", Some("1"), "3", Act::Refuse, "keep 1")]);
    }

    #[test]
    fn settings_differ_by_their_value_in_force() {
        let set = |name, value| Some(now(4, 3, &[(name, value)]));
        let retention = |was, note| {
            check(true, set("retention.ms", was), &[("retention.ms", Some(was), "1000", Act::Change, note)]);
        };
        retention("10", "");
        retention("5000", "older records go");
        retention("-1", "older records go");
        check(
            true,
            set("cleanup.policy", "compact"),
            &[("cleanup.policy", Some("compact"), "delete", Act::Change, "which records go")],
        );
        // What is not declared is the cluster's affair; what the cluster does not tell differs.
        check(true, set("flush.ms", "1"), &[]);
        check(true, set("retention.ms", ""), &[("retention.ms", None, "1000", Act::Change, "")]);
    }

    #[test]
    fn the_table_shows_what_becomes_of_each() {
        let now = [("t".to_owned(), now(2, 3, &[("retention.ms", "5")]))].into();
        let shown = table(&differences(&[declared(true)], &now));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 4, "{shown}");
        assert!(lines[1].contains("partitions") && lines[1].ends_with("REFUSES [1]"), "{shown}");
        assert!(lines[2].ends_with("1000      changes it"), "{shown}");
        assert!(lines[3].starts_with("[1] with another number"), "{shown}");
        let twice = [missing(&declared(true).topic), missing(&declared(true).topic)].map(|mut found| {
            found.note = Some("a note".to_owned());
            found
        });
        let shown = table(&twice);
        assert!(shown.ends_with("creates it [1]\n[1] a note\n"), "told once: {shown}");
    }
}
