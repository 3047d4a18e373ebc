//! `quell.events.v1`: a policy comes into force in a partition.

use serde::{Deserialize, Serialize};

/// From here on this policy holds in this partition for recipients without evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyApplied {
    /// Raised with every application.
    pub version: i32,
    /// Revision of decide's own code.
    pub decide_revision: i32,
    /// The policy as TOML.
    pub document: String,
    /// Microseconds since the epoch.
    pub applied_at: i64,
    /// Who applied it.
    pub applied_by: String,
}

super::wire!(PolicyApplied, "PolicyApplied", 3, "policy_applied.avsc");
