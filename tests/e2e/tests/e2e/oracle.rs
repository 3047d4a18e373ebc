//! An independent judge. It saw only what the senders sent, and shares no code with the suppressor: from the facts it
//! says what must be in force, and from the stream of deltas what subscribers were told.

use crate::traffic::{Fact, What};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// (recipient, scope) → (reason, since in seconds).
pub(crate) type State = BTreeMap<(String, String), (String, i64)>;

/// What must be in force once every fact was processed, in whatever order.
pub(crate) fn expected(facts: &[Fact]) -> State {
    let mut by_recipient: BTreeMap<&str, Vec<&Fact>> = BTreeMap::new();
    for fact in facts {
        by_recipient.entry(&fact.recipient).or_default().push(fact);
    }
    let mut state = State::new();
    for (recipient, mut facts) in by_recipient {
        facts.sort_by_key(|fact| fact.unix);
        let all = |what: What| facts.iter().filter(move |fact| fact.what == what).map(|fact| fact.unix);
        let (delivered, back) = (all(What::Delivered).max(), all(What::Resubscribed).max());
        let soft = all(What::Soft).find(|unix| delivered.is_none_or(|delivered| *unix >= delivered));
        let left = all(What::Unsubscribed).find(|unix| back.is_none_or(|back| *unix >= back));
        let mut put = |scope: &str, reason: &str, since: i64| {
            state.insert((recipient.to_owned(), scope.to_owned()), (reason.to_owned(), since));
        };
        match (all(What::Hard).min(), soft) {
            (Some(since), _) => put("all", "hard_bounce", since),
            (None, Some(since)) => put("all", "soft_bounce", since),
            (None, None) => {}
        }
        if let Some(since) = all(What::Complaint).min() {
            put("non_critical", "spam_complaint", since);
        }
        if let Some(since) = left {
            put("marketing", "unsubscribe", since);
        }
    }
    state
}

/// Folds the stream: every delta once, each one's before the former's now. Returns the state that a subscriber holds.
pub(crate) fn fold(deltas: &[Value]) -> State {
    let mut ids = BTreeSet::new();
    let mut state: BTreeMap<(String, String), Value> = BTreeMap::new();
    for delta in deltas.iter().filter(|line| line.get("delta_id").is_some()) {
        let text = |name: &str| delta[name].as_str().unwrap_or_default().to_owned();
        assert!(ids.insert(text("delta_id")), "told twice: {delta}");
        let key = (text("recipient"), text("scope"));
        let before = state.get(&key).cloned().unwrap_or(Value::Null);
        for field in ["reason", "since", "until"] {
            assert_eq!(delta["before"][field], before[field], "{field} before is not the former's now: {delta}");
        }
        let change = text("change");
        assert_eq!(change == "suppressed", before.is_null(), "suppressed twice, or updated from nothing: {delta}");
        assert_eq!(change == "released", delta["now"].is_null(), "{delta}");
        if delta["now"].is_null() {
            state.remove(&key);
        } else {
            state.insert(key, delta["now"].clone());
        }
    }
    state.into_iter().map(|(key, standing)| (key, told(&standing))).collect()
}

/// What the store says is in force: of each recipient and scope the cause that counts comes first.
pub(crate) fn exported(lines: &[Value]) -> State {
    let mut state = State::new();
    for line in lines.iter().filter(|line| line.get("recipient").is_some()) {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        state.entry((text("recipient"), text("scope"))).or_insert_with(|| told(line));
    }
    state
}

fn told(standing: &Value) -> (String, i64) {
    (
        standing["reason"].as_str().unwrap_or_default().to_owned(),
        seconds(standing["since"].as_str().unwrap_or_default()),
    )
}

/// RFC 3339 in UTC, whole seconds, to seconds since the epoch.
fn seconds(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<i64>().ok());
    let part = |range| number(range).unwrap_or_else(|| panic!("not a time: {text:?}"));
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y - era * 400;
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    days * 86_400 + part(11..13) * 3_600 + part(14..16) * 60 + part(17..19)
}
