//! Twilio's consents. Every item has a result of its own. The fake's lists are the senders, and hold who opted out.

use super::{Answer, Call, Lists, Origin};
use serde_json::{Value, json};

const CALL_MAX: usize = 25;

fn error(status: u16, code: u32, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": code, "message": message, "status": status }))
}

/// E.164: a plus and at most 15 digits.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

pub(super) fn answer(lists: &mut Lists, [key_id, secret]: [&str; 2], senders: &[String], call: &Call) -> Answer {
    if !call.has_basic(key_id, secret) {
        return error(401, 20_003, "Authenticate");
    }
    if (call.method.as_str(), call.path.as_str()) != ("POST", "/v1/Consents/Bulk") {
        return error(404, 20_404, "The requested resource was not found");
    }
    if call.header("content-type") != "application/x-www-form-urlencoded" {
        return error(415, 20_000, "Unsupported media type");
    }
    let items: Vec<Value> = call.form("Items").iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
    if items.is_empty() || items.len() > CALL_MAX {
        return error(400, 20_001, "Items must hold 1 to 25 consents");
    }
    let told: Vec<Value> = items.iter().map(|item| one(lists, senders, item)).collect();
    Answer::json(200, &json!({ "items": told }))
}

fn one(lists: &mut Lists, senders: &[String], item: &Value) -> Value {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let (number, sender, id) = (text("contact_id"), text("sender_id"), text("correlation_id"));
    let mut wrong: Vec<&str> = Vec::new();
    let mut refuse = |is_wrong: bool, name| {
        if is_wrong {
            wrong.push(name)
        }
    };
    refuse(id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()), "INVALID_CORRELATION_ID");
    refuse(!senders.iter().any(|known| known == sender), "INVALID_SENDER_ID");
    refuse(!is_number(number), "INVALID_CONTACT_ID");
    refuse(!["opt-in", "opt-out"].contains(&text("status")), "INVALID_STATUS");
    let sources = ["website", "offline", "opt-in-message", "opt-out-message", "others"];
    refuse(!sources.contains(&text("source")), "INVALID_SOURCE");
    if wrong.is_empty() {
        if text("status") == "opt-out" {
            lists.put(sender, number, Origin::Api, "opt-out", &[]);
        } else {
            lists.remove(sender, number, None);
        }
    }
    let code = if wrong.is_empty() { 0 } else { 30_646 };
    json!({ "correlation_id": id, "error_code": code, "error_messages": wrong })
}
