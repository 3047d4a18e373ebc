//! From webhooks to PostgreSQL, and what must not disturb it: replays, restarts, a rebalance, a killed worker, connections
//! that break.

use crate::{
    bed::{self, Bed},
    lake,
    postgres::Database,
    worker::{Worker, shipped, text},
};
use domain::Timestamp;
use http::Method;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use testkit::sign;

const GENERIC_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const CONNECTORS: [&str; 3] = ["postgres-events.json", "postgres-deltas.json", "postgres-state.json"];
const LIST: &str = "SELECT email_address, event_type, scope, reason FROM suppression_list ORDER BY 1, 3";
const TABLES: [&str; 3] = ["events", "deltas", "suppression_state"];

/// A cluster with a worker beside it, and a database that it fills.
struct Warehouse {
    database: Database,
    worker: Worker,
    names: Vec<String>,
    all: bed::Instance,
    bed: Bed,
}

impl Warehouse {
    fn start() -> Self {
        let bed = Bed::start_with_registry();
        let database = Database::make();
        let worker = thread::scope(|scope| {
            let worker = scope.spawn(|| Worker::start(&bed, database.jdbc()));
            bed.set_up();
            // It says nothing of what is there already.
            for _ in 0..2 {
                database.run(&shipped("postgres.sql"));
            }
            worker.join().expect("the worker starts")
        });
        let secret = bed.write("generic", GENERIC_SECRET);
        std::fs::create_dir_all(bed.path("all")).expect("a folder");
        let config = |ports| {
            let source = format!("[[source]]\nprovider = \"generic\"\nsecrets = [\"file:{secret}\"]\n");
            format!("{}{source}", bed.config("all", ports))
        };
        let roles = ["serve", "--role", "gateway,normalizer,suppressor,lookup"];
        let mut all = bed::Instance::spawn(&bed.path(""), "all", config, &roles);
        all.wait_ready();
        let names = CONNECTORS.map(|file| worker.put(file)).to_vec();
        names.iter().for_each(|name| worker.until_running(name, 4));
        Self { database, worker, names, all, bed }
    }

    /// Sends events of the generic format, and gives back their receipt.
    #[track_caller]
    fn tell(&self, events: &Value) -> String {
        let body = events.to_string().into_bytes();
        let url = format!("{}/generic", self.all.webhooks());
        let request = sign::standard_webhooks(&url, GENERIC_SECRET, "msg_warehouse", unix(), body).expect("a key");
        let (status, answer) = self.all.send(&request);
        assert_eq!(status, 202, "{answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["receipt_id"].as_str().expect("a receipt").to_owned()
    }

    #[track_caller]
    fn until(&self, sql: &str, expected: &[&str]) {
        self.database.until(sql, expected, &|| format!("{}\n{}", self.worker.log(), self.all.log()));
    }

    /// All there is in the tables, once the connectors have come to the end of their topics.
    fn settled(&self) -> (Vec<u64>, Vec<Vec<String>>) {
        let look = || {
            let committed: Vec<u64> = self.names.iter().map(|name| self.worker.committed(name)).collect();
            let key = |table: &str| if table == "events" { "event_id" } else { "1" };
            let dump = |table| self.database.rows(&format!("SELECT * FROM {table} ORDER BY {}", key(table)));
            (committed, TABLES.map(dump).to_vec())
        };
        let mut before = look();
        loop {
            // Some times as long as the worker waits between two commits.
            thread::sleep(Duration::from_secs(4));
            let now = look();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    /// Every record once more.
    fn replay(&self, committed: &[u64]) {
        for name in &self.names {
            self.worker.rest(Method::PUT, &format!("/connectors/{name}/stop"), "");
            self.worker.until_running(name, 0);
            self.worker.rest(Method::DELETE, &format!("/connectors/{name}/offsets"), "");
            self.worker.rest(Method::PUT, &format!("/connectors/{name}/resume"), "");
        }
        for (name, records) in self.names.iter().zip(committed) {
            self.worker.until_committed(name, *records);
        }
    }
}

fn unix() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// Before the first time that it was asked for: one story has one time.
fn days_ago(days: i64) -> String {
    static NOW: LazyLock<i64> = LazyLock::new(unix);
    Timestamp::from_seconds(*NOW - days * 86_400).expect("a time").to_string()
}

/// What happened to whom.
fn story() -> Value {
    let failed = |permanent, smtp_code, enhanced_status: &str| {
        json!({ "permanent": permanent, "smtp_code": smtp_code, "enhanced_status": enhanced_status,
                "diagnostic": "said 'no'; \"twice\"" })
    };
    json!([
        {"kind": "bounced_hard", "recipient": "Dead@Example.com", "occurred_at": "2026-01-20T14:32:15.123456Z",
         "message_id": "m-1", "campaign": "winter", "categories": ["news", "a,b"], "failure": failed(true, 550, "5.1.1")},
        {"kind": "complaint", "recipient": "angry@example.com", "occurred_at": "2026-01-18T12:00:00Z"},
        {"kind": "unsubscribed", "recipient": "left@example.com", "occurred_at": "2026-01-18T11:00:00Z",
         "scope": "category:news"},
        {"kind": "bounced_soft", "recipient": "full@example.com", "occurred_at": days_ago(1),
         "failure": failed(false, 452, "4.2.2")},
        {"kind": "bounced_hard", "recipient": "+15551234567", "occurred_at": "2026-01-18T13:00:00Z",
         "failure": {"permanent": true}},
        {"kind": "accepted", "recipient": "idle@example.com", "occurred_at": days_ago(100)},
        {"kind": "delivered", "recipient": "idle@example.com", "occurred_at": days_ago(10)},
        {"kind": "opened", "recipient": "idle@example.com", "occurred_at": days_ago(9), "machine": true},
        {"kind": "delivered", "recipient": "keen@example.com", "occurred_at": days_ago(100)},
        {"kind": "delivered", "recipient": "keen@example.com", "occurred_at": days_ago(10)},
        {"kind": "opened", "recipient": "keen@example.com", "occurred_at": days_ago(9)},
        {"kind": "delivered", "recipient": "newcomer@example.com", "occurred_at": days_ago(10)},
        {"kind": "delivered", "recipient": "gone@example.com", "occurred_at": days_ago(100)},
    ])
}

#[test]
fn the_warehouse_holds_what_quell_knows_whatever_happens_to_the_worker() {
    let warehouse = Warehouse::start();
    tables_are_filled(&warehouse);
    secrets_stay_where_they_are(&warehouse);
    a_release_takes_the_row_out(&warehouse);
    let (committed, before) = warehouse.settled();
    warehouse.replay(&committed);
    let (_, after) = warehouse.settled();
    assert_eq!(after, before, "a replay changes no row, and not even when it was inserted");
    nothing_is_lost_or_doubled_under_failures(&warehouse);
    a_lake_says_the_same(&warehouse);
    the_unengaged_come_back(&warehouse);
    somebody_is_forgotten(&warehouse);
}

fn tables_are_filled(warehouse: &Warehouse) {
    let Warehouse { database, all, .. } = warehouse;
    let story = story();
    let receipt = warehouse.tell(&story);
    // Again, as providers do: other receipts, the same events.
    warehouse.tell(&story);
    warehouse.until(
        LIST,
        &[
            "angry@example.com|complaint|non_critical|spam_complaint",
            "dead@example.com|bounce|all|hard_bounce",
            "full@example.com|bounce|all|soft_bounce",
            "left@example.com|unsubscribe|category:news|unsubscribe",
        ],
    );
    // A policy that is applied goes the way of events, and is none. All recipients are known
    // by now: a policy that came before their events would be theirs from the first.
    let policy = all.run(&["policy", "show"]).with(0).out;
    let changed = policy.replace("after_days = 90", "after_days = 91");
    assert_ne!(policy, changed, "{policy}");
    let file = warehouse.bed.write("policy.toml", &changed);
    all.run(&["policy", "apply", &file]).with(0);

    let dead = "SELECT event_timestamp, address, inserted_at > now() - interval '5 minutes', until IS NULL \
                FROM suppression_list WHERE email_address = 'dead@example.com'";
    assert_eq!(database.rows(dead), ["2026-01-20 14:32:15.123456+00|Dead@Example.com|t|t"], "to the microsecond");
    // As whoever syncs such a list once a day asks.
    let new = "SELECT email_address FROM suppression_list WHERE inserted_at >= NOW() - INTERVAL '1 DAY'";
    assert_eq!(database.rows(new).len(), 4);
    let refused = "SELECT has_table_privilege(current_user, 'quell.suppression_list', 'SELECT'), \
                   is_insertable_into FROM information_schema.tables WHERE table_name = 'suppression_list'";
    assert_eq!(database.rows(refused), ["t|NO"], "it can only be read");

    warehouse.until("SELECT count(*) FROM events WHERE kind <> 'reconsidered'", &["13"]);
    warehouse.until("SELECT count(*) > 0 FROM events WHERE kind = 'reconsidered'", &["t"]);
    let event = "SELECT channel, kind, address, occurred_at, categories, campaign, message_id, failure_class, \
                 failure_smtp_code, failure_diagnostic, machine FROM events WHERE recipient = 'dead@example.com' \
                 AND kind = 'bounced_hard'";
    let expected = "email|bounced_hard|Dead@Example.com|2026-01-20 14:32:15.123456+00|{news,\"a,b\"}|winter|m-1|\
                    unknown_recipient|550|said 'no'; \"twice\"|f";
    assert_eq!(database.rows(event), [expected]);
    let receipts = "SELECT DISTINCT receipt_id FROM events WHERE kind NOT IN ('reconsidered')";
    assert_eq!(database.rows(receipts), [receipt], "the first receipt counts");
    warehouse.until(
        "SELECT channel, reason FROM suppression_state WHERE recipient = '+15551234567'",
        &["sms|invalid_number"],
    );
}

fn secrets_stay_where_they_are(warehouse: &Warehouse) {
    let Warehouse { worker, database, names, .. } = warehouse;
    let [_, _, password] = database.jdbc();
    for name in names {
        let config = worker.rest(Method::GET, &format!("/connectors/{name}/config"), "");
        assert_eq!(config["connection.password"], "${env:WAREHOUSE_PASSWORD}");
    }
    let log = std::fs::read_to_string(worker.0.log_path()).expect("a log");
    assert!(!log.contains(&password), "the worker's log holds the password");
}

fn a_release_takes_the_row_out(warehouse: &Warehouse) {
    warehouse.all.run(&["release", "full@example.com", "--note", "has room again"]).with(0);
    warehouse.until(
        LIST,
        &[
            "angry@example.com|complaint|non_critical|spam_complaint",
            "dead@example.com|bounce|all|hard_bounce",
            "left@example.com|unsubscribe|category:news|unsubscribe",
        ],
    );
    let history = "SELECT reason, released_at > suppressed_at FROM suppression_history \
                   WHERE recipient IN ('full@example.com', 'dead@example.com') ORDER BY 1";
    warehouse.until(history, &["hard_bounce|", "soft_bounce|t"]);
}

fn nothing_is_lost_or_doubled_under_failures(warehouse: &Warehouse) {
    const EVENTS: usize = 300;
    let Warehouse { worker, database, names, .. } = warehouse;
    let events: Vec<Value> = (0..EVENTS)
        .map(|n| json!({"kind": "complaint", "recipient": format!("user{n}@load.example"), "occurred_at": days_ago(2)}))
        .collect();
    let mut parts = events.chunks(EVENTS / 6);
    let mut tell = || warehouse.tell(&json!(parts.next().expect("a part")));
    tell();
    worker.0.kill().expect("it runs");
    tell();
    worker.0.start_again().expect("it starts");
    tell();
    // Partitions move between tasks.
    let mut config: Value = serde_json::from_str(&text("postgres-state.json")).expect("JSON");
    config["tasks.max"] = "2".into();
    worker.rest(Method::PUT, "/connectors/quell-postgres-state/config", &config.to_string());
    tell();
    let broken = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.number(broken);
    tell();
    database.number(broken);
    tell();
    let counts = |table: &str, rest: &str| format!("SELECT count(*), count(DISTINCT recipient) FROM {table} {rest}");
    let all = format!("{EVENTS}|{EVENTS}");
    let ours = "WHERE recipient LIKE '%@load.example'";
    warehouse.until(&counts("events", &format!("{ours} AND kind = 'complaint'")), &[&all]);
    warehouse.until(&counts("deltas", &format!("{ours} AND change = 'suppressed'")), &[&all]);
    warehouse.until(&counts("suppression_state", ours), &[&all]);
    let list = "WHERE email_address LIKE '%@load.example'";
    warehouse.until(&format!("SELECT count(*), count(DISTINCT email_address) FROM suppression_list {list}"), &[&all]);
    for (name, tasks) in names.iter().zip([4, 4, 2]) {
        worker.until_running(name, tasks);
    }
}

/// Where `quell export --parquet` wrote to.
fn folder(warehouse: &Warehouse) -> PathBuf {
    warehouse.bed.path("exported")
}

/// The cluster runs on while it is exported.
fn a_lake_says_the_same(warehouse: &Warehouse) {
    let lake_folder = folder(warehouse).join("lake");
    let into = lake_folder.display().to_string();
    let first = warehouse.bed.run(&["export", "--parquet", &into, "--output", "json"]).with(0).json();
    assert_eq!((&first["run"], &first["missed"], &first["unreadable"]), (&json!(1), &json!(0), &json!(0)), "{first}");
    let again = warehouse.bed.run(&["export", "--parquet", &into, "--output", "json"]).with(0).json();
    assert_eq!((&again["events"], &again["deltas"]), (&json!(0), &json!(0)), "nothing is new: {again}");
    assert_eq!(first["in_force"], again["in_force"]);

    let row = |row: &Value| row["row"].as_str().unwrap_or_default().to_owned();
    let asked = |sql: &str| lake::query(&folder(warehouse), sql).iter().map(row).collect::<Vec<_>>();
    let list = asked(
        "SELECT concat_ws('|', email_address, event_type, scope, reason) AS row \
         FROM read_parquet('lake/suppression_list/*/*/*.parquet') ORDER BY email_address, scope",
    );
    assert_eq!(list, warehouse.database.rows(LIST), "as PostgreSQL has it");
    let events = asked(
        "SELECT concat_ws('|', event_id, kind, recipient, epoch_us(occurred_at), epoch_us(min(received_at))) AS row \
         FROM read_parquet('lake/events/*/*/*.parquet') GROUP BY event_id, kind, recipient, occurred_at ORDER BY event_id",
    );
    let sql =
        "SELECT event_id, kind, recipient, occurred_at_us, received_at_us FROM events ORDER BY event_id COLLATE \"C\"";
    assert_eq!(events, warehouse.database.rows(sql), "each event once");
    let deltas = asked("SELECT delta_id AS row FROM read_parquet('lake/deltas/*/*/*.parquet') ORDER BY 1");
    assert_eq!(deltas, warehouse.database.rows("SELECT delta_id FROM deltas ORDER BY delta_id COLLATE \"C\""));
}

fn the_unengaged_come_back(warehouse: &Warehouse) {
    let Warehouse { database, all, bed, .. } = warehouse;
    let found = lake::query(&folder(warehouse), &text("unengaged.duckdb.sql"));
    let sent_at = found.first().map(|row| row["event_timestamp"].as_str().unwrap_or_default().to_owned());
    let sent_at = sent_at.unwrap_or_else(|| panic!("nobody is unengaged"));
    assert_eq!(
        found,
        [json!({"email_address": "idle@example.com", "event_type": "unengaged", "event_timestamp": sent_at})]
    );
    assert_eq!(sent_at, days_ago(10).chars().take(19).chain(['Z']).collect::<String>());

    let csv = database.csv(&shipped("unengaged.postgres.sql"));
    assert_eq!(csv, format!("email_address,event_type,event_timestamp\nidle@example.com,unengaged,{sent_at}\n"));
    let file = bed.write("unengaged.csv", &csv);
    all.run(&["check", "idle@example.com", "--class", "marketing"]).with(0);
    for _ in 0..2 {
        let told = all.run(&["import", &file]).with(0).out;
        assert!(told.contains("1 row") && told.contains("1 by hand"), "{told}");
    }
    all.until(1, &["check", "idle@example.com", "--class", "marketing"]);
    all.run(&["check", "idle@example.com", "--class", "transactional"]).with(0);
    // And from there back into the list.
    let list = "SELECT scope, count(*) FROM suppression_list WHERE email_address = 'idle@example.com' GROUP BY 1";
    warehouse.until(list, &["marketing|1"]);
}

/// The statement that the page says to run each day.
fn statement() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/warehouse.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut blocks = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains("quell.forget(")).expect("the page has the statement").to_owned()
}

/// Erased in Quell, gone from here: by what the topics tell, and by what the page says to run.
fn somebody_is_forgotten(warehouse: &Warehouse) {
    // Of the second nothing was ever in force: no delta tells of the erasure.
    const PEOPLE: &str = "recipient IN ('dead@example.com', 'newcomer@example.com')";
    let Warehouse { database, all, .. } = warehouse;
    let count = |table: &str| database.number(&format!("SELECT count(*) FROM {table} WHERE {PEOPLE}"));
    let listed = "SELECT count(*) FROM suppression_list WHERE email_address = 'dead@example.com'";
    assert_eq!(database.rows(&statement()), [""; 0], "nobody was erased yet");
    assert_eq!((database.number(listed), count("suppression_state")), (1, 1));

    all.run(&["erase", "dead@example.com", "newcomer@example.com", "--note", "asked by letter", "--wait"]).with(0);
    warehouse.until(&format!("SELECT count(*) FROM suppression_state WHERE {PEOPLE}"), &["0"]);
    warehouse.until("SELECT recipient, scope FROM deltas WHERE change = 'erased'", &["dead@example.com|all"]);
    // The erasure's own event, and the one that made it whole.
    let told = "SELECT recipient, count(*) FROM events WHERE kind = 'erased' GROUP BY 1 ORDER BY 1";
    warehouse.until(told, &["dead@example.com|2", "newcomer@example.com|2"]);
    assert_eq!(database.number(listed), 0, "by the tombstone");
    all.run(&["check", "dead@example.com"]).with(1);
    assert!(count("events") > 4 && count("deltas") >= 2, "nothing else goes by itself");

    let gone: Vec<u64> = database.rows(&statement()).iter().map(|row| row.parse().expect("a number")).collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone.iter().all(|rows| *rows >= 3), "{gone:?}");
    for table in TABLES {
        assert_eq!(count(table), 0, "{table}");
    }
    assert!(database.number("SELECT count(*) FROM events WHERE recipient = 'angry@example.com'") > 0);
    assert_eq!(database.rows(&statement()), [""; 0], "run again, there is nobody");

    // Files that are written anew do not bring them back.
    let into = folder(warehouse).join("anew").display().to_string();
    let told = warehouse.bed.run(&["export", "--parquet", &into, "--output", "json"]).with(0).json();
    assert!(told["erased"].as_u64().is_some_and(|erased| erased > 4), "{told}");
    for table in ["events", "deltas", "state"] {
        let sql =
            |who: &str| format!("SELECT count(*) AS n FROM read_parquet('anew/{table}/*/*/*.parquet') WHERE {who}");
        let count = |who: &str| lake::query(&folder(warehouse), &sql(who))[0]["n"].as_u64();
        assert_eq!((count(PEOPLE), count("recipient = 'angry@example.com'") > Some(0)), (Some(0), true), "{table}");
    }
}
