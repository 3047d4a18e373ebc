//! What only the store over CQL can show.

use crate::bed::{at, cql_config, cql_store, in_force, key, own_keyspace, raw, row, write};
use domain::{EventId, Kind, RecipientKey, Scope, Tenant};
use scylla::client::session::Session;
use std::time::Duration;
use suppressor::{
    Store, StoreError,
    evidence::Engagement,
    store::{
        Due, MessageEntry, Write,
        cql::{CqlConfig, CqlStore, Finding, bucket_of, check, hour_of, migrate},
    },
};

fn entry(id: &str, seconds: i64, position: u64) -> MessageEntry {
    MessageEntry {
        key: key("a"),
        provider: "drip".into(),
        message_id: "m".into(),
        event_id: EventId::derive(&[id]),
        occurred_at: at(seconds),
        received_at: at(seconds),
        kind: Kind::Delivered,
        provider_kind: "delivered".into(),
        machine: false,
        failure: None,
        campaign: None,
        receipt_id: format!("r{position}"),
        position,
    }
}

fn due(seconds: i64) -> Due {
    Due { at: at(seconds), key: key("a"), scope: Scope::All }
}

async fn positions(store: &CqlStore, key: RecipientKey) -> Vec<(i64, u64)> {
    let rows = store.load(&[key]).await.unwrap().remove(0).rows;
    rows.iter().map(|row| (row.occurred_at.as_seconds(), row.position)).collect()
}

#[tokio::test]
async fn positions_decide_whatever_the_order_of_arrival() {
    let (store, _) = cql_store().await;
    // Evidence: the lower position stays.
    for order in [[9, 4, 7], [4, 7, 9], [7, 9, 4]] {
        let name = format!("low{}", order[0]);
        for position in order {
            store.apply(vec![write(key(&name), vec![row("e", 1, position)])], &[]).await.unwrap();
        }
        assert_eq!(positions(&store, key(&name)).await, [(1, 4)], "{order:?}");
    }
    // What is derived: the higher one. An address and registers go by the position too.
    for order in [[9, 4, 7], [4, 7, 9], [7, 9, 4]] {
        let name = format!("high{}", order[0]);
        for position in order {
            let mut written = write(key(&name), vec![row(&position.to_string(), 1, position)]);
            written.in_force = Some(in_force(position, 1));
            written.history.address = format!("at-{position}@example.com");
            written.history.engagement =
                Engagement { sent_at: Some(at(i64::try_from(position).unwrap())), ..Engagement::default() };
            written.messages = vec![entry("same", 3, position)];
            written.seen = vec![(at(1), EventId::derive(&["seen", &name]), position)];
            store.apply(vec![written], &[(8, position)]).await.unwrap();
        }
        let found = store.in_force(&[key(&name)]).await.unwrap().remove(0).unwrap();
        assert_eq!(found.position, 9, "{order:?}");
        let history = store.load(&[key(&name)]).await.unwrap().remove(0);
        assert_eq!(history.address, "at-9@example.com", "{order:?}");
        assert_eq!(history.engagement.sent_at, Some(at(9)), "{order:?}");
        assert_eq!(store.applied(8).await.unwrap(), Some(9), "{order:?}");
        assert_eq!(store.seen(&[(at(1), EventId::derive(&["seen", &name]))]).await.unwrap(), [Some(4)], "{order:?}");
    }
    let timeline = store.message(&Tenant::default(), "m", 10).await.unwrap();
    assert_eq!(timeline, [entry("same", 3, 4)], "of one event the entry that came first");
}

#[tokio::test]
async fn what_is_trimmed_stays_gone_and_may_be_told_again() {
    let (store, _) = cql_store().await;
    let rows = || vec![row("old", 1, 5), row("kept", 2, 6)];
    store.apply(vec![write(key("a"), rows())], &[]).await.unwrap();
    let mut trimming = write(key("a"), vec![row("new", 3, 10)]);
    trimming.trimmed = vec![row("old", 1, 5).row_key()];
    trimming.seen = vec![(at(1), EventId::derive(&["trimmed"]), 5)];
    store.apply(vec![trimming.clone()], &[]).await.unwrap();
    assert_eq!(positions(&store, key("a")).await, [(2, 6), (3, 10)]);
    assert_eq!(store.seen(&[(at(1), EventId::derive(&["trimmed"]))]).await.unwrap(), [Some(5)]);
    // An owner of before, or the sync window: what comes late at a trimmed position stays gone.
    store.apply(vec![write(key("a"), rows())], &[]).await.unwrap();
    store.apply(vec![trimming], &[]).await.unwrap();
    assert_eq!(positions(&store, key("a")).await, [(2, 6), (3, 10)]);
    // Told again when nobody remembers it: a new row, at its own position.
    store.apply(vec![write(key("a"), vec![row("old", 1, 12)])], &[]).await.unwrap();
    assert_eq!(positions(&store, key("a")).await, [(1, 12), (2, 6), (3, 10)]);
}

#[tokio::test]
async fn an_end_that_is_spent_may_be_set_again() {
    let (store, config) = cql_store().await;
    let set = |position| {
        let mut written = write(key("a"), vec![row("e", 1, position)]);
        written.due = vec![due(7_300), due(100)];
        vec![written]
    };
    store.apply(set(5), &[]).await.unwrap();
    let n_first = store.counts().writes;
    assert_eq!(store.due(None, at(9_999), 10).await.unwrap(), [due(100), due(7_300)], "of two hours, in order");
    assert_eq!(store.due(None, at(9_999), 1).await.unwrap(), [due(100)]);
    store.spent(&[due(100), due(555)]).await.unwrap();
    assert_eq!(store.due(None, at(9_999), 10).await.unwrap(), [due(7_300)]);
    let n_before = store.counts().writes;
    store.apply(set(5), &[]).await.unwrap();
    assert_eq!(store.counts().writes - n_before, n_first - 2, "both hours are on the list already");
    assert_eq!(store.due(None, at(9_999), 10).await.unwrap(), [due(7_300)], "a replay brings back nothing");
    store.apply(set(6), &[]).await.unwrap();
    assert_eq!(
        store.due(None, at(9_999), 10).await.unwrap(),
        [due(100), due(7_300)],
        "set again, in an hour long over"
    );
    store.spent(&[due(100), due(7_300)]).await.unwrap();
    assert_eq!(store.due(None, at(9_999), 10).await.unwrap(), []);

    // Hours just listed stay on the list, empty or not: who listed them may still be writing. Hours listed long ago go.
    let raw = raw(&config).await;
    assert_eq!(hours(&raw).await, [0, 2]);
    raw.query_unpaged("INSERT INTO due_hour (list, hour) VALUES (0, 1) USING TIMESTAMP 1000", ()).await.unwrap();
    assert_eq!(hours(&raw).await, [0, 1, 2]);
    assert_eq!(store.due(None, at(9_999), 10).await.unwrap(), []);
    assert_eq!(hours(&raw).await, [0, 2]);
}

/// Read in slices, of several partitions and hours.
#[tokio::test]
async fn ends_come_in_their_order_from_wherever_the_look_begins() {
    let (store, _) = cql_store().await;
    let end = |n: i64| Due { key: key(&format!("k{}", n % 7)), ..due(n * 100 + 299) };
    let mut written = write(key("a"), vec![row("e", 1, 5)]);
    written.due = (0..80).map(end).collect();
    store.apply(vec![written], &[]).await.unwrap();
    let all: Vec<Due> = (0..80).map(end).collect();
    assert_eq!(store.due(None, at(99_999), 99).await.unwrap(), all);
    assert_eq!(store.due(None, at(99_999), 7).await.unwrap(), all[..7]);
    for from in [0_i64, 299, 300, 3_599, 3_600, 3_601, 7_999, 8_199, 8_200] {
        let until = from + 2_500;
        let between = |end: &&Due| (at(from)..=at(until)).contains(&end.at);
        let expected: Vec<Due> = all.iter().filter(between).cloned().collect();
        assert_eq!(store.due(Some(at(from)), at(until), 99).await.unwrap(), expected, "from {from}");
    }
}

async fn hours(raw: &Session) -> Vec<i32> {
    let answer = raw.query_unpaged("SELECT hour FROM due_hour WHERE list = 0", ()).await.unwrap();
    answer.into_rows_result().unwrap().rows::<(i32,)>().unwrap().map(|row| row.unwrap().0).collect()
}

#[tokio::test]
async fn a_write_that_broke_off_anywhere_is_completed_by_its_replay() {
    let (store, config) = cql_store().await;
    let whole = |name: &str| {
        let mut written = write(key(name), vec![row("2", 2, 11), row("3", 3, 12)]);
        written.trimmed = vec![row("1", 1, 5).row_key()];
        written.in_force = Some(in_force(12, 1));
        written.seen = vec![(at(1), EventId::derive(&["1", name]), 5)];
        written.messages = vec![MessageEntry { message_id: name.to_owned(), key: key(name), ..entry("2", 2, 11) }];
        written.due = vec![Due { key: key(name), ..due(100) }];
        written.audit = vec![(11, Scope::All, vec![1]), (12, Scope::All, vec![2])];
        written
    };
    // What is in the tables when the process ends between two requests: some of the rows, and none that come after.
    let empty = |name: &str| Write { history: whole(name).history, ..write(key(name), Vec::new()) };
    let parts: [fn(Write, Write) -> Write; 6] = [
        |whole, none| Write { rows: whole.rows[..1].to_vec(), ..none },
        |whole, none| Write { rows: whole.rows[1..].to_vec(), ..none },
        |whole, none| Write { in_force: whole.in_force, ..none },
        |whole, none| Write { seen: whole.seen, messages: whole.messages, due: whole.due, ..none },
        |whole, none| Write { audit: whole.audit[1..].to_vec(), ..none },
        |whole, _| Write { trimmed: Vec::new(), ..whole },
    ];
    for (at_part, part) in parts.into_iter().enumerate() {
        let name = format!("part{at_part}");
        store.apply(vec![write(key(&name), vec![row("1", 1, 5)])], &[]).await.unwrap();
        store.apply(vec![part(whole(&name), empty(&name))], &[]).await.unwrap();
        store.apply(vec![whole(&name)], &[(u32::try_from(at_part).unwrap(), 12)]).await.unwrap();
        assert_eq!(positions(&store, key(&name)).await, [(2, 11), (3, 12)], "{name}");
        assert_eq!(store.in_force(&[key(&name)]).await.unwrap(), [Some(in_force(12, 1))], "{name}");
        assert_eq!(store.seen(&[whole(&name).seen[0]].map(|(at, id, _)| (at, id))).await.unwrap(), [Some(5)], "{name}");
        assert_eq!(store.message(&Tenant::default(), &name, 9).await.unwrap(), whole(&name).messages, "{name}");
        assert_eq!(store.audit(&key(&name), 9).await.unwrap(), whole(&name).audit, "{name}");
    }
    assert_eq!(store.due(None, at(100), 99).await.unwrap().len(), 6);

    // An end whose hour was listed and no more, and the other way round: its row is there, and found by the replay.
    let raw = raw(&config).await;
    let owner = key("late").to_log_key();
    let values = (hour_of(at(20_000)), bucket_of(&owner), at(20_000).as_micros(), owner);
    let lone = "INSERT INTO due (hour, bucket, ends_at, recipient, scope, position) VALUES (?, ?, ?, ?, 'all', 4) \
                USING TIMESTAMP 5";
    raw.query_unpaged(lone, values).await.unwrap();
    let late = Due { key: key("late"), ..due(20_000) };
    assert!(!store.due(None, at(20_000), 99).await.unwrap().contains(&late));
    store
        .apply(vec![Write { due: vec![late.clone()], ..write(key("late"), vec![row("l", 1, 4)]) }], &[])
        .await
        .unwrap();
    assert!(store.due(None, at(20_000), 99).await.unwrap().contains(&late));
}

#[tokio::test]
async fn answers_of_many_pages() {
    let config = CqlConfig { page_rows: 10, concurrency: 4, ..cql_config().await };
    migrate(&config).await.unwrap();
    let store = CqlStore::connect(&config).await.unwrap();
    let mut written = write(key("many"), (0..95).map(|n| row(&n.to_string(), n, 100)).collect());
    written.messages = (0..35).map(|n| entry(&n.to_string(), n, 1)).collect();
    written.audit = (0..35).map(|n| (n, Scope::All, vec![1])).collect();
    written.due = (0..35).map(due).collect();
    let others = (0..30).map(|n| write(key(&format!("other{n}")), vec![row("a", 1, 1), row("b", 2, 1)]));
    store.apply(others.chain([written]).collect(), &[]).await.unwrap();
    assert_eq!(positions(&store, key("many")).await.len(), 95);
    assert_eq!(store.message(&Tenant::default(), "m", 99).await.unwrap().len(), 35);
    assert_eq!(store.message(&Tenant::default(), "m", 25).await.unwrap().len(), 25);
    let audit = store.audit(&key("many"), 25).await.unwrap();
    assert_eq!(
        audit.iter().map(|row| row.0).collect::<Vec<_>>(),
        (10..35).collect::<Vec<_>>(),
        "the newest, oldest first"
    );
    assert_eq!(store.due(None, at(99), 99).await.unwrap().len(), 35);
    for max in [1, 7, 31, 99] {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = store.scan(after.as_deref(), max).await.unwrap();
            found.extend(page.items.into_iter().map(|(key, history)| (key, history.rows.len())));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found.len(), 31);
        assert!(found.iter().all(|(who, n)| *n == if *who == key("many") { 95 } else { 2 }));
    }
}

#[tokio::test]
async fn what_is_kept_for_a_while_says_so() {
    let config = CqlConfig { message_days: 3, receipt_days: 2, ..cql_config().await };
    migrate(&config).await.unwrap();
    let store = CqlStore::connect(&config).await.unwrap();
    let mut written = write(key("a"), vec![row("e", 1, 1)]);
    written.messages = vec![entry("e", 1, 1)];
    store.apply(vec![written], &[]).await.unwrap();
    store.put_receipt("s-1", "r-1").await.unwrap();
    assert_eq!(store.receipt("s-1").await.unwrap().as_deref(), Some("r-1"));
    assert_eq!(store.receipt("s-2").await.unwrap(), None);
    store.bind_token([1; 32], [2; 32], Duration::from_millis(86_400_500)).await.unwrap();
    let raw = raw(&config).await;
    let days = [
        ("SELECT TTL(entry) FROM message", 3 * 86_400),
        ("SELECT TTL(receipt) FROM receipt", 2 * 86_400),
        ("SELECT TTL(body) FROM \"token\"", 86_401),
    ];
    for (question, seconds) in days {
        let answer = raw.query_unpaged(question, ()).await.unwrap().into_rows_result().unwrap();
        let (left,) = answer.single_row::<(i32,)>().unwrap();
        assert!((seconds - 60..=seconds).contains(&left), "{question}: {left}");
    }
    let answer = raw.query_unpaged("SELECT TTL(row) FROM evidence", ()).await.unwrap().into_rows_result().unwrap();
    assert_eq!(answer.single_row::<(Option<i32>,)>().unwrap(), (None,));
}

#[tokio::test]
async fn tables_of_another_version_are_refused() {
    let config = cql_config().await;
    let refusal = CqlStore::connect(&config).await.unwrap_err().to_string();
    assert!(refusal.contains("`quell store migrate`"), "{refusal}");
    let report = check(&config).await.unwrap();
    assert!(matches!(report.findings.as_slice(), [Finding::Missing(_), ..]) && report.version == 0, "{report:?}");

    // Two at once: each version is applied by one of them.
    let (one, two) = tokio::join!(migrate(&config), migrate(&config));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.len() + two.len(), report.findings.len());
    assert_eq!(migrate(&config).await.unwrap(), []);
    let report = check(&config).await.unwrap();
    assert!(report.findings.is_empty() && report.version == report.wanted, "{report:?}");
    CqlStore::connect(&config).await.unwrap();

    let raw = raw(&config).await;
    raw.query_unpaged("INSERT INTO migration (version, name, checksum, is_done) VALUES (999, 'x', 'x', true)", ())
        .await
        .unwrap();
    let refusal = CqlStore::connect(&config).await.unwrap_err().to_string();
    assert!(refusal.contains("999") && refusal.contains("newer program"), "{refusal}");
    assert!(migrate(&config).await.is_err());
    raw.query_unpaged("DELETE FROM migration WHERE version = 999", ()).await.unwrap();
    raw.query_unpaged("UPDATE migration SET checksum = 'other' WHERE version = 1", ()).await.unwrap();
    let refusal = CqlStore::connect(&config).await.unwrap_err().to_string();
    assert!(refusal.contains("another text"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_on_runtimes_of_their_own_share_one_session() {
    let (store, _) = cql_store().await;
    let stages: Vec<_> = (0..3_u64)
        .map(|stage| {
            let store = store.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for n in 0..20 {
                    let name = format!("s{stage}-{n}");
                    let applied = [(u32::try_from(stage).unwrap(), n)];
                    // As a runner does it: the runtime rests between two steps.
                    runtime.block_on(store.apply(vec![write(key(&name), vec![row(&name, 1, n)])], &applied)).unwrap();
                    assert_eq!(runtime.block_on(positions(&store, key(&name))), [(1, n)]);
                }
            })
        })
        .collect();
    tokio::task::spawn_blocking(move || stages.into_iter().for_each(|stage| stage.join().unwrap())).await.unwrap();
    assert_eq!(store.applied(2).await.unwrap(), Some(19));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_says_so() {
    let start = || testkit::servers::JvmCql::start(&testkit::servers::CqlOptions { durable: false, measured: false });
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let config = own_keyspace(server.address());
    migrate(&config).await.unwrap();
    let config = CqlConfig { request_timeout_ms: 3_000, ..config };
    let store = CqlStore::connect(&config).await.unwrap();
    store.apply(vec![write(key("a"), vec![row("e", 1, 1)])], &[(0, 1)]).await.unwrap();

    server.pause().unwrap();
    away(&store, "paused").await;
    server.resume().unwrap();
    server.stop().unwrap();
    away(&store, "stopped").await;
    assert!(CqlStore::connect(&config).await.is_err());
}

/// Every question fails as unavailable: an empty answer would let somebody through.
async fn away(store: &CqlStore, how: &str) {
    fn is_away<T: std::fmt::Debug>(answer: Result<T, StoreError>, how: &str) {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{how}: {answer:?}");
    }
    let id = EventId::derive(&["e"]);
    let write = vec![write(key("a"), vec![row("e", 1, 1)])];
    let (keys, seen) = ([key("a")], [(at(1), id)]);
    let tenant = Tenant::default();
    tokio::join!(
        async { is_away(store.load(&keys).await, how) },
        async { is_away(store.in_force(&keys).await, how) },
        async { is_away(store.seen(&seen).await, how) },
        async { is_away(store.apply(write, &[(0, 1)]).await, how) },
        async { is_away(store.applied(0).await, how) },
        async { is_away(store.message(&tenant, "m", 1).await, how) },
        async { is_away(store.audit(&keys[0], 1).await, how) },
        async { is_away(store.due(None, at(1), 1).await, how) },
        async { is_away(store.scan(None, 1).await, how) },
        async { is_away(store.scan_in_force(None, 1).await, how) },
        async { is_away(store.policies(0).await, how) },
        async { is_away(store.note("n").await, how) },
        async { is_away(store.receipt("r").await, how) },
        async { is_away(store.bind_token([0; 32], [0; 32], Duration::from_secs(9)).await, how) },
    );
}
