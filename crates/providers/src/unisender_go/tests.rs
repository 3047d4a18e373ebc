use super::*;
use crate::Triage;
use crate::testing::{self, event, fates, headers, now, post, secrets, source, triage};
use md5_of::digest;

mod md5_of {
    use ::md5::{Digest as _, Md5};

    pub(super) fn digest(text: &str) -> String {
        hex::encode(Md5::digest(text.as_bytes()))
    }
}

#[test]
fn fixtures() {
    testing::run_fixtures(&UnisenderGo, include_str!("fixtures/events.json"));
}

fn verdict(keys: &[&str], body: &str) -> &'static str {
    let headers = headers(&[]);
    UnisenderGo.authenticate(&post("/", &headers, body.as_bytes()), &source(&UnisenderGo, secrets(keys)), now()).reason
}

#[test]
fn signatures() {
    // Odd spacing and escapes stay as they are; only the value is replaced.
    let template = r#"{ "events_by_user" :[], "auth":"AUTH", "url":"https:\/\/example.com", "n":1.0 }"#;
    let right = template.replace("AUTH", &digest(&template.replace("AUTH", "key")));
    assert_eq!(verdict(&["old", "key"], &right), "ok");
    assert_eq!(verdict(&["other"], &right), "wrong_signature");
    assert_eq!(verdict(&[""], &template.replace("AUTH", &digest(&template.replace("AUTH", "")))), "wrong_signature");
    assert_eq!(verdict(&["key"], &right.replace("1.0", "1")), "wrong_signature");
    assert_eq!(verdict(&["key"], &right.replace(r"\/", "/")), "wrong_signature");
    assert_eq!(verdict(&["key"], &format!("{right} ")), "wrong_signature");
    assert_eq!(verdict(&["key"], &right[..right.len() - 1]), "malformed_body");
    assert_eq!(verdict(&["key"], template), "malformed_signature");
    assert_eq!(verdict(&["key"], r#"{"auth":7}"#), "malformed_signature");
    assert_eq!(verdict(&["key"], r#"{"auth":""}"#), "malformed_signature");
    assert_eq!(verdict(&["key"], "{}"), "missing_signature");
    assert_eq!(verdict(&["key"], ""), "malformed_body");
    // Of two values the last is taken out, and the first stays signed.
    let twice = r#"{"auth":"first","auth":"AUTH"}"#;
    assert_eq!(verdict(&["key"], &twice.replace("AUTH", &digest(&twice.replace("AUTH", "key")))), "ok");
}

/// A text made longer by way of MD5's own padding is no JSON any more.
#[test]
fn length_extension_is_refused() {
    let headers = headers(&[]);
    let mut body = br#"{"auth":"00000000000000000000000000000000"}"#.to_vec();
    body.extend_from_slice(b"\x80\0\0\0,\"events_by_user\":[]}");
    let source = source(&UnisenderGo, secrets(&["key"]));
    assert_eq!(UnisenderGo.authenticate(&post("/", &headers, &body), &source, now()).reason, "malformed_body");
}

#[test]
fn handshake_and_answers() {
    assert!(UnisenderGo.set_up_methods().contains(&"GET"));
    assert_eq!(UnisenderGo.accepted(), 200);
    let ignored = triage(&UnisenderGo, "application/json", r#"{"auth":"x","events_by_user":[]}"#);
    assert_eq!(ignored, Triage::Ignore("no_events"));
    assert!(UnisenderGo.check_source(&secrets(&["key"])).is_ok());
    assert!(UnisenderGo.check_source(&secrets(&[])).is_err());
}

#[test]
fn a_webhook_holds_only_so_many_elements() {
    let body = |count: usize| format!(r#"{{"events_by_user":[{{"events":[{}]}}]}}"#, vec!["0"; count].join(","));
    assert_eq!(fates(&UnisenderGo, "application/json", body(ELEMENTS_MAX).as_bytes()).unwrap().len(), ELEMENTS_MAX);
    let refused = fates(&UnisenderGo, "application/json", body(ELEMENTS_MAX + 1).as_bytes()).unwrap_err();
    assert!(refused.starts_with("too_many_elements"));
}

#[test]
fn identity() {
    let one = r#"{"event_name":"transactional_email_status","event_data":{"job_id":"j","email":"jane@example.com","status":"clicked","event_time":"2026-01-20 14:32:15","url":"a"}}"#;
    let id = |body: &str| event(&UnisenderGo, body).event_id;
    // Alone or in a list, and whatever `auth` and the user around it.
    assert_eq!(id(one), id(&format!(r#"{{"auth":"x","events_by_user":[{{"user_id":7,"events":[{one}]}}]}}"#)));
    for (from, to) in [("\"j\"", "\"k\""), ("jane", "joe"), ("clicked", "opened"), (":15", ":16"), ("\"a\"", "\"b\"")] {
        assert_ne!(id(one), id(&one.replace(from, to)), "{from}");
    }
}
