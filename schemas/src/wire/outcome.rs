//! `quell.outcomes.v1`.

use serde::{Deserialize, Serialize};

/// What a provider answered to a delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Outcome")]
pub struct OutcomeRecord {
    /// The delta that asked for it.
    pub delta_id: String,
    /// Whose.
    pub tenant: String,
    /// How the recipient is reached.
    pub channel: String,
    /// The recipient.
    pub recipient: String,
    /// The lane: one configured account of a provider.
    pub account: String,
    /// Its provider.
    pub provider: String,
    /// `suppress`, `release` or `none`.
    pub action: String,
    /// `done`, `skipped`, `refused` or `failed`.
    pub result: String,
    /// Which of the provider's lists.
    pub list: Option<String>,
    /// Why skipped, or what the provider said; no address in it.
    pub detail: Option<String>,
    /// Calls it took.
    pub attempts: i32,
    /// Microseconds since the epoch.
    pub at: i64,
}

super::wire!(OutcomeRecord, "Outcome", 6, "outcome.avsc");
