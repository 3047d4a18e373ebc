//! Mandrill's deny list. One address a call, the key in the body, errors as 500 with a name.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const LIST: &str = "rejects";
/// What is on it cannot be put on the deny list.
const ALLOWED: &str = "allowlist";

fn error(name: &str, code: i32, message: &str) -> Answer {
    Answer::json(500, &json!({ "status": "error", "code": code, "name": name, "message": message }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, call: &Call) -> Answer {
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ("POST", ["api", "1.0", "rejects", verb]) = (call.method.as_str(), path.as_slice()) else {
        return error("Unknown_Method", -1, "No such method");
    };
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("key") != api_key {
        return error("Invalid_Key", -1, "Invalid API key");
    }
    let address = text("email");
    if !is_plausible(address) {
        return error("ValidationError", -2, &format!("Validation error: {address} is not an email address"));
    }
    match *verb {
        "add.json" => {
            let added = lists.get(ALLOWED, address).is_none();
            if added {
                lists.put(LIST, address, Origin::Api, "custom", &[]);
            }
            Answer::json(200, &json!({ "email": address, "added": added }))
        }
        "delete.json" => {
            let deleted = lists.remove(LIST, address, None);
            Answer::json(200, &json!({ "email": address, "deleted": deleted, "subaccount": null }))
        }
        "list.json" => {
            let entry = lists.get(LIST, address);
            let found: Vec<Value> = entry
                .iter()
                .map(|entry| json!({ "email": address, "reason": entry.reason, "expired": false }))
                .collect();
            Answer::json(200, &json!(found))
        }
        _ => error("Unknown_Method", -1, "No such method"),
    }
}
