//! Postmark's suppression endpoints. Every address has a result of its own; complaints stay.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const CALL_MAX: usize = 50;

fn error(status: u16, code: u32, message: &str) -> Answer {
    Answer::json(status, &json!({ "ErrorCode": code, "Message": message }))
}

pub(super) fn answer(lists: &mut Lists, token: &str, streams: &[String], call: &Call) -> Answer {
    if call.header("x-postmark-server-token") != token {
        return error(401, 10, "Request does not contain a valid Server token.");
    }
    if !call.header("accept").contains("application/json") {
        return error(422, 405, "The Accept header must be application/json.");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["message-streams", stream, "suppressions", rest @ ..] = path.as_slice() else {
        return error(404, 404, "Not found.");
    };
    if !streams.iter().any(|known| known == stream) {
        return error(422, 1226, "The message stream for the provided 'ID' was not found.");
    }
    match (call.method.as_str(), rest) {
        ("POST", []) => change(lists, stream, call, |lists, address| {
            lists.put(stream, address, Origin::Api, "ManualSuppression", &[]);
            ("Suppressed", None)
        }),
        ("POST", ["delete"]) => change(lists, stream, call, |lists, address| {
            if lists.get(stream, address).is_some_and(|entry| entry.reason == "SpamComplaint") {
                return ("Failed", Some("You do not have the required authority to change this suppression."));
            }
            lists.remove(stream, address, None);
            ("Deleted", None)
        }),
        ("GET", ["dump"]) => {
            let asked = call.parameter("EmailAddress");
            let found: Vec<Value> = lists
                .addresses(stream)
                .iter()
                .filter(|address| asked.as_ref().is_none_or(|asked| asked.eq_ignore_ascii_case(address)))
                .map(|address| json!({ "EmailAddress": address }))
                .collect();
            Answer::json(200, &json!({ "Suppressions": found }))
        }
        _ => error(405, 405, "Method not allowed."),
    }
}

type Change<'a> = (&'a str, Option<&'a str>);

fn change(lists: &mut Lists, stream: &str, call: &Call, one: impl Fn(&mut Lists, &str) -> Change<'static>) -> Answer {
    if !call.has_json() {
        return error(422, 402, "Invalid JSON: the Content-Type header must be application/json.");
    }
    let body = call.json().unwrap_or_default();
    let Some(Value::Array(items)) = body.get("Suppressions") else {
        return error(422, 402, &format!("Invalid JSON: no Suppressions for the stream {stream}."));
    };
    if items.len() > CALL_MAX {
        return error(422, 1300, "The maximum number of suppressions in one request is 50.");
    }
    let results: Vec<Value> = items
        .iter()
        .map(|item| {
            let address = item.get("EmailAddress").and_then(Value::as_str).unwrap_or_default();
            let (status, message) = if is_plausible(address) {
                one(lists, address)
            } else {
                ("Failed", Some("An invalid email address was provided."))
            };
            json!({ "EmailAddress": address, "Status": status, "Message": message })
        })
        .collect();
    Answer::json(200, &json!({ "Suppressions": results }))
}
