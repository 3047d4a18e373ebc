//! Jobs beside a store that fails, and beside each other.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use domain::{Recipient, RecipientKey, Scope, Tenant, Timestamp};
use event_log::{TopicSpec, memory::MemoryLog};
use schemas::topics;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use suppressor::{
    History, Store, StoreError,
    jobs::{expiry::Expiry, reconsider},
    store::{
        Due, Write,
        memory::{MemoryStore, Weather},
    },
};

/// Lets so many steps pass, and fails one.
#[derive(Debug)]
struct FailsAt(AtomicUsize);

impl Weather for FailsAt {
    fn step(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let fails = self.0.fetch_sub(1, Ordering::Relaxed) == 0;
        Box::pin(async move { if fails { Err(StoreError::Unavailable("away".to_owned())) } else { Ok(()) } })
    }
}

fn log() -> MemoryLog {
    MemoryLog::new(&[TopicSpec { name: topics::EVENTS.into(), partitions: 1, retention_ms: Some(1_000) }])
}

fn due(name: &str, at: Timestamp) -> Due {
    let recipient = Recipient::email(&format!("{name}@example.com")).unwrap();
    Due { at, key: RecipientKey { tenant: Tenant::default(), recipient }, scope: Scope::All }
}

/// What a store is told when these ends are set.
fn setting(due: Vec<Due>) -> Write {
    let (key, in_force, history) = (due[0].key.clone(), None, History::default());
    let (rows, trimmed, seen, messages, audit) = (vec![], vec![], vec![], vec![], vec![]);
    Write { key, rows, trimmed, history, in_force, seen, messages, due, audit, forget: None }
}

/// Looks begin where there was something the last time: what was spent before that is passed over once a minute.
#[tokio::test]
async fn an_end_set_behind_the_last_look_is_found_within_a_minute() {
    let (store, log, mut expiry) = (MemoryStore::default(), log(), Expiry::default());
    let at = |seconds: i64| Timestamp::from_seconds(1_800_000_000 + seconds).unwrap();
    store.apply(vec![setting(vec![due("a", at(-9)), due("b", at(5))])], &[]).await.unwrap();
    assert_eq!(expiry.run(&store, &log, at(0)).await.unwrap(), 1);
    store.apply(vec![setting(vec![due("c", at(-9))])], &[]).await.unwrap();
    assert_eq!(expiry.run(&store, &log, at(1)).await.unwrap(), 1, "where there was something");
    store.apply(vec![], &[(0, u64::MAX)]).await.unwrap();
    assert_eq!(expiry.run(&store, &log, at(2)).await.unwrap(), 0);
    assert_eq!(store.due(None, at(2), 9).await.unwrap(), [], "both are spent");

    store.apply(vec![setting(vec![due("late", at(-3_600))])], &[]).await.unwrap();
    assert_eq!(expiry.run(&store, &log, at(3)).await.unwrap(), 0);
    assert_eq!(expiry.run(&store, &log, at(5)).await.unwrap(), 1, "what comes next is found at once");
    assert_eq!(expiry.run(&store, &log, at(59)).await.unwrap(), 0);
    assert_eq!(expiry.run(&store, &log, at(60)).await.unwrap(), 1);
    // A clock that was set back.
    store.apply(vec![setting(vec![due("earlier", at(-7_200))])], &[]).await.unwrap();
    assert_eq!(expiry.run(&store, &log, at(61)).await.unwrap(), 0);
    assert_eq!(expiry.run(&store, &log, at(-100)).await.unwrap(), 1);
}

/// However many ends pass at once, few of them stand in the queue with what providers tell.
#[tokio::test]
async fn ends_enter_the_log_a_page_at_a_time() {
    let (store, log, mut expiry) = (MemoryStore::default(), log(), Expiry::default());
    let now = Timestamp::from_seconds(1_800_000_000).unwrap();
    store.apply(vec![setting((0..300).map(|n| due(&format!("r{n}"), now)).collect())], &[]).await.unwrap();
    let mut pages = Vec::new();
    loop {
        let n = expiry.run(&store, &log, now).await.unwrap();
        pages.push(n);
        if !expiry.is_behind() {
            break;
        }
        assert_eq!(expiry.run(&store, &log, now).await.unwrap(), 0, "nothing is applied yet");
        assert!(expiry.is_behind());
        let n_appended: usize = pages.iter().sum();
        store.apply(vec![], &[(0, n_appended as u64 - 1)]).await.unwrap();
    }
    store.apply(vec![], &[(0, u64::MAX)]).await.unwrap();
    assert_eq!(pages, [128, 128, 44]);
    assert_eq!(expiry.run(&store, &log, now).await.unwrap(), 0);
    assert_eq!(store.due(None, now, 999).await.unwrap(), []);
}

/// A store that fails, wherever it does, makes no end be forgotten.
#[tokio::test]
async fn ends_are_dropped_once_the_store_is_back() {
    let now = Timestamp::from_seconds(1_800_000_000).unwrap();
    for fails_at in 0..6 {
        let (store, log, mut expiry) = (MemoryStore::default(), log(), Expiry::default());
        let ends = ["a", "b", "c"].map(|name| due(name, now)).to_vec();
        store.apply(vec![setting(ends)], &[]).await.unwrap();
        assert_eq!(expiry.run(&store, &log, now).await.unwrap(), 3);
        store.apply(vec![], &[(0, u64::MAX)]).await.unwrap();

        let failing = store.under(Arc::new(FailsAt(AtomicUsize::new(fails_at))));
        let _may_fail = expiry.run(&failing, &log, now).await;
        assert_eq!(expiry.run(&store, &log, now).await.unwrap(), 0, "appended again, failing at {fails_at}");
        assert_eq!(store.due(None, now, 10).await.unwrap(), [], "failing at {fails_at}");
    }
}

/// A sweep that notes its progress after another policy was applied does not take that policy's sweep away.
#[tokio::test]
async fn a_policy_applied_during_a_sweep_has_its_own() {
    let (store, log) = (MemoryStore::default(), log());
    let now = Timestamp::from_seconds(1_800_000_000).unwrap();
    let document = include_str!("../src/policy/default.toml");
    let first = reconsider::apply(&store, &log, document, now, "a").await.unwrap();
    let second = reconsider::apply(&store, &log, document, now, "b").await.unwrap();
    assert!(first < second);
    for progress in ["", "some key", "over"] {
        store.put_note("sweep.at", &format!("{first}\n{progress}")).await.unwrap();
        assert!(reconsider::is_under_way(&store).await.unwrap(), "{progress:?}");
    }
    store.put_note("sweep.at", &format!("{second}\nover")).await.unwrap();
    assert!(!reconsider::is_under_way(&store).await.unwrap());
}
