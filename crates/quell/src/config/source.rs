//! One endpoint of a provider.

use domain::Tenant;
use providers::SourceSpec;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
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
    /// SNS topics whose notifications are taken, by ARN.
    #[serde(default)]
    pub(crate) topics: Vec<String>,
    /// The only signing certificates of SNS that are taken, by their URL; without, they are fetched.
    #[serde(default)]
    pub(crate) certificates: BTreeMap<String, Pem>,
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

/// A certificate as PEM. It is no secret: it may stand in the file itself, or be referred to like one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pem(String);

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim_start().starts_with("-----BEGIN ") {
            return Ok(Self(text));
        }
        if !["file:", "env:"].iter().any(|kind| text.starts_with(kind)) {
            let error = "a certificate stands here as PEM, or as a reference to it, \"file:PATH\" or \"env:NAME\"";
            return Err(D::Error::custom(error));
        }
        Secret::follow(&text).map(|found| Self(found.expose().to_owned())).map_err(D::Error::custom)
    }
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
            topics: self.topics.clone(),
            certificates: self.certificates.iter().map(|(url, pem)| (url.clone(), pem.0.clone())).collect(),
            tolerance: self.tolerance,
            unauthenticated: self.unauthenticated,
        }
    }
}
