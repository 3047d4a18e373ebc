//! Amazon SES's suppression list of the account. One entry an address; what is put again has the new reason.

use super::{Answer, Call, Lists, is_plausible, sigv4};
use serde_json::{Value, json};

const LIST: &str = "suppressed";

fn error(status: u16, name: &'static str, message: &str) -> Answer {
    let mut answer = Answer::json(status, &json!({ "message": message }));
    answer.headers.insert("x-amzn-errortype", axum::http::HeaderValue::from_static(name));
    answer
}

pub(super) fn answer(lists: &mut Lists, [key_id, secret, region]: [&str; 3], now: u64, call: &Call) -> Answer {
    if let Some(refusal) = sigv4::refusal(call, now, key_id, secret, region) {
        return error(403, "InvalidSignatureException", refusal);
    }
    let segments = call.segments();
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v2", "email", "suppression", "addresses", rest @ ..] = path.as_slice() else {
        return error(404, "UnknownOperationException", "no such operation");
    };
    let absent = || error(404, "NotFoundException", "Email address does not exist on your suppression list.");
    match (call.method.as_str(), rest) {
        ("PUT", []) => put(lists, call),
        ("GET", [address]) => match lists.get(LIST, address) {
            Some(entry) => {
                let told = json!({ "EmailAddress": address, "Reason": entry.reason, "LastUpdateTime": 1_600_000_000 });
                Answer::json(200, &json!({ "SuppressedDestination": told }))
            }
            None => absent(),
        },
        ("DELETE", [address]) => {
            if lists.remove(LIST, address, None) {
                Answer::json(200, &json!({}))
            } else {
                absent()
            }
        }
        _ => error(405, "UnknownOperationException", "no such operation"),
    }
}

fn put(lists: &mut Lists, call: &Call) -> Answer {
    let bad = |message: &str| error(400, "BadRequestException", message);
    if !call.has_json() {
        return error(415, "UnsupportedMediaTypeException", "application/json is expected");
    }
    let body = call.json().unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (address, reason) = (text("EmailAddress"), text("Reason"));
    if !["BOUNCE", "COMPLAINT"].contains(&reason) {
        return bad("Reason must be one of BOUNCE, COMPLAINT");
    }
    if !is_plausible(address) {
        return bad(&format!("Invalid email address <{address}>."));
    }
    lists.replace(LIST, address, reason);
    Answer::json(200, &json!({}))
}
