//! The policy, row by row, and what must hold for any evidence.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use domain::{Attribution, Channel, EventId, FailureClass, Group, IncidentMark, Kind, Ruling, Scope, Timestamp};
use proptest::prelude::*;
use suppressor::{
    Evidence, History, Policy,
    erasure::{ErasureKey, keep},
    evidence::FailureEvidence,
    policy::{decide, trimmable},
};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds).unwrap()
}

fn row(kind: Kind, seconds: i64) -> Evidence {
    Evidence {
        event_id: EventId::derive(&[kind.as_str(), &seconds.to_string()]),
        occurred_at: at(seconds),
        received_at: at(seconds),
        rules: 1,
        position: u64::try_from(seconds).unwrap(),
        policy: 0,
        kind,
        provider: "sendgrid".into(),
        source: "default".into(),
        message_id: None,
        scope: None,
        failure: None,
        receipt_id: String::new(),
        limit: None,
        new_policy: None,
        actor: None,
        note: None,
        marks: Vec::new(),
    }
}

fn failed(kind: Kind, seconds: i64, attribution: Attribution, class: FailureClass) -> Evidence {
    let failure = FailureEvidence { attribution, class, rule: "r".into(), code: None, diagnostic: None };
    Evidence { failure: Some(failure), ..row(kind, seconds) }
}

fn soft(seconds: i64) -> Evidence {
    failed(Kind::BouncedSoft, seconds, Attribution::Recipient, FailureClass::MailboxFull)
}

fn hard(seconds: i64) -> Evidence {
    failed(Kind::BouncedHard, seconds, Attribution::Recipient, FailureClass::UnknownRecipient)
}

fn scoped(kind: Kind, seconds: i64, scope: Scope) -> Evidence {
    Evidence { scope: Some(scope), ..row(kind, seconds) }
}

/// What is in force, as `scope:reason[:days until the end]`.
#[track_caller]
fn check(channel: Channel, rows: &[Evidence], expected: &[&str]) {
    let decision = decide(rows.iter(), channel, &Policy::built_in());
    let told: Vec<String> = decision
        .causes()
        .iter()
        .map(|cause| {
            let end = cause.until.map(|until| format!(":{}", (until.as_seconds() - 1_700_000_000) / DAY));
            format!("{}:{}{}", cause.scope, cause.reason, end.unwrap_or_default())
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn every_row_of_the_default_policy() {
    let email = |rows: &[Evidence], expected: &[&str]| check(Channel::Email, rows, expected);
    email(&[], &[]);
    email(&[hard(0)], &["all:hard_bounce"]);
    email(&[hard(0), row(Kind::Delivered, DAY)], &["all:hard_bounce"]);
    email(&[hard(0), row(Kind::ReleasedManually, 9)], &[]);
    email(&[hard(9), row(Kind::ReleasedManually, 9)], &["all:hard_bounce"]);
    email(&[soft(0)], &["all:soft_bounce:7"]);
    email(&[soft(0), row(Kind::Delivered, 1)], &[]);
    email(&[soft(1), row(Kind::Delivered, 1)], &["all:soft_bounce:7"]);
    email(&[row(Kind::Complaint, 0)], &["non_critical:spam_complaint"]);
    email(&[row(Kind::Complaint, 0), row(Kind::Resubscribed, 1)], &["non_critical:spam_complaint"]);
    email(&[row(Kind::Unsubscribed, 0)], &["marketing:unsubscribe"]);
    email(&[row(Kind::Unsubscribed, 0), row(Kind::Resubscribed, 1)], &[]);
    email(&[row(Kind::Resubscribed, 0), row(Kind::Unsubscribed, 0)], &["marketing:unsubscribe"]);
    let news = || Scope::category("news");
    email(&[scoped(Kind::Unsubscribed, 0, news())], &["category:news:unsubscribe"]);
    email(&[scoped(Kind::Unsubscribed, 0, news()), row(Kind::Resubscribed, 1)], &["category:news:unsubscribe"]);
    email(&[scoped(Kind::Unsubscribed, 0, news()), scoped(Kind::Resubscribed, 1, news())], &[]);
    let undetermined = failed(Kind::BouncedSoft, 0, Attribution::Recipient, FailureClass::Undetermined);
    email(&[undetermined], &["all:unknown_bounce:7"]);
    email(&[row(Kind::Unengaged, 0)], &["marketing:unengaged"]);
    email(&[row(Kind::Unengaged, 5), row(Kind::Opened, 1)], &[]);
    let job = Evidence { limit: Some(at(1)), ..row(Kind::Unengaged, 5) };
    email(&[job.clone(), row(Kind::Opened, 1)], &["marketing:unengaged"]);
    email(&[job, row(Kind::Opened, 2)], &[]);
    email(&[row(Kind::SuppressedManually, 0)], &["all:manual"]);
    let until = Evidence { limit: Some(at(3 * DAY)), ..row(Kind::SuppressedManually, 0) };
    email(&[until], &["all:manual:3"]);
    email(&[row(Kind::SuppressedManually, 0), row(Kind::ReleasedManually, 1)], &[]);
    email(&[row(Kind::Erased, 9), hard(0)], &[]);
}

fn mark(incident: &str, ruling: Ruling, from: i64, to: i64) -> IncidentMark {
    let group = Group::Mailbox("one.example".into());
    IncidentMark { incident: EventId::derive(&[incident]), group, ruling, from: at(from), to: at(to) }
}

/// A hard bounce that was told in an incident, as its position knew.
fn held(seconds: i64) -> Evidence {
    Evidence { marks: vec![mark("i", Ruling::Held, 0, DAY)], ..hard(seconds) }
}

/// What was found or ruled of an incident after its bounces came.
fn marked(incident: &str, ruling: Ruling, seconds: i64) -> Evidence {
    Evidence { marks: vec![mark(incident, ruling, 0, DAY)], ..row(Kind::Reconsidered, seconds) }
}

#[test]
fn a_bounce_in_an_incident_is_provisional() {
    let email = |rows: &[Evidence], expected: &[&str]| check(Channel::Email, rows, expected);
    email(&[held(0)], &["all:hard_bounce:7"]);
    let decision = decide([held(9)].iter(), Channel::Email, &Policy::built_in());
    let cause = &decision.causes()[0];
    assert_eq!((cause.rule.as_str(), cause.incident), ("bounce.provisional", Some(EventId::derive(&["i"]))));
    assert!(cause.is_provisional() && cause.standing().incident.is_some());
    // It ends by itself, and the next that comes after the incident is what it looks like.
    let ended = |seconds| Evidence { received_at: at(seconds), ..row(Kind::Expired, seconds) };
    email(&[held(0), ended(7 * DAY)], &[]);
    email(&[held(0), ended(7 * DAY), hard(8 * DAY)], &["all:hard_bounce"]);
    // A newer delivery releases it; an older or equal one does not.
    email(&[held(5), row(Kind::Delivered, 6)], &[]);
    email(&[held(5), row(Kind::Delivered, 5)], &["all:hard_bounce:7"]);
    // Another bounce confirms it, unless that too is in the incident.
    email(&[held(0), hard(2 * DAY)], &["all:hard_bounce"]);
    email(&[held(0), held(2 * DAY)], &["all:hard_bounce:9"]);
    email(&[held(0), soft(2 * DAY)], &["all:soft_bounce:9", "all:hard_bounce:7"]);
    // Whoever was dead before still is.
    email(&[hard(1), Evidence { occurred_at: at(2), ..held(2) }], &["all:hard_bounce"]);
    email(&[held(0), row(Kind::ReleasedManually, 1)], &[]);
    email(&[held(0), row(Kind::Complaint, 1)], &["all:hard_bounce:7", "non_critical:spam_complaint"]);
    // A phone has no mailbox; marks are only made for email, and what is marked is held.
    email(&[failed(Kind::BouncedHard, 0, Attribution::Sender, FailureClass::Policy)], &[]);
}

#[test]
fn what_is_ruled_later_counts() {
    let email = |rows: &[Evidence], expected: &[&str]| check(Channel::Email, rows, expected);
    // Found after the bounce came.
    email(&[hard(5), marked("i", Ruling::Held, 60)], &["all:hard_bounce:7"]);
    email(&[hard(5), marked("i", Ruling::Held, 60), row(Kind::Delivered, 70)], &[]);
    email(&[hard(2 * DAY), marked("i", Ruling::Held, 3 * DAY)], &["all:hard_bounce"]);
    // Of another provider only its own.
    let other = |mut row: Evidence| {
        row.marks.iter_mut().for_each(|mark| mark.group = Group::Provider("postmark".into()));
        row
    };
    email(&[hard(5), other(marked("i", Ruling::Held, 60))], &["all:hard_bounce"]);
    // Operators rule, and the newest by position counts.
    email(&[held(5), marked("i", Ruling::Undone, 60)], &[]);
    email(&[held(5), marked("i", Ruling::Confirmed, 60)], &["all:hard_bounce"]);
    email(&[held(5), marked("i", Ruling::Undone, 60), marked("i", Ruling::Confirmed, 61)], &["all:hard_bounce"]);
    email(&[held(5), marked("i", Ruling::Confirmed, 60), marked("i", Ruling::Undone, 61)], &[]);
    // What was undone leaves what came after the incident alone.
    email(&[held(5), marked("i", Ruling::Undone, 60), hard(2 * DAY)], &["all:hard_bounce"]);
    // Of two incidents, one that is undone outweighs; one that is confirmed leaves the other.
    email(&[held(5), marked("j", Ruling::Held, 60), marked("j", Ruling::Undone, 61)], &[]);
    email(&[held(5), marked("j", Ruling::Held, 60), marked("j", Ruling::Confirmed, 61)], &["all:hard_bounce:7"]);
    email(&[held(5), marked("j", Ruling::Held, 60), marked("i", Ruling::Confirmed, 61)], &["all:hard_bounce:7"]);
}

#[test]
fn only_the_recipients_own_failure_suppresses() {
    for attribution in [Attribution::Domain, Attribution::Message, Attribution::Sender, Attribution::Provider] {
        for kind in [Kind::BouncedHard, Kind::BouncedSoft] {
            check(Channel::Email, &[failed(kind, 0, attribution, FailureClass::Policy)], &[]);
        }
    }
}

#[test]
fn soft_failures_double_and_end() {
    let ended = |seconds| Evidence { received_at: at(seconds), ..row(Kind::Expired, seconds) };
    let email = |rows: &[Evidence], expected: &[&str]| check(Channel::Email, rows, expected);
    email(&[soft(0), soft(DAY)], &["all:soft_bounce:7"]);
    email(&[soft(0), ended(7 * DAY)], &[]);
    email(&[soft(0), soft(7 * DAY)], &["all:soft_bounce:21"]);
    email(&[soft(0), soft(8 * DAY), soft(22 * DAY)], &["all:soft_bounce:50"]);
    email(&[soft(0), soft(8 * DAY), row(Kind::Delivered, 9 * DAY), soft(10 * DAY)], &["all:soft_bounce:17"]);
    let starts = [0, 7, 21, 49, 105, 217];
    let rows: Vec<Evidence> = starts.iter().map(|day| soft(day * DAY)).collect();
    email(&rows[..5], &["all:soft_bounce:217"]);
    email(&rows, &["all:soft_bounce"]);
}

#[test]
fn phones() {
    let sms = |kind, class, expected: &[&str]| {
        check(Channel::Sms, &[failed(kind, 0, Attribution::Recipient, class)], expected);
    };
    sms(Kind::BouncedHard, FailureClass::InvalidNumber, &["all:invalid_number"]);
    sms(Kind::BouncedHard, FailureClass::Carrier, &["all:carrier_rejection"]);
    sms(Kind::BouncedSoft, FailureClass::InvalidNumber, &["all:invalid_number:7"]);
    sms(Kind::BouncedSoft, FailureClass::Undetermined, &["all:sms_failure:7"]);
    let stop = scoped(Kind::Unsubscribed, 0, Scope::sender("+1555"));
    check(Channel::Sms, std::slice::from_ref(&stop), &["sender:+1555:unsubscribe"]);
    check(Channel::Sms, &[stop, scoped(Kind::Resubscribed, 1, Scope::sender("+1555"))], &[]);
}

#[test]
fn a_better_classifier_corrects() {
    let first = hard(0);
    let mut second = failed(Kind::BouncedHard, 0, Attribution::Sender, FailureClass::Policy);
    (second.rules, second.position) = (2, 50);
    assert_eq!(first.event_id, second.event_id);
    check(Channel::Email, &[first.clone(), second.clone()], &[]);
    check(Channel::Email, &[second, first], &[]);
}

#[test]
fn a_clock_that_runs_ahead_is_clamped() {
    let ahead = Evidence { occurred_at: at(100 * DAY), received_at: at(0), ..soft(0) };
    check(Channel::Email, std::slice::from_ref(&ahead), &["all:soft_bounce:7"]);
    check(Channel::Email, &[ahead, row(Kind::Delivered, 1)], &[]);
}

fn any_row() -> impl Strategy<Value = Evidence> {
    let kinds = prop_oneof![
        Just(0_u8),
        Just(1),
        Just(2),
        Just(3),
        Just(4),
        Just(5),
        Just(6),
        Just(7),
        Just(8),
        Just(9),
        Just(10),
        Just(11),
        Just(12),
        Just(13)
    ];
    (kinds, 0..60_i64, 0..40_i64, 0..1_000_u64, 0..3_u8).prop_map(|(kind, day, late, position, provider)| {
        let seconds = day * DAY / 2;
        let mut row = match kind {
            0 => hard(seconds),
            1..=3 => soft(seconds),
            4 => row(Kind::Delivered, seconds),
            5 => row(Kind::Complaint, seconds),
            6 => row(Kind::Unsubscribed, seconds),
            7 => row(Kind::Resubscribed, seconds),
            8 => row(Kind::Opened, seconds),
            9 => Evidence { limit: Some(at(seconds - 20 * DAY)), ..row(Kind::Unengaged, seconds) },
            10 => row(Kind::ReleasedManually, seconds),
            12 => Evidence { marks: vec![mark("i", Ruling::Held, 0, 20 * DAY)], ..hard(seconds) },
            13 => {
                let ruling = Ruling::ALL[usize::from(provider)];
                Evidence { marks: vec![mark("i", ruling, 0, 20 * DAY)], ..row(Kind::Reconsidered, seconds) }
            }
            _ => failed(Kind::BouncedHard, seconds, Attribution::Sender, FailureClass::Policy),
        };
        row.received_at = at(seconds + late * DAY / 4);
        row.position = position;
        row.provider = ["sendgrid", "drip", "mailgun"][usize::from(provider)].into();
        row.event_id = EventId::derive(&[&kind.to_string(), &seconds.to_string(), &row.provider]);
        row
    })
}

/// As the store keeps them: one row an event (its first position and the receipt that came with it), in key order.
fn stored(rows: Vec<Evidence>) -> Vec<Evidence> {
    let mut by_key = std::collections::BTreeMap::new();
    for row in rows {
        by_key.entry(row.row_key()).or_insert(row);
    }
    by_key.into_values().collect()
}

proptest! {
    #[test]
    fn order_and_duplication_do_not_matter(rows in prop::collection::vec(any_row(), 0..25), seed in any::<u64>()) {
        let rows = stored(rows);
        let mut shuffled = rows.clone();
        shuffled.extend(rows.iter().take(5).cloned());
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
        }
        let policy = Policy::built_in();
        prop_assert_eq!(decide(rows.iter(), Channel::Email, &policy), decide(shuffled.iter(), Channel::Email, &policy));
    }

    #[test]
    fn what_an_erasure_keeps_gives_the_same_decision_and_names_nobody(rows in prop::collection::vec(any_row(), 0..40)) {
        let policy = Policy::built_in();
        let named = |row: Evidence| Evidence {
            message_id: Some("jane".into()),
            receipt_id: "jane".into(),
            actor: Some("jane".into()),
            note: Some("jane".into()),
            failure: row.failure.map(|failure| FailureEvidence { diagnostic: Some("jane".into()), ..failure }),
            ..row
        };
        let rows: Vec<Evidence> = stored(rows).into_iter().map(named).collect();
        let erasure = Evidence { position: 2_000, note: Some("jane".into()), ..row(Kind::Erased, 100 * DAY) };
        let key = ErasureKey::new(&[7; 32]).unwrap();
        let tenant = domain::Tenant::default();
        let jane = domain::RecipientKey { tenant, recipient: domain::Recipient::email("jane@example.com").unwrap() };
        let kept = keep(rows.iter(), Channel::Email, &policy, &erasure, &key.pseudonym(&jane));
        let before = decide(rows.iter(), Channel::Email, &policy);
        let after = decide(kept.iter(), Channel::Email, &policy);
        let essence = |decision: &domain::Decision| -> Vec<_> {
            let causes = decision.causes().iter().cloned();
            causes.map(|cause| (cause.scope, cause.reason, cause.since, cause.until, cause.providers, cause.incident)).collect()
        };
        prop_assert_eq!(essence(&before), essence(&after));
        prop_assert!(kept.iter().all(|row| row.position == 2_000));
        let shown = format!("{kept:?}");
        prop_assert!(!shown.contains("jane"));
        prop_assert!(kept.iter().all(|new| rows.iter().all(|old| old.event_id != new.event_id)));
        // Beside all that was known it still decides alone: what lies below it counts no more.
        let both: Vec<Evidence> = rows.iter().chain(&kept).cloned().collect();
        prop_assert_eq!(decide(both.iter(), Channel::Email, &policy), after);
    }

    #[test]
    fn trimming_is_never_seen(rows in prop::collection::vec(any_row(), 0..40), late in prop::collection::vec(any_row(), 0..8)) {
        let committed = 500;
        let rows = stored(rows);
        let history = History { rows: rows.clone(), ..History::default() };
        let gone = trimmable(&history, committed);
        let late: Vec<Evidence> = late.into_iter().map(|row| Evidence { position: row.position + committed, ..row }).collect();
        let kept: Vec<Evidence> = rows.iter().filter(|row| !gone.contains(&row.row_key())).cloned().collect();
        prop_assert!(rows.iter().filter(|row| gone.contains(&row.row_key())).all(|row| row.position < committed));
        let policy = Policy::built_in();
        // Whatever still arrives, and however much of it, the answer is the same as with everything kept. Events already
        // known are left out: the store knows them by their rows, or they are overridden duplicates.
        for arrived in 0..=late.len() {
            let known = |row: &&Evidence| !rows.iter().any(|old| old.row_key() == row.row_key());
            let all: Vec<&Evidence> = rows.iter().chain(late[..arrived].iter().filter(known)).collect();
            let some: Vec<&Evidence> = kept.iter().chain(late[..arrived].iter().filter(known)).collect();
            let whole = decide(all.into_iter(), Channel::Email, &policy);
            let short = decide(some.into_iter(), Channel::Email, &policy);
            prop_assert_eq!(whole, short);
        }
    }
}
