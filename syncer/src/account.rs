//! One configured account of a provider.

use domain::{Scope, Tenant, Trigger};
use providers::suppression_api::{APIS, Action, ApiSettings, SuppressionApi, suppression_api};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// An account as an operator writes it. The credential stands here resolved: `env:` and `file:` references are followed by
/// whoever reads the configuration.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// Its name, in metrics, outcomes and the consumer group: 1 to 63 of `a-z 0-9 . _ -`.
    pub name: String,
    /// A provider whose lists can be changed: `sendgrid`, `mailgun`, `postmark`, …
    pub provider: String,
    /// Whose recipients it sends to; deltas of others do not concern it.
    #[serde(default)]
    pub tenant: Tenant,
    /// Scheme and host of the API, where it is not the provider's usual one.
    #[serde(default)]
    pub base_url: Option<String>,
    /// API key, server token or secret.
    pub credential: String,
    /// The public half of the credential, where it has two (SES, Mailjet, Twilio).
    #[serde(default)]
    pub key_id: Option<String>,
    /// What comes with a temporary credential (SES).
    #[serde(default)]
    pub session_token: Option<String>,
    /// Region (SES, Scaleway).
    #[serde(default)]
    pub region: Option<String>,
    /// The provider's number of the account (Drip, Mailtrap).
    #[serde(default)]
    pub account: Option<String>,
    /// Sending domain (Mailgun, Mailtrap).
    #[serde(default)]
    pub domain: Option<String>,
    /// The provider's id of the sending domain (MailerSend, Mailtrap, Scaleway).
    #[serde(default)]
    pub domain_id: Option<String>,
    /// Message stream (Postmark, Mailtrap).
    #[serde(default)]
    pub stream: Option<String>,
    /// Senders that a suppression of more than one sender is written for (Twilio).
    #[serde(default)]
    pub senders: Vec<String>,
    /// Unsubscribe groups by category (SendGrid).
    #[serde(default)]
    pub groups: BTreeMap<String, u64>,
    /// Sources of the same provider whose events come from this very account (domain, stream): what they tell need not be
    /// told back. List a source only if all its events are this account's.
    #[serde(default = "default_sources")]
    pub sources: Vec<String>,
    /// Which scopes the account is told: of `all`, `non_critical`, `marketing`, `category`. Empty is every one.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Least time from one call to the next, in milliseconds.
    #[serde(default = "default_spacing_ms")]
    pub spacing_ms: u64,
    /// The account's rate limit, where it is another than the provider's usual one.
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
    /// Most addresses in a call, where it is to be less than the provider takes.
    #[serde(default)]
    pub batch_max: Option<usize>,
    /// Longest wait for an answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Plan and record, but call nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// So many calls in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls, at least 1.
    pub calls: u32,
    /// Seconds, at least 1.
    pub seconds: u32,
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

impl std::fmt::Debug for AccountConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountConfig")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("tenant", &self.tenant)
            .field("base_url", &self.base_url)
            .field("credential", &"***")
            .field("key_id", &self.key_id)
            .field("session_token", &self.session_token.as_ref().map(|_| "***"))
            .field("region", &self.region)
            .field("account", &self.account)
            .field("domain", &self.domain)
            .field("domain_id", &self.domain_id)
            .field("stream", &self.stream)
            .field("senders", &self.senders)
            .field("groups", &self.groups)
            .field("sources", &self.sources)
            .field("scopes", &self.scopes)
            .field("spacing_ms", &self.spacing_ms)
            .field("rate_limit", &self.rate_limit)
            .field("batch_max", &self.batch_max)
            .field("timeout_ms", &self.timeout_ms)
            .field("dry_run", &self.dry_run)
            .finish()
    }
}

/// An account that cannot work as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account {name:?}: {detail}")]
pub struct AccountError {
    /// The account.
    pub name: String,
    /// What to change.
    pub detail: String,
}

/// An account, checked, with its provider's knowledge.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Whose recipients.
    pub tenant: Tenant,
    /// How it is reached.
    pub settings: ApiSettings,
    /// Its provider's knowledge.
    pub lists: &'static dyn SuppressionApi,
    /// Sources that are this account's.
    pub sources: Vec<String>,
    /// Scopes it is told; empty is every one.
    pub scopes: Vec<String>,
    /// Least time between calls.
    pub spacing: Duration,
    /// Its rate limit.
    pub rate_limit: Option<RateLimit>,
    /// Most addresses in a call.
    pub batch_max: Option<usize>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Calls nothing.
    pub dry_run: bool,
}

impl Account {
    /// Checks a configuration.
    pub fn new(config: AccountConfig) -> Result<Self, AccountError> {
        let name = config.name.clone();
        let fail = |detail: String| AccountError { name: name.clone(), detail };
        // The same letters as a tenant's name: safe in metrics, topics and groups.
        if Tenant::new(&config.name).is_err() {
            return Err(fail("`name` must be 1 to 63 of a-z 0-9 . _ - beginning with a letter or digit".to_owned()));
        }
        let known = || APIS.iter().map(|api| api.provider()).collect::<Vec<_>>().join(", ");
        let lists = suppression_api(&config.provider).ok_or_else(|| {
            fail(format!("`provider` {:?} has no suppression API here; use one of {}", config.provider, known()))
        })?;
        let base_url = config.base_url.unwrap_or_else(|| lists.base_url().to_owned());
        let region = config.region.as_deref().unwrap_or_default().trim();
        let base_url = base_url.trim_end_matches('/').replace("{region}", region);
        if !base_url.starts_with("https://") && !base_url.starts_with("http://") {
            return Err(fail("`base_url` must begin with https:// (or http:// for a test)".to_owned()));
        }
        if let Some(odd) =
            config.scopes.iter().find(|s| !["all", "non_critical", "marketing", "category"].contains(&s.as_str()))
        {
            return Err(fail(format!("`scopes` holds {odd:?}; use all, non_critical, marketing, category")));
        }
        if config.rate_limit.is_some_and(|limit| limit.calls == 0 || limit.seconds == 0) {
            return Err(fail("`rate_limit` needs calls and seconds of at least 1".to_owned()));
        }
        if config.batch_max == Some(0) || config.timeout_ms == 0 {
            return Err(fail("`batch_max` and `timeout_ms` must be at least 1".to_owned()));
        }
        let settings = ApiSettings {
            base_url,
            credential: config.credential,
            key_id: config.key_id,
            session_token: config.session_token,
            region: config.region,
            account: config.account,
            domain: config.domain,
            domain_id: config.domain_id,
            stream: config.stream,
            senders: config.senders,
            groups: config.groups,
        };
        lists.check(&settings).map_err(|error| fail(error.0))?;
        Ok(Self {
            name: config.name,
            tenant: config.tenant,
            settings,
            lists,
            sources: config.sources,
            scopes: config.scopes,
            spacing: Duration::from_millis(config.spacing_ms),
            rate_limit: config.rate_limit,
            batch_max: config.batch_max,
            timeout: Duration::from_millis(config.timeout_ms),
            dry_run: config.dry_run,
        })
    }

    /// The consumer group of its lane.
    pub fn group(&self) -> String {
        format!("quell.syncer.{}", self.name)
    }

    /// The rate limit of such calls: what the operator says, or else what the provider documents.
    pub fn rate(&self, action: Action) -> Option<RateLimit> {
        let documented = || self.lists.rate(action);
        self.rate_limit.or_else(|| documented().map(|rate| RateLimit { calls: rate.calls, seconds: rate.seconds }))
    }

    /// Whether the account is told of this scope.
    pub fn is_told(&self, scope: &Scope) -> bool {
        let word = match scope {
            Scope::All => "all",
            Scope::NonCritical => "non_critical",
            Scope::Marketing => "marketing",
            Scope::Category(_) | Scope::Sender(_) => "category",
        };
        self.scopes.is_empty() || self.scopes.iter().any(|told| told == word)
    }

    /// Whether this account told us of the event and its provider suppresses for such an event by itself.
    pub fn told_us(&self, trigger: &Trigger) -> bool {
        trigger.provider == self.lists.provider()
            && self.sources.contains(&trigger.source)
            && self.lists.suppresses_by_itself(trigger.kind)
    }
}
