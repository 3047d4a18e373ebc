//! Alarms without Prometheus.

use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};
use service::Secret;

/// `[alarms]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AlarmsConfig {
    /// Whether the process looks at its own figures.
    pub(crate) enabled: bool,
    /// Seconds from one look to the next.
    pub(crate) every_s: u64,
    /// More suppressions in an hour raise an alarm.
    pub(crate) suppressions_per_hour: u64,
    /// Where alarms are posted; without, they stand in the log, on the admin port and in the metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Active secrets: each signs.
    pub(crate) secrets: Vec<Secret>,
    /// Allow plain HTTP, and a `url` on this machine or a private network.
    pub(crate) allow_private: bool,
}

impl Default for AlarmsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            every_s: 15,
            suppressions_per_hour: 100,
            url: None,
            secrets: Vec::new(),
            allow_private: false,
        }
    }
}

impl AlarmsConfig {
    /// What cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if !(1..=300).contains(&self.every_s) || self.suppressions_per_hour == 0 {
            bail!("alarms.every_s must be 1 to 300, and alarms.suppressions_per_hour at least 1");
        }
        if let Some(url) = &self.url {
            notifier::subscriber::check_url(url, self.allow_private).map_err(|why| anyhow!("alarms: {why}"))?;
            self.signer()?;
        }
        Ok(())
    }

    /// Signs what is posted.
    pub(crate) fn signer(&self) -> anyhow::Result<notifier::Signer> {
        let secrets: Vec<&str> = self.secrets.iter().map(Secret::expose).collect();
        notifier::Signer::new(&secrets).map_err(|error| anyhow!("alarms: {error}"))
    }
}
