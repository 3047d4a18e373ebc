//! One account at a provider that is told of suppressions.

use domain::Tenant;
use serde::{Deserialize, Serialize};
use service::Secret;
use std::collections::BTreeMap;

/// `[[account]]`: an account at a provider that is told of suppressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountConfig {
    /// Its name, in metrics, outcomes and the consumer group.
    pub(crate) name: String,
    /// A provider whose lists can be changed: `sendgrid`, `mailgun`, `postmark`, …
    pub(crate) provider: String,
    /// Whose recipients it sends to.
    #[serde(default)]
    pub(crate) tenant: Tenant,
    /// Scheme and host of the API, where it is not the provider's usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base_url: Option<String>,
    /// API key, server token or secret.
    pub(crate) credential: Secret,
    /// The public half of the credential, where it has two (SES, Mailjet, Twilio).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
    /// What comes with a temporary credential (SES).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_token: Option<Secret>,
    /// Region (SES, Scaleway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// The provider's number of the account (Drip, Mailtrap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// Sending domain (Mailgun, Mailtrap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<String>,
    /// The provider's id of the sending domain (MailerSend, Mailtrap, Scaleway).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) domain_id: Option<String>,
    /// Message stream (Postmark, Mailtrap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// Senders that a suppression of more than one sender is written for (Twilio).
    #[serde(default)]
    pub(crate) senders: Vec<String>,
    /// Unsubscribe groups by category (SendGrid).
    #[serde(default)]
    pub(crate) groups: BTreeMap<String, u64>,
    /// Sources whose events come from this very account.
    #[serde(default = "default_sources")]
    pub(crate) sources: Vec<String>,
    /// Scopes it is told; empty is every one.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Least time from one call to the next.
    #[serde(default = "default_spacing_ms")]
    pub(crate) spacing_ms: u64,
    /// Most calls in so many seconds, where it is another than the provider's usual limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<RateLimit>,
    /// Most addresses in a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_max: Option<usize>,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// Plan and record, but call nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Send the `traceparent` of a call's span along, and the trace's `tracestate`.
    #[serde(default)]
    pub(crate) traceparent: bool,
    /// Allow a `base_url` on this machine or a private network. For tests and gateways of your own.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

/// So many calls in so many seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    /// Calls.
    pub(crate) calls: u32,
    /// Seconds.
    pub(crate) seconds: u32,
}

fn default_sources() -> Vec<String> {
    vec!["default".to_owned()]
}

const fn default_spacing_ms() -> u64 {
    200
}

const fn default_timeout_ms() -> u64 {
    10_000
}

impl AccountConfig {
    /// What its lane needs, secrets uncovered.
    pub(crate) fn to_lane(&self) -> syncer::AccountConfig {
        syncer::AccountConfig {
            name: self.name.clone(),
            provider: self.provider.clone(),
            tenant: self.tenant.clone(),
            base_url: self.base_url.clone(),
            credential: self.credential.expose().to_owned(),
            key_id: self.key_id.clone(),
            session_token: self.session_token.as_ref().map(|token| token.expose().to_owned()),
            region: self.region.clone(),
            account: self.account.clone(),
            domain: self.domain.clone(),
            domain_id: self.domain_id.clone(),
            stream: self.stream.clone(),
            senders: self.senders.clone(),
            groups: self.groups.clone(),
            sources: self.sources.clone(),
            scopes: self.scopes.clone(),
            spacing_ms: self.spacing_ms,
            rate_limit: self.rate_limit.map(|limit| syncer::RateLimit { calls: limit.calls, seconds: limit.seconds }),
            batch_max: self.batch_max,
            timeout_ms: self.timeout_ms,
            dry_run: self.dry_run,
        }
    }
}
