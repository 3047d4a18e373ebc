//! The doctor's eye on a cluster: brokers, store, clocks, and webhooks in the log.

use crate::bed::{Bed, ended, quell, until};
use serde_json::Value;

fn found(report: &Value, check: &str) -> (String, String) {
    let all = report["checks"].as_array().expect("checks");
    let one = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {report}"));
    (one["health"].as_str().expect("a word").to_owned(), one["detail"].as_str().expect("a text").to_owned())
}

#[test]
fn a_cluster_is_looked_at_from_inside() {
    let bed = Bed::start();
    bed.set_up();
    let doctor = || bed.run(&["doctor", "--offline", "-o", "json"]);
    let report = doctor().with(0).json();
    let (health, detail) = found(&report, "kafka version");
    assert!(health == "ok" && detail.contains("4.0 or newer"), "{detail}");
    // One broker, one node: that works, and says what it means.
    for check in ["replicas", "store replicas"] {
        let (health, detail) = found(&report, check);
        assert!(health == "warn" && detail.contains("three"), "{check}: {detail}");
    }
    assert_eq!(found(&report, "clock of the store").0, "ok", "{report}");
    assert_eq!(found(&report, "spool").0, "ok", "{report}");
    let (health, detail) = found(&report, "webhooks drip/default");
    assert!(health == "warn" && detail.contains("the log holds none of any source"), "{detail}");

    let mut gateway = bed.serve("gateway-0", "gateway");
    gateway.wait_ready();
    gateway.drip_bounce("a@example.com", "2026-01-20T10:00:00Z");
    // Where the first append to a cold broker takes long, the spool has it first.
    until("the webhook is in the log", || found(&doctor().with(0).json(), "webhooks drip/default").0 == "ok");
    let report = doctor().with(0).json();
    let (health, detail) = found(&report, "webhooks drip/default");
    assert!(health == "ok" && detail.contains("ago"), "{detail}");
    let (health, detail) = found(&report, "webhooks mailgun/default");
    assert!(health == "warn" && detail.contains("none among the newest 1 in the log"), "{detail}");
    assert_eq!(found(&report, "clock of the brokers").0, "ok", "{report}");
    // Beside the gateway it sees what that counted, and its spool.
    let report = gateway.run(&["doctor", "--offline", "-o", "json"]).with(0).json();
    assert_eq!(found(&report, "spooled webhooks"), ("ok".to_owned(), "none waits".to_owned()));
    assert!(found(&report, "answers drip/default").1.contains("1 webhooks taken"), "{report}");

    // Of subscribers whose lanes run elsewhere, or nowhere yet, the log tells.
    let subscriber = "[[subscriber]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\n\
                      secrets = [\"env:BED_SIGNS\"]\n";
    let file = bed.write("subscriber.toml", &(bed.config("operator", [0, 0, 0]) + subscriber));
    let mut command = quell();
    command.env("BED_SIGNS", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
    command.args(["--config", &file, "doctor", "--offline", "-o", "json"]);
    let report = ended(&mut command).with(0).json();
    let (health, detail) = found(&report, "lane of subscriber crm");
    assert_eq!((health.as_str(), detail.as_str()), ("ok", "not behind, 0 records to go"));
    let (health, detail) = found(&report, "dead letters of subscriber crm");
    assert_eq!((health.as_str(), detail.as_str()), ("ok", "none in the last 24 hours"));

    let mut away = bed.command(&["doctor", "--offline", "-o", "json"]);
    away.env("QUELL__kafka__brokers", "127.0.0.1:1").env("QUELL__kafka__request_timeout_ms", "1000");
    let report = ended(&mut away).with(1).json();
    let (health, detail) = found(&report, "kafka");
    assert!(health == "fail" && detail.contains("kafka.brokers (127.0.0.1:1)"), "{detail}");
    let mut others = bed.command(&["doctor", "--offline", "-o", "json"]);
    others.env("QUELL__store__data_center", "nowhere");
    let (health, detail) = found(&ended(&mut others).with(1).json(), "store");
    assert!(health == "fail" && detail.contains("no data centre nowhere"), "{detail}");
}
