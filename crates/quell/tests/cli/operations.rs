//! `dead-letters`, `unengaged`, `policy`, `config`, `doctor`.

use crate::instance::{Instance, ended, quell};
use serde_json::{Value, json};

#[test]
fn dead_letters_are_listed_and_replayed() {
    let instance = Instance::start();
    let none = instance.run(&["dead-letters", "list"]).with(0).out;
    assert_eq!(none, "no dead letters\n");
    // One good element, so that the webhook is taken; one that cannot be read.
    instance.generic(&json!([
        {"kind": "complaint", "recipient": "good@example.com", "occurred_at": "2026-01-20T10:00:00Z"},
        {"kind": "complaint", "recipient": "nobody", "occurred_at": "2026-01-20T10:00:00Z"},
    ]));
    instance.until(1, &["check", "good@example.com"]);
    let list = || instance.run(&["dead-letters", "list", "--output", "json"]).with(0).json();
    let letters = list();
    let letter = &letters["dead_letters"][0];
    assert_eq!((&letter["provider"], &letter["stage"]), (&"generic".into(), &"normalizer".into()), "{letters}");
    let text = instance.run(&["dead-letters", "list"]).with(0).out;
    assert!(text.contains("normalizer") && text.contains("1 dead letter;"), "{text}");

    let id = letter["id"].as_str().expect("an id");
    let replayed = instance.run(&["dead-letters", "replay", id, "-o", "json"]).with(0).json();
    assert_eq!(replayed["replayed"], 1);
    // It dies again, and --all takes what is there and no more.
    let number = |letters: &Value| letters["dead_letters"].as_array().map(Vec::len);
    let began = std::time::Instant::now();
    while number(&list()) != Some(2) {
        assert!(began.elapsed().as_secs() < 90, "the replayed letter did not die again: {}", list());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let all = instance.run(&["dead-letters", "replay", "--all", "-o", "json"]).with(0).json();
    assert_eq!(all["replayed"], 2, "{all}");
    let other =
        instance.run(&["dead-letters", "replay", "--all", "--reason", "no such reason", "-o", "json"]).with(0).json();
    assert_eq!(other["replayed"], 0);
    instance.run(&["dead-letters", "replay", "0.4711"]).with(2);
}

#[test]
fn the_policy_is_shown_checked_and_applied() {
    let instance = Instance::start();
    let shown = instance.run(&["policy", "show"]).with(0).out;
    assert!(shown.starts_with("# version ") && shown.contains("built in"), "{shown}");
    let file = instance.write("policy.toml", &shown);
    let file = file.display().to_string();
    ended(quell().args(["policy", "check", &file])).with(0);
    let applied = instance.run(&["policy", "apply", &file, "-o", "json"]).with(0).json();
    let version = applied["version"].as_u64().expect("a version");
    let began = std::time::Instant::now();
    loop {
        let now = instance.run(&["policy", "show", "-o", "json"]).with(0).json();
        if now["version"] == version {
            assert_eq!(now["applied_by"], "tester (desk)");
            break;
        }
        assert!(began.elapsed().as_secs() < 90, "never in force: {now}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let wrong = instance.write("wrong.toml", "rules = 1\n").display().to_string();
    for verb in ["check", "apply"] {
        let refused = instance.run(&["policy", verb, &wrong]).with(1).out;
        assert!(refused.contains("is no policy"), "{refused}");
    }
    instance.run(&["policy", "check", "/nowhere"]).with(2);
}

#[test]
fn the_unengaged_job_runs_and_says_so() {
    let instance = Instance::start();
    let ran = instance.run(&["unengaged", "run", "--wait", "--timeout", "20", "-o", "json"]).with(0).json();
    assert_eq!(ran["over"], true);
    let status = instance.run(&["unengaged", "status", "-o", "json"]).with(0).json();
    assert_eq!((&status["running"], &status["last_run"]), (&false.into(), &ran["started_at"]));
}

#[test]
fn the_doctor_looks_at_everything() {
    let instance = Instance::start();
    let found = instance.run(&["doctor", "--offline", "-o", "json"]).with(0).json();
    let health = |check: &str| {
        let all = found["checks"].as_array().expect("checks");
        all.iter().find(|one| one["check"] == check).map(|one| one["health"].as_str().expect("a word"))
    };
    for check in ["clock", "configuration", "running", "ready", "data_dir", "tokens", "policy", "source drip/default"] {
        assert_eq!(health(check), Some("ok"), "{check}: {found}");
    }
    // With nobody running, the ports are looked at; and what is wrong makes the answer no.
    let wrong = "[lookup]\nopen = true\nlisten = \"0.0.0.0:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:1\"\n";
    let wrong = instance.write("wrong.toml", &format!("data_dir = \"/proc/nowhere\"\n{wrong}"));
    let ill = ended(quell().arg("--config").arg(&wrong).args(["doctor", "--offline"])).with(1).out;
    assert!(ill.contains("FAIL  data_dir") && ill.contains("FAIL  tokens") && ill.contains("lookup.listen"), "{ill}");
    let unread = ended(quell().args(["--config", "/nowhere.toml", "doctor"])).with(1).out;
    assert!(unread.contains("FAIL  configuration"), "{unread}");
}

#[test]
fn the_configuration_is_checked_and_printed_without_secrets() {
    let instance = Instance::start();
    assert_eq!(instance.run(&["config", "check"]).with(0).out, "ok: 3 sources, 0 accounts\n");
    for form in ["text", "json"] {
        let printed = instance.run(&["config", "print", "--output", form]).with(0).out;
        assert!(printed.contains("***") && !printed.contains(crate::instance::DRIP_SECRET), "{printed}");
    }
    let wrong = instance.write("wrong.toml", "[gateway]\nlisen = \"127.0.0.1:0\"\n");
    let refused = ended(quell().arg("--config").arg(wrong).args(["config", "check"])).with(78);
    assert!(refused.err.contains("did you mean `listen`?"), "{refused:?}");
}
