use super::*;
use crate::testing::{self, NOW, event, fates, headers, now, post, secrets, source};
use ring::hmac;

#[test]
fn fixtures() {
    testing::run_fixtures(&Mailgun, include_str!("fixtures/events.json"));
}

fn sign(time: &str, token: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), format!("{time}{token}").as_bytes()))
}

fn json(time: &str, token: &str, signature: &str) -> String {
    format!(r#"{{"signature":{{"timestamp":"{time}","token":"{token}","signature":"{signature}"}},"event-data":{{}}}}"#)
}

#[track_caller]
fn check(content_type: &str, body: &str, expected: Result<&str, &str>) {
    let headers = headers(&[("content-type", content_type)]);
    let source = source(&Mailgun, secrets(&["old", "key"]));
    let verdict = Mailgun.authenticate(&post("/", &headers, body.as_bytes()), &source, now());
    let found = if verdict.ok { Ok(verdict.token.as_deref().unwrap()) } else { Err(verdict.reason) };
    assert_eq!(found, expected, "{body}");
}

#[test]
fn signatures() {
    let time = NOW.to_string();
    let token = format!("{time}token");
    check("application/json", &json(&time, "token", &sign(&time, "token")), Ok(&token));
    check("application/json", &json(&time, "token", &sign(&time, "other")), Err("wrong_signature"));
    check("application/json", &json(&time, "token", "zz"), Err("malformed_signature"));
    check("application/json", &json("soon", "token", "00"), Err("malformed_timestamp"));
    check("application/json", &json(&time, &"t".repeat(300), &sign(&time, "token")), Err("malformed_token"));
    check("application/json", r#"{"event-data":{}}"#, Err("missing_signature"));
    check("application/json", r#"{"signature":7}"#, Err("missing_signature"));
    check("application/json", "[]", Err("malformed_body"));
    for (age, fine) in [(43_199, true), (43_201, false), (-43_201, false)] {
        let time = (NOW - age).to_string();
        let token = format!("{time}token");
        let expected = if fine { Ok(token.as_str()) } else { Err("stale") };
        check("application/json", &json(&time, "token", &sign(&time, "token")), expected);
    }
}

#[test]
fn forms_are_signed_by_their_last_values() {
    let (time, form) = (NOW.to_string(), "application/x-www-form-urlencoded");
    let (token, right) = (format!("{time}token"), sign(&time, "token"));
    check(form, &format!("token=mine&timestamp={time}&token=token&signature={right}"), Ok(&token));
    check(form, &format!("timestamp={time}&token=token&signature={right}&token=mine"), Err("wrong_signature"));
    check(form, "event=delivered", Err("missing_signature"));
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let parts = part("timestamp", &time) + &part("token", "token") + &part("signature", &right) + "--b--\r\n";
    check("multipart/form-data; boundary=\"b\"", &parts, Ok(&token));
}

#[test]
fn moving_the_boundary_gives_no_new_token() {
    let (time, rest) = (format!("{NOW}1"), "token");
    // `NOW` + "1token" and `NOW`1 + "token" carry one signature; the second is stale, and would give the same token.
    check("application/json", &json(&NOW.to_string(), "1token", &sign(&time, rest)), Ok(&format!("{time}{rest}")));
    check("application/json", &json(&time, rest, &sign(&time, rest)), Err("stale"));
}

#[test]
fn multipart_events() {
    let body = "preamble\r\n--x-1\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\ncomplained\r\n--x-1\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.eml\"\r\nContent-Type: message/rfc822\r\n\r\n--not\r\n--x-1\r\n\
        Content-Disposition: form-data; name=\"recipient\"\r\n\r\njane@example.com\r\n--x-1--\r\n";
    let fates = fates(&Mailgun, "multipart/form-data; boundary=x-1", body.as_bytes()).unwrap();
    assert!(
        matches!(&fates[..], [Fate::Event(event)] if event.kind == domain::Kind::Complaint && event.metadata.is_empty())
    );
    for cut in 0..body.len() {
        let _read = testing::fates(&Mailgun, "multipart/form-data; boundary=x-1", &body.as_bytes()[..cut]);
    }
}

#[test]
fn identity_is_per_id_and_time() {
    let body = r#"{"event-data":{"event":"opened","id":"a","timestamp":1.5,"recipient":"jane@example.com"},"signature":{"token":"1"}}"#;
    let id = |body: &str| event(&Mailgun, body).event_id;
    // A retry carries another token.
    assert_eq!(id(body), id(&body.replace(r#""token":"1""#, r#""token":"2""#)));
    assert_ne!(id(body), id(&body.replace(r#""id":"a""#, r#""id":"b""#)));
    assert_ne!(id(body), id(&body.replace("1.5", "86401.5")));
}
