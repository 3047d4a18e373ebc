//! Which mailbox domains have figures of their own.

use crate::metrics::mailboxes::{Mailboxes, registrable};
use anyhow::bail;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Each label makes a series for each provider and kind: more than this, and Prometheus is the worse for it.
const MAILBOXES_MAX: usize = 500;

/// `[metrics]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MetricsConfig {
    /// Mailbox domains that have figures of their own however little comes of them.
    pub(crate) mailboxes: Vec<String>,
    /// How many more earn figures of their own by weight; the rest is `other`.
    pub(crate) mailboxes_max: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { mailboxes: Vec::new(), mailboxes_max: 30 }
    }
}

impl MetricsConfig {
    /// What cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut names = BTreeSet::new();
        for name in &self.mailboxes {
            let is_plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
            if !is_plain || registrable(name) != Some(name) {
                bail!(
                    "metrics.mailboxes: {name:?} is not what stands directly below a public suffix, in lower case: write \
                     \"example.co.uk\", not \"mail.example.co.uk\" or \"co.uk\""
                );
            }
            if !names.insert(name) {
                bail!("metrics.mailboxes: {name:?} stands there twice");
            }
        }
        if self.mailboxes.len() > MAILBOXES_MAX || self.mailboxes_max > MAILBOXES_MAX {
            bail!("metrics.mailboxes and metrics.mailboxes_max: at most {MAILBOXES_MAX} each");
        }
        Ok(())
    }

    /// The groups that follow from it.
    pub(crate) fn groups(&self) -> Mailboxes {
        Mailboxes::new(self.mailboxes.iter().map(String::as_str), self.mailboxes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_group_is_refused() {
        let check = |mailboxes: &[&str], mailboxes_max| {
            let mailboxes = mailboxes.iter().map(|name| (*name).to_owned()).collect();
            MetricsConfig { mailboxes, mailboxes_max }.check().map_err(|error| error.to_string())
        };
        assert_eq!(check(&["gmail.com", "example.co.uk", "xn--mnchen-3ya.de"], 500), Ok(()));
        assert_eq!(check(&[], 0), Ok(()));
        for wrong in ["mail.gmail.com", "co.uk", "com", "Gmail.com", "", "other", "@gmail.com", "münchen.de", "a b.com"]
        {
            assert!(check(&[wrong], 30).unwrap_err().contains("public suffix"), "{wrong}");
        }
        assert!(check(&["gmail.com", "gmail.com"], 30).unwrap_err().contains("twice"));
        assert!(check(&[], 501).unwrap_err().contains("at most 500"));
    }
}
