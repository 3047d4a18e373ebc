use super::*;
use crate::Overload;
use crate::testing::{self, NOW, headers, now, open, post, secrets, source};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

const KEY: &[u8] = b"0123456789012345678901234";
const BODY: &str = r#"{"type":"email.clicked","created_at":"2026-01-20T14:32:15Z","data":{"email_id":"e-1","to":["jane@example.com"],"click":{"link":"https://example.com/a"}}}"#;

#[test]
fn fixtures() {
    testing::run_fixtures(&Resend, include_str!("fixtures/events.json"));
}

fn sign(id: &str, time: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), format!("{id}.{time}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[track_caller]
fn check(time: &str, signature: Option<&str>, body: &str, expected: &str) {
    let mut pairs = vec![("svix-id", "msg_1"), ("svix-timestamp", time)];
    pairs.extend(signature.map(|signature| ("svix-signature", signature)));
    let headers = headers(&pairs);
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let source = source(&Resend, secrets(&["b2xk", &secret]));
    let verdict = Resend.authenticate(&post("/", &headers, body.as_bytes()), &source, now());
    assert_eq!((verdict.ok, verdict.reason), (expected == "ok", expected), "{signature:?}");
}

#[test]
fn signatures() {
    let time = NOW.to_string();
    let right = sign("msg_1", &time, BODY);
    check(&time, Some(&right), BODY, "ok");
    check(&time, Some(&format!("v1,AAAA v1a,x {right}")), BODY, "ok");
    check(&time, Some(&right), &BODY[1..], "wrong_signature");
    check(&time, Some(&right[..right.len() - 4]), BODY, "wrong_signature");
    check(&time, Some(&sign("msg_2", &time, BODY)), BODY, "wrong_signature");
    check(&time, Some(&right.replace("v1,", "v2,")), BODY, "wrong_signature");
    check(&time, None, BODY, "missing_signature");
    check("soon", Some(&right), BODY, "malformed_timestamp");
    for (age, expected) in [(300, "ok"), (-300, "ok"), (301, "stale"), (-301, "stale")] {
        let time = (NOW - age).to_string();
        check(&time, Some(&sign("msg_1", &time, BODY)), BODY, expected);
    }
}

#[test]
fn sources_are_checked() {
    assert!(Resend.check_source(&secrets(&["whsec_ESwTAuuIe3yfH4DgdgI+ENsiNzPAGdp+"])).is_ok());
    assert!(Resend.check_source(&secrets(&["whsec_"])).is_err());
    assert!(Resend.check_source(&SourceSpec::default()).is_err());
    assert_eq!(Resend.overload(), Overload::ServiceUnavailable);
}

fn ids(id: &str, time: &str, body: &str) -> Vec<domain::EventId> {
    let (source, headers) = (open(&Resend), headers(&[("svix-id", id), ("svix-timestamp", time)]));
    let request = post("/", &headers, body.as_bytes());
    let context = Context { source: &source, received_at: now(), receipt_id: Some(time) };
    let elements = Resend.elements(&request).unwrap();
    let fates = elements.iter().flat_map(|element| Resend.parse(&request, element, &context));
    fates
        .map(|fate| match fate {
            Fate::Event(event) => event.event_id,
            other => panic!("no event: {other:?}"),
        })
        .collect()
}

#[test]
fn recipients_are_bounded() {
    let fates = |n: usize| {
        let list = vec![r#""jane@example.com""#; n].join(",");
        let body = BODY.replace(r#""jane@example.com""#, &list);
        testing::fates(&Resend, "application/json", body.as_bytes()).unwrap()
    };
    assert_eq!(fates(50).len(), 50);
    assert!(matches!(&fates(51)[..], [Fate::Dead(reason)] if reason.starts_with("too_many_recipients")));
}

#[test]
fn a_retry_has_the_same_ids() {
    // Svix keeps the id and renews the time and so the signature.
    assert_eq!(ids("msg_1", "1", BODY), ids("msg_1", "2", BODY));
    assert_ne!(ids("msg_1", "1", BODY), ids("msg_2", "1", BODY));
    assert_ne!(ids("", "1", BODY), ids("", "1", &BODY.replace("com/a", "com/b")));
    let two = ids("msg_1", "1", &BODY.replace(r#"["jane@example.com"]"#, r#"["jane@example.com","joe@example.com"]"#));
    assert!(two.len() == 2 && two[0] != two[1]);
}
