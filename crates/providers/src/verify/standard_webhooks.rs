//! Standard Webhooks (<https://www.standardwebhooks.com>), version `v1`: HMAC-SHA256 over `id.timestamp.body`.
//!
//! Headers are `webhook-id`, `webhook-timestamp` and `webhook-signature`, or the same with `svix-`. The signature header is
//! a list separated by spaces, so that a sender can rotate its key; other versions in it are passed over.

use super::{Signed, TOLERANCE_SECONDS, fresh, hmac, seconds};
use crate::{Request, Source, SourceError, SourceSpec};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domain::Timestamp;

/// The headers of a signed request, by either name.
pub(crate) const HEADERS: &[&str] =
    &["webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-timestamp", "svix-signature"];

/// Secrets are passed around with and without their padding, and with stray bits where it was cut off.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// Signatures looked at in one header; a sender that rotates has two.
const SIGNATURES_MAX: usize = 16;

/// The key of a secret: base64, with or without `whsec_` before it. An empty key is none.
pub(crate) fn key(secret: &str) -> Option<Vec<u8>> {
    let text = secret.trim();
    let key = LENIENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
    (!key.is_empty()).then_some(key)
}

/// Checks a source whose secrets are keys of this scheme.
pub(crate) fn check_source(spec: &SourceSpec) -> Result<(), SourceError> {
    super::check_source(spec)?;
    match spec.secrets.iter().all(|secret| key(secret).is_some()) {
        true => Ok(()),
        false => Err(SourceError(
            "`secrets` holds text that is no Standard Webhooks secret: write base64, with or without whsec_ before it"
                .to_owned(),
        )),
    }
}

/// Judges a request's signature.
pub(crate) fn signature(request: &Request<'_>, source: &Source, secrets: &[String], now: Timestamp) -> Signed {
    let header =
        |standard, svix| request.header(standard).or_else(|| request.header(svix)).filter(|text| !text.is_empty());
    let given = header("webhook-signature", "svix-signature").ok_or("missing_signature")?;
    let id = header("webhook-id", "svix-id").ok_or("missing_id")?;
    let time = header("webhook-timestamp", "svix-timestamp").ok_or("missing_timestamp")?;
    let sent = seconds(time).ok_or("malformed_timestamp")?;
    if !fresh(sent, source, TOLERANCE_SECONDS, now) {
        return Err("stale");
    }
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", request.body];
    let keys: Vec<Vec<u8>> = secrets.iter().filter_map(|secret| key(secret)).collect();
    let tags = given.split(' ').take(SIGNATURES_MAX).filter_map(|one| hmac::base64_tag::<32>(one.strip_prefix("v1,")?));
    for tag in tags {
        if keys.iter().any(|key| hmac::matches_key(hmac::SHA256, key, &parts, &tag)) {
            return Ok(None);
        }
    }
    Err("wrong_signature")
}
