//! `quell.raw.v1`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One verified HTTP request, exactly as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawWebhook {
    /// Its receipt.
    pub receipt_id: String,
    /// Which provider.
    pub provider: String,
    /// Which source.
    pub source: String,
    /// Whose.
    pub tenant: String,
    /// Microseconds since the epoch.
    pub received_at: i64,
    /// HTTP method.
    pub method: String,
    /// URL as the provider called it, as far as known.
    pub url: String,
    /// Allow-listed headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Exact body bytes.
    #[serde(with = "apache_avro::serde::bytes")]
    pub body: Vec<u8>,
    /// The scheme that proved it, or `none`.
    pub verified: String,
    /// Taken although a proof failed, as the source only reports.
    pub shadow: bool,
}

super::wire!(RawWebhook, "RawWebhook", 1, "raw_webhook.avsc");
