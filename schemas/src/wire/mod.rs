//! The records, one file each, with their conversions.

mod dead_letter;
mod delta;
mod event;
mod incident_verdict;
mod outcome;
mod policy_applied;
mod raw_webhook;
mod state;
mod statistics;

use crate::{Wire as _, codec::Codec};

pub use dead_letter::DeadLetter;
pub use delta::{DeltaRecord, ScopeReason, StandingRecord, TriggerRecord};
pub use event::{EventRecord, FailureRecord};
pub use incident_verdict::IncidentVerdict;
pub use outcome::OutcomeRecord;
pub use policy_applied::PolicyApplied;
pub use raw_webhook::{RawWebhook, RawWebhookRef};
pub use state::StateRecord;
pub use statistics::{GroupCount, Statistics};

/// A record that is well-formed but holds a word or a time that no domain value has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} cannot be read: {detail}")]
pub struct ConvertError {
    /// The field.
    pub field: &'static str,
    /// What was wrong with it.
    pub detail: String,
}

fn read<T: std::str::FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, ConvertError> {
    text.parse().map_err(|error: T::Err| ConvertError { field, detail: error.to_string() })
}

fn time(field: &'static str, micros: i64) -> Result<domain::Timestamp, ConvertError> {
    domain::Timestamp::from_micros(micros).map_err(|error| ConvertError { field, detail: error.to_string() })
}

fn key(tenant: &str, channel: &str, recipient: &str) -> Result<domain::RecipientKey, ConvertError> {
    domain::RecipientKey::from_log_key(&format!("{tenant}/{channel}/{recipient}"))
        .ok_or_else(|| ConvertError { field: "recipient", detail: "not a recipient key".to_owned() })
}

/// Every record's schema, by number.
pub fn codecs() -> [&'static Codec; 9] {
    [
        RawWebhook::codec(),
        EventRecord::codec(),
        PolicyApplied::codec(),
        DeltaRecord::codec(),
        StateRecord::codec(),
        OutcomeRecord::codec(),
        DeadLetter::codec(),
        Statistics::codec(),
        IncidentVerdict::codec(),
    ]
}

/// Type, name, number, file of the current schema, and files of those released before it, oldest first.
macro_rules! wire {
    ($type:ty, $name:literal, $number:literal, $file:literal $(, $older:literal)*) => {
        impl $crate::Wire for $type {
            fn codec() -> &'static std::sync::LazyLock<$crate::codec::Codec> {
                static CODEC: std::sync::LazyLock<$crate::codec::Codec> = std::sync::LazyLock::new(|| {
                    $crate::codec::Codec::embedded(
                        $name,
                        $number,
                        include_str!(concat!("../../avro/", $file)),
                        &[$(include_str!(concat!("../../avro/released/", $older))),*],
                    )
                });
                &CODEC
            }
        }
    };
}
use wire;
