//! A provider that a file declares: checked, inspected, and taken from end to end.

use crate::instance::{DRIP_SECRET, Ended, Instance, ended, quell, unix};
use ring::hmac;
use serde_json::{Value, json};
use std::{io::Write as _, path::Path, process::Stdio};
use testkit::SignedRequest;

const LARKPOST: &str = include_str!("../../../../deploy/adapters/larkpost.toml");
const SECRET: &str = "lark-example-secret";

/// A configuration that names one adapter, in a folder of its own.
fn folder(adapter: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    std::fs::create_dir(folder.path().join("adapters")).expect("a folder");
    write("adapters/larkpost.toml", adapter);
    write("secret", SECRET);
    let secret = folder.path().join("secret");
    let source = format!("[[source]]\nprovider = \"larkpost\"\nsecrets = [\"file:{}\"]\n", secret.display());
    write("quell.toml", &format!("adapters = [\"adapters/larkpost.toml\"]\n{source}"));
    folder
}

fn checked(folder: &Path, args: &[&str]) -> Ended {
    ended(quell().arg("--config").arg(folder.join("quell.toml")).args(["config", "check"]).args(args))
}

/// Runs requests, one JSON document a line, under a configuration.
fn inspected(config: Option<&Path>, requests: &[Value]) -> Vec<Value> {
    let mut command = quell();
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let piped = command.args(["inspect", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("the binary runs");
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    child.stdin.take().expect("a pipe").write_all(lines.join("\n").as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn signature(secret: &str, time: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn bounce(address: &str) -> String {
    json!({"delivery": "dlv_1", "events": [{
        "id": "evt_1", "type": "bounce", "class": "hard", "at": "2026-01-20T14:32:15Z", "to": {"email": address},
        "message": {"id": "msg_1"}, "smtp": {"code": 550, "reply": "550 5.1.1 no such user"},
    }]})
    .to_string()
}

#[test]
fn the_check_runs_the_fixtures_and_reports_them() {
    let good = checked(folder(LARKPOST).path(), &[]).with(0).out;
    assert!(
        good.starts_with("larkpost (adapters/larkpost.toml): 7 fixtures, 0 failed\n  ok    a hard bounce\n"),
        "{good}"
    );
    assert!(good.ends_with("  ok    the set-up handshake\nok: 1 sources, 0 accounts, 1 adapters\n"), "{good}");

    // A mistake in the mapping.
    let wrong = folder(&LARKPOST.replacen("kind = \"complaint\"", "kind = \"unsubscribed\"", 1));
    let failed = checked(wrong.path(), &[]).with(1).out;
    let line =
        "  FAIL  complaints and opt-outs\n          event 1, kind: expected \"complaint\", found \"unsubscribed\"\n";
    assert!(failed.contains(line), "{failed}");
    assert!(
        failed.contains("7 fixtures, 1 failed") && failed.contains("FAIL: 1 fixtures do not do as they say"),
        "{failed}"
    );
    let told = checked(wrong.path(), &["-o", "json"]).with(1).json();
    assert_eq!((&told["ok"], &told["adapters"][0]["adapter"]), (&json!(false), &json!("larkpost")));
    let oks: Vec<bool> = told["adapters"][0]["fixtures"]
        .as_array()
        .expect("fixtures")
        .iter()
        .map(|fixture| fixture["ok"].as_bool().expect("a boolean"))
        .collect();
    assert_eq!(oks, [true, true, false, true, true, true, true]);

    // A mistake in a key: nothing can start with it.
    let typo = checked(folder(&LARKPOST.replacen("recipient =", "recipent =", 1)).path(), &[]).with(78).err;
    assert!(
        typo.contains("adapters: adapters/larkpost.toml:27: unknown key `recipent`, did you mean `recipient`?"),
        "{typo}"
    );
    let unnamed = folder(LARKPOST);
    std::fs::write(unnamed.path().join("quell.toml"), "[[source]]\nprovider = \"larkpost\"\nunauthenticated = true\n")
        .expect("a file");
    let unknown = checked(unnamed.path(), &[]).with(78).err;
    assert!(
        unknown.contains("\"larkpost\" is not known") && unknown.contains("a file that `adapters` names"),
        "{unknown}"
    );
}

#[test]
fn recorded_requests_run_through_a_declared_adapter() {
    let folder = folder(LARKPOST);
    // What inspect needs of the configuration is no secret.
    std::fs::remove_file(folder.path().join("secret")).expect("it was there");
    let body = bounce("Jane@Example.com");
    let time = 1_768_919_540;
    let request = |time: i64, signature: &str| {
        json!({
            "provider": "larkpost", "url": "/webhooks/larkpost", "body": body, "now": "2026-01-20T14:32:25Z",
            "headers": {"content-type": "application/json", "x-larkpost-timestamp": time.to_string(), "x-larkpost-signature": signature},
            "source": {"secrets": [SECRET]},
        })
    };
    let requests = [
        request(time, &signature(SECRET, time, &body)),
        request(time, &signature("guessed", time, &body)),
        request(time + 900, &signature(SECRET, time + 900, &body)),
        json!({"provider": "larkpost", "method": "GET", "source": {"secrets": [SECRET]}}),
        json!({"provider": "larkpost", "body": "{", "source": {"unauthenticated": true}}),
    ];
    let config = folder.path().join("quell.toml");
    let told = inspected(Some(&config), &requests);
    let found: Vec<(&Value, &Value)> =
        told.iter().map(|told| (&told["status"], &told["authentication"]["reason"])).collect();
    let expected = [(202, "ok"), (401, "wrong_signature"), (401, "stale"), (200, "missing_signature"), (400, "ok")];
    let expected = expected.map(|(status, reason)| (json!(status), json!(reason)));
    assert_eq!(found, expected.iter().map(|(status, reason)| (status, reason)).collect::<Vec<_>>());
    let event = &told[0]["events"][0];
    assert_eq!((&event["kind"], &event["recipient"]), (&json!("bounced_hard"), &json!("jane@example.com")));
    assert_eq!((&event["provider"], &event["occurred_at"]), (&json!("larkpost"), &json!("2026-01-20T14:32:15Z")));
    // Without the configuration nobody knows it.
    let unknown = inspected(None, &requests[..1]);
    assert_eq!((&unknown[0]["status"], &unknown[0]["error"]), (&json!(404), &json!("unknown_provider")));
}

#[test]
fn its_webhooks_are_taken_and_suppress() {
    let mut instance = Instance::prepare(4);
    let config = crate::instance::read(&instance.path("quell.toml"));
    let source = "[[source]]\nprovider = \"larkpost\"\nsecrets = [\"env:CLI_DRIP\"]\n";
    instance.write("larkpost.toml", LARKPOST);
    instance.write("quell.toml", &format!("adapters = [\"larkpost.toml\"]\n{config}{source}"));
    instance.begin();
    let body = bounce("gone@example.com");
    let time = unix();
    let request = SignedRequest {
        url: instance.url("/webhooks/larkpost"),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("x-larkpost-timestamp", time.to_string()),
            ("x-larkpost-signature", signature(DRIP_SECRET, time, &body)),
        ],
        body: body.into_bytes(),
    };
    let receipt = instance.send(&request);
    instance.until(1, &["check", "gone@example.com"]);
    let why = instance.run(&["why", "gone@example.com"]).out;
    assert!(why.contains("larkpost") && why.contains("hard_bounce"), "{why}");
    // Explained from the record, by the same adapter.
    let shown = instance.run(&["receipt", &receipt, "-o", "json"]).with(0).out;
    assert!(shown.contains("\"bounced_hard\""), "{shown}");
    let doctor = instance.run(&["doctor", "--offline"]).with(0).out;
    assert!(doctor.contains("source larkpost/default"), "{doctor}");
}
