//! Scaleway's blocklist of one domain. Entries have ids; an address that is there already is a conflict.

use super::{
    Answer, Call, Lists, Origin,
    call::{id_of, of_id},
    is_plausible,
};
use serde_json::{Value, json};

const LIST: &str = "blocklist";
const CALL_MAX: usize = 100;

fn error(status: u16, kind: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "type": kind, "message": message }))
}

pub(super) fn answer(lists: &mut Lists, [secret, region, domain_id]: [&str; 3], call: &Call) -> Answer {
    if call.header("x-auth-token") != secret {
        return error(401, "denied_authentication", "authentication is denied");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["transactional-email", "v1alpha1", "regions", asked, "blocklists", rest @ ..] = path.as_slice() else {
        return error(404, "not_found", "resource is not found");
    };
    if *asked != region {
        return error(404, "unknown_resource", "no such region");
    }
    match (call.method.as_str(), rest) {
        ("POST", []) => add(lists, domain_id, call),
        ("GET", []) => {
            let is_here = call.parameter("domain_id").is_none_or(|asked| asked == domain_id);
            let address = call.parameter("email").unwrap_or_default();
            let found: Vec<Value> =
                lists.get(LIST, &address).filter(|_| is_here).iter().map(|_| entry(&address)).collect();
            Answer::json(200, &json!({ "total_count": found.len(), "blocklists": found }))
        }
        ("DELETE", [id]) => match of_id(id).is_some_and(|(list, address)| lists.remove(&list, &address, None)) {
            true => Answer::empty(204),
            false => error(404, "not_found", "resource is not found"),
        },
        _ => error(405, "method_not_allowed", "method not allowed"),
    }
}

fn entry(address: &str) -> Value {
    json!({ "id": id_of(LIST, address), "email": address, "type": "mailbox_not_found", "custom": true })
}

fn add(lists: &mut Lists, domain_id: &str, call: &Call) -> Answer {
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("domain_id") != domain_id {
        return error(404, "not_found", "domain is not found");
    }
    if !["mailbox_full", "mailbox_not_found"].contains(&text("type")) {
        return error(400, "invalid_arguments", "type is invalid");
    }
    let items = body.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let addresses: Vec<&str> = items.iter().map(|item| item.as_str().unwrap_or_default()).collect();
    if addresses.is_empty() || addresses.len() > CALL_MAX || !addresses.iter().all(|address| is_plausible(address)) {
        return error(400, "invalid_arguments", "emails are invalid");
    }
    if addresses.iter().any(|address| lists.get(LIST, address).is_some()) {
        return error(409, "conflict", "an address is on the blocklist already");
    }
    addresses.iter().for_each(|address| lists.put(LIST, address, Origin::Api, "mailbox_not_found", &[]));
    let made: Vec<Value> = addresses.iter().map(|address| entry(address)).collect();
    Answer::json(200, &json!({ "blocklists": made }))
}
