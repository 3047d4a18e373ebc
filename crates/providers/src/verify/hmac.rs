//! HMAC (RFC 2104) over SHA-1 and SHA-256.

use super::{Signed, same};
use crate::Request;
use ring::hmac;

pub(crate) use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY as SHA1, HMAC_SHA256 as SHA256};

/// Whether a tag is that of the parts, one after the other, under any of the secrets.
pub(crate) fn matches(algorithm: hmac::Algorithm, secrets: &[String], parts: &[&[u8]], tag: &[u8]) -> bool {
    secrets.iter().any(|secret| !secret.is_empty() && matches_key(algorithm, secret.as_bytes(), parts, tag))
}

/// The same for one key of bytes.
pub(crate) fn matches_key(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for part in parts {
        context.update(part);
    }
    same(context.sign().as_ref(), tag)
}

/// Decodes a tag of `N` bytes from hex, of either case.
pub(crate) fn hex_tag<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut tag = [0; N];
    hex::decode_to_slice(text, &mut tag).ok()?;
    Some(tag)
}

/// Decodes a tag of `N` bytes (up to 48) from padded base64.
pub(crate) fn base64_tag<const N: usize>(text: &str) -> Option<[u8; N]> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut buffer = [0; 64];
    let length = STANDARD.decode_slice(text, &mut buffer).ok()?;
    buffer.get(..length)?.try_into().ok()
}

/// Judges a header that holds HMAC-SHA256 over the raw body, in hex of either case.
pub(crate) fn hex_of_body(request: &Request<'_>, secrets: &[String], header: &str) -> Signed {
    let given = request.header(header).ok_or("missing_signature")?;
    let tag = hex_tag::<32>(given).ok_or("malformed_signature")?;
    if matches(SHA256, secrets, &[request.body], &tag) { Ok(None) } else { Err("wrong_signature") }
}
