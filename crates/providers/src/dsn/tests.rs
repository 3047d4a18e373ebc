use super::*;
use crate::mail::RECIPIENTS_MAX;
use crate::testing::{self, NOW, body_of, fates, headers, now, post, read_fixtures, secrets, source, triage};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::EventId;
use proptest::prelude::*;
use ring::hmac;

const FIXTURES: &str = include_str!("fixtures/reports.json");
const TYPE: &str = "message/rfc822";

#[test]
fn fixtures() {
    testing::run_fixtures(&Dsn, FIXTURES);
}

fn fixture(case: &str) -> String {
    let fixtures = read_fixtures(FIXTURES);
    body_of(fixtures.iter().find(|fixture| fixture["case"].as_str().unwrap().starts_with(case)).unwrap()).1
}

fn ids(mail: &str) -> Vec<EventId> {
    let events = fates(&Dsn, TYPE, mail.as_bytes()).unwrap();
    events.iter().map(|fate| if let Fate::Event(event) = fate { event.event_id } else { panic!("{fate:?}") }).collect()
}

#[test]
fn a_report_that_is_handed_over_again_is_the_same_events() {
    let mail = fixture("Postfix: a dead address");
    // As another pipe or poller would hand it over: other line ends, further fields on top, an mbox line.
    assert_eq!(ids(&mail.replace("\r\n", "\n")), ids(&mail));
    assert_eq!(ids(&format!("Delivered-To: archive@news.example\r\nX-Poller: 2\r\n{mail}")), ids(&mail));
    assert_eq!(ids(&format!("From MAILER-DAEMON Tue Jan 20 14:32:15 2026\r\n{mail}")), ids(&mail));
    // Without an id of its own, what it says tells it from others.
    let nameless = mail.replace("Message-Id: <20260120143215.4A1@mx.news.example>\r\n", "");
    assert_ne!(ids(&nameless), ids(&mail));
    assert_eq!(ids(&format!("X-Poller: 2\r\n{nameless}")), ids(&nameless));
    assert_ne!(ids(&nameless.replace("4A0\r\n", "4AF\r\n")), ids(&nameless));
}

#[test]
fn another_report_is_other_events() {
    let mail = fixture("a delay");
    let second = mail.replace("<20260120143215.4A1@", "<20260120183215.4A1@");
    assert_ne!(ids(&second), ids(&mail));
    let of_two = ids(&fixture("Postfix: a dead address"));
    assert_ne!(of_two[0], of_two[1]);
}

#[test]
fn what_the_gateway_does_with_it() {
    let check = |case: &str, expected: fn(&Triage) -> bool| {
        let found = triage(&Dsn, TYPE, &fixture(case));
        assert!(expected(&found), "{case}: {found:?}");
    };
    check("Postfix: a dead address", |verdict| *verdict == Triage::Accept);
    // Nobody sends a bounce again: what cannot be read is kept as a dead letter.
    check("a bounce of no known form", |verdict| *verdict == Triage::Accept);
    check("a report part without a recipient", |verdict| *verdict == Triage::Accept);
    check("an automatic reply", |verdict| *verdict == Triage::Ignore("auto_reply"));
    check("a letter", |verdict| matches!(verdict, Triage::Refuse(reason) if reason.starts_with("not_a_report")));
    check("a feedback report", |verdict| matches!(verdict, Triage::Refuse(reason) if reason.contains("/webhooks/arf")));
    check(
        "no mail at all",
        |verdict| matches!(verdict, Triage::Refuse(reason) if reason.starts_with("malformed_mail")),
    );
    assert_eq!(triage(&Dsn, TYPE, " \r\n"), Triage::Refuse("empty_body".to_owned()));
}

#[test]
fn recipients_are_bounded_and_unreadable_ones_are_one_dead_letter() {
    let head = "From: MAILER-DAEMON@x.example\nContent-Type: multipart/report; boundary=b\n\n--b\n\
        Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n";
    let groups = |count: usize, address: &str| {
        let of = |n: usize| {
            format!(
                "Final-Recipient: rfc822; {}\nAction: failed\nStatus: 5.1.1\n\n",
                address.replace('N', &n.to_string())
            )
        };
        format!("{head}{}", (0..count).map(of).collect::<String>())
    };
    let whole = fates(&Dsn, TYPE, groups(RECIPIENTS_MAX, "aN@example.com").as_bytes()).unwrap();
    assert!(whole.len() == RECIPIENTS_MAX && whole.iter().all(|fate| matches!(fate, Fate::Event(_))));
    let over = fates(&Dsn, TYPE, groups(RECIPIENTS_MAX + 3, "aN@example.com").as_bytes()).unwrap();
    assert_eq!(over.len(), RECIPIENTS_MAX + 1);
    assert!(matches!(over.last(), Some(Fate::Dead(reason)) if reason.starts_with("too_many_recipients")));
    let dead = fates(&Dsn, TYPE, groups(500, "nobodyN").as_bytes()).unwrap();
    let [Fate::Dead(reason)] = &dead[..] else { panic!("{} fates", dead.len()) };
    assert!(reason.starts_with("unreadable_recipient") && reason.contains("the first of 500"), "{reason}");
}

#[test]
fn hostile_mail_is_read_in_time_and_within_bounds() {
    let started = std::time::Instant::now();
    let report = |part: &str| {
        format!(
            "From: x@x.example\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n{part}"
        )
    };
    let qmail = "From: MAILER-DAEMON@x.example\n\nHi. This is the qmail-send program at x.\n\n";
    let exim = format!("X-Failed-Recipients: {}\n\n", "a@example.com,".repeat(20_000));
    for mail in [
        "Content-Type: message/rfc822\n\n".repeat(60_000),
        (0..50_000).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n")).collect(),
        report(&"A: b\n\n".repeat(300_000)),
        report(&format!("Final-Recipient: rfc822; {}@example.com\n", "a\n ".repeat(300_000))),
        report(&format!(
            "Diagnostic-Code: smtp; {}\nAction: failed\nFinal-Recipient: rfc822;a@b.c\n",
            "5.1.1 ".repeat(300_000)
        )),
        format!("{qmail}{}", "<a@example.com>:\nx\n\n".repeat(50_000)),
        format!("{qmail}<a@example.com>:{}", "\nx".repeat(500_000)),
        format!("{exim}{}", "  a@example.com\n".repeat(50_000)),
        format!("{exim}{}", "-".repeat(1_000_000)),
        format!("From: postmaster@x.example\nSubject: {}\n\n", "=?utf-8?Q?=41?= ".repeat(60_000)),
        format!("Content-Type: multipart/report; boundary=\"{}\"\n\n--", "b".repeat(500_000)),
        format!("Content-Type: multipart/report{}\n\n", "; boundary*0=a".repeat(60_000)),
    ] {
        testing::feed(&Dsn, TYPE, "/webhooks/dsn", mail.as_bytes());
        testing::feed(&crate::arf::Arf, TYPE, "/webhooks/arf", mail.as_bytes());
    }
    // Linear work takes well under a second even in a debug build; quadratic work would take minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Lines of reports in any order, as a broken gateway or a joker would send them.
    #[test]
    fn lines_in_any_order(picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..60), blank in 1..6_usize) {
        let fixtures = [FIXTURES, include_str!("../arf/fixtures/reports.json")].map(read_fixtures).concat();
        let bodies: Vec<String> = fixtures.iter().map(|fixture| body_of(fixture).1).collect();
        let lines: Vec<&str> = bodies.iter().flat_map(|body| body.lines()).collect();
        let mut mail = String::from("Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n");
        for (at, pick) in picks.iter().enumerate() {
            mail.push_str(lines[pick.index(lines.len())]);
            mail.push_str(if at % blank == 0 { "\n\n" } else { "\n" });
        }
        testing::feed(&Dsn, TYPE, "/webhooks/dsn", mail.as_bytes());
        testing::feed(&crate::arf::Arf, TYPE, "/webhooks/arf", mail.replace("delivery-status", "feedback-report").as_bytes());
    }
}

#[test]
fn who_hands_it_over_proves_it() {
    let key = STANDARD.encode("a key of twenty-four byte");
    let body = fixture("Postfix: a dead address");
    let time = NOW.to_string();
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, b"a key of twenty-four byte"),
        format!("1.{time}.{body}").as_bytes(),
    );
    let signature = format!("v1,{}", STANDARD.encode(tag));
    let signed = [("webhook-id", "1"), ("webhook-timestamp", time.as_str()), ("webhook-signature", signature.as_str())];
    let verdict = |spec: SourceSpec, pairs: &[(&str, &str)], body: &str| {
        let headers = headers(pairs);
        Dsn.authenticate(&post("/webhooks/dsn", &headers, body.as_bytes()), &source(&Dsn, spec), now()).reason
    };
    assert_eq!(verdict(secrets(&[&key]), &signed, &body), "ok");
    assert_eq!(verdict(secrets(&[&key]), &signed, &body.replace("jane", "joan")), "wrong_signature");
    assert_eq!(verdict(secrets(&[&key]), &[], &body), "missing_signature");
    let bearer = || SourceSpec { bearer: vec!["token".to_owned()], ..SourceSpec::default() };
    assert_eq!(verdict(bearer(), &[("authorization", "Bearer token")], &body), "ok");
    assert_eq!(verdict(bearer(), &[("authorization", "Bearer other")], &body), "wrong_credentials");
    assert_eq!(verdict(SourceSpec::default(), &[], &body), "not_configured");
    assert!(Dsn.check_source(&secrets(&["not base64!"])).is_err() && Dsn.check_source(&bearer()).is_ok());
}
