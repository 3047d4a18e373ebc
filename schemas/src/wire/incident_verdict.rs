//! `quell.events.v1`: what is known of an incident, in every partition.

use serde::{Deserialize, Serialize};

/// What the guard found, or an operator ruled. From here on it holds in this partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentVerdict {
    /// Id of the incident.
    pub incident: String,
    /// A [`domain::Group`].
    pub group: String,
    /// Start of the jump, in event time; microseconds since the epoch.
    pub from: i64,
    /// End, in event time; of an incident that lasts, how far it is known to last.
    pub to: i64,
    /// The guard's verdicts of an incident count from 1; 0 in an operator's ruling.
    pub revision: i32,
    /// The rate is back to its rhythm.
    pub is_over: bool,
    /// A [`domain::Ruling`].
    pub ruling: String,
    /// Version of the policy by which it was found.
    pub policy: i32,
    /// Hard bounces counted in it so far.
    pub bounced: i64,
    /// Of these, of recipients who lately opened or clicked.
    pub engaged: i64,
    /// Microseconds since the epoch.
    pub decided_at: i64,
    /// `guard`, or who.
    pub decided_by: String,
    /// Why.
    pub note: String,
}

super::wire!(IncidentVerdict, "IncidentVerdict", 9, "incident_verdict.avsc");
