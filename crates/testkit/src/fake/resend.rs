//! Resend's suppression endpoints. A call with one malformed address is refused whole.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const LIST: &str = "suppressions";
const CALL_MAX: usize = 100;

fn error(status: u16, name: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "statusCode": status, "name": name, "message": message }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, call: &Call) -> Answer {
    if call.header("authorization") != format!("Bearer {api_key}") {
        return error(401, "missing_api_key", "Missing API Key");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), path.as_slice()) {
        ("POST", [LIST, "batch", "add"]) => add(lists, call),
        ("GET", [LIST, address]) => match lists.get(LIST, address) {
            Some(entry) => Answer::json(
                200,
                &json!({ "object": "suppression", "id": id(address), "email": address, "origin": entry.reason }),
            ),
            None => error(404, "not_found", "Suppression not found"),
        },
        ("DELETE", [LIST, address]) => {
            let had = lists.remove(LIST, address, None);
            let told = json!({ "object": "suppression", "id": id(address), "deleted": true });
            if had { Answer::json(200, &told) } else { error(404, "not_found", "Suppression not found") }
        }
        _ => error(405, "method_not_allowed", "Method is not allowed for the requested path"),
    }
}

fn id(address: &str) -> String {
    format!("id-of-{}", address.replace('@', "-"))
}

fn add(lists: &mut Lists, call: &Call) -> Answer {
    if !call.has_json() {
        return error(415, "invalid_content_type", "Content-Type must be application/json");
    }
    let body = call.json().unwrap_or_default();
    let Some(Value::Array(items)) = body.get("emails") else {
        return error(422, "missing_required_field", "Missing `emails` field");
    };
    if items.is_empty() || items.len() > CALL_MAX {
        return error(422, "validation_error", "`emails` must hold 1 to 100 addresses");
    }
    let addresses: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    match addresses {
        Some(addresses) if addresses.iter().all(|address| is_plausible(address)) => {
            addresses.iter().for_each(|address| lists.put(LIST, address, Origin::Api, "manual", &[]));
            let told: Vec<Value> =
                addresses.iter().map(|address| json!({ "object": "suppression", "id": id(address) })).collect();
            Answer::json(201, &json!({ "data": told }))
        }
        Some(_) | None => error(422, "validation_error", "Invalid `emails` field"),
    }
}
