//! One behavioural suite for every store: what the contract of `Store` says, whichever engine keeps it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use domain::{Decision, EventId, Kind, Recipient, RecipientKey, Scope, Tenant, Timestamp};
use suppressor::{
    Evidence, History, Store,
    store::{
        Due, InForce, MessageEntry, PolicyRow, Write,
        embedded::{EmbeddedStore, Retention, Sweep},
        memory::MemoryStore,
    },
};

/// A store to try, with what must outlive it.
struct Tried {
    name: &'static str,
    store: Box<dyn Store>,
    _dir: Option<tempfile::TempDir>,
}

fn every_store() -> Vec<Tried> {
    let dir = tempfile::tempdir().unwrap();
    let db = fjall::Database::builder(dir.path()).open().unwrap();
    vec![
        Tried { name: "memory", store: Box::new(MemoryStore::default()), _dir: None },
        Tried { name: "embedded", store: Box::new(EmbeddedStore::open(db).unwrap()), _dir: Some(dir) },
    ]
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn key(name: &str) -> RecipientKey {
    RecipientKey { tenant: Tenant::default(), recipient: Recipient::email(&format!("{name}@example.com")).unwrap() }
}

fn row(id: &str, seconds: i64, position: u64) -> Evidence {
    Evidence {
        event_id: EventId::derive(&[id]),
        occurred_at: at(seconds),
        received_at: at(seconds),
        rules: 1,
        position,
        policy: 0,
        kind: Kind::Complaint,
        provider: "drip".into(),
        source: "default".into(),
        message_id: None,
        scope: Some(Scope::category("news")),
        failure: None,
        receipt_id: "r".into(),
        limit: None,
        new_policy: None,
        actor: None,
        note: None,
    }
}

fn in_force(position: u64, policy: u32) -> InForce {
    let cause = domain::Cause {
        scope: Scope::All,
        reason: domain::Reason::Manual,
        since: at(1),
        until: None,
        rule: "manual".into(),
        event_id: EventId::derive(&["x"]),
        provider: "manual".into(),
        source: "me".into(),
        providers: vec!["manual".into()],
    };
    InForce { position, policy, address: "A@example.com".into(), decision: Decision::new(vec![cause]) }
}

fn write(key: RecipientKey, rows: Vec<Evidence>) -> Write {
    let mut history = History { address: "A@example.com".into(), ..History::default() };
    for row in &rows {
        history.insert(row.clone());
    }
    Write {
        key,
        rows,
        trimmed: Vec::new(),
        history,
        in_force: None,
        seen: Vec::new(),
        messages: Vec::new(),
        due: Vec::new(),
        audit: Vec::new(),
    }
}

#[tokio::test]
async fn histories_come_back_in_the_order_asked() {
    for Tried { name, store, .. } in every_store() {
        assert_eq!(store.load(&[key("a")]).await.unwrap(), [History::default()], "{name}");
        let first = write(key("a"), vec![row("1", 5, 7), row("2", 3, 8)]);
        store.apply(vec![first.clone(), write(key("b"), vec![row("3", 1, 9)])], &[(0, 9)]).await.unwrap();
        store.apply(vec![first], &[(0, 9)]).await.unwrap();
        let found = store.load(&[key("b"), key("none"), key("a")]).await.unwrap();
        let ids: Vec<Vec<i64>> =
            found.iter().map(|history| history.rows.iter().map(|row| row.occurred_at.as_seconds()).collect()).collect();
        assert_eq!(ids, [vec![1], vec![], vec![3, 5]], "{name}");
        assert_eq!(found[2].rows[0].scope, Some(Scope::category("news")), "{name}");
        assert_eq!(found[2].address, "A@example.com", "{name}");
        assert_eq!(store.applied(0).await.unwrap(), Some(9), "{name}");
        assert_eq!(store.applied(1).await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn what_is_in_force_is_found_and_listed() {
    for Tried { name, store, .. } in every_store() {
        let mut suppressed = write(key("a"), vec![row("1", 5, 7)]);
        suppressed.in_force = Some(in_force(7, 3));
        let mut clean = write(key("b"), vec![row("2", 5, 8)]);
        clean.in_force = Some(InForce { decision: Decision::default(), ..in_force(8, 3) });
        store.apply(vec![suppressed, clean], &[(0, 8)]).await.unwrap();
        let found = store.in_force(&[key("none"), key("a"), key("b")]).await.unwrap();
        assert_eq!(found[0], None, "{name}");
        assert_eq!(found[1], Some(in_force(7, 3)), "{name}");
        assert!(found[2].as_ref().is_none_or(|row| row.decision.is_empty()), "{name}");

        let mut released = write(key("a"), vec![row("4", 6, 9)]);
        released.in_force = Some(InForce { decision: Decision::default(), ..in_force(9, 3) });
        store.apply(vec![released], &[(0, 9)]).await.unwrap();
        let found = store.in_force(&[key("a")]).await.unwrap();
        assert!(found[0].as_ref().is_some_and(|row| row.decision.is_empty() && row.position == 9), "{name}");
        let page = store.scan_in_force(None, 10).await.unwrap();
        assert!(page.items.iter().all(|(_, row)| row.decision.is_empty()) && page.next.is_none(), "{name}");
    }
}

#[tokio::test]
async fn events_without_evidence_messages_ends_and_audit() {
    for Tried { name, store, .. } in every_store() {
        let entry = |id: &str, seconds| MessageEntry {
            key: key("a"),
            provider: "drip".into(),
            message_id: "m/1".into(),
            event_id: EventId::derive(&[id]),
            occurred_at: at(seconds),
            received_at: at(seconds),
            kind: Kind::Delivered,
            provider_kind: "delivered".into(),
            machine: false,
            failure: Some("mailbox_full 4.2.2".into()),
            campaign: None,
            receipt_id: "r".into(),
            position: 1,
        };
        let due = |seconds| Due { at: at(seconds), key: key("a"), scope: Scope::All };
        let mut written = write(key("a"), Vec::new());
        written.seen = vec![(at(4), EventId::derive(&["s"]), 6)];
        written.messages = vec![entry("2", 20), entry("1", 10)];
        written.due = vec![due(30), due(20)];
        written.audit = vec![(5, Scope::All, vec![1, 2]), (1 << 40, Scope::Marketing, vec![3])];
        store.apply(vec![written.clone()], &[]).await.unwrap();
        store.apply(vec![written], &[]).await.unwrap();

        let seen = store.seen(&[(at(4), EventId::derive(&["t"])), (at(4), EventId::derive(&["s"]))]).await.unwrap();
        assert_eq!(seen, [None, Some(6)], "{name}");
        let timeline = store.message(&Tenant::default(), "m/1", 10).await.unwrap();
        assert_eq!(timeline, [entry("1", 10), entry("2", 20)], "{name}");
        assert_eq!(store.message(&Tenant::default(), "m", 10).await.unwrap(), [], "{name}");
        assert_eq!(store.message(&Tenant::default(), "m/1", 1).await.unwrap().len(), 1, "{name}");

        assert_eq!(store.due(at(19), 10).await.unwrap(), [], "{name}");
        assert_eq!(store.due(at(20), 10).await.unwrap(), [due(20)], "{name}");
        assert_eq!(store.due(at(99), 10).await.unwrap(), [due(20), due(30)], "{name}");
        store.spent(&[due(20)]).await.unwrap();
        assert_eq!(store.due(at(99), 10).await.unwrap(), [due(30)], "{name}");

        let audit = store.audit(&key("a"), 10).await.unwrap();
        assert_eq!(audit, [(5, Scope::All, vec![1, 2]), (1 << 40, Scope::Marketing, vec![3])], "{name}");
        assert_eq!(store.audit(&key("a"), 1).await.unwrap(), [(1 << 40, Scope::Marketing, vec![3])], "{name}");
    }
}

#[tokio::test]
async fn scans_page_through_everything_once() {
    for Tried { name, store, .. } in every_store() {
        let names: Vec<String> = (0..25).map(|number| format!("n{number:02}")).collect();
        let writes = names.iter().map(|name| write(key(name), vec![row(name, 1, 1)])).collect();
        store.apply(writes, &[]).await.unwrap();
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = store.scan(after.as_deref(), 10).await.unwrap();
            found.extend(page.items.into_iter().map(|(key, _)| key.recipient.as_str().to_owned()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = names.iter().map(|name| format!("{name}@example.com")).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn policies_and_notes() {
    for Tried { name, store, .. } in every_store() {
        let policy = |version| PolicyRow {
            version,
            decide_revision: 1,
            document: "x".into(),
            applied_at: at(1),
            applied_by: "me".into(),
        };
        store.put_policy(1, 7, policy(2)).await.unwrap();
        store.put_policy(1, 3, policy(1)).await.unwrap();
        store.put_policy(2, 1, policy(9)).await.unwrap();
        assert_eq!(store.policies(1).await.unwrap(), [(3, policy(1)), (7, policy(2))], "{name}");
        assert_eq!(store.policies(0).await.unwrap(), [], "{name}");
        assert_eq!(store.note("job").await.unwrap(), None, "{name}");
        store.put_note("job", "1").await.unwrap();
        store.put_note("job", "2").await.unwrap();
        assert_eq!(store.note("job").await.unwrap().as_deref(), Some("2"), "{name}");
    }
}

#[tokio::test]
async fn what_is_old_goes_a_piece_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(fjall::Database::builder(dir.path()).open().unwrap()).unwrap();
    let day = |day: i64| at(day * 86_400);
    let mut written = write(key("a"), Vec::new());
    for number in 0..30_i64 {
        written.seen.push((day(number), EventId::derive(&[&number.to_string()]), 1));
        written.messages.push(MessageEntry {
            key: key("a"),
            provider: "drip".into(),
            message_id: format!("m{number}"),
            event_id: EventId::derive(&[&number.to_string()]),
            occurred_at: day(number),
            received_at: day(number),
            kind: Kind::Delivered,
            provider_kind: "delivered".into(),
            machine: false,
            failure: None,
            campaign: None,
            receipt_id: "r".into(),
            position: 1,
        });
    }
    store.apply(vec![written], &[]).await.unwrap();
    let kept = Retention { seen_days: 10, messages_days: 20 };
    let mut sweep = Sweep::default();
    let mut gone = 0;
    for _ in 0..20 {
        gone += store.retain(&mut sweep, kept, day(30), 7).unwrap();
    }
    assert_eq!(gone, 20 + 10);
    let left = |number: i64| (day(number), EventId::derive(&[&number.to_string()]));
    assert_eq!(store.seen(&[left(19), left(20)]).await.unwrap(), [None, Some(1)]);
    assert_eq!(store.message(&Tenant::default(), "m9", 9).await.unwrap().len(), 0);
    assert_eq!(store.message(&Tenant::default(), "m10", 9).await.unwrap().len(), 1);
}
