//! Whether what arrived is signed by AWS Signature Version 4, computed from the wire alone.

use super::Call;
use ring::{digest, hmac};

/// Why AWS refuses a signature, in its words; `None` where it is right.
pub(super) fn refusal(call: &Call, now: u64, key_id: &str, secret: &str, region: &str) -> Option<&'static str> {
    const UNSIGNED: &str = "Missing Authentication Token";
    const WRONG: &str = "The request signature we calculated does not match the signature you provided.";
    let Some(told) = call.header("authorization").strip_prefix("AWS4-HMAC-SHA256 ") else { return Some(UNSIGNED) };
    let part = |name: &str| told.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let (scope, names, signature) = (part("Credential"), part("SignedHeaders"), part("Signature"));
    let date = call.header("x-amz-date");
    let Some(day) = date.get(..8) else { return Some(UNSIGNED) };
    if scope.split('/').next() != Some(key_id) {
        return Some("The security token included in the request is invalid.");
    }
    if scope != format!("{key_id}/{day}/{region}/ses/aws4_request") {
        return Some("Credential should be scoped to a valid region.");
    }
    if seconds(date).is_none_or(|at| at.abs_diff(now) > 300) {
        return Some("Signature expired");
    }
    // The host, the time and all that begins with x-amz- have to be signed, and the type of a body.
    let signed: Vec<&str> = names.split(';').collect();
    let mut wanted: Vec<&str> = vec!["host"];
    wanted.extend(call.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-")));
    if !call.body.is_empty() {
        wanted.push("content-type");
    }
    if !signed.is_sorted() || wanted.iter().any(|name| !signed.contains(name)) {
        return Some(WRONG);
    }
    let path = call.path.replace('%', "%25");
    let headers: String = signed.iter().map(|name| format!("{name}:{}\n", call.header(name).trim())).collect();
    let body = hex::encode(digest::digest(&digest::SHA256, &call.body));
    let canonical = format!("{}\n{path}\n{}\n{headers}\n{names}\n{body}", call.method, call.query);
    let canonical = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, "ses", "aws4_request"] {
        key = mac(&key, part);
    }
    let (_, scope) = scope.split_once('/')?;
    let expected = hex::encode(mac(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}")));
    (expected != signature).then_some(WRONG)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// `20150830T123600Z` in seconds since the epoch.
fn seconds(date: &str) -> Option<u64> {
    let at = |range: std::ops::Range<usize>| date.get(range);
    let text = format!("{}-{}-{}T{}:{}:{}Z", at(0..4)?, at(4..6)?, at(6..8)?, at(9..11)?, at(11..13)?, at(13..15)?);
    let at = domain::Timestamp::parse_rfc3339(&text).ok()?;
    u64::try_from(at.as_seconds()).ok()
}
