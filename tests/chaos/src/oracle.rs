//! What must be in force, by the published policy. It shares no code with the suppressor.
//!
//! A hard bounce suppresses `all` for good. Soft ones, from the newest delivery on, suppress `all` for 7 days; one that
//! falls into a running window is part of it, and the next after its end opens one twice as long; the sixth is for good. A
//! complaint suppresses `non_critical` for good. An opt-out suppresses its scope until a newer way back. A number that is
//! none, or that its carrier refuses, is suppressed for good. Of several causes in a scope the one for good counts, then
//! the one that ends last.

use crate::fact::{Fact, STREAM, Teller, What};
use std::collections::{BTreeMap, BTreeSet};

const MICROS: i64 = 1_000_000;
const FIRST_WINDOW: i64 = 7 * 86_400;
const WINDOWS: u32 = 5;

/// What an event does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Delivered,
    Soft,
    /// For good, for this reason.
    Dead(&'static str),
    Complaint,
    Left(String),
    Back(String),
    Nothing,
}

/// What holds for a recipient in a scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) reason: String,
    /// Microseconds since the epoch.
    pub(crate) since: i64,
    /// Microseconds since the epoch; none is for good.
    pub(crate) until: Option<i64>,
}

/// By recipient and scope.
pub(crate) type State = BTreeMap<(String, String), Standing>;

/// The scope of opting out of the Postmark account's stream.
pub(crate) fn stream_scope() -> String {
    format!("category:{STREAM}")
}

/// What a fact does, once its webhook is read.
pub(crate) fn effect(fact: &Fact) -> Effect {
    match fact.what {
        What::Delivered => Effect::Delivered,
        What::Soft => Effect::Soft,
        What::Hard => Effect::Dead("hard_bounce"),
        What::Complaint => Effect::Complaint,
        What::Unsubscribed if fact.teller == Teller::Postmark => Effect::Left(stream_scope()),
        What::Unsubscribed => Effect::Left("marketing".to_owned()),
        What::Resubscribed => Effect::Back("marketing".to_owned()),
        What::NoSuchNumber => Effect::Dead("invalid_number"),
        What::CarrierRefuses => Effect::Dead("carrier_rejection"),
        What::Accepted | What::Opened => Effect::Nothing,
    }
}

/// What is in force for one recipient at this moment (in microseconds), by scope. Events in any order, each with its own
/// time in microseconds.
pub(crate) fn in_force(events: &[(Effect, i64)], now: i64) -> BTreeMap<String, Standing> {
    let mut events: Vec<&(Effect, i64)> = events.iter().collect();
    events.sort_by_key(|(_, at)| *at);
    let newest = |wanted: &dyn Fn(&Effect) -> bool| {
        events.iter().filter(|(effect, _)| wanted(effect)).map(|(_, at)| *at).max().unwrap_or(i64::MIN)
    };
    let delivered = newest(&|effect| *effect == Effect::Delivered);
    let soft = events.iter().filter(|(effect, at)| *effect == Effect::Soft && *at >= delivered).map(|(_, at)| *at);
    let mut state = BTreeMap::new();
    if let Some(window) = last_window(soft).filter(|window| window.until.is_none_or(|until| until > now)) {
        state.insert("all".to_owned(), window);
    }
    let mut put = |scope: &str, reason: &str, since: i64| {
        state.insert(scope.to_owned(), Standing { reason: reason.to_owned(), since, until: None });
    };
    // Oldest last, so that it stays.
    for (effect, at) in events.iter().rev() {
        match effect {
            Effect::Dead(reason) => put("all", reason, *at),
            Effect::Complaint => put("non_critical", "spam_complaint", *at),
            Effect::Left(scope) if *at >= newest(&|other| *other == Effect::Back(scope.clone())) => {
                put(scope, "unsubscribe", *at);
            }
            _ => {}
        }
    }
    state
}

/// The window that was opened last by soft failures, oldest first.
fn last_window(failures: impl Iterator<Item = i64>) -> Option<Standing> {
    let mut opened = 0;
    let mut last: Option<Standing> = None;
    for since in failures {
        let is_within = last.as_ref().is_some_and(|window| window.until.is_none_or(|until| since < until));
        if !is_within {
            let until = (opened < WINDOWS).then(|| since + (FIRST_WINDOW << opened) * MICROS);
            last = Some(Standing { reason: "soft_bounce".to_owned(), since, until });
            opened += 1;
        }
    }
    last
}

/// What must be in force for everybody at this moment, in microseconds.
pub(crate) fn expected(facts: &[Fact], now: i64) -> State {
    let mut by_recipient: BTreeMap<&str, Vec<(Effect, i64)>> = BTreeMap::new();
    for fact in facts {
        by_recipient.entry(&fact.recipient).or_default().push((effect(fact), fact.unix * MICROS));
    }
    let mut state = State::new();
    for (recipient, events) in by_recipient {
        state.extend(in_force(&events, now).into_iter().map(|(scope, at)| ((recipient.to_owned(), scope), at)));
    }
    state
}

/// The scopes in force for each recipient.
pub(crate) fn scopes(state: &State) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut scopes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (recipient, scope) in state.keys() {
        scopes.entry(recipient).or_default().insert(scope);
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400 * MICROS;

    #[test]
    fn the_policy_as_it_is_published() {
        let check = |events: &[(Effect, i64)], now: i64, expected: &[(&str, &str, i64, Option<i64>)]| {
            let found = in_force(events, now * DAY);
            let expected: BTreeMap<_, _> = expected
                .iter()
                .map(|(scope, reason, since, until)| {
                    let (since, until) = (since * DAY, until.map(|until| until * DAY));
                    ((*scope).to_owned(), Standing { reason: (*reason).to_owned(), since, until })
                })
                .collect();
            assert_eq!(found, expected, "{events:?}");
            let mut turned = events.to_vec();
            turned.reverse();
            assert_eq!(in_force(&turned, now * DAY), expected, "in any order: {events:?}");
        };
        let at = |effect: &Effect, day: i64| (effect.clone(), day * DAY);
        let (soft, dead) = (Effect::Soft, Effect::Dead("hard_bounce"));
        let (left, back) = (Effect::Left("marketing".to_owned()), Effect::Back("marketing".to_owned()));
        check(&[], 0, &[]);
        check(&[at(&soft, 1)], 2, &[("all", "soft_bounce", 1, Some(8))]);
        check(&[at(&soft, 1)], 8, &[]);
        check(&[at(&soft, 1), at(&soft, 7)], 8, &[]);
        check(&[at(&soft, 1), at(&soft, 8)], 9, &[("all", "soft_bounce", 8, Some(22))]);
        check(&[at(&soft, 1), at(&Effect::Delivered, 2), at(&soft, 3)], 4, &[("all", "soft_bounce", 3, Some(10))]);
        check(&[at(&soft, 1), at(&Effect::Delivered, 2)], 3, &[]);
        check(&[at(&soft, 2), at(&dead, 3), at(&dead, 1)], 4, &[("all", "hard_bounce", 1, None)]);
        check(
            &[at(&Effect::Complaint, 2), at(&Effect::Complaint, 1)],
            3,
            &[("non_critical", "spam_complaint", 1, None)],
        );
        check(&[at(&left, 1), at(&left, 2)], 3, &[("marketing", "unsubscribe", 1, None)]);
        check(&[at(&left, 1), at(&back, 2)], 3, &[]);
        check(&[at(&left, 1), at(&back, 2), at(&left, 3)], 4, &[("marketing", "unsubscribe", 3, None)]);
        let sixth: Vec<_> = [0, 7, 21, 49, 105, 217].iter().map(|day| at(&soft, *day)).collect();
        check(&sixth, 1_000, &[("all", "soft_bounce", 217, None)]);
    }
}
