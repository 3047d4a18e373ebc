//! MailerSend's suppression lists of one domain. Entries have ids, and a list has pages.

use super::{
    Answer, Call, Lists, Origin,
    call::{id_of, of_id},
    is_plausible,
};
use serde_json::{Value, json};

const LISTS: [&str; 3] = ["hard-bounces", "spam-complaints", "unsubscribes"];
/// The real one takes more than this fake's largest test would need.
const CALL_MAX: usize = 100;

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message, "errors": {} }))
}

pub(super) fn answer(lists: &mut Lists, token: &str, domain_id: &str, call: &Call) -> Answer {
    if call.header("authorization") != format!("Bearer {token}") {
        return error(401, "Unauthenticated.");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v1", "suppressions", list] = path.as_slice() else { return error(404, "Not found.") };
    let Some(list) = LISTS.iter().find(|known| *known == list) else { return error(404, "Not found.") };
    let body = if call.has_json() { call.json().unwrap_or_default() } else { Value::Null };
    let asked = call.parameter("domain_id");
    let asked = asked.as_deref().or_else(|| body.get("domain_id").and_then(Value::as_str));
    if asked != Some(domain_id) {
        return error(422, "The selected domain id is invalid.");
    }
    match call.method.as_str() {
        "GET" => page(lists, list, call),
        "POST" => add(lists, list, &body),
        "DELETE" => {
            let Some(ids) = body.get("ids").and_then(Value::as_array) else {
                return error(422, "The ids field is required when all is not present.");
            };
            for (from, address) in ids.iter().filter_map(Value::as_str).filter_map(of_id) {
                lists.remove(&from, &address, None);
            }
            Answer::json(200, &json!({}))
        }
        _ => error(405, "Method not allowed."),
    }
}

fn page(lists: &Lists, list: &str, call: &Call) -> Answer {
    let number = |name: &str| call.parameter(name).and_then(|text| text.parse::<usize>().ok());
    let (limit, page) = (number("limit").unwrap_or(25), number("page").unwrap_or(1));
    if !(10..=100).contains(&limit) || page == 0 {
        return error(422, "The limit must be between 10 and 100.");
    }
    let addresses = lists.addresses(list);
    let (from, until) = ((page - 1) * limit, page * limit);
    let shown = addresses.iter().skip(from).take(limit);
    let data: Vec<Value> =
        shown.map(|address| json!({ "id": id_of(list, address), "recipient": { "email": address } })).collect();
    let next = (until < addresses.len()).then(|| format!("https://api.mailersend.com/v1?page={}", page + 1));
    Answer::json(200, &json!({ "data": data, "links": { "next": next }, "meta": { "current_page": page } }))
}

fn add(lists: &mut Lists, list: &str, body: &Value) -> Answer {
    let items = body.get("recipients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() || items.len() > CALL_MAX {
        return error(422, "The recipients field must have between 1 and 100 items.");
    }
    let addresses: Vec<&str> = items.iter().map(|item| item.as_str().unwrap_or_default()).collect();
    if let Some(bad) = addresses.iter().find(|address| !is_plausible(address)) {
        return error(422, &format!("The recipient {bad} must be a valid email address."));
    }
    if addresses.iter().any(|address| lists.get(list, address).is_some()) {
        return error(422, "The recipient is already on the list.");
    }
    addresses.iter().for_each(|address| lists.put(list, address, Origin::Api, list, &[]));
    let data: Vec<Value> = addresses.iter().map(|address| json!({ "id": id_of(list, address) })).collect();
    Answer::json(200, &json!({ "data": data }))
}
