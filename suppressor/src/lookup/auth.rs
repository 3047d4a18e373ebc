//! Bearer tokens (RFC 6750): who calls, what they may do, and for which tenant.

use super::{Api, problem::Problem};
use axum::extract::FromRequestParts;
use domain::Tenant;
use http::{header, request::Parts};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// What a token may do. Writing includes reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Check, explain, follow.
    Read,
    /// Suppress and release by hand, replay dead letters.
    Write,
}

/// A configured token.
#[derive(Clone)]
pub struct ApiToken {
    /// Its name, which evidence by hand bears as its source. Never the secret.
    pub name: String,
    /// The secret itself.
    pub secret: String,
    /// What it may do.
    pub role: Role,
    /// Whose recipients it is for; `None` is any tenant's.
    pub tenant: Option<Tenant>,
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, role, tenant, secret: _ } = self;
        f.debug_struct("ApiToken")
            .field("name", name)
            .field("role", role)
            .field("tenant", tenant)
            .finish_non_exhaustive()
    }
}

/// Every token, as a digest: comparing digests takes the same time whatever the length and content of a guess.
#[derive(Debug)]
pub(super) struct Auth {
    tokens: Vec<([u8; 32], Caller)>,
    open: bool,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The token's name.
    pub(super) name: String,
    role: Role,
    tenant: Option<Tenant>,
}

/// A caller that may write.
#[derive(Debug, Clone)]
pub(super) struct Writer(pub(super) Caller);

impl Auth {
    /// A token with an empty secret opens nothing and is left out.
    pub(super) fn new(tokens: &[ApiToken], open: bool) -> Self {
        let caller =
            |token: &ApiToken| Caller { name: token.name.clone(), role: token.role, tenant: token.tenant.clone() };
        let usable = tokens.iter().filter(|token| !token.secret.is_empty());
        Self { tokens: usable.map(|token| (Sha256::digest(&token.secret).into(), caller(token))).collect(), open }
    }

    fn caller(&self, parts: &Parts) -> Result<Caller, Problem> {
        let Some(given) = parts.headers.get(header::AUTHORIZATION) else {
            if self.open {
                return Ok(Caller { name: "open".to_owned(), role: Role::Write, tenant: None });
            }
            return Err(Problem::unauthorized("send Authorization: Bearer TOKEN"));
        };
        let bytes = given.as_bytes();
        let (scheme, secret) = bytes.split_at_checked(7).unwrap_or((bytes, &[]));
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(Problem::unauthorized("the scheme is Bearer: send Authorization: Bearer TOKEN"));
        }
        let digest: [u8; 32] = Sha256::digest(secret.trim_ascii()).into();
        // Every token is compared, also after a match.
        let mut found = None;
        for (known, caller) in &self.tokens {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(|| Problem::unauthorized("this token is not known here"))
    }
}

impl Caller {
    /// Whose recipients a request is about: the token's tenant, else the one asked for, else `default`.
    pub(super) fn tenant(&self, asked: Option<&str>) -> Result<Tenant, Problem> {
        let asked =
            asked.map(|name| Tenant::new(name).map_err(|error| Problem::bad_request(format!("tenant: {error}"))));
        match (&self.tenant, asked.transpose()?) {
            (Some(own), Some(asked)) if *own != asked => {
                Err(Problem::forbidden("the token belongs to another tenant than the one asked for"))
            }
            (Some(own), _) => Ok(own.clone()),
            (None, asked) => Ok(asked.unwrap_or_default()),
        }
    }

    /// The one tenant that the caller may see, where it is bound to one or asks for one; `None` sees all.
    pub(super) fn tenant_filter(&self, asked: Option<&str>) -> Result<Option<Tenant>, Problem> {
        if self.tenant.is_none() && asked.is_none() { Ok(None) } else { self.tenant(asked).map(Some) }
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        api.auth.caller(parts)
    }
}

impl FromRequestParts<Arc<Api>> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let caller = api.auth.caller(parts)?;
        if caller.role < Role::Write {
            return Err(Problem::forbidden("this needs a token with the write role"));
        }
        Ok(Self(caller))
    }
}
