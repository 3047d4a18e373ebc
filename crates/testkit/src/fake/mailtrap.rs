//! Mailtrap's suppressions: an entry an address, domain and stream, with an id. The fake's lists are called `DOMAIN/STREAM`.

use super::{
    Answer, Call, Lists,
    call::{id_of, of_id},
    is_plausible,
};
use serde_json::{Value, json};

const STREAMS: [&str; 2] = ["transactional", "bulk"];
const TYPES: [&str; 4] = ["hard bounce", "unsubscription", "spam complaint", "manual import"];

fn invalid(field: &str, message: &str) -> Answer {
    Answer::json(422, &json!({ "errors": { field: [message] } }))
}

/// `domains` are names with their numbers.
pub(super) fn answer(lists: &mut Lists, token: &str, domains: &[(String, u64)], call: &Call) -> Answer {
    if call.header("authorization") != format!("Bearer {token}") {
        return Answer::json(401, &json!({ "error": "Incorrect API token" }));
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let rest = match path.as_slice() {
        ["api", "suppressions", rest @ ..] | ["api", "accounts", _, "suppressions", rest @ ..] => rest,
        _ => return Answer::json(404, &json!({ "error": "Not Found" })),
    };
    match (call.method.as_str(), rest) {
        ("POST", []) => add(lists, domains, call),
        ("GET", []) => {
            let Some(address) = call.parameter("email") else {
                return Answer::json(400, &json!({ "error": "this fake lists nobody unasked" }));
            };
            let places = domains.iter().flat_map(|(domain, _)| STREAMS.map(|stream| (domain, stream)));
            let found: Vec<Value> =
                places.filter_map(|(domain, stream)| entry(lists, domain, stream, &address)).collect();
            Answer::json(200, &json!(found))
        }
        ("DELETE", [id]) => match of_id(id).filter(|(list, address)| lists.remove(list, address, None)) {
            Some((_, address)) => Answer::json(200, &json!({ "id": id, "email": address })),
            None => Answer::json(404, &json!({ "error": "Not Found" })),
        },
        _ => Answer::json(404, &json!({ "error": "Not Found" })),
    }
}

fn entry(lists: &Lists, domain: &str, stream: &str, address: &str) -> Option<Value> {
    let list = format!("{domain}/{stream}");
    let entry = lists.get(&list, address)?;
    Some(json!({
        "id": id_of(&list, address), "email": address, "domain_name": domain, "sending_stream": stream,
        "type": entry.reason, "created_at": "2026-01-20T14:32:15Z",
    }))
}

fn add(lists: &mut Lists, domains: &[(String, u64)], call: &Call) -> Answer {
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (address, stream, kind) = (text("email"), text("sending_stream"), text("type"));
    let id = body.get("domain_id").and_then(Value::as_u64);
    let Some((domain, _)) = domains.iter().find(|(_, known)| Some(*known) == id) else {
        return invalid("domain", "can't be blank");
    };
    if !STREAMS.contains(&stream) {
        return invalid("sending_stream", "is invalid. Allowed values: transactional, bulk.");
    }
    if !TYPES.contains(&kind) {
        return invalid("type", "is invalid");
    }
    if !is_plausible(address) {
        return invalid("email", &format!("{address} is invalid"));
    }
    let list = format!("{domain}/{stream}");
    if lists.get(&list, address).is_some() {
        return invalid("email", "has already been taken");
    }
    lists.replace(&list, address, kind);
    Answer::json(201, &json!({ "data": entry(lists, domain, stream, address) }))
}
