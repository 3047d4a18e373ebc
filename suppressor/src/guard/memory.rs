//! What the guard remembers of one partition of the statistics: the rhythm of each group, as of a position.
//!
//! A memory is a function of the records below its position, so that whichever snapshot of it is found in the store, from
//! whichever owner, is true: what came after is read again from the log, without emitting. Only committed batches are ever
//! in a snapshot.

use super::{
    count,
    detect::{Finding, Rhythm},
};
use crate::policy::Incidents;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{Group, Timestamp};
use schemas::wire::Statistics;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Groups remembered of a partition: some hundred kilobytes. A flood of domains that nobody mails pushes out none that
/// weighs more.
const GROUPS_MAX: usize = 1_000;
/// First character of a snapshot's text.
const FORM: &str = "1";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Number of the position that is to be folded next; those below are.
    pub next: u64,
    /// The newest policy that was counted by.
    pub policy: u32,
    /// The newest receipt.
    pub counted_at: Timestamp,
    groups: BTreeMap<Group, Rhythm>,
}

impl Memory {
    /// Folds the record at a position, and tells what is found in it. `settings` are those of [`Self::policy`], which is
    /// to be raised to the record's before.
    pub fn fold(&mut self, number: u64, record: &Statistics, settings: &Incidents) -> Vec<(Group, Finding)> {
        if number < self.next {
            return Vec::new();
        }
        self.next = number + 1;
        let counted_at = Timestamp::from_micros(record.counted_at).unwrap_or_default();
        self.counted_at = self.counted_at.max(counted_at);
        let mut touched = BTreeSet::new();
        for (group, slot, counts) in record.counts.iter().filter_map(count::read) {
            self.groups.entry(group.clone()).or_default().add(slot, counts);
            touched.insert(group);
        }
        let mut findings = Vec::new();
        for group in touched {
            let finding = self.groups.get_mut(&group).and_then(|rhythm| rhythm.judge(&group, settings));
            findings.extend(finding.map(|finding| (group, finding)));
        }
        self.forget_least();
        findings
    }

    /// The lightest go first, then those not heard of for longest; one with an incident never. Each is weighed once a record,
    /// however many rare domains it brings.
    fn forget_least(&mut self) {
        let n_surplus = self.groups.len().saturating_sub(GROUPS_MAX);
        if n_surplus == 0 {
            return;
        }
        let light = self.groups.iter().filter(|(_, rhythm)| !rhythm.is_open());
        let mut light: Vec<(u64, i64, Group)> =
            light.map(|(group, rhythm)| (rhythm.weight(), rhythm.newest(), group.clone())).collect();
        light.sort_unstable();
        for (_, _, group) in light.into_iter().take(n_surplus) {
            self.groups.remove(&group);
        }
    }

    /// As text for a note of the store.
    pub fn snapshot(&self) -> Result<String, postcard::Error> {
        Ok(format!("{FORM}{}", STANDARD.encode(postcard::to_stdvec(self)?)))
    }

    /// The way back; `None` for what another build wrote.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(FORM)?).ok()?;
        postcard::from_bytes(&bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use schemas::wire::GroupCount;

    fn record(groups: impl Iterator<Item = String>, slot: i64, bounced: i32) -> Statistics {
        let at = count::slot_start(slot).as_micros();
        let counts = groups
            .map(|group| GroupCount {
                group,
                at,
                delivered: 100,
                bounced,
                engaged_delivered: 100,
                engaged_bounced: bounced,
            })
            .collect();
        Statistics { bucket: "b01".to_owned(), policy: 0, counted_at: at, counts }
    }

    #[test]
    fn a_snapshot_goes_on_as_the_memory_does() {
        let settings = Policy::built_in().incidents;
        let one = || ["mailbox:one.example".to_owned()].into_iter();
        let records: Vec<Statistics> =
            (0..200).map(|slot| record(one(), slot, if slot > 150 { 40 } else { 0 })).collect();
        let mut whole = Memory::default();
        let mut found = Vec::new();
        for (number, record) in (0..).zip(&records) {
            found.extend(whole.fold(number, record, &settings));
        }
        assert!(!found.is_empty());
        for cut in [1, 151, 153, 199] {
            let (mut memory, mut again) = (Memory::default(), Vec::new());
            for (number, record) in (0..).zip(&records) {
                if number == cut {
                    memory = Memory::read(&memory.snapshot().unwrap()).unwrap();
                    // What is read twice is folded once.
                    assert_eq!(memory.fold(cut - 1, &records[0], &settings), []);
                }
                again.extend(memory.fold(number, record, &settings));
            }
            assert_eq!((&memory, &again), (&whole, &found), "cut at {cut}");
        }
        assert_eq!(Memory::read("0AAAA"), None);
        assert_eq!(Memory::read("1 no base64"), None);
    }

    #[test]
    fn a_flood_of_domains_pushes_out_none_that_weighs_more() {
        let settings = Policy::built_in().incidents;
        let mut memory = Memory::default();
        for slot in 0..3 {
            memory.fold(slot, &record(["mailbox:heavy.example".to_owned()].into_iter(), slot as i64, 0), &settings);
        }
        let flood = (0..2 * GROUPS_MAX).map(|n| format!("mailbox:d{n}.example"));
        memory.fold(3, &record(flood, 3, 0), &settings);
        assert_eq!(memory.groups.len(), GROUPS_MAX);
        assert!(memory.groups.contains_key(&Group::Mailbox("heavy.example".to_owned())));
    }
}
