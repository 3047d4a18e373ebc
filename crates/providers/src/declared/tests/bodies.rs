//! Each form of body.

use super::{LEAST, adapter, check_alone, events, told};
use domain::{Channel, Kind};

pub(super) const FORM: &str = r#"
name = "smsbird"
[authentication]
scheme = "key"
header = "x-key"
[body]
format = "form"
[event]
word = "status"
detail = "error.code"
recipient = "msisdn"
channel = "sms"
phone_prefix = "+"
message_id = "id"
time = "done"
time_format = "%Y%m%d%H%M%S"
categories = "tag"
metadata = ["custom[one]"]
code = "error.code"
[[map]]
word = "DELIVRD"
kind = "delivered"
[[map]]
word = "UNDELIV"
detail = "1"
kind = "bounced_hard"
[[map]]
word = "UNDELIV"
kind = "bounced_soft"
"#;
pub(super) const FORM_BODY: &str =
    "id=m-1&msisdn=447700900123&status=UNDELIV&error.code=1&done=20260120143215&tag=a&tag=b&custom%5Bone%5D=x+y";

pub(super) const FORM_FIELD: &str = r#"
name = "formbird"
[authentication]
scheme = "hmac"
header = "x-sig"
algorithm = "sha1"
encoding = "base64"
[body]
format = "form"
field = "events"
[event]
word = "event"
recipient = "email"
time = "ts"
time_format = "seconds"
identity = ["link", "ip"]
[[map]]
word = "click"
kind = "clicked"
"#;
pub(super) const FORM_FIELD_BODY: &str = "other=1&events=%5B%7B%22event%22%3A%22click%22%2C%22email%22%3A%22a%40example.com%22%2C%22ts%22%3A1768919535%2C%22link%22%3A%22a%22%7D%2C%7B%22event%22%3A%22click%22%2C%22email%22%3A%22a%40example.com%22%2C%22ts%22%3A1768919535%2C%22link%22%3A%22b%22%7D%5D";

pub(super) const LINES: &str = r#"
name = "linebird"
[authentication]
scheme = "none"
[body]
format = "lines"
[event]
word = "kind"
recipient = ["to.0.address", "email"]
channel = "any"
channel_at = "via"
channels = { text = "sms", mail = "email" }
[[map]]
word = "sent"
kind = "accepted"
"#;
pub(super) const LINES_BODY: &str = "{\"kind\":\"sent\",\"to\":[{\"address\":\"a@example.com\"}]}\n\n{\"kind\":\"sent\",\"via\":\"text\",\"email\":\"+15551234567\"}\n{broken\n{\"kind\":\"sent\",\"via\":\"sms\",\"email\":\"+15551234568\"}\n{\"kind\":\"sent\",\"via\":\"pigeon\",\"email\":\"b@example.com\"}";

pub(super) const EACH: &str = r#"
name = "manybird"
[authentication]
scheme = "none"
[event]
word = "event"
each = "failed.recipients"
recipient = ["@.email", "@", "to"]
enhanced_status = "@.status"
message_id = "message"
[[map]]
word = "failed"
kind = "bounced"
[[map]]
word = "complaint"
kind = "complaint"
"#;
pub(super) const EACH_BODY: &str = r#"{"event":"failed","message":"<m-1>","failed":{"recipients":[{"email":"a@example.com","status":"5.1.1"},"b@example.com",{"email":"c@example.com","status":"4.2.2"},7]}}"#;

pub(super) const ROOT: &str = r#"
name = "rootbird"
[authentication]
scheme = "none"
[event]
word = "header:x-event"
recipient = "data.to"
id = "header:x-delivery"
[[map]]
word = "gone"
kind = "bounced_hard"
"#;
pub(super) const ROOT_BODY: &str = r#"[{"data":{"to":"a@example.com"}},{"data":{"to":"b@example.com"}}]"#;

const JSON: &str = "application/json";
const URLENCODED: &str = "application/x-www-form-urlencoded";

#[test]
fn forms() {
    let adapter = adapter(FORM);
    let [event] = events(adapter, URLENCODED, FORM_BODY).try_into().unwrap();
    assert_eq!(
        (event.kind, event.channel, event.recipient.as_str()),
        (Kind::BouncedHard, Channel::Sms, "+447700900123")
    );
    assert_eq!(event.occurred_at.to_string(), "2026-01-20T14:32:15Z");
    assert_eq!(
        (event.message_id.as_deref(), event.categories.as_slice()),
        (Some("m-1"), &["a".to_owned(), "b".to_owned()][..])
    );
    assert_eq!(event.metadata.get("custom[one]").map(String::as_str), Some("x y"));
    assert_eq!(event.failure.unwrap().provider_code.as_deref(), Some("1"));
    let check = |body: &str, expected: &[&str]| assert_eq!(told(adapter, URLENCODED, body), expected, "{body}");
    check("msisdn=447700900123&status=UNDELIV&error.code=9", &["bounced_soft +447700900123"]);
    check("msisdn=%2B447700900123&status=DELIVRD", &["delivered +447700900123"]);
    check("msisdn=00447700900123&status=DELIVRD", &["delivered +447700900123"]);
    check("msisdn=447700900123", &["dead missing_word"]);
    check("status=DELIVRD", &["dead missing_recipient"]);
    check("status=NEW", &["ignored no_recipient"]);
    check("", &["malformed empty_body"]);
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"msisdn\"\r\n\r\n447700900123\r\n--b\r\nContent-Disposition: form-data; name=\"status\"\r\n\r\nDELIVRD\r\n--b--";
    assert_eq!(told(adapter, "multipart/form-data; boundary=b", multipart), ["delivered +447700900123"]);
    check_alone(adapter, URLENCODED, FORM_BODY);
}

#[test]
fn json_in_a_form() {
    let adapter = adapter(FORM_FIELD);
    let [first, second] = events(adapter, URLENCODED, FORM_FIELD_BODY).try_into().unwrap();
    assert_eq!((first.kind, first.occurred_at), (Kind::Clicked, second.occurred_at));
    assert_ne!(first.event_id, second.event_id, "another link is another click");
    assert_eq!(told(adapter, URLENCODED, "a=b"), ["malformed missing_events: the form has no `events`"]);
    check_alone(adapter, URLENCODED, FORM_FIELD_BODY);
}

#[test]
fn json_lines() {
    let adapter = adapter(LINES);
    let expected = [
        "accepted a@example.com",
        "accepted +15551234567",
        "dead malformed_json",
        "accepted +15551234568",
        "accepted b@example.com",
    ];
    assert_eq!(told(adapter, JSON, LINES_BODY), expected);
    check_alone(adapter, JSON, LINES_BODY);
}

#[test]
fn several_recipients_of_one_event() {
    let adapter = adapter(EACH);
    let expected = [
        "bounced_hard a@example.com",
        "bounced_soft b@example.com",
        "bounced_soft c@example.com",
        "dead unreadable_recipient",
    ];
    assert_eq!(told(adapter, JSON, EACH_BODY), expected);
    check_alone(adapter, JSON, EACH_BODY);
    let one = r#"{"event":"complaint","to":"d@example.com"}"#;
    assert_eq!(told(adapter, JSON, one), ["complaint d@example.com"]);
    let many =
        |n: usize| format!(r#"{{"event":"failed","failed":{{"recipients":[{}]}}}}"#, vec!["\"a@b.c\""; n].join(","));
    assert_eq!(told(adapter, JSON, &many(50)).len(), 50);
    assert_eq!(told(adapter, JSON, &many(51)), ["dead too_many_recipients"]);
}

#[test]
fn lists_and_objects_at_a_path() {
    let text = format!("name = \"acme\"\n[body]\nat = \"data.items\"\n{LEAST}");
    let adapter = adapter(&text);
    let check = |body: &str, expected: &[&str]| {
        assert_eq!(told(adapter, JSON, body), expected, "{body}");
        if expected.iter().any(|told| told.starts_with("bounced")) {
            check_alone(adapter, JSON, body);
        }
    };
    let one = r#"{"type":"bounce","to":"a@example.com"}"#;
    check(&format!(r#"{{"data":{{"items":[{one},{one}]}}}}"#), &["bounced_hard a@example.com"; 2]);
    check(&format!(r#"{{"data":{{"items":{one}}}}}"#), &["bounced_hard a@example.com"]);
    check(r#"{"data":{"items":[]}}"#, &[]);
    check(r#"{"data":{"items":null}}"#, &[]);
    check(r#"{"data":{"items":[7,{"type":"bounce"}]}}"#, &["dead not_an_object", "dead missing_recipient"]);
    // What holds no list is an event itself: so does a replayed element look.
    check(one, &["bounced_hard a@example.com"]);
    check(&format!("[{one}]"), &["bounced_hard a@example.com"]);
    check(r#"{"data":{"items":"x"}}"#, &["dead missing_word"]);
    check(r#"{"data":7}"#, &["dead missing_word"]);
    check(r#"{"data":{"items":[}}"#, &["malformed malformed_json: line 1 column 19"]);
    check("", &["malformed empty_body"]);
}

#[test]
fn headers_are_part_of_the_event() {
    use crate::testing::{headers, now, open, post};
    use crate::{Context, Element, Fate, Provider as _};
    let adapter = adapter(ROOT);
    let ids = |delivery: &str, body: &str| {
        let headers = headers(&[("x-event", "gone"), ("x-delivery", delivery)]);
        let request = post("/", &headers, body.as_bytes());
        let source = open(adapter);
        let context = Context { source: &source, received_at: now(), receipt_id: Some("r") };
        let read = |element: &Element<'_>| match adapter.parse(&request, element, &context).remove(0) {
            Fate::Event(event) => event.event_id,
            other => panic!("{other:?}"),
        };
        adapter.elements(&request).unwrap().iter().map(read).collect::<Vec<_>>()
    };
    let same = r#"[{"data":{"to":"a@example.com","n":1}},{"data":{"to":"a@example.com","n":2}}]"#;
    let first = ids("d-1", same);
    assert_ne!(first[0], first[1], "the header's id is that of the request");
    assert_eq!(first, ids("d-1", &same.replace(':', ": ")), "white space is no difference");
    assert_ne!(first, ids("d-2", same));
}
