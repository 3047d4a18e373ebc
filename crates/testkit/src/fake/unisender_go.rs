//! Unisender Go's suppression list: an entry for each cause, and a removal of all that may be removed. The fake's lists are
//! called like the causes.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const CAUSES: [&str; 4] = ["unsubscribed", "temporary_unavailable", "permanent_unavailable", "complained"];
/// By the administration; cannot be removed.
const BLOCKED: &str = "blocked";

fn error(status: u16, code: u32, message: &str) -> Answer {
    Answer::json(status, &json!({ "status": "error", "code": code, "message": message }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, call: &Call) -> Answer {
    if call.header("x-api-key") != api_key {
        return error(401, 102, "Can not decode key, or user is not found");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ("POST", [_, "transactional", "api", "v1", "suppression", verb]) = (call.method.as_str(), path.as_slice())
    else {
        return error(404, 4, "Unsupported method");
    };
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let address = text("email");
    if !is_plausible(address) {
        return error(400, 204, &format!("Email {address} is not valid"));
    }
    let all = || CAUSES.iter().chain(&[BLOCKED]).filter(|cause| lists.get(cause, address).is_some());
    match *verb {
        "set.json" => {
            let Some(cause) = CAUSES.iter().find(|cause| **cause == text("cause")) else {
                return error(400, 3001, "Unknown cause");
            };
            lists.put(cause, address, Origin::Api, cause, &[]);
            Answer::json(200, &json!({ "status": "success" }))
        }
        "get.json" => {
            let entry = |cause: &&str| json!({ "cause": cause, "source": "user", "is_deletable": *cause != BLOCKED });
            let found: Vec<Value> = all().map(entry).collect();
            Answer::json(200, &json!({ "status": "success", "email": address, "suppressions": found }))
        }
        "delete.json" => {
            let held: Vec<&str> = all().copied().collect();
            if held.is_empty() {
                return error(400, 3003, "Email is not in the suppression list");
            }
            if held == [BLOCKED] {
                return error(400, 3004, "Email can not be deleted from the suppression list");
            }
            held.iter().filter(|cause| **cause != BLOCKED).for_each(|cause| {
                lists.remove(cause, address, None);
            });
            Answer::json(200, &json!({ "status": "success" }))
        }
        _ => error(404, 4, "Unsupported method"),
    }
}
