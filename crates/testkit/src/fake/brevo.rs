//! Brevo's contacts, and its own blocklist of transactional email.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const CONTACTS: &str = "contacts";
const BLOCKED: &str = "blocked_contacts";

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, call: &Call) -> Answer {
    if call.header("api-key") != api_key {
        return error(401, "unauthorized", "Key not found");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (call.method.as_str(), path.as_slice()) {
        ("POST", ["v3", "contacts"]) => create(lists, call),
        ("PUT", ["v3", "contacts", address]) => {
            if !lists.knows(address) {
                return error(404, "document_not_found", "Contact does not exist");
            }
            let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
            let Some(blocked) = body.get("emailBlacklisted").and_then(Value::as_bool) else {
                return error(400, "missing_parameter", "nothing to update");
            };
            set(lists, address, blocked);
            Answer::empty(204)
        }
        ("GET", ["v3", "contacts", address]) => match lists.knows(address) {
            true => {
                let blocked = lists.get(CONTACTS, address).is_some();
                Answer::json(200, &json!({ "email": address, "id": 1, "emailBlacklisted": blocked }))
            }
            false => error(404, "document_not_found", "Contact does not exist"),
        },
        ("DELETE", ["v3", "smtp", "blockedContacts", address]) => match lists.remove(BLOCKED, address, None) {
            true => Answer::empty(204),
            false => error(404, "document_not_found", "Contact not found in the blocklist"),
        },
        _ => error(404, "not_found", "no such route"),
    }
}

fn set(lists: &mut Lists, address: &str, blocked: bool) {
    lists.meet(address);
    if blocked {
        lists.put(CONTACTS, address, Origin::Api, "emailBlacklisted", &[]);
    } else {
        lists.remove(CONTACTS, address, None);
    }
}

fn create(lists: &mut Lists, call: &Call) -> Answer {
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let address = body.get("email").and_then(Value::as_str).unwrap_or_default();
    if !is_plausible(address) {
        return error(400, "invalid_parameter", &format!("Invalid email address {address}"));
    }
    let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or_default();
    let is_known = lists.knows(address);
    if is_known && !flag("updateEnabled") {
        return error(400, "duplicate_parameter", "Contact already exist");
    }
    set(lists, address, flag("emailBlacklisted"));
    if is_known { Answer::empty(204) } else { Answer::json(201, &json!({ "id": 1 })) }
}
