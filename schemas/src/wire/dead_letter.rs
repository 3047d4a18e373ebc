//! `quell.dead-letter.v1`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A record, or one element of a webhook, that could not be processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The stage that gave it up.
    pub stage: String,
    /// A stable tag.
    pub reason: String,
    /// What was wrong, safe to show.
    pub detail: String,
    /// Topic of the source record.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Number of its position.
    pub offset: i64,
    /// Index of the bad element, where the rest went on.
    pub element: Option<i32>,
    /// How often it was tried, from 1.
    pub attempt: i32,
    /// The receipt that carried it.
    pub receipt_id: String,
    /// Its provider.
    pub provider: String,
    /// Whose.
    pub tenant: String,
    /// Key of the source record.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub key: Option<Vec<u8>>,
    /// Value of the source record, whole.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
    /// Headers of the source record, as text where they are text.
    pub headers: BTreeMap<String, String>,
    /// Microseconds since the epoch: receipt time of the source record.
    pub dead_at: i64,
}

super::wire!(DeadLetter, "DeadLetter", 7, "dead_letter.avsc");
