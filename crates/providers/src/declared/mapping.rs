//! What a provider's words mean.

use super::file::{MapSpec, MappedKind};
use super::{AdapterError, wrong};
use domain::classify::Word;
use domain::{Attribution, FailureClass, Kind, Scope};
use std::collections::{BTreeMap, BTreeSet};

const MAPS_MAX: usize = 512;
const WORDS_MAX: usize = 4_096;
/// The rule in explanations: the adapter's own word on a failure.
pub(super) const RULE: &str = "adapter.map";

/// What a word stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) outcome: Outcome,
    /// Whose and what kind of failure.
    pub(super) hint: Option<Word>,
    pub(super) reach: Reach,
    pub(super) machine: bool,
    pub(super) echo: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Whatever the failure says; and whether the provider calls it final.
    Bounce(Option<bool>),
    Deferred,
    Rejected,
    Plain(Kind),
    Ignored,
}

/// How far an opt-out or its return reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    Nothing,
    Scope(Scope),
    /// The list that the event names.
    List,
    /// The sender that the event names.
    Sender,
}

/// Meanings by word, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    by_word: BTreeMap<String, Vec<(BTreeSet<String>, Meaning)>>,
}

/// What the paths of the event give the mapping to work with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) detail: bool,
    pub(super) list: bool,
    pub(super) sender: bool,
}

impl Mapping {
    pub(super) fn new(specs: Vec<MapSpec>, given: Given) -> Result<Self, AdapterError> {
        if specs.is_empty() {
            return wrong(
                "map",
                "missing: without one [[map]] every event is `unknown` and nothing is ever suppressed",
            );
        }
        let words: usize = specs.iter().map(|spec| spec.word.0.len() + spec.detail.0.len()).sum();
        if specs.len() > MAPS_MAX || words > WORDS_MAX {
            return wrong("map", &format!("at most {MAPS_MAX} entries with {WORDS_MAX} words in all"));
        }
        let mut mapping = Self::default();
        for (number, spec) in specs.into_iter().enumerate() {
            let key = format!("map {}", number + 1);
            let meaning = meaning(&key, &spec, given)?;
            if spec.word.0.is_empty() || spec.word.0.iter().chain(&spec.detail.0).any(|word| word.trim().is_empty()) {
                return wrong(&key, "`word` must be a word or a list of words, and none of them empty");
            }
            let details: BTreeSet<String> = spec.detail.0.iter().cloned().collect();
            for word in spec.word.0 {
                let known = mapping.by_word.entry(word.clone()).or_default();
                let is_reached = match details.is_empty() {
                    true => known.iter().all(|(details, _)| !details.is_empty()),
                    false => details.iter().any(|detail| find(known, Some(detail)).is_none()),
                };
                if !is_reached {
                    return wrong(
                        &key,
                        &format!(
                            "it is never reached for the word {word:?}: an entry before takes all of it; the more special goes first"
                        ),
                    );
                }
                known.push((details.clone(), meaning.clone()));
            }
        }
        Ok(mapping)
    }

    /// The first entry that fits.
    pub(super) fn find(&self, word: &str, detail: Option<&str>) -> Option<&Meaning> {
        find(self.by_word.get(word)?, detail)
    }
}

fn find<'m>(entries: &'m [(BTreeSet<String>, Meaning)], detail: Option<&str>) -> Option<&'m Meaning> {
    let fits = |details: &BTreeSet<String>| details.is_empty() || detail.is_some_and(|detail| details.contains(detail));
    entries.iter().find(|(details, _)| fits(details)).map(|(_, meaning)| meaning)
}

fn meaning(key: &str, spec: &MapSpec, given: Given) -> Result<Meaning, AdapterError> {
    if !spec.detail.0.is_empty() && !given.detail {
        return wrong(key, "`detail` is compared with what stands at event.detail: set that path");
    }
    let outcome = outcome(spec.kind);
    Ok(Meaning {
        hint: hint(key, spec, outcome)?,
        reach: reach(key, spec, given)?,
        outcome,
        machine: spec.machine,
        echo: spec.echo,
    })
}

const fn outcome(kind: MappedKind) -> Outcome {
    match kind {
        MappedKind::Bounced => Outcome::Bounce(None),
        MappedKind::BouncedHard => Outcome::Bounce(Some(true)),
        MappedKind::BouncedSoft => Outcome::Bounce(Some(false)),
        MappedKind::Deferred => Outcome::Deferred,
        MappedKind::Rejected => Outcome::Rejected,
        MappedKind::Ignored => Outcome::Ignored,
        MappedKind::Accepted => Outcome::Plain(Kind::Accepted),
        MappedKind::Delivered => Outcome::Plain(Kind::Delivered),
        MappedKind::Complaint => Outcome::Plain(Kind::Complaint),
        MappedKind::Unsubscribed => Outcome::Plain(Kind::Unsubscribed),
        MappedKind::Resubscribed => Outcome::Plain(Kind::Resubscribed),
        MappedKind::Opened => Outcome::Plain(Kind::Opened),
        MappedKind::Clicked => Outcome::Plain(Kind::Clicked),
        MappedKind::Unknown => Outcome::Plain(Kind::Unknown),
    }
}

fn hint(key: &str, spec: &MapSpec, outcome: Outcome) -> Result<Option<Word>, AdapterError> {
    let (attribution, class) = match (spec.attribution, spec.class) {
        (None, None) if spec.firm => return wrong(key, "`firm` is about a hint: set `attribution` and `class` too"),
        (None, None) => return Ok(None),
        (Some(attribution), Some(class)) => (attribution, class),
        _ => return wrong(key, "`attribution` and `class` go together: say whose failure it is, and what kind"),
    };
    if matches!(outcome, Outcome::Plain(_) | Outcome::Ignored) {
        return wrong(key, "this kind is no failure: leave `attribution` and `class` out");
    }
    let lasting = match (attribution, class) {
        (Attribution::Recipient, class) => class != FailureClass::Undetermined,
        (attribution, class) => (attribution, class) == (Attribution::Domain, FailureClass::BadDomain),
    };
    if outcome == Outcome::Bounce(Some(true)) && !lasting {
        return wrong(
            key,
            "a hard bounce is the recipient's own, or that of a domain that does not exist: write bounced_soft, or another hint",
        );
    }
    Ok(Some(match spec.firm {
        true => Word::Firm(attribution, class, RULE),
        false => Word::Weak(attribution, class, RULE),
    }))
}

fn reach(key: &str, spec: &MapSpec, given: Given) -> Result<Reach, AdapterError> {
    let is_choice = matches!(spec.kind, MappedKind::Unsubscribed | MappedKind::Resubscribed);
    match spec.scope.as_deref() {
        None if is_choice => Ok(Reach::Scope(Scope::Marketing)),
        None => Ok(Reach::Nothing),
        Some(_) if !is_choice => wrong(key, "`scope` is for unsubscribed and resubscribed: leave it out"),
        Some("list") if given.list => Ok(Reach::List),
        Some("list") => wrong(key, "scope = \"list\" is the list that the event names: set the path event.list"),
        Some("sender") if given.sender => Ok(Reach::Sender),
        Some("sender") => {
            wrong(key, "scope = \"sender\" is the sender that the event names: set the path event.sender")
        }
        Some(scope) => match scope.parse() {
            Ok(scope) => Ok(Reach::Scope(scope)),
            Err(_) => wrong(
                key,
                "unknown scope: use all, non_critical, marketing, category:NAME, sender:NUMBER, or list or sender for what the \
                 event names",
            ),
        },
    }
}
