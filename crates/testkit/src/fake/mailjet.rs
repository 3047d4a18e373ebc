//! Mailjet's contacts. A change of what nobody knows is a 404, one that changes nothing a 304.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const LIST: &str = "exclusion";

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "ErrorInfo": "", "ErrorMessage": message, "StatusCode": status }))
}

fn contact(lists: &Lists, address: &str, status: u16) -> Answer {
    let excluded = lists.get(LIST, address).is_some();
    let entry = json!({ "ID": 1, "Email": address, "IsExcludedFromCampaigns": excluded, "IsSpamComplaining": false });
    Answer::json(status, &json!({ "Count": 1, "Data": [entry], "Total": 1 }))
}

/// The flag is taken as a boolean or as its text.
fn flag(body: &Value) -> Option<bool> {
    let flag = body.get("IsExcludedFromCampaigns")?;
    flag.as_bool().or_else(|| flag.as_str()?.parse().ok())
}

pub(super) fn answer(lists: &mut Lists, key_id: &str, secret: &str, call: &Call) -> Answer {
    if !call.has_basic(key_id, secret) {
        return error(401, "API key authentication/authorization failure.");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v3", "REST", "contact", rest @ ..] = path.as_slice() else { return error(404, "Object not found") };
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    match (call.method.as_str(), rest) {
        ("POST", []) => {
            let address = body.get("Email").and_then(Value::as_str).unwrap_or_default();
            if !is_plausible(address) {
                return error(400, &format!("MJ08 Invalid email address: {address}"));
            }
            if lists.knows(address) {
                return error(400, &format!("MJ18 A Contact resource with value {address} for Email already exists."));
            }
            lists.meet(address);
            if flag(&body) == Some(true) {
                lists.put(LIST, address, Origin::Api, "excluded", &[]);
            }
            contact(lists, address, 201)
        }
        ("PUT", [address]) => match (lists.knows(address), flag(&body)) {
            (false, _) => error(404, "Object not found"),
            (true, None) => error(400, "IsExcludedFromCampaigns is missing"),
            (true, Some(wanted)) if wanted == lists.get(LIST, address).is_some() => Answer::empty(304),
            (true, Some(true)) => {
                lists.put(LIST, address, Origin::Api, "excluded", &[]);
                contact(lists, address, 200)
            }
            (true, Some(false)) => {
                lists.meet(address);
                lists.remove(LIST, address, None);
                contact(lists, address, 200)
            }
        },
        ("GET", [address]) if lists.knows(address) => contact(lists, address, 200),
        ("GET", [_]) => error(404, "Object not found"),
        _ => error(405, "Method not allowed"),
    }
}
