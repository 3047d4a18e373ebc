//! `quell.statistics.v1`.

use serde::{Deserialize, Serialize};

/// What one group of recipients saw within ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// A [`domain::Group`].
    pub group: String,
    /// Start of the ten minutes, in event time; microseconds since the epoch.
    pub at: i64,
    /// Deliveries.
    pub delivered: i32,
    /// Hard bounces that are the recipient's own failure.
    pub bounced: i32,
    /// Deliveries to recipients who lately opened or clicked.
    pub engaged_delivered: i32,
    /// Hard bounces of such.
    pub engaged_bounced: i32,
}

/// What one batch of events brought to the groups of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The record's key.
    pub bucket: String,
    /// Version of the policy in force in the partition that was counted.
    pub policy: i32,
    /// Newest receipt in the batch; microseconds since the epoch.
    pub counted_at: i64,
    /// One for each group and ten minutes, sorted.
    pub counts: Vec<GroupCount>,
}

super::wire!(Statistics, "Statistics", 8, "statistics.avsc");
