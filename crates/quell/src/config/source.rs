//! One endpoint of a provider.

use domain::Tenant;
use providers::SourceSpec;
use serde::{Deserialize, Serialize};
use service::Secret;
use std::collections::BTreeMap;

/// `[[source]]`: one endpoint of a provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// The provider's word.
    pub(crate) provider: String,
    /// Stands in the path, `/webhooks/{provider}/{name}`; `default` is also reached without it.
    #[serde(default = "default_name")]
    pub(crate) name: String,
    /// Whose recipients.
    #[serde(default)]
    pub(crate) tenant: Tenant,
    /// HMAC keys, auth tokens or public keys. Several may be active while one rotates.
    #[serde(default)]
    pub(crate) secrets: Vec<Secret>,
    /// Accepted `user:password` pairs.
    #[serde(default)]
    pub(crate) basic_auth: Vec<Secret>,
    /// Accepted bearer tokens.
    #[serde(default)]
    pub(crate) bearer: Vec<Secret>,
    /// Headers that must be present with these values.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// The URL as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Seconds of freshness where the scheme has a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tolerance: Option<u64>,
    /// Take requests without any proof.
    #[serde(default)]
    pub(crate) unauthenticated: bool,
    /// Only report failed proofs, and take the webhook all the same.
    #[serde(default)]
    pub(crate) shadow: bool,
}

fn default_name() -> String {
    "default".to_owned()
}

impl SourceConfig {
    /// The part that proves requests, secrets uncovered.
    pub(crate) fn spec(&self) -> SourceSpec {
        let uncover = |secrets: &[Secret]| secrets.iter().map(|secret| secret.expose().to_owned()).collect();
        SourceSpec {
            secrets: uncover(&self.secrets),
            basic_auth: uncover(&self.basic_auth),
            bearer: uncover(&self.bearer),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            public_url: self.public_url.clone(),
            tolerance: self.tolerance,
            unauthenticated: self.unauthenticated,
            ..SourceSpec::default()
        }
    }
}
