//! Drip's subscribers of one account.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const LIST: &str = "unsubscribed";
/// Only Drip makes somebody so.
const UNDELIVERABLE: &str = "undeliverable";
const CALL_MAX: usize = 1_000;

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [{ "code": code, "message": message }] }))
}

fn subscriber(lists: &Lists, address: &str) -> Answer {
    let status = [UNDELIVERABLE, LIST].iter().find(|list| lists.get(list, address).is_some()).unwrap_or(&"active");
    Answer::json(200, &json!({ "links": {}, "subscribers": [{ "id": "s1", "email": address, "status": status }] }))
}

pub(super) fn answer(lists: &mut Lists, token: &str, account: &str, call: &Call) -> Answer {
    if !call.has_basic(token, "") {
        return error(401, "authentication_error", "Authentication failed, check your credentials");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v2", asked, rest @ ..] = path.as_slice() else { return error(404, "not_found_error", "Not found") };
    if *asked != account {
        return error(403, "authorization_error", "You are not authorized to access this resource");
    }
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    match (call.method.as_str(), rest) {
        ("POST", ["unsubscribes", "batches"]) => unsubscribe(lists, &body),
        ("POST", ["subscribers"]) => {
            let one = body.get("subscribers").and_then(|all| all.get(0)).cloned().unwrap_or_default();
            let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
            let address = text("email");
            if !is_plausible(address) {
                return error(422, "email_error", "Email is invalid");
            }
            lists.meet(address);
            match text("status") {
                "active" => drop(lists.remove(LIST, address, None)),
                LIST => lists.put(LIST, address, Origin::Api, LIST, &[]),
                _ => {}
            }
            subscriber(lists, address)
        }
        ("GET", ["subscribers", address]) => match lists.knows(address) {
            true => subscriber(lists, address),
            false => error(404, "not_found_error", "The resource you requested was not found"),
        },
        _ => error(404, "not_found_error", "Not found"),
    }
}

fn unsubscribe(lists: &mut Lists, body: &Value) -> Answer {
    let batch = body.get("batches").and_then(|all| all.get(0)?.get("subscribers")?.as_array());
    let items = batch.map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() || items.len() > CALL_MAX {
        return error(422, "length_error", "A batch takes 1 to 1000 subscribers");
    }
    let addresses: Vec<&str> =
        items.iter().map(|item| item.get("email").and_then(Value::as_str).unwrap_or_default()).collect();
    if addresses.iter().any(|address| !is_plausible(address)) {
        return error(422, "email_error", "Email is invalid");
    }
    for address in addresses {
        lists.meet(address);
        lists.put(LIST, address, Origin::Api, LIST, &[]);
    }
    Answer::empty(204)
}
