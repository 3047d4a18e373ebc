//! `check`, `why`, `message`, `receipt`, `suppress`, `release`.

use crate::instance::{Instance, READ_TOKEN, ended, free_ports, quell};
use serde_json::json;

#[test]
fn a_webhook_becomes_an_answer_that_is_explained() {
    let instance = Instance::start();
    instance.run(&["check", "jane@example.com"]).with(0);
    let receipt = instance.drip_bounce("Jane@Example.com", "2026-01-20T14:32:15Z");
    let checked = instance.until(1, &["check", "jane@EXAMPLE.com", "joe@example.com", "--output", "json"]).json();
    assert_eq!(checked["results"][0]["reason"], "hard_bounce");
    assert_eq!(checked["results"][0]["since"], "2026-01-20T14:32:15Z");
    assert_eq!(checked["results"][1]["suppressed"], false);
    let text = instance.run(&["check", "jane@example.com", "--class", "critical", "--source", "drip"]).with(1).out;
    assert!(text.contains("hard_bounce") && text.contains("for good"), "{text}");
    instance.run(&["check", "jane@example.com", "--source", "sendgrid"]).with(0);
    instance.run(&["check", "nobody"]).with(1);

    let why = instance.run(&["why", "jane@example.com"]).with(0).out;
    for part in ["SUPPRESSED", "drip/default", "suppresses", &receipt, "2026-01-20T14:32:15Z"] {
        assert!(why.contains(part), "{part} is not in\n{why}");
    }
    let before = instance.run(&["why", "jane@example.com", "--at", "2026-01-19", "-o", "json"]).with(0).json();
    assert_eq!((&before["suppressed"], &before["evidence_total"]), (&json!(false), &json!(0)));

    let shown = instance.run(&["receipt", &receipt]).with(0).out;
    assert!(
        shown.contains("processed") && shown.contains("subscriber.bounced") && shown.contains("bounced_hard"),
        "{shown}"
    );
    let stranger = format!("{}x", &receipt[..receipt.len() - 1]);
    let code = instance.run(&["receipt", &stranger]).code;
    assert!(code == 1 || code == 2, "a changed receipt is not found, or is none: {code}");
}

#[test]
fn a_message_has_a_state() {
    let instance = Instance::start();
    let event = |kind: &str, at: &str| {
        json!({"kind": kind, "recipient": "jane@example.com", "occurred_at": at, "message_id": "m-1",
            "failure": {"smtp_code": 550, "enhanced_status": "5.1.1"}})
    };
    let events = [event("accepted", "2026-01-20T10:00:00Z"), event("bounced", "2026-01-20T10:00:05Z")];
    instance.generic(&json!(events));
    let found = instance.until(0, &["message", "m-1", "--output", "json"]).json();
    assert_eq!(found["recipients"][0]["provider"], "generic");
    let text = instance.run(&["message", "m-1", "--provider", "generic"]).with(0).out;
    assert!(text.contains("BOUNCED_HARD") && text.contains("accepted"), "{text}");
    let none = instance.run(&["message", "m-2"]).with(1);
    assert!(none.out.contains("no event named a message"), "{none:?}");
}

#[test]
fn acts_by_hand_are_in_force_when_the_command_ends() {
    let instance = Instance::start();
    let act = ["suppress", "jane@example.com", "+1-555-123-4567", "--note", "asked by phone"];
    let suppressed = instance.run(&act).with(0).out;
    assert!(suppressed.contains("2 addresses suppressed: in force"), "{suppressed}");
    let found = instance.run(&["check", "jane@example.com", "+15551234567", "-o", "json"]).with(1).json();
    assert!(found["results"].as_array().expect("results").iter().all(|one| one["reason"] == "manual"), "{found}");
    let why = instance.run(&["why", "jane@example.com"]).with(0).out;
    assert!(why.contains("by tester") && why.contains("asked by phone"), "{why}");

    instance.run(&["release", "jane@example.com", "--note", "wrong person"]).with(0);
    instance.run(&["check", "jane@example.com"]).with(0);
    instance.run(&["check", "+15551234567"]).with(1);

    let args = ["suppress", "joe@example.com", "--scope", "category:news", "--for", "30d", "--note", "on leave"];
    instance.run(&args).with(0);
    instance.run(&["check", "joe@example.com"]).with(0);
    let news = instance.run(&["check", "joe@example.com", "--category", "news", "-o", "json"]).with(1).json();
    assert_eq!(news["results"][0]["scope"], "category:news");
    assert!(news["results"][0]["until"].is_string());

    // What cannot be done is said, with what to do.
    let refused = ended(instance.command(READ_TOKEN).args(["suppress", "a@example.com", "--note", "n"])).with(2);
    assert!(refused.err.contains("write role") && refused.err.contains("QUELL_TOKEN"), "{refused:?}");
    let past = instance.run(&["suppress", "a@example.com", "--until", "2020-01-01", "--note", "n"]).with(2);
    assert!(past.err.contains("until"), "{past:?}");
    instance.run(&["suppress", "nobody", "--note", "n"]).with(2);
}

#[test]
fn tokens_come_from_a_file_and_wrong_ones_are_refused() {
    let instance = Instance::start();
    let file = instance.write("token", &format!("{READ_TOKEN}\n"));
    let mut command = instance.command("");
    ended(command.args(["check", "a@example.com", "--token-file"]).arg(file)).with(0);
    for token in ["", "wrong"] {
        let refused = ended(instance.command(token).args(["check", "a@example.com"])).with(2);
        assert!(refused.err.contains("401") && refused.err.contains("QUELL_TOKEN"), "{refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_server_that_is_away_is_said_to_be() {
    let [port] = free_ports();
    let api = format!("http://127.0.0.1:{port}");
    for args in [&["check", "a@example.com"][..], &["why", "a@example.com"], &["export"], &["unengaged", "status"]] {
        let away = ended(quell().args(args).args(["--api", &api])).with(2);
        assert!(away.err.contains("is `quell up` running?") && away.out.is_empty(), "{away:?}");
    }
}
