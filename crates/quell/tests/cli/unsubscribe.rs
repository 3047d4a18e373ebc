//! Links for unsubscribing by one click, mail handed over, and what their manuals show.

use crate::instance::{Instance, UNSUBSCRIBE_SECRET, WRITE_TOKEN, call_once, ended, quell};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use service::http_client::{HttpAnswer, HttpCall};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

fn call(method: Method, url: &str, content_type: &'static str, body: &str) -> HttpAnswer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type));
    headers.insert("authorization", format!("Bearer {WRITE_TOKEN}").parse().expect("a header's value"));
    let body = Bytes::from(body.to_owned());
    call_once(HttpCall { method, url: url.to_owned(), headers, body }).expect("the gateway answers")
}

const FORM: &str = "application/x-www-form-urlencoded";
const CLICK: &str = "List-Unsubscribe=One-Click";

#[test]
fn a_click_stops_one_category_and_a_look_does_not() {
    let instance = Instance::start();
    let make = ["unsubscribe-link", "Jane@example.com", "--scope", "category:news", "--message-id", "m-1@acme.example"];
    let text = instance.run(&make).with(0).out;
    let mut lines = text.lines();
    let url =
        lines.next().and_then(|line| line.strip_prefix("List-Unsubscribe: <")?.strip_suffix('>')).expect("a link");
    assert_eq!((lines.next(), lines.next()), (Some("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), None));
    let made = instance.run(&[&make[..], &["-o", "json"]].concat()).with(0).json();
    assert_eq!(made["headers"]["List-Unsubscribe"], json!(format!("<{}>", made["url"].as_str().expect("a link"))));
    assert_ne!(made["url"], url, "each link has a salt of its own");

    let opened = instance.run(&["unsubscribe-link", "--open", url]).with(0).out;
    for part in ["Jane@example.com", "category:news", "m-1@acme.example", "tenant: default"] {
        assert!(opened.contains(part), "{part} is not in\n{opened}");
    }
    let forged = instance.run(&["unsubscribe-link", "--open", &url[..url.len() - 3]]).with(1).out;
    assert!(forged.contains("not a link of ours"), "{forged}");

    // Scanners look at every link.
    assert_eq!(call(Method::GET, url, FORM, "").status, 200);
    let answer = call(Method::POST, url, FORM, CLICK);
    assert_eq!(answer.status, 200);
    let receipt: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let receipt = receipt["receipt_id"].as_str().expect("a receipt").to_owned();
    let found = instance.until(1, &["check", "jane@example.com", "--category", "news", "-o", "json"]).json();
    assert_eq!(
        (&found["results"][0]["reason"], &found["results"][0]["scope"]),
        (&json!("unsubscribe"), &json!("category:news"))
    );
    instance.run(&["check", "jane@example.com"]).with(0);

    // The same link again is the same event, and changes nothing.
    let since = found["results"][0]["since"].clone();
    assert_eq!(call(Method::POST, url, FORM, CLICK).status, 200);
    let timeline = |found: &Value| found["recipients"][0]["timeline"].as_array().cloned().unwrap_or_default();
    let began = std::time::Instant::now();
    let told = loop {
        let told = timeline(&instance.until(0, &["message", "m-1@acme.example", "-o", "json"]).json());
        if told.len() == 2 {
            break told;
        }
        assert!(began.elapsed().as_secs() < 90, "{told:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(told[0]["event_id"], told[1]["event_id"]);
    let again = instance.run(&["check", "jane@example.com", "--category", "news", "-o", "json"]).with(1).json();
    assert_eq!(again["results"][0]["since"], since);
    let shown = instance.run(&["receipt", &receipt]).with(0).out;
    assert!(shown.contains("processed") && shown.contains("one-click") && !shown.contains("1.2026a"), "{shown}");
}

#[test]
fn mail_about_a_dead_address_suppresses_it() {
    let instance = Instance::start();
    let mail = "From: MAILER-DAEMON@mx.example\r\nMessage-ID: <r-1@mx.example>\r\nDate: Tue, 20 Jan 2026 14:32:15 +0000\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
        Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
        Final-Recipient: rfc822; jane@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\n\
        Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <m-1@acme.example>\r\n\r\n--b--\r\n";
    assert_eq!(call(Method::POST, &instance.url("/webhooks/dsn"), "message/rfc822", mail).status, 202);
    let found = instance.until(1, &["check", "jane@example.com", "-o", "json"]).json();
    assert_eq!(
        (&found["results"][0]["reason"], &found["results"][0]["since"]),
        (&json!("hard_bounce"), &json!("2026-01-20T14:32:15Z"))
    );
    // A bounce of no known form is kept among the dead letters.
    let odd =
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@odd.example\r\n\r\nYour message to joe@example.com: user unknown\r\n";
    assert_eq!(call(Method::POST, &instance.url("/webhooks/dsn"), "message/rfc822", odd).status, 202);
    let began = std::time::Instant::now();
    while !instance.run(&["dead-letters", "list"]).out.contains("unreadable_bounce") {
        assert!(began.elapsed().as_secs() < 90, "no dead letter");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    instance.run(&["check", "joe@example.com"]).with(0);
}

#[test]
fn without_a_section_there_are_no_links() {
    let mut command: Command = quell();
    let refused = ended(command.args(["unsubscribe-link", "jane@example.com"])).with(2);
    assert!(refused.err.contains("[unsubscribe]"), "{refused:?}");
}

/// Runs what a manual shows between `quell inspect - <<'EOF'` and `EOF`.
fn inspected(manual: &str) -> Value {
    let shown = manual.split("quell inspect - <<'EOF'\n").nth(1).and_then(|rest| rest.split("\nEOF").next());
    let mut child =
        quell().args(["inspect", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("its input").write_all(shown.expect("an example").as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("one verdict")
}

#[test]
fn the_manuals_examples_are_what_they_say() {
    let click = inspected(include_str!("../../../../docs/unsubscribe.md"));
    assert!(click["status"] == 200 && click["authentication"]["scheme"] == "aes-256-gcm", "{click}");
    let event = &click["events"][0];
    assert_eq!((&event["kind"], &event["scope"]), (&json!("unsubscribed"), &json!("category:newsletter")));
    assert_eq!(event["message_id"], "m-1@news.example.com");
    let manual = include_str!("../../../../docs/unsubscribe.md");
    assert!(manual.contains(UNSUBSCRIBE_SECRET));
    // The same request without its body, and with another token.
    for (change, to, status) in
        [("One-Click\"", "No\"", 400), ("YHFFyA", "YHFFyQ", 404), ("\"body\"", "\"method\": \"GET\", \"body\"", 200)]
    {
        let (before, after) = manual.split_once("quell inspect - <<'EOF'\n").expect("an example");
        let told = inspected(&format!("{before}quell inspect - <<'EOF'\n{}", after.replacen(change, to, 1)));
        assert_eq!(told["status"], status, "{change}: {told}");
    }
    let bounce = inspected(include_str!("../../../../docs/providers/dsn.md"));
    assert!(bounce["status"] == 202 && bounce["events"][0]["kind"] == "bounced_hard", "{bounce}");
    let complaint = inspected(include_str!("../../../../docs/providers/arf.md"));
    assert!(complaint["status"] == 202 && complaint["events"][0]["kind"] == "complaint", "{complaint}");
}
