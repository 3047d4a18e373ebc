//! A source: one configured endpoint of a provider.

use domain::Tenant;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a source's requests are authenticated, as an operator writes it. Secrets stand here resolved: `env:` and `file:`
/// references are followed by whoever reads the configuration.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// HMAC keys, auth tokens or public keys, as the provider shows them. Several may be active while one rotates.
    pub secrets: Vec<String>,
    /// Accepted `user:password` pairs of HTTP basic authentication.
    pub basic_auth: Vec<String>,
    /// Accepted bearer tokens.
    pub bearer: Vec<String>,
    /// Headers that must be present with these values.
    pub headers: BTreeMap<String, String>,
    /// The URL as the provider calls it, where a proxy changes what arrives here. Needed where the URL is signed.
    pub public_url: Option<String>,
    /// SNS topic ARNs to accept.
    pub topics: Vec<String>,
    /// SNS signing certificates by URL, as PEM.
    pub certificates: BTreeMap<String, String>,
    /// Seconds of freshness where the scheme has a time.
    pub tolerance: Option<u64>,
    /// Take requests without any proof. Never by default.
    pub unauthenticated: bool,
}

impl std::fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceSpec").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

/// A source whose authentication cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A configured endpoint, ready to authenticate and parse.
#[derive(Debug, Clone)]
pub struct Source {
    /// The provider's word, e.g. `sendgrid`.
    pub provider: &'static str,
    /// The source's name; `default` where the path names none.
    pub name: String,
    /// Whose recipients these are.
    pub tenant: Tenant,
    /// How its requests prove themselves.
    pub spec: SourceSpec,
}
