//! SendGrid's suppression endpoints. A call with one malformed address is refused whole.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const CALL_MAX: usize = 1_000;
const OWN: [&str; 4] = ["bounces", "blocks", "spam_reports", "invalid_emails"];

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [{ "field": null, "message": message }] }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, groups: &[u64], call: &Call) -> Answer {
    if call.header("authorization") != format!("Bearer {api_key}") {
        return error(401, "The provided authorization grant is invalid, expired, or revoked");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["v3", "asm", "suppressions", "global", rest @ ..] => opt_outs(lists, "global", rest, call),
        ["v3", "asm", "groups", id, "suppressions", rest @ ..] => match id.parse::<u64>() {
            Ok(id) if groups.contains(&id) => opt_outs(lists, &format!("group/{id}"), rest, call),
            _ => error(404, "group not found"),
        },
        ["v3", "suppression", list, rest @ ..] if OWN.contains(list) => own(lists, list, rest, call),
        _ => error(404, "not found"),
    }
}

/// An error, as [`emails`] returns it.
fn refuse(status: u16, message: &str) -> Box<Answer> {
    Box::new(error(status, message))
}

/// The strings of one field of a JSON body.
fn emails(call: &Call, field: &str) -> Result<Vec<String>, Box<Answer>> {
    if !call.has_json() {
        return Err(refuse(415, "Content-Type should be application/json"));
    }
    let body = call.json().ok_or_else(|| refuse(400, "bad request body: not JSON"))?;
    let Some(Value::Array(items)) = body.get(field) else { return Err(refuse(400, &format!("{field} is required"))) };
    if items.is_empty() || items.len() > CALL_MAX {
        return Err(refuse(400, &format!("{field} must hold 1 to {CALL_MAX} addresses")));
    }
    let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    let texts = texts.ok_or_else(|| refuse(400, &format!("{field} must hold strings")))?;
    match texts.iter().find(|text| !is_plausible(text)) {
        Some(bad) => Err(refuse(400, &format!("{field}: {bad} is not a valid email address"))),
        None => Ok(texts),
    }
}

fn opt_outs(lists: &mut Lists, list: &str, rest: &[&str], call: &Call) -> Answer {
    match (call.method.as_str(), rest) {
        ("POST", []) => match emails(call, "recipient_emails") {
            Ok(taken) => {
                taken.iter().for_each(|address| lists.put(list, address, Origin::Api, "unsubscribe", &[]));
                Answer::json(201, &json!({ "recipient_emails": taken }))
            }
            Err(refusal) => *refusal,
        },
        ("POST", ["search"]) => match emails(call, "recipient_emails") {
            Ok(asked) => {
                let found: Vec<&String> = asked.iter().filter(|address| lists.get(list, address).is_some()).collect();
                Answer::json(200, &json!(found))
            }
            Err(refusal) => *refusal,
        },
        ("DELETE", [address]) => {
            let had = lists.remove(list, address, None);
            if had { Answer::empty(204) } else { error(404, "not found") }
        }
        ("GET", [address]) => match lists.get(list, address) {
            Some(_) => Answer::json(200, &json!({ "recipient_email": address })),
            None => Answer::json(200, &json!({})),
        },
        _ => error(405, "method not allowed"),
    }
}

/// Lists that SendGrid fills alone: they can be read and emptied, not added to.
fn own(lists: &mut Lists, list: &str, rest: &[&str], call: &Call) -> Answer {
    match (call.method.as_str(), rest) {
        ("DELETE", []) => match emails(call, "emails") {
            Ok(addresses) => {
                addresses.iter().for_each(|address| {
                    lists.remove(list, address, None);
                });
                Answer::empty(204)
            }
            Err(refusal) => *refusal,
        },
        ("GET", [address]) => match lists.get(list, address) {
            Some(entry) => Answer::json(200, &json!([{ "email": address, "reason": entry.reason }])),
            None => Answer::json(200, &json!([])),
        },
        _ => error(405, "method not allowed"),
    }
}
