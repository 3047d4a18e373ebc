//! What the contract of `Store` says, whichever engine keeps it.

use crate::bed::{at, every_store, in_force, key, row, write};
use domain::{Decision, EventId, Group, Kind, Ruling, Scope, Tenant};
use suppressor::{
    History, Store as _,
    store::{
        Due, InForce, IncidentRow, MessageEntry, PolicyRow,
        embedded::{EmbeddedStore, Retention, Sweep},
    },
};

#[tokio::test]
async fn histories_come_back_in_the_order_asked() {
    for crate::bed::Tried { name, store, .. } in every_store().await {
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
    for crate::bed::Tried { name, store, .. } in every_store().await {
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
    for crate::bed::Tried { name, store, .. } in every_store().await {
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

        assert_eq!(store.due(None, at(19), 10).await.unwrap(), [], "{name}");
        assert_eq!(store.due(None, at(20), 10).await.unwrap(), [due(20)], "{name}");
        assert_eq!(store.due(None, at(99), 10).await.unwrap(), [due(20), due(30)], "{name}");
        for (from, found) in [(20, vec![due(20), due(30)]), (21, vec![due(30)]), (30, vec![due(30)]), (31, vec![])] {
            assert_eq!(store.due(Some(at(from)), at(99), 10).await.unwrap(), found, "{name}, from {from}");
        }
        assert_eq!(store.due(Some(at(30)), at(30), 10).await.unwrap(), [due(30)], "{name}");
        store.spent(&[due(20)]).await.unwrap();
        assert_eq!(store.due(None, at(99), 10).await.unwrap(), [due(30)], "{name}");

        let audit = store.audit(&key("a"), 10).await.unwrap();
        assert_eq!(audit, [(5, Scope::All, vec![1, 2]), (1 << 40, Scope::Marketing, vec![3])], "{name}");
        assert_eq!(store.audit(&key("a"), 1).await.unwrap(), [(1 << 40, Scope::Marketing, vec![3])], "{name}");
    }
}

#[tokio::test]
async fn scans_page_through_everything_once_in_one_order() {
    for crate::bed::Tried { name, store, .. } in every_store().await {
        let names: Vec<String> = (0..25).map(|number| format!("n{number:02}")).collect();
        let suppressed = |name: &String| {
            let mut written = write(key(name), vec![row(name, 1, 1)]);
            written.in_force = Some(in_force(1, 0));
            written
        };
        store.apply(names.iter().map(suppressed).collect(), &[]).await.unwrap();
        let mut expected: Vec<String> = names.iter().map(|name| format!("{name}@example.com")).collect();
        let mut orders = Vec::new();
        for max in [1, 10, 24, 25, 26] {
            let (mut after, mut found) = (None, Vec::new());
            loop {
                let page = store.scan(after.as_deref(), max).await.unwrap();
                assert!(page.items.len() <= max, "{name}");
                assert!(page.items.iter().all(|(_, history)| history.rows.len() == 1), "{name}");
                found.extend(page.items.into_iter().map(|(key, _)| key.recipient.as_str().to_owned()));
                after = page.next;
                // Jobs keep it in a line of a note.
                assert!(after.as_deref().is_none_or(|next| !next.is_empty() && !next.contains('\n')), "{name}");
                if after.is_none() {
                    break;
                }
            }
            let mut in_force = Vec::new();
            loop {
                let page = store.scan_in_force(after.as_deref(), max).await.unwrap();
                in_force.extend(page.items.into_iter().map(|(key, _)| key.recipient.as_str().to_owned()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(in_force, found, "{name}");
            orders.push(found);
        }
        orders.dedup();
        assert_eq!(orders.len(), 1, "{name}: one order, however it is cut");
        let mut found = orders.remove(0);
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn policies_incidents_and_notes() {
    for crate::bed::Tried { name, store, .. } in every_store().await {
        let policy = |version| PolicyRow {
            version,
            decide_revision: 1,
            document: "x".into(),
            applied_at: at(1),
            applied_by: "me".into(),
        };
        let incident = |revision| IncidentRow {
            incident: EventId::derive(&["i"]),
            group: Group::Mailbox("gmail.com".into()),
            from: at(1),
            to: at(9),
            revision,
            is_over: false,
            ruling: Ruling::Held,
            policy: 0,
            bounced: 5,
            engaged: 4,
            decided_at: at(3),
            decided_by: "guard".into(),
            note: String::new(),
        };
        store.put_incident(1, 8, incident(2)).await.unwrap();
        store.put_incident(1, 4, incident(1)).await.unwrap();
        store.put_incident(1, 4, incident(1)).await.unwrap();
        assert_eq!(store.incidents(1).await.unwrap(), [(4, incident(1)), (8, incident(2))], "{name}");
        assert_eq!(store.incidents(0).await.unwrap(), [], "{name}");
        // What goes, goes alone; written again by an owner of before it stays away or says the same; what comes later stays.
        store.put_incident(2, 4, incident(1)).await.unwrap();
        store.put_incident(1, 9, incident(3)).await.unwrap();
        store.drop_incidents(1, &[4, 8]).await.unwrap();
        store.drop_incidents(1, &[4, 5]).await.unwrap();
        assert_eq!(store.incidents(1).await.unwrap(), [(9, incident(3))], "{name}");
        assert_eq!(store.incidents(2).await.unwrap(), [(4, incident(1))], "{name}");
        store.put_incident(1, 12, incident(4)).await.unwrap();
        assert_eq!(store.incidents(1).await.unwrap(), [(9, incident(3)), (12, incident(4))], "{name}");
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
