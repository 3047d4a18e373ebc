//! Alarms without Prometheus, end to end.

use crate::{
    examples::{OTHER_SECRET, Receiver},
    instance::{Instance, free_ports, read},
};
use serde_json::{Value, json};

#[test]
fn a_burst_of_bounces_raises_one_signed_alarm() {
    let mut instance = Instance::prepare(2);
    let [port] = free_ports();
    let secret = instance.write("secret", OTHER_SECRET).display().to_string();
    instance.configure(&format!(
        "[alarms]\nevery_s = 1\nurl = \"http://127.0.0.1:{port}/\"\nallow_private = true\nsecrets = [\"file:{secret}\"]\n"
    ));
    instance.begin();
    let receiver = Receiver::start(port, &instance.path(""));
    assert_eq!(instance.admin("/alarms"), json!({"firing": [], "resolved": []}).to_string());
    let bounce = |user: u32| {
        let address = format!("user{user}@example.com");
        json!({"kind": "bounced_hard", "recipient": address, "occurred_at": "2026-01-20T10:00:00Z"})
    };
    instance.generic(&Value::Array((0..130).map(bounce).collect()));
    let (id, kind, data) = receiver.until(1).remove(0);
    assert_eq!((kind.as_str(), &data["alarm"]), ("quell.alarm.raised", &json!("QuellSuppressionSpike")));
    assert_eq!(data["runbook"], "docs/runbooks/QuellSuppressionSpike.md");
    assert_eq!(id.len(), 32);
    instance.until(1, &["check", "user129@example.com"]);

    let shown: Value = serde_json::from_str(&instance.admin("/alarms")).expect("JSON");
    assert_eq!((&shown["firing"][0]["alarm"], shown["firing"].as_array().map(Vec::len)), (&data["alarm"], Some(1)));
    let metrics = instance.admin("/metrics");
    assert!(metrics.contains("quell_alarms_firing{alarm=\"QuellSuppressionSpike\"} 1\n"), "{metrics}");
    assert!(metrics.contains("quell_alarms_firing{alarm=\"QuellStageDown\"} 0\n"), "{metrics}");
    // More of the same is the same alarm.
    instance.generic(&Value::Array((200..330).map(bounce).collect()));
    instance.until(1, &["check", "user329@example.com"]);
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(receiver.kept().len(), 1);
    instance.stop();
    let log = read(&instance.path("log"));
    assert_eq!(log.matches("alarm raised").count(), 1, "{log}");
    assert!(log.contains("docs/runbooks/QuellSuppressionSpike.md") && !log.contains("@example.com"), "{log}");
}
