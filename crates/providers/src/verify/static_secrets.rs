//! Proofs that do not depend on the body: HTTP basic authentication (RFC 7617), bearer tokens (RFC 6750), fixed headers.

use super::same;
use crate::{Request, SourceSpec};
use base64::{Engine as _, engine::general_purpose::STANDARD};

type Wanted = fn(&SourceSpec) -> bool;
type Check = fn(&Request<'_>, &SourceSpec) -> Result<(), &'static str>;

/// Each kind of proof: its scheme, whether a source asks for it, and the check.
pub(super) const CHECKS: &[(&str, Wanted, Check)] = &[
    ("basic", |spec| !spec.basic_auth.is_empty(), basic),
    ("bearer", |spec| !spec.bearer.is_empty(), bearer),
    ("headers", |spec| !spec.headers.is_empty(), headers),
];

fn basic(request: &Request<'_>, spec: &SourceSpec) -> Result<(), &'static str> {
    let given = credentials(request, "basic").ok_or("missing_credentials")?;
    let given = STANDARD.decode(given).map_err(|_| "malformed_credentials")?;
    any_of(&given, &spec.basic_auth).ok_or("wrong_credentials")
}

fn bearer(request: &Request<'_>, spec: &SourceSpec) -> Result<(), &'static str> {
    let given = credentials(request, "bearer").ok_or("missing_credentials")?;
    any_of(given.as_bytes(), &spec.bearer).ok_or("wrong_credentials")
}

fn headers(request: &Request<'_>, spec: &SourceSpec) -> Result<(), &'static str> {
    let mut right = true;
    for (name, value) in &spec.headers {
        let given = request.header(name).ok_or("missing_header")?;
        right &= same(given.as_bytes(), value.as_bytes());
    }
    if right { Ok(()) } else { Err("wrong_header") }
}

/// Compares with every secret, so that the time does not tell which one matched.
fn any_of(given: &[u8], secrets: &[String]) -> Option<()> {
    let matched =
        secrets.iter().fold(false, |found, secret| found | (!secret.is_empty() && same(given, secret.as_bytes())));
    matched.then_some(())
}

fn credentials<'a>(request: &Request<'a>, scheme: &str) -> Option<&'a str> {
    let (given, rest) = request.header("authorization")?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}
