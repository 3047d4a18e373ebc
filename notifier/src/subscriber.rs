//! One configured subscriber.

use crate::{SecretError, Signer, Way};
use domain::{Delta, Reason, Tenant, Timestamp};
use std::{fmt, time::Duration};

const HOUR: Duration = Duration::from_secs(3_600);
/// Deltas are kept for 30 days: what is repeated for longer could be gone before it is given up.
const RETRY_HOURS_MAX: u64 = 28 * 24;
/// A stage that is silent for minutes loses its partitions.
const TIMEOUT_MS_MAX: u64 = 60_000;
const BATCH_MAX: usize = 250;
const IN_FLIGHT_MAX: usize = 64;

/// A subscriber as an operator writes it. The secrets stand here resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriberConfig {
    /// Its name, in metrics, dead letters and the consumer group: 1 to 63 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Where webhooks go.
    pub url: String,
    /// Active secrets, each `whsec_BASE64`.
    pub secrets: Vec<String>,
    /// Only this tenant's deltas; without, every tenant's.
    pub tenant: Option<Tenant>,
    /// Only deltas of which what was or what is now has one of these reasons; empty is every one.
    pub reasons: Vec<Reason>,
    /// Only deltas decided at this time or later.
    pub since: Option<Timestamp>,
    /// Most deltas of a webhook.
    pub batch_max: usize,
    /// Most webhooks in flight; one a recipient in any case.
    pub in_flight_max: usize,
    /// Longest wait for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// How long a delta is offered before it becomes a dead letter.
    pub retry_hours: u64,
    /// Whether the trace of a post is told to the endpoint.
    pub traceparent: bool,
    /// Whether plain HTTP and inner addresses are allowed.
    pub allow_private: bool,
}

impl fmt::Debug for SubscriberConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A subscriber that cannot work as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subscriber {name:?}: {detail}")]
pub struct SubscriberError {
    /// The subscriber.
    pub name: String,
    /// What to change.
    pub detail: String,
}

/// A subscriber, checked.
#[derive(Clone)]
pub struct Subscriber {
    /// Its name.
    pub name: String,
    pub(crate) url: String,
    pub(crate) signer: Signer,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) batch_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) traceparent: bool,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its URL may hold a token.
        f.debug_struct("Subscriber").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Checks a configuration.
    pub fn new(config: SubscriberConfig) -> Result<Self, SubscriberError> {
        let name = config.name.clone();
        let fail = |detail: &str| Err(SubscriberError { name: name.clone(), detail: detail.to_owned() });
        // The same letters as a tenant's name: safe in metrics and groups.
        if Tenant::new(&config.name).is_err() {
            return fail("`name` must be 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit");
        }
        if let Err(detail) = check_url(&config.url, config.allow_private) {
            return fail(detail);
        }
        if !(1..=BATCH_MAX).contains(&config.batch_max) || !(1..=IN_FLIGHT_MAX).contains(&config.in_flight_max) {
            return fail("`batch_max` must be 1 to 250, and `in_flight_max` 1 to 64");
        }
        if !(100..=TIMEOUT_MS_MAX).contains(&config.timeout_ms) {
            return fail("`timeout_ms` must be 100 to 60000");
        }
        if !(1..=RETRY_HOURS_MAX).contains(&config.retry_hours) {
            return fail("`retry_hours` must be 1 to 672: deltas are kept for 30 days");
        }
        let signer = Signer::new(&config.secrets)
            .map_err(|error: SecretError| SubscriberError { name: name.clone(), detail: error.to_string() })?;
        Ok(Self {
            name: config.name,
            url: config.url,
            signer,
            tenant: config.tenant,
            reasons: config.reasons,
            since: config.since,
            batch_max: config.batch_max,
            in_flight_max: if config.batch_max > 1 { 1 } else { config.in_flight_max },
            timeout: Duration::from_millis(config.timeout_ms),
            retry_for: HOUR * u32::try_from(config.retry_hours).unwrap_or(u32::MAX),
            traceparent: config.traceparent,
        })
    }

    /// The consumer group of one of its lanes.
    pub fn group(&self, way: Way) -> String {
        match way {
            Way::Deltas => format!("quell.notifier.{}", self.name),
            Way::Redeliveries => format!("quell.redeliver.{}", self.name),
        }
    }

    /// Why a delta does not concern it, as a stable tag.
    pub(crate) fn passes_over(&self, delta: &Delta) -> Option<&'static str> {
        let has = |standing: &Option<domain::Standing>| {
            standing.as_ref().is_some_and(|standing| self.reasons.contains(&standing.reason))
        };
        if self.tenant.as_ref().is_some_and(|tenant| *tenant != delta.key.tenant) {
            Some("other_tenant")
        } else if self.since.is_some_and(|since| delta.decided_at < since) {
            Some("before_since")
        } else if !self.reasons.is_empty() && !has(&delta.before) && !has(&delta.now) {
            Some("other_reason")
        } else {
            None
        }
    }
}

/// Whether webhooks may go there. Deltas hold addresses: they go over TLS, except to ourselves.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), &'static str> {
    let parsed: http::Uri = url.parse().map_err(|_| "`url` cannot be read; write https://HOST/PATH")?;
    match (parsed.scheme_str(), parsed.host()) {
        (Some("https"), Some(_)) => Ok(()),
        (Some("http"), Some(_)) if allow_private => Ok(()),
        (Some("http"), Some(_)) => {
            Err("`url` must begin with https://, as deltas hold addresses; plain http:// needs `allow_private`")
        }
        _ => Err("`url` must be https://HOST/PATH"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_https_unless_inner_addresses_are_allowed() {
        assert_eq!(check_url("https://crm.example.com/hooks?token=1", false), Ok(()));
        assert_eq!(check_url("http://127.0.0.1:8000/", true), Ok(()));
        for wrong in ["", "crm.example.com", "http://crm.example.com/", "ftp://crm.example.com", "https://"] {
            assert!(check_url(wrong, false).is_err(), "{wrong}");
        }
    }
}
