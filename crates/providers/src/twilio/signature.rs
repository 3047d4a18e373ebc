//! `X-Twilio-Signature`: base64 of HMAC-SHA1 under the account's auth token (primary or secondary).
//!
//! Signed is the URL exactly as Twilio called it, with user information and query, and for a form each parameter's name and
//! value: names in byte order, of one name each distinct value, sorted. A JSON body is signed by its SHA-256, which Twilio
//! appends to the query as `bodySHA256`.
//!
//! Twilio is not of one mind on ports and apostrophes, and its own libraries try the variants: the URL as it is, without
//! its port, with the standard one; `'` for `%27` and the other way round.
//!
//! Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-security>.

use crate::form::{Form, is_form};
use crate::verify::url::{Parts, signed_url, split_query};
use crate::verify::{Signed, hmac, same};
use crate::{Request, Source};
use std::borrow::Cow;

/// Judges a request's signature.
pub(super) fn signature(request: &Request<'_>, source: &Source, tokens: &[String]) -> Signed {
    let given = request.header("x-twilio-signature").ok_or("missing_signature")?;
    let tag = hmac::base64_tag::<20>(given).ok_or("malformed_signature")?;
    let url = signed_url(request.url, source.spec.public_url.as_deref()).ok_or("unknown_public_url")?;
    let parameters = if is_form(request) { parameters(request)? } else { Vec::new() };
    if !is_form(request) {
        body_matches(request.body, &url)?;
    }
    let matched =
        variants(&url).any(|variant| hmac::matches(hmac::SHA1, tokens, &[variant.as_bytes(), &parameters], &tag));
    if matched { Ok(None) } else { Err("wrong_signature") }
}

/// The spellings under which Twilio may have signed a URL, the likeliest first; six at most.
fn variants(url: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let ports = Parts::of(url).into_iter().flat_map(|parts| {
        let bare = parts.without_port();
        let port = if parts.scheme == "https" { 443 } else { 80 };
        let without = (bare != parts.authority).then(|| format!("{}://{bare}{}", parts.scheme, parts.rest));
        let with = format!("{}://{bare}:{port}{}", parts.scheme, parts.rest);
        without.into_iter().chain([with]).map(Cow::Owned)
    });
    std::iter::once(Cow::Borrowed(url)).chain(ports).flat_map(|spelled| {
        let other = if spelled.contains('\'') {
            Some(spelled.replace('\'', "%27"))
        } else if spelled.contains("%27") {
            Some(spelled.replace("%27", "'"))
        } else {
            None
        };
        std::iter::once(spelled).chain(other.map(Cow::Owned))
    })
}

/// The parameters as they are signed.
fn parameters(request: &Request<'_>) -> Result<Vec<u8>, &'static str> {
    if request.body.is_empty() {
        return Ok(Vec::new());
    }
    let form = Form::read(request).map_err(|_| "malformed_body")?;
    let mut fields: Vec<(&[u8], &[u8])> =
        form.fields().iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    fields.sort_unstable();
    fields.dedup();
    let mut signed = Vec::with_capacity(request.body.len());
    for (name, value) in fields {
        signed.extend_from_slice(name);
        signed.extend_from_slice(value);
    }
    Ok(signed)
}

/// Whether the hash in the signed query is that of the body.
fn body_matches(body: &[u8], url: &str) -> Result<(), &'static str> {
    let (_, query) = split_query(url);
    let mut hashes = query.trim_start_matches('?').split('&').filter_map(|pair| pair.strip_prefix("bodySHA256="));
    let (Some(given), None) = (hashes.next(), hashes.next()) else { return Err("missing_body_hash") };
    let given = hmac::hex_tag::<32>(given).ok_or("malformed_body_hash")?;
    let hash = ring::digest::digest(&ring::digest::SHA256, body);
    if same(hash.as_ref(), &given) { Ok(()) } else { Err("wrong_body_hash") }
}
