//! `quell export --parquet` of an embedded engine, read by DuckDB.

use crate::{instance::Instance, lake};
use serde_json::{Value, json};
use std::path::Path;

/// What a run of an export says.
#[track_caller]
fn export(instance: &Instance, into: &str, code: i32) -> Value {
    let ended = instance.run(&["export", "--parquet", into, "--output", "json"]).with(code);
    if code == 2 { json!(ended.err) } else { ended.json() }
}

#[test]
fn files_are_added_to_and_hold_every_field() {
    let mut instance = Instance::start();
    instance.drip_bounce("Dead@Example.com", "2026-01-20T14:32:15Z");
    let event = json!({"id": "1", "kind": "bounced_soft", "recipient": "full@example.com", "message_id": "m-1",
        "campaign": "winter", "occurred_at": "2026-01-19T08:00:00.000001Z", "categories": ["a", "b"],
        "metadata": {"customer": "7", "Zoë": "x"},
        "failure": {"permanent": false, "smtp_code": 452, "enhanced_status": "4.2.2", "diagnostic": "452 full"}});
    instance.generic(&json!([event]));
    instance.until(1, &["check", "dead@example.com"]);
    instance.until(0, &["message", "m-1"]);
    let folder = instance.path("");
    let into = instance.path("lake").display().to_string();
    assert!(export(&instance, &into, 2).to_string().contains("another quell running"), "it is open elsewhere");
    instance.stop();

    let told = export(&instance, &into, 0);
    assert_eq!((&told["run"], &told["events"]), (&json!(1), &json!(2)), "{told}");
    let all = lake::files(&instance.path("lake"));
    assert!(all.iter().all(|name| !name.contains(".part")), "{all:#?}");
    let partition = all.iter().find(|name| name.starts_with("events/")).expect("a file of events");
    assert!(partition.starts_with("events/tenant=default/date=20"), "{partition}");

    let rows = lake::query(
        &folder,
        "SELECT tenant, channel, recipient, address, kind, epoch_us(occurred_at) AS at, typeof(occurred_at) AS type, provider, \
         message_id, campaign, categories, failure_class, failure_smtp_code, failure_diagnostic, machine, \
         metadata['customer'] AS customer, cardinality(metadata) AS n, \
         date = strftime(received_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS same \
         FROM read_parquet('lake/events/*/*/*.parquet', hive_partitioning = true, hive_types_autocast = false) \
         ORDER BY occurred_at",
    );
    let full = json!({"tenant": "default", "channel": "email", "recipient": "full@example.com",
        "address": "full@example.com", "kind": "bounced_soft", "at": 1_768_809_600_000_001_i64,
        "type": "TIMESTAMP WITH TIME ZONE", "provider": "generic", "message_id": "m-1", "campaign": "winter",
        "categories": ["a", "b"], "failure_class": "mailbox_full", "failure_smtp_code": 452,
        "failure_diagnostic": "452 full", "machine": false, "customer": "7", "n": 2, "same": true});
    assert_eq!(rows[0], full);
    let dead = &rows[1];
    assert_eq!((&dead["recipient"], &dead["address"]), (&json!("dead@example.com"), &json!("Dead@Example.com")));
    assert_eq!(
        (&dead["message_id"], &dead["categories"]),
        (&Value::Null, &json!([])),
        "what is absent is null: {dead}"
    );

    let list = "SELECT email_address, event_type, epoch_us(event_timestamp) AS at, reason, scope, \
                now() - inserted_at < INTERVAL 1 HOUR AS fresh \
                FROM read_parquet('lake/suppression_list/*/*/*.parquet') ORDER BY 1";
    let dead = json!({"email_address": "dead@example.com", "event_type": "bounce", "at": 1_768_919_535_000_000_i64,
        "reason": "hard_bounce", "scope": "all", "fresh": true});
    let rows = lake::query(&folder, list);
    assert_eq!(rows, std::slice::from_ref(&dead), "a soft bounce of January is over");
    let deltas = lake::query(
        &folder,
        "SELECT recipient, change, now_reason, in_force[1].reason AS one, before_reason FROM \
         read_parquet('lake/deltas/*/*/*.parquet') WHERE recipient LIKE 'dead@%'",
    );
    let change = json!({"recipient": "dead@example.com", "change": "suppressed", "now_reason": "hard_bounce",
        "one": "hard_bounce", "before_reason": null});
    assert_eq!(deltas, [change]);

    // Later: only what is new is added, and what is in force is what is in force now.
    let mut instance = {
        instance.begin();
        instance
    };
    instance.run(&["release", "dead@example.com", "--note", "wrote to us"]).with(0);
    instance.until(0, &["check", "dead@example.com"]);
    instance.stop();
    let told = export(&instance, &into, 0);
    assert_eq!((&told["run"], &told["events"], &told["in_force"]), (&json!(2), &json!(1), &json!(0)), "{told}");
    let counts = lake::query(
        &folder,
        "SELECT count(*) AS n, count(DISTINCT event_id) AS events FROM read_parquet('lake/events/*/*/*.parquet')",
    );
    assert_eq!(counts, [json!({"n": 3, "events": 3})]);
    let left = lake::files(&instance.path("lake")).into_iter().filter(|name| name.starts_with("s")).collect::<Vec<_>>();
    assert_eq!(left, [""; 0], "the list of this day was replaced, and nobody is on it");
    let idle = export(&instance, &into, 0);
    assert_eq!((&idle["run"], &idle["files"]), (&json!(3), &json!(0)), "{idle}");
    let refused = instance.run(&["export", "--parquet", &into, "--tenant", "acme"]).with(2);
    assert!(refused.err.contains("all tenants"), "{refused:?}");
}

/// Every row of these files, as text in lower case.
fn rows(folder: &Path, files: &str) -> Vec<String> {
    let sql = format!(
        "SELECT row::VARCHAR AS text FROM read_parquet('{files}', union_by_name = true, filename = true) AS row"
    );
    lake::query(folder, &sql).iter().map(|row| row["text"].to_string().to_lowercase()).collect()
}

#[test]
fn who_was_erased_is_in_no_file_that_is_written_afterwards() {
    const JANE: &str = "Jane.Doe@example.com";
    let mut instance = Instance::start();
    let folder = instance.path("");
    let (early, anew) = (instance.path("early").display().to_string(), instance.path("anew").display().to_string());
    for address in [JANE, "back@example.com", "trillian@example.com"] {
        instance.drip_bounce(address, "2026-01-20T14:32:15Z");
    }
    instance.generic(&json!([
        {"id": "1", "kind": "opened", "recipient": JANE, "metadata": {"greeting": "Dear Jane.Doe"}},
        // Nothing is ever in force for him: no delta tells of his erasure.
        {"id": "2", "kind": "delivered", "recipient": "joe@example.com", "message_id": "m-of-joe"},
    ]));
    for address in [JANE, "back@example.com", "trillian@example.com"] {
        instance.until(1, &["check", address]);
    }
    instance.until(0, &["message", "m-of-joe"]);
    instance.stop();
    export(&instance, &early, 0);
    let named = |files: &str, name: &str| rows(&folder, files).into_iter().filter(|row| row.contains(name)).count();
    for (table, name) in [("events", "jane.doe"), ("events", "joe@"), ("deltas", "jane.doe"), ("state", "jane.doe")] {
        assert!(named(&format!("early/{table}/*/*/*.parquet"), name) > 0, "what is looked for can be found: {table}");
    }

    instance.begin();
    instance.run(&["suppress", JANE, "--scope", "marketing", "--note", "jane.doe called"]).with(0);
    for address in [JANE, "joe@example.com", "back@example.com"] {
        instance.run(&["erase", address, "--note", "jane.doe wrote", "--wait"]).with(0);
    }
    // New data of somebody who was erased.
    instance.generic(&json!([{"id": "3", "kind": "complaint", "recipient": "back@example.com"}]));
    let is_back = |delta: &Value| delta["recipient"] == "back@example.com" && delta["trigger"]["kind"] == "complaint";
    let began = std::time::Instant::now();
    while !instance.lines("/v1/deltas").iter().any(is_back) {
        assert!(began.elapsed().as_secs() < 90, "{:?}", instance.lines("/v1/deltas"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    instance.stop();

    let told = export(&instance, &anew, 0);
    assert!(told["erased"].as_u64().is_some_and(|erased| erased >= 10), "{told}");
    let told = export(&instance, &early, 0);
    assert_eq!(told["run"], 2, "{told}");
    for files in ["anew/*/*/*/*.parquet", "early/*/*/*/00000002-*.parquet"] {
        let found = rows(&folder, files);
        for name in ["jane.doe", "joe@", "m-of-joe", "erased"] {
            let named: Vec<_> = found.iter().filter(|row| row.contains(name)).collect();
            assert!(named.is_empty(), "{files}: {name}: {named:#?}");
        }
    }
    assert!(named("anew/events/*/*/*.parquet", "trillian") > 0 && named("anew/state/*/*/*.parquet", "trillian") > 0);
    let sql = |table: &str, what: &str| {
        format!(
            "SELECT {what} AS what FROM read_parquet('anew/{table}/*/*/*.parquet') WHERE recipient = 'back@example.com'"
        )
    };
    let of_back = |table, what| lake::query(&folder, &sql(table, what));
    assert_eq!(of_back("events", "kind"), [json!({"what": "complaint"})]);
    assert_eq!(of_back("deltas", "trigger_kind"), [json!({"what": "complaint"})]);
    assert!(named("early/events/*/*/00000001-*.parquet", "jane.doe") > 0, "what was written before is not changed");
}
