use super::*;
use crate::testing::{self, body_of, fates, read_fixtures, triage};

const FIXTURES: &str = include_str!("fixtures/reports.json");
const TYPE: &str = "message/rfc822";

#[test]
fn fixtures() {
    testing::run_fixtures(&Arf, FIXTURES);
}

fn fixture(case: &str) -> String {
    let fixtures = read_fixtures(FIXTURES);
    body_of(fixtures.iter().find(|fixture| fixture["case"].as_str().unwrap().starts_with(case)).unwrap()).1
}

#[test]
fn a_report_that_is_handed_over_again_is_the_same_event() {
    let id = |mail: &str| match &fates(&Arf, TYPE, mail.as_bytes()).unwrap()[..] {
        [Fate::Event(event)] => event.event_id,
        other => panic!("{other:?}"),
    };
    let mail = fixture("a complaint");
    assert_eq!(id(&format!("Delivered-To: archive@news.example\r\n{}", mail.replace("\r\n", "\n"))), id(&mail));
    assert_ne!(id(&mail.replace("report-1@", "report-2@")), id(&mail));
    let nameless = mail.replace("Message-ID: <report-1@isp.example>\r\n", "");
    assert_eq!(id(&format!("X-Poller: 2\r\n{nameless}")), id(&nameless));
    assert_ne!(id(&nameless), id(&mail));
}

#[test]
fn what_the_gateway_does_with_it() {
    let check = |case: &str, expected: fn(&Triage) -> bool| {
        let found = triage(&Arf, TYPE, &fixture(case));
        assert!(expected(&found), "{case}: {found:?}");
    };
    check("a complaint", |verdict| *verdict == Triage::Accept);
    check("not-spam", |verdict| *verdict == Triage::Accept);
    // A complaint by nobody is kept, with the message it is about.
    check("a hidden recipient", |verdict| *verdict == Triage::Accept);
    check("auth-failure", |verdict| *verdict == Triage::Ignore("authentication_report"));
    check("a letter", |verdict| matches!(verdict, Triage::Refuse(reason) if reason.starts_with("not_a_report")));
    check("a delivery report", |verdict| matches!(verdict, Triage::Refuse(reason) if reason.contains("/webhooks/dsn")));
}

#[test]
fn a_hidden_recipients_message_id_is_cut_to_fit() {
    let mail = fixture("a hidden recipient").replace("m-1@", &format!("{}@", "m".repeat(10_000)));
    for fate in fates(&Arf, TYPE, mail.as_bytes()).unwrap() {
        testing::assert_bounded(&fate);
    }
}
