//! Proofs that a request comes from where it says. Every comparison of a secret takes the same time wherever it differs,
//! and everything malformed is a plain no with a stable tag, never an error.
//!
//! What a source asks for decides: with `secrets` the provider's signature must be right (any active secret may match),
//! and each of `basic_auth`, `bearer` and `headers` that is configured must be given too, alone or on top. A source that
//! asks for nothing is refused, unless it says `unauthenticated`.

pub(crate) mod ecdsa;
pub(crate) mod hmac;
pub(crate) mod jwt;
pub(crate) mod md5;
pub(crate) mod rsa;
pub(crate) mod standard_webhooks;
mod static_secrets;
pub(crate) mod url;
pub(crate) mod x509;

use crate::{Authentication, Request, Source, SourceError, SourceSpec};
use domain::Timestamp;
use subtle::ConstantTimeEq as _;

/// Seconds of freshness where the scheme has a time and the source says nothing.
pub(crate) const TOLERANCE_SECONDS: u64 = 300;

/// A signature's outcome: the token to bind to the body, if the scheme leaves the body out, or a tag for why not.
pub(crate) type Signed = Result<Option<String>, &'static str>;

/// Judges all that a source asks for. `signature` is called only where the source has secrets.
pub(crate) fn judge(
    request: &Request<'_>,
    source: &Source,
    scheme: &'static str,
    signature: impl FnOnce(&[String]) -> Signed,
) -> Authentication {
    let spec = &source.spec;
    // The cheap proofs come first: what fails them costs no cryptography.
    let given = match static_proofs(request, spec) {
        Ok(given) => given,
        Err(refusal) => return refusal,
    };
    if spec.secrets.is_empty() {
        return without_signature(given, spec);
    }
    match signature(&spec.secrets) {
        Ok(token) => Authentication { token, ..Authentication::passed(scheme) },
        Err(reason) => Authentication::refused(scheme, reason),
    }
}

/// Judges the proofs that do not depend on the body: the first scheme that was asked for and given, if any was asked for.
pub(crate) fn static_proofs(request: &Request<'_>, spec: &SourceSpec) -> Result<Option<&'static str>, Authentication> {
    let mut given = None;
    for (scheme, wanted, check) in static_secrets::CHECKS {
        if wanted(spec) {
            check(request, spec).map_err(|reason| Authentication::refused(scheme, reason))?;
            given = given.or(Some(*scheme));
        }
    }
    Ok(given)
}

/// The verdict where no signature is asked for.
pub(crate) fn without_signature(given: Option<&'static str>, spec: &SourceSpec) -> Authentication {
    match given {
        Some(scheme) => Authentication::passed(scheme),
        None if spec.unauthenticated => Authentication::passed("none"),
        None => Authentication::refused("none", "not_configured"),
    }
}

/// The signature of a provider that has none: secrets cannot be asked for.
pub(crate) const fn no_signature(_: &[String]) -> Signed {
    Err("provider_does_not_sign")
}

/// Checks a source of a provider whose webhooks do not come by SNS.
pub(crate) fn check_source(spec: &SourceSpec) -> Result<(), SourceError> {
    check_values(spec)?;
    let error = |text: &str| Err(SourceError(text.to_owned()));
    if !(spec.topics.is_empty() && spec.certificates.is_empty()) {
        return error("`topics` and `certificates` are for webhooks that come by SNS: leave them out");
    }
    if !asks_static(spec) && spec.secrets.is_empty() && !spec.unauthenticated {
        return error(
            "nothing proves its requests: set `secrets`, `basic_auth`, `bearer` or `headers` (or `unauthenticated = true`, if the endpoint is closed off by other means)",
        );
    }
    Ok(())
}

/// Whether a source asks for a proof that does not depend on the body.
pub(crate) fn asks_static(spec: &SourceSpec) -> bool {
    !(spec.basic_auth.is_empty() && spec.bearer.is_empty() && spec.headers.is_empty())
}

/// Checks each value that every provider's source may have.
pub(crate) fn check_values(spec: &SourceSpec) -> Result<(), SourceError> {
    let error = |text: &str| Err(SourceError(text.to_owned()));
    if spec.secrets.iter().any(|secret| secret.trim().is_empty()) {
        return error("`secrets` holds an empty secret: remove it, or check the reference it came from");
    }
    if spec.basic_auth.iter().any(|pair| pair.split_once(':').is_none_or(|(_, password)| password.is_empty())) {
        return error("`basic_auth` holds an entry that is not user:password");
    }
    if spec.bearer.iter().any(|token| token.trim().is_empty()) {
        return error("`bearer` holds an empty token: remove it, or check the reference it came from");
    }
    if spec.headers.iter().any(|(name, value)| value.is_empty() || http::HeaderName::try_from(name.as_str()).is_err()) {
        return error("`headers` holds a name that no header can have, or an empty value");
    }
    Ok(())
}

/// Checks a source of a provider that signs nothing.
pub(crate) fn check_unsigned_source(spec: &SourceSpec, provider: &str) -> Result<(), SourceError> {
    check_source(spec)?;
    match spec.secrets.is_empty() {
        true => Ok(()),
        false => Err(SourceError(format!(
            "{provider} signs nothing: use `basic_auth`, `bearer` or `headers` instead of `secrets`"
        ))),
    }
}

/// Whether a signed time lies within the source's window around now, either way.
pub(crate) fn fresh(seconds: i64, source: &Source, tolerance_default: u64, now: Timestamp) -> bool {
    seconds.abs_diff(now.as_seconds()) <= source.spec.tolerance.unwrap_or(tolerance_default)
}

/// Reads a signed time: whole seconds since the epoch, digits only.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let fine = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fine { text.parse().ok() } else { None }
}

/// Whether two byte strings are the same, in a time that depends on their lengths alone.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
