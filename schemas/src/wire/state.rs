//! `quell.state.v1`.

use super::{ConvertError, StandingRecord, key, read};
use domain::{RecipientKey, Scope, Standing};
use serde::{Deserialize, Serialize};

/// The suppression in force for a recipient and scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "State")]
#[expect(missing_docs, reason = "documented on the domain's Delta")]
pub struct StateRecord {
    pub tenant: String,
    pub channel: String,
    pub recipient: String,
    pub address: String,
    pub scope: String,
    pub standing: StandingRecord,
    pub position: i64,
}

super::wire!(StateRecord, "State", 5, "state.avsc", "state.1.avsc");

impl StateRecord {
    /// The log key of a recipient and scope: the recipient's key, a newline (which no key holds), the scope.
    pub fn log_key(key: &RecipientKey, scope: &Scope) -> String {
        format!("{}\n{scope}", key.to_log_key())
    }

    /// Whose it is, where, and what holds.
    pub fn parts(&self) -> Result<(RecipientKey, Scope, Standing), ConvertError> {
        Ok((
            key(&self.tenant, &self.channel, &self.recipient)?,
            read("scope", &self.scope)?,
            Standing::try_from(self.standing.clone())?,
        ))
    }
}
