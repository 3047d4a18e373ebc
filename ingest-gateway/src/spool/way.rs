//! The gateway's way to the log: with a spool or without.

use super::{Kept, Spooling, SpoolingError};
use event_log::{Append, Record};
use schemas::{Receipt, ReceiptId, SpooledId, topics};
use std::sync::Arc;

/// Where the gateway puts webhooks.
#[derive(Debug, Clone)]
pub enum Way {
    /// Into the log alone, waiting for it as long as it takes: for a log in the same process.
    Log(Arc<dyn Append>),
    /// Into the log, or into the spool while it is away.
    Spooling(Arc<Spooling>),
}

impl Way {
    /// Returns once the record is durable.
    pub(crate) async fn append(&self, record: Record) -> Result<Kept, SpoolingError> {
        match self {
            Self::Log(log) => Ok(Kept::Logged(log.append(topics::RAW, None, record).await?)),
            Self::Spooling(spooling) => spooling.append(record).await,
        }
    }
}

impl Kept {
    /// What the sender of the record that carries `inner` is told.
    pub(crate) fn receipt(self, inner: &str) -> Receipt {
        match self {
            Self::Logged(at) => Receipt::Logged(ReceiptId::of(inner, at.epoch, at.partition, at.offset)),
            Self::Spooled => Receipt::Spooled(SpooledId::of(inner)),
        }
    }
}
