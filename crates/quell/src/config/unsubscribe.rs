//! Links for unsubscribing by one click.

use anyhow::{Context as _, bail};
use domain::Tenant;
use ingest_gateway::Configured;
use providers::{
    Provider as _, Source, SourceSpec,
    one_click::{self, KeyError, OneClick},
};
use serde::{Deserialize, Serialize};
use service::Secret;

/// Least days that a link must hold: United States law (15 U.S.C. 7704(a)(3)) wants 30 after the message was sent.
const VALID_DAYS_MIN: u64 = 30;

/// `[unsubscribe]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnsubscribeConfig {
    /// Scheme and host of the gateway as the world reaches it.
    pub(crate) base_url: String,
    /// Days for which a link is taken; without, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) valid_days: Option<u64>,
    /// The first seals the links that `quell unsubscribe-link` makes; links of any are taken.
    #[serde(rename = "key")]
    pub(crate) keys: Vec<KeyConfig>,
}

/// `[[unsubscribe.key]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyConfig {
    /// Stands in every link.
    pub(crate) id: String,
    /// At least 32 characters.
    pub(crate) secret: Secret,
}

impl UnsubscribeConfig {
    /// What cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let url: http::Uri = self.base_url.parse().with_context(|| format!("base_url {:?}", self.base_url))?;
        let is_local = ["localhost", "127.0.0.1", "[::1]"].contains(&url.host().unwrap_or_default());
        let is_root = matches!(url.path(), "" | "/") && url.query().is_none();
        match url.scheme_str() {
            Some("https") if is_root => {}
            Some("http") if is_root && is_local => {}
            _ => bail!(
                "base_url must be https://HOST without a path, as RFC 8058 takes no other (http://localhost is for tests)"
            ),
        }
        if self.valid_days.is_some_and(|days| days < VALID_DAYS_MIN) {
            bail!("valid_days must be at least {VALID_DAYS_MIN}: people unsubscribe from messages of last month");
        }
        if let Some(key) = self.keys.iter().find(|key| key.id.contains(':')) {
            bail!("key {:?}: {}", key.id, KeyError::Id);
        }
        OneClick.check_source(&self.spec())?;
        Ok(())
    }

    /// The keys as their provider takes them, secrets uncovered.
    pub(crate) fn spec(&self) -> SourceSpec {
        SourceSpec {
            secrets: self.keys.iter().map(|key| format!("{}:{}", key.id, key.secret.expose())).collect(),
            tolerance: self.valid_days.map(|days| days.saturating_mul(86_400)),
            ..SourceSpec::default()
        }
    }

    /// The gateway's endpoint.
    pub(crate) fn configured(&self) -> Configured {
        let source = Source {
            provider: one_click::NAME,
            name: "default".to_owned(),
            // Whose recipient it is stands in each token.
            tenant: Tenant::default(),
            spec: self.spec(),
        };
        Configured { provider: &OneClick, source, shadow: false }
    }

    /// A token's URL.
    pub(crate) fn url(&self, token: &str) -> String {
        format!("{}{}{token}", self.base_url.trim_end_matches('/'), one_click::PATH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base_url: &str, valid_days: Option<u64>, keys: &[(&str, &str)]) -> Result<(), String> {
        let keys = keys.iter().map(|(id, secret)| KeyConfig { id: (*id).to_owned(), secret: Secret::new(*secret) });
        let config = UnsubscribeConfig { base_url: base_url.to_owned(), valid_days, keys: keys.collect() };
        config.check().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_cannot_work_is_said() {
        let key = ("2026a", "a-secret-of-more-than-thirty-two-bytes");
        for fine in ["https://mail.example.com", "https://mail.example.com/", "http://localhost:8080"] {
            assert_eq!(check(fine, Some(30), &[key]), Ok(()));
        }
        for wrong in ["", "mail.example.com", "http://mail.example.com", "https://mail.example.com/x", "https://a/?b"] {
            assert!(check(wrong, None, &[key]).unwrap_err().contains("base_url"), "{wrong}");
        }
        let says = |days, keys: &[(&str, &str)], part: &str| {
            let error = check("https://mail.example.com", days, keys).unwrap_err();
            assert!(error.contains(part) && !error.contains("a-secret"), "{error}");
        };
        says(Some(7), &[key], "valid_days");
        says(None, &[], "[[unsubscribe.key]]");
        says(None, &[key, key], "two keys");
        says(None, &[("2026a", "short")], "too short");
        says(None, &[("2026:a", "a-secret-of-more-than-thirty-two-bytes")], "a key's id");
        says(None, &[("Upper", "a-secret-of-more-than-thirty-two-bytes")], "a key's id");
    }
}
