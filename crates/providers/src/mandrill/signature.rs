//! `X-Mandrill-Signature`: base64 of HMAC-SHA1 under the webhook's key, over the URL as it was entered in Mandrill and each
//! parameter's name and decoded value, names in order.
//!
//! User information in the URL is signed with it. It does not arrive in the request's own URL but as basic authentication,
//! so where the URL known here has none, the one that was given is tried in its place.
//!
//! Source: <https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/>.

use super::FIELD;
use crate::form::{Form, field};
use crate::verify::url::{Parts, signed_url};
use crate::verify::{Signed, hmac};
use crate::{Request, Source};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Where the signature stands.
pub(super) const HEADER: &str = "x-mandrill-signature";
/// The key of the test when a webhook is set up.
const TEST_KEY: &str = "test-webhook";

/// Judges a request's signature.
pub(super) fn signature(request: &Request<'_>, source: &Source, keys: &[String]) -> Signed {
    let given = request.header(HEADER).ok_or("missing_signature")?;
    let tag = hmac::base64_tag::<20>(given).ok_or("malformed_signature")?;
    let urls = urls(request, source);
    if urls.is_empty() {
        return Err("unknown_public_url");
    }
    let parameters = parameters(request)?;
    let matches =
        |keys: &[String]| urls.iter().any(|url| hmac::matches(hmac::SHA1, keys, &[url.as_bytes(), &parameters], &tag));
    if matches(keys) {
        return Ok(None);
    }
    // Anybody can sign with the test's key, and an empty batch is all that it opens the door to.
    let is_test = || field::elements(request.body, FIELD).is_ok_and(|elements| elements.is_empty());
    if is_test() && matches(&[TEST_KEY.to_owned()]) { Ok(None) } else { Err("wrong_signature") }
}

/// The URLs that may have been signed: `public_url` to the letter, the one that was called, and that one with the given
/// credentials in it.
fn urls(request: &Request<'_>, source: &Source) -> Vec<String> {
    let public = source.spec.public_url.as_deref();
    let mut urls: Vec<String> = public.map(str::to_owned).into_iter().collect();
    if let Some(called) = signed_url(request.url, public) {
        urls.extend(with_credentials(request, &called));
        urls.push(called.into_owned());
    }
    urls.dedup();
    urls
}

fn with_credentials(request: &Request<'_>, url: &str) -> Option<String> {
    let (scheme, coded) = request.header("authorization")?.split_once(' ')?;
    let pair = STANDARD.decode(coded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (pair, parts) = (String::from_utf8(pair).ok()?, Parts::of(url)?);
    let has_none = !parts.authority.contains('@') && !pair.is_empty();
    has_none.then(|| format!("{}://{pair}@{}{}", parts.scheme, parts.authority, parts.rest))
}

/// The parameters as they are signed.
fn parameters(request: &Request<'_>) -> Result<Vec<u8>, &'static str> {
    if request.body.is_empty() {
        return Ok(Vec::new());
    }
    let form = Form::urlencoded(request.body).map_err(|_| "malformed_body")?;
    let mut fields: Vec<_> = form.fields().iter().collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    // A second array beside the signed one would be read in its place by some, and not by others.
    if fields.iter().filter(|(name, _)| name.as_ref() == FIELD).count() > 1 {
        return Err("malformed_body");
    }
    let mut signed = Vec::with_capacity(request.body.len());
    for (name, value) in fields {
        signed.extend_from_slice(name);
        signed.extend_from_slice(value);
    }
    Ok(signed)
}
