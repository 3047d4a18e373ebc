//! The doctor with accounts at providers and webhooks that were refused.

use crate::instance::{Instance, ended, quell};
use serde_json::Value;
use testkit::fake::{Fake, FakeProvider};

fn found<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let all = report["checks"].as_array().expect("checks");
    let one = all.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}: {report}"));
    (one["health"].as_str().expect("a word"), one["detail"].as_str().expect("a text"))
}

#[test]
fn accounts_are_asked_something_harmless() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (sendgrid, mailgun) = runtime.block_on(async {
        let sendgrid = FakeProvider::SendGrid { api_key: "right".to_owned(), groups: Vec::new() };
        let mailgun = FakeProvider::Mailgun { api_key: "right".to_owned(), domains: vec!["m.example.com".to_owned()] };
        (Fake::start(sendgrid).await.expect("a port"), Fake::start(mailgun).await.expect("a port"))
    });
    let instance = Instance::prepare(1);
    let account = |name: &str, provider: &str, url: &str, credential: &str| {
        format!(
            "[[account]]\nname = \"{name}\"\nprovider = \"{provider}\"\nbase_url = \"{url}\"\nallow_private = true\n\
             domain = \"m.example.com\"\ncredential = \"env:{credential}\"\ntimeout_ms = 3000\n"
        )
    };
    let text = [
        account("good", "mailgun", &mailgun.url(), "DOCTOR_RIGHT"),
        account("refused", "mailgun", &mailgun.url(), "DOCTOR_WRONG"),
        account("away", "mailgun", "http://127.0.0.1:1", "DOCTOR_RIGHT"),
        account("main", "sendgrid", &sendgrid.url(), "DOCTOR_RIGHT").replace("domain = \"m.example.com\"\n", ""),
        account("sms", "twilio", "http://127.0.0.1:1", "DOCTOR_RIGHT")
            .replace("domain = \"m.example.com\"\n", "key_id = \"SK1\"\nsenders = [\"MG1\"]\n"),
    ]
    .concat();
    let folder = instance.path("own");
    let text = format!("data_dir = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{text}", folder.display());
    let file = instance.write("accounts.toml", &text);
    let doctor = |more: &[&str]| {
        let mut command = quell();
        command.env("DOCTOR_RIGHT", "right").env("DOCTOR_WRONG", "wrong");
        command.arg("--config").arg(&file).args(["doctor", "-o", "json"]).args(more);
        ended(&mut command)
    };
    let report = doctor(&[]).with(1).json();
    assert_eq!(found(&report, "account good"), ("ok", "mailgun takes the credential"));
    assert_eq!(found(&report, "account main").0, "ok", "{report}");
    let (health, detail) = found(&report, "account refused");
    assert!(health == "fail" && detail.contains("make a new key"), "{detail}");
    let (health, detail) = found(&report, "account away");
    assert!(health == "fail" && detail.contains("base_url"), "{detail}");
    let (health, detail) = found(&report, "account sms");
    assert!(health == "warn" && detail.contains("credential not tried"), "not green unless it was tried: {detail}");
    assert_eq!(report["ok"], false);
    // Nothing was written.
    assert_eq!((sendgrid.held(), mailgun.held()), (0, 0));
    assert_eq!(found(&doctor(&["--offline"]).with(0).json(), "account refused").0, "ok");
}

#[test]
fn subscribers_and_receivers_of_alarms_and_traces_are_asked_too() {
    let instance = Instance::prepare(1);
    let away = "http://127.0.0.1:1/?token=s3cret";
    let text = format!(
        "data_dir = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [alarms]\nurl = \"{away}\"\nsecrets = [\"env:DOCTOR_SIGNS\"]\nallow_private = true\n\
         [[subscriber]]\nname = \"crm\"\nurl = \"{away}\"\nsecrets = [\"env:DOCTOR_SIGNS\"]\nallow_private = true\n",
        instance.path("own").display()
    );
    let file = instance.write("posts.toml", &text);
    let doctor = |more: &[&str]| {
        let mut command = quell();
        command.env("DOCTOR_SIGNS", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
        command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", away);
        command.arg("--config").arg(&file).args(["doctor", "-o", "json"]).args(more);
        ended(&mut command)
    };
    let report = doctor(&[]).with(1).json();
    for (check, key) in [("subscriber crm", "subscriber.url"), ("alarms", "alarms.url"), ("traces", "traces.endpoint")]
    {
        let (health, detail) = found(&report, check);
        assert!(health == "fail" && detail.contains(key) && !detail.contains("s3cret"), "{detail}");
    }
    let report = doctor(&["--offline"]).with(0).json();
    for check in ["subscriber crm", "alarms", "traces"] {
        assert_eq!(found(&report, check), ("ok", "not asked (--offline)"));
    }
}

#[test]
fn webhooks_that_came_and_those_that_were_refused_are_told() {
    let instance = Instance::start();
    let report = instance.run(&["doctor", "--offline", "-o", "json"]).with(0).json();
    let (health, detail) = found(&report, "answers drip/default");
    assert!(health == "warn" && detail.contains("no webhook since the start"), "{detail}");
    instance.drip_bounce("a@example.com", "2026-01-20T10:00:00Z");
    let report = instance.run(&["doctor", "--offline", "-o", "json"]).with(0).json();
    assert_eq!(found(&report, "answers drip/default"), ("ok", "1 webhooks taken since the start, 0 refused"));
    let text = instance.run(&["doctor", "--offline"]).with(0).out;
    assert!(text.contains("ok    answers drip/default") && text.contains(" failures"), "{text}");
}
