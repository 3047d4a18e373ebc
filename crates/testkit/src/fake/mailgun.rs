//! Mailgun's suppression endpoints. A 400 refuses a whole array and does not say which entry is wrong.

use super::{Answer, Call, Lists, Origin, is_plausible};
use base64::Engine as _;
use serde_json::{Value, json};

const CALL_MAX: usize = 1_000;

fn message(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "message": text }))
}

pub(super) fn answer(lists: &mut Lists, api_key: &str, domains: &[String], call: &Call) -> Answer {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("api:{api_key}"));
    if call.header("authorization") != format!("Basic {pair}") {
        return message(401, "Forbidden");
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v3", domain, kind @ ("bounces" | "complaints" | "unsubscribes"), rest @ ..] = path.as_slice() else {
        return message(404, "page not found");
    };
    if !domains.iter().any(|known| known == domain) {
        return message(404, "Domain not found");
    }
    let list = format!("{domain}/{kind}");
    match (call.method.as_str(), rest) {
        ("POST", []) => add(lists, &list, kind, call),
        ("DELETE", [address]) => {
            let had = lists.remove(&list, address, call.parameter("tag").as_deref());
            if had { message(200, "Entry has been removed") } else { message(404, "Address not found") }
        }
        ("GET", [address]) => match lists.get(&list, address) {
            Some(entry) => Answer::json(200, &json!({ "address": address, "tags": entry.tags })),
            None => message(404, "Address not found"),
        },
        _ => message(405, "method not allowed"),
    }
}

fn add(lists: &mut Lists, list: &str, kind: &str, call: &Call) -> Answer {
    if !call.has_json() {
        return message(400, "unexpected content type");
    }
    let Some(Value::Array(entries)) = call.json() else { return message(400, "expected a JSON array") };
    if entries.is_empty() || entries.len() > CALL_MAX {
        return message(400, "Batch size should be between 1 and 1000");
    }
    let tags = |entry: &Value| -> Vec<String> {
        let given = entry.get("tags").and_then(Value::as_array);
        given.map_or_else(
            || vec!["*".to_owned()],
            |tags| tags.iter().filter_map(|tag| Some(tag.as_str()?.to_owned())).collect(),
        )
    };
    let addresses: Option<Vec<&str>> = entries.iter().map(|entry| entry.get("address")?.as_str()).collect();
    match addresses {
        Some(addresses) if addresses.iter().all(|address| is_plausible(address)) => {
            for (address, entry) in addresses.iter().zip(&entries) {
                let tags = if kind == "unsubscribes" { tags(entry) } else { Vec::new() };
                lists.put(list, address, Origin::Api, kind, &tags);
            }
            message(200, &format!("{} addresses have been added to the {kind} table", entries.len()))
        }
        Some(_) | None => message(400, "Invalid format. Expecting a valid address"),
    }
}
