//! Who was erased and stays suppressed: they lie under pseudonyms, beside the table that is counted.

use domain::{Decision, RecipientKey, Timestamp};
use std::collections::HashMap;
use suppressor::{
    Store, StoreError,
    erasure::{Erased, Pseudonym},
};

/// Erasures read at once.
const PAGE: usize = 500;

/// What erasures left of those of whom the table holds nothing: no row that was not forgotten yet, and none that came since.
#[derive(Debug, Default)]
pub(super) struct ErasedOnly(HashMap<Pseudonym, Left>);

/// What one erasure left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) pseudonym: Pseudonym,
    pub(super) partition: u32,
    pub(super) position: u64,
    pub(super) decision: Decision,
}

impl ErasedOnly {
    /// Everybody who was erased; of several erasures of one person the newest.
    pub(super) async fn read<S: Store>(store: &S) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for (partition, _) in store.erased_up_to().await? {
            let mut after = None;
            loop {
                let rows = store.erased(partition, after, PAGE).await?;
                let Some((last, _)) = rows.last() else { break };
                after = Some(*last);
                rows.into_iter().for_each(|(position, row)| all.add(partition, position, row));
            }
        }
        Ok(all)
    }

    fn add(&mut self, partition: u32, position: u64, row: Erased) {
        let left = Left { pseudonym: row.pseudonym, partition, position, decision: row.in_force.decision };
        if self.0.get(&row.pseudonym).is_none_or(|known| known.position < position) {
            self.0.insert(row.pseudonym, left);
        }
    }

    /// The table says what is in force of this recipient.
    pub(super) fn found<S: Store>(&mut self, store: &S, key: &RecipientKey) {
        if !self.0.is_empty()
            && let Some(pseudonym) = store.pseudonym(key)
        {
            self.0.remove(&pseudonym);
        }
    }

    /// The others, with what has not ended: of who was erased no end is told.
    pub(super) fn rest(self, now: Timestamp) -> impl Iterator<Item = Left> {
        self.0.into_values().map(move |left| {
            let causes = left.decision.causes().iter().filter(|cause| cause.until.is_none_or(|end| end > now));
            Left { decision: Decision::new(causes.cloned().collect()), ..left }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Cause, EventId, Reason, Recipient, Scope, Tenant};
    use std::sync::Arc;
    use suppressor::{
        erasure::ErasureKey,
        store::{InForce, erasing::Erasing, memory::MemoryStore},
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).expect("a time")
    }

    fn key(name: &str) -> RecipientKey {
        let recipient = Recipient::email(&format!("{name}@example.com")).expect("an address");
        RecipientKey { tenant: Tenant::default(), recipient }
    }

    fn decision(ends: &[Option<i64>]) -> Decision {
        let cause = |until: &Option<i64>| Cause {
            scope: if until.is_none() { Scope::NonCritical } else { Scope::All },
            reason: if until.is_none() { Reason::SpamComplaint } else { Reason::SoftBounce },
            since: at(1),
            until: until.map(at),
            rule: "r".to_owned(),
            event_id: EventId::derive(&["e"]),
            provider: "drip".to_owned(),
            source: "default".to_owned(),
            providers: Vec::new(),
            incident: None,
        };
        Decision::new(ends.iter().map(cause).collect())
    }

    #[tokio::test]
    async fn the_erased_count_with_what_holds_unless_the_table_tells_of_them() {
        let erasure = Arc::new(ErasureKey::new(&[7; 32]).expect("a key"));
        let store = Erasing::new(MemoryStore::default(), Some(erasure));
        let erase = async |name: &str, (partition, position): (u32, u64), ends: &[Option<i64>]| {
            let pseudonym = store.pseudonym(&key(name)).expect("a key");
            let in_force = InForce { position, policy: 0, address: String::new(), decision: decision(ends) };
            let row = Erased { pseudonym, recipient: None, erased_at: at(9), by: None, rows: Vec::new(), in_force };
            store.put_erased(partition, position, row).await.expect("the store answers");
        };
        assert_eq!(ErasedOnly::read(&store).await.expect("nobody").rest(at(50)).count(), 0);
        erase("ann", (0, 10), &[None]).await;
        erase("bob", (1, 7), &[None, Some(99)]).await;
        erase("ended", (0, 11), &[Some(40)]).await;
        erase("back", (0, 12), &[None]).await;
        // Erased again, after something else was told of them.
        erase("twice", (0, 13), &[None]).await;
        erase("twice", (0, 20), &[Some(99)]).await;
        let mut erased = ErasedOnly::read(&store).await.expect("the store answers");
        erased.found(&store, &key("back"));
        erased.found(&store, &key("nobody"));
        let mut found: Vec<_> = erased
            .rest(at(50))
            .map(|left| {
                let held = left.decision.by_scope().into_values().map(|cause| cause.reason.as_str());
                (left.partition, left.position, held.collect::<Vec<_>>().join(" "))
            })
            .collect();
        found.sort();
        let expected =
            [(0, 10, "spam_complaint"), (0, 11, ""), (0, 20, "soft_bounce"), (1, 7, "soft_bounce spam_complaint")];
        assert_eq!(found, expected.map(|(partition, position, held)| (partition, position, held.to_owned())));
    }
}
