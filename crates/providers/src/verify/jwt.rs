//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA256 (RFC 7515, `HS256`), as a bearer token beside a body.
//!
//! One algorithm is taken and no other: what the token's header asks for is compared, never obeyed.

use super::{Signed, fresh, hmac, same};
use crate::json::{Object, Value};
use crate::{Element, Request, Source};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Timestamp;
use std::borrow::Cow;

/// Tokens of webhooks have some 500 bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// Judges the bearer token of a request. Its `iat` must be fresh, its `exp` (if any) not past, and its `payload_hash` (if any)
/// the SHA-256 of the body. A token without such a hash leaves the body out, so its signature is handed on to be bound to the
/// first body it came with.
pub(crate) fn bearer(
    request: &Request<'_>,
    source: &Source,
    secrets: &[String],
    tolerance_default: u64,
    now: Timestamp,
) -> Signed {
    let (kind, token) = request.header("authorization").and_then(|text| text.split_once(' ')).ok_or("missing_token")?;
    let token = token.trim();
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("missing_token");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("malformed_token")?;
    let (head, claims) = signed.split_once('.').ok_or("malformed_token")?;
    if token.len() > TOKEN_BYTES_MAX || claims.contains('.') {
        return Err("malformed_token");
    }
    let tag: [u8; 32] = decode(signature)?.try_into().map_err(|_| "malformed_token")?;
    if !hmac::matches(hmac::SHA256, secrets, &[signed.as_bytes()], &tag) {
        return Err("wrong_signature");
    }
    let (head, claims) = (decode(head)?, decode(claims)?);
    let (head, claims) = (object(&head)?, object(&claims)?);
    if head.text("alg").as_deref() != Some("HS256") {
        return Err("wrong_algorithm");
    }
    let seconds = |name: &str| claims.get(name).and_then(Value::seconds).map(Timestamp::as_seconds);
    let issued = seconds("iat").ok_or("missing_timestamp")?;
    if !fresh(issued, source, tolerance_default, now) {
        return Err("stale");
    }
    let leeway = i64::try_from(source.spec.tolerance.unwrap_or(tolerance_default)).unwrap_or(i64::MAX);
    if seconds("exp").is_some_and(|end| end.saturating_add(leeway) < now.as_seconds()) {
        return Err("stale");
    }
    match claims.text("payload_hash") {
        Some(hash) if hashes(request.body, &hash) => Ok(None),
        Some(_) => Err("wrong_body_hash"),
        // The decoded tag: base64 may be written in more than one way.
        None => Ok(Some(hex::encode(tag))),
    }
}

fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).map_err(|_| "malformed_token")
}

fn object(bytes: &[u8]) -> Result<Object<'_>, &'static str> {
    Object::read(&Element { index: 0, bytes }).map_err(|_| "malformed_token")
}

/// Whether a hash in hex is that of the body as sent, or of the body without the white space between its parts, as senders
/// hash what they then lay out.
fn hashes(body: &[u8], hash: &str) -> bool {
    let Some(given) = hmac::hex_tag::<32>(hash) else { return false };
    let matches = |bytes: &[u8]| same(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref(), &given);
    matches(body) || matches(&compact(body))
}

fn compact(json: &[u8]) -> Cow<'_, [u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let mut kept = Vec::with_capacity(json.len());
    for byte in json {
        if !quoted && byte.is_ascii_whitespace() {
            continue;
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        kept.push(*byte);
    }
    Cow::Owned(kept)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ring::hmac as ring_hmac;

    /// A token of a header and claims.
    pub(crate) fn token(secret: &str, head: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let key = ring_hmac::Key::new(ring_hmac::HMAC_SHA256, secret.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(ring_hmac::sign(&key, signed.as_bytes())))
    }

    /// The SHA-256 of a body, in hex.
    pub(crate) fn hash(body: &str) -> String {
        hex::encode(ring::digest::digest(&ring::digest::SHA256, body.as_bytes()))
    }

    #[test]
    fn white_space_between_parts_is_no_part() {
        let check = |laid: &str, compacted: &str| assert_eq!(compact(laid.as_bytes()), compacted.as_bytes());
        check("{ \"a b\" : [ 1,\r\n 2 ] }", "{\"a b\":[1,2]}");
        check(r#"{ "a\" b" : "\\" , "c d":1 }"#, r#"{"a\" b":"\\","c d":1}"#);
        assert!(hashes(b"{ \"a\": 1 }", &hash("{\"a\":1}")) && !hashes(b"{ \"a\": 1 }", &hash("{\"a\":2}")));
    }
}
