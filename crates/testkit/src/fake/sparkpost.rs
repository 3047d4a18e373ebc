//! SparkPost's suppression list. A call with malformed addresses writes none and names them; entries of the compliance team
//! stay.

use super::{Answer, Call, Lists, Origin, is_plausible};
use serde_json::{Value, json};

const CALL_MAX: usize = 10_000;
const TYPES: [&str; 2] = ["transactional", "non_transactional"];

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "errors": [{ "message": message }] }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, call: &Call) -> Answer {
    if call.header("authorization") != api_key {
        return error(401, "Unauthorized.");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["api", "v1", "suppression-list", rest @ ..] = path.as_slice() else {
        return error(404, "Resource could not be found");
    };
    match (call.method.as_str(), rest) {
        ("PUT", []) => put(lists, call),
        ("DELETE", [address]) => delete(lists, address, call),
        ("GET", [address]) => {
            let asked = call.parameter("types");
            let found: Vec<Value> = TYPES
                .iter()
                .filter(|kind| asked.as_ref().is_none_or(|asked| asked.split(',').any(|one| one == **kind)))
                .filter_map(|kind| Some((kind, lists.get(kind, address)?)))
                .map(|(kind, entry)| json!({ "recipient": address, "type": kind, "source": entry.reason }))
                .collect();
            match found.is_empty() {
                true => error(404, "Recipient could not be found"),
                false => Answer::json(200, &json!({ "results": found, "links": [], "total_count": found.len() })),
            }
        }
        _ => error(405, "Method not allowed"),
    }
}

fn put(lists: &mut Lists, call: &Call) -> Answer {
    if !call.has_json() {
        return error(415, "Unsupported media type");
    }
    let body = call.json().unwrap_or_default();
    let Some(Value::Array(items)) = body.get("recipients") else { return error(400, "recipients is required") };
    if items.is_empty() || items.len() > CALL_MAX {
        return error(400, "recipients must hold 1 to 10000 entries");
    }
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if items.iter().any(|item| !TYPES.contains(&text(item, "type").as_str())) {
        return error(400, "Type must be one of: 'transactional', 'non_transactional'");
    }
    let bad: Vec<String> =
        items.iter().map(|item| text(item, "recipient")).filter(|address| !is_plausible(address)).collect();
    if !bad.is_empty() {
        let message = format!("PUT body contains {} invalid or malformed recipient(s): {}", bad.len(), bad.join(", "));
        return error(400, &message);
    }
    for item in items {
        lists.put(&text(item, "type"), &text(item, "recipient"), Origin::Api, "Manually Added", &[]);
    }
    Answer::json(200, &json!({ "results": { "message": "Suppression List successfully updated" } }))
}

fn delete(lists: &mut Lists, address: &str, call: &Call) -> Answer {
    let asked = call.json().and_then(|body| Some(body.get("type")?.as_str()?.to_owned()));
    let kinds: Vec<&str> =
        TYPES.into_iter().filter(|kind| asked.as_deref().is_none_or(|asked| asked == *kind)).collect();
    if kinds.iter().any(|kind| lists.get(kind, address).is_some_and(|entry| entry.reason == "Compliance")) {
        return error(403, "Recipient could not be removed - Compliance");
    }
    let mut had = false;
    for kind in kinds {
        had |= lists.remove(kind, address, None);
    }
    if had { Answer::empty(204) } else { error(404, "Recipient could not be found") }
}
