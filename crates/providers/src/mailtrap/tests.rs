use super::*;
use crate::Triage;
use crate::testing::{self, event, fates, headers, now, post, secrets, source, triage};
use ring::hmac as ring_hmac;

#[test]
fn fixtures() {
    testing::run_fixtures(&Mailtrap, include_str!("fixtures/events.json"));
}

#[test]
fn signatures() {
    let body = br#"{"events": []}"#;
    let right = hex::encode(ring_hmac::sign(&ring_hmac::Key::new(ring_hmac::HMAC_SHA256, b"secret"), body));
    let check = |secret: &str, signature: Option<&str>, body: &[u8]| {
        let headers = headers(&signature.map(|given| ("Mailtrap-Signature", given)).into_iter().collect::<Vec<_>>());
        let source = source(&Mailtrap, secrets(&["old", secret]));
        let verdict = Mailtrap.authenticate(&post("/", &headers, body), &source, now());
        assert_eq!(verdict.ok, verdict.reason == "ok");
        verdict.reason
    };
    assert_eq!(check("secret", Some(&right), body), "ok");
    assert_eq!(check("secret", Some(&right.to_uppercase()), body), "ok");
    assert_eq!(check("other", Some(&right), body), "wrong_signature");
    assert_eq!(check("secret", Some(&right), br#"{"events":[]}"#), "wrong_signature");
    assert_eq!(check("secret", Some(&right), &body[..4]), "wrong_signature");
    assert_eq!(check("secret", Some(&right[..62]), body), "malformed_signature");
    assert_eq!(check("secret", None, body), "missing_signature");
    assert_eq!(Mailtrap.accepted(), 200, "a test of a set-up takes nothing else");
}

#[test]
fn a_retry_has_the_same_id_whatever_the_format() {
    let one = r#"{"event":"open","email":"jane@example.com","timestamp":1,"event_id":"a"}"#;
    let id = |body: &str| event(&Mailtrap, body).event_id;
    assert_eq!(id(one), id(&format!(r#"{{"events": [{one}]}}"#)));
    assert_ne!(id(one), id(&one.replace(r#""a""#, r#""b""#)));
    assert_ne!(id(one), id(&one.replace(":1", ":2")));
    let lines = fates(&Mailtrap, "application/x-ndjson", format!("{one}\n{one}\n").as_bytes()).unwrap();
    assert!(lines.len() == 2 && lines[0] == lines[1], "an event sent twice is one event");
}

#[test]
fn bounds_and_garbage() {
    let many = "{}\n".repeat(10_001);
    assert!(
        matches!(triage(&Mailtrap, "application/x-ndjson", &many), Triage::Refuse(why) if why.starts_with("too_many"))
    );
    assert_eq!(triage(&Mailtrap, "application/json", r#"{"events": []}"#), Triage::Ignore("no_events"));
    assert!(matches!(triage(&Mailtrap, "application/json", "{\n}}\n"), Triage::Refuse(_)));
    // A list is no object with `events`, and what is no list of them is no list.
    let one = r#"{"event":"open","email":"jane@example.com","timestamp":1,"event_id":"a"}"#;
    for odd in [format!("[[{one}]]"), format!(r#"{{"events": {one}}}"#), r#"{"events": 3}"#.to_owned()] {
        let read = fates(&Mailtrap, "application/json", odd.as_bytes()).unwrap();
        assert!(matches!(read.as_slice(), [Fate::Dead(_)]), "{odd}: {read:?}");
    }
}
