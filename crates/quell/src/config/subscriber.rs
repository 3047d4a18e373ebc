//! One subscriber that is told of changes by webhook.

use domain::{Reason, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use service::Secret;

/// `[[subscriber]]`: an endpoint that is told of changes by webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriberConfig {
    /// Its name, in metrics, dead letters and the consumer group.
    pub(crate) name: String,
    /// Where webhooks go.
    pub(crate) url: String,
    /// Active secrets: each signs.
    pub(crate) secrets: Vec<Secret>,
    /// Only this tenant's deltas; without, every tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Tenant>,
    /// Only deltas that begin, change or end a suppression for one of these reasons; empty is every one.
    #[serde(default)]
    pub(crate) reasons: Vec<Reason>,
    /// Only deltas decided at this time or later; without, from the oldest that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Most deltas of a webhook.
    #[serde(default = "default_batch_max")]
    pub(crate) batch_max: usize,
    /// Most webhooks in flight.
    #[serde(default = "default_in_flight_max")]
    pub(crate) in_flight_max: usize,
    /// Longest wait for an answer.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// How long a delta is offered before it becomes a dead letter.
    #[serde(default = "default_retry_hours")]
    pub(crate) retry_hours: u64,
    /// Send the `traceparent` of a post's span along, and the trace's `tracestate`.
    #[serde(default)]
    pub(crate) traceparent: bool,
    /// Allow plain HTTP, and a `url` on this machine or a private network.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

const fn default_batch_max() -> usize {
    1
}

const fn default_in_flight_max() -> usize {
    8
}

const fn default_timeout_ms() -> u64 {
    10_000
}

const fn default_retry_hours() -> u64 {
    72
}

impl SubscriberConfig {
    /// What its lanes need, secrets uncovered.
    pub(crate) fn to_lane(&self) -> notifier::SubscriberConfig {
        notifier::SubscriberConfig {
            name: self.name.clone(),
            url: self.url.clone(),
            secrets: self.secrets.iter().map(|secret| secret.expose().to_owned()).collect(),
            tenant: self.tenant.clone(),
            reasons: self.reasons.clone(),
            since: self.since,
            batch_max: self.batch_max,
            in_flight_max: self.in_flight_max,
            timeout_ms: self.timeout_ms,
            retry_hours: self.retry_hours,
            traceparent: self.traceparent,
            allow_private: self.allow_private,
        }
    }
}
