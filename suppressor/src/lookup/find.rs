//! Looking many recipients up at once.

use super::{
    answer::{Question, Told, answer},
    counted::{Checked, LookupMetrics},
};
use crate::{Policy, Store, StoreError, store::InForce};
use domain::{AddressError, Channel, Recipient, RecipientKey, Tenant, Timestamp};
use std::sync::Arc;

/// One check, whatever the form its recipients come in.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenant: Tenant,
    /// How the recipients are reached; guessed where it is not said.
    pub(super) channel: Option<Channel>,
    pub(super) question: Question,
    pub(super) policy: Arc<Policy>,
    /// Ends are compared with this.
    pub(super) now: Timestamp,
    /// Who counts the answers.
    pub(super) metrics: Option<Arc<dyn LookupMetrics>>,
}

/// What the store holds of one address.
pub(super) type Found = Result<Option<InForce>, AddressError>;

/// Reads an address of a channel, or of one that has to be guessed.
pub(super) fn read_address(channel: Option<Channel>, address: &str) -> Result<Recipient, AddressError> {
    match channel {
        Some(channel) => Recipient::parse(channel, address),
        None => Recipient::guess(address),
    }
}

impl Ask {
    /// What the store holds of these addresses, in their order.
    pub(super) async fn find(&self, channel: Option<Channel>, addresses: &[&str]) -> Result<Vec<Found>, StoreError> {
        let mut found: Vec<Found> = Vec::with_capacity(addresses.len());
        let mut wanted = Vec::with_capacity(addresses.len());
        for (place, address) in addresses.iter().enumerate() {
            match read_address(channel, address) {
                Ok(recipient) => {
                    wanted.push((RecipientKey { tenant: self.tenant.clone(), recipient }, place));
                    found.push(Ok(None));
                }
                Err(error) => found.push(Err(error)),
            }
        }
        // Neighbours share blocks of the store, so keys are asked for in order.
        wanted.sort_unstable();
        let (keys, places): (Vec<RecipientKey>, Vec<usize>) = wanted.into_iter().unzip();
        let rows = self.store.in_force(&keys).await?;
        if rows.len() != keys.len() {
            return Err(StoreError::Corrupt("the store answered for another number of recipients".to_owned()));
        }
        for (place, row) in places.into_iter().zip(rows) {
            found[place] = Ok(row);
        }
        Ok(found)
    }

    /// Counts answers that are written.
    pub(super) fn checked(&self, checked: Checked) {
        if let Some(metrics) = &self.metrics {
            metrics.checked(checked);
        }
    }

    /// The answer from what was found.
    pub(super) fn told<'a>(&self, found: &'a Found) -> Told<'a> {
        match found {
            Err(error) => Told::Unreadable(*error),
            Ok(row) => match answer(row.as_ref(), &self.question, &self.policy, self.now) {
                Some(cause) => Told::Stopped(cause),
                None => Told::Free,
            },
        }
    }
}
