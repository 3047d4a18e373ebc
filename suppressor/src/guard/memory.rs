//! What the guard remembers of one partition of the statistics: the rhythm of each group, as of a position.
//!
//! An open batch is folded into the memory itself, and an [`Undo`] holds what it touched as it was, until the batch is
//! committed: hundreds of groups are not copied for the few that a batch tells of.
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
/// So many more are remembered before the lightest are looked for.
const GROUPS_SPARE: usize = 250;
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

/// A memory as it was before an open batch, as far as the batch touched it.
#[derive(Debug)]
pub struct Undo {
    next: u64,
    policy: u32,
    counted_at: Timestamp,
    /// Nothing where there was none.
    groups: BTreeMap<Group, Option<Rhythm>>,
}

impl Undo {
    /// Before anything is folded.
    pub const fn of(memory: &Memory) -> Self {
        let Memory { next, policy, counted_at, .. } = *memory;
        Self { next, policy, counted_at, groups: BTreeMap::new() }
    }
}

impl Memory {
    /// Takes back everything that was folded since.
    pub fn undo(&mut self, undo: Undo) {
        (self.next, self.policy, self.counted_at) = (undo.next, undo.policy, undo.counted_at);
        for (group, was) in undo.groups {
            match was {
                Some(rhythm) => self.groups.insert(group, rhythm),
                None => self.groups.remove(&group),
            };
        }
    }

    /// Folds the record at a position, and tells what is found in it. `settings` are those of [`Self::policy`], which is
    /// to be raised to the record's before, and after the undo was made, if there is one.
    pub fn fold(
        &mut self,
        number: u64,
        record: &Statistics,
        settings: &Incidents,
        mut undo: Option<&mut Undo>,
    ) -> Vec<(Group, Finding)> {
        if number < self.next {
            return Vec::new();
        }
        self.next = number + 1;
        let counted_at = Timestamp::from_micros(record.counted_at).unwrap_or_default();
        self.counted_at = self.counted_at.max(counted_at);
        let mut touched = BTreeSet::new();
        for (group, slot, counts) in record.counts.iter().filter_map(count::read) {
            if let Some(undo) = undo.as_deref_mut()
                && !undo.groups.contains_key(&group)
            {
                undo.groups.insert(group.clone(), self.groups.get(&group).cloned());
            }
            self.groups.entry(group.clone()).or_default().add(slot, counts);
            touched.insert(group);
        }
        let mut findings = Vec::new();
        for group in touched {
            let finding = self.groups.get_mut(&group).and_then(|rhythm| rhythm.judge(&group, settings));
            findings.extend(finding.map(|finding| (group, finding)));
        }
        self.forget_least(undo);
        findings
    }

    /// The lightest go first, then those not heard of for longest; one with an incident never. Each is weighed once in so many
    /// new ones, however many rare domains come.
    fn forget_least(&mut self, mut undo: Option<&mut Undo>) {
        if self.groups.len() <= GROUPS_MAX + GROUPS_SPARE {
            return;
        }
        let n_surplus = self.groups.len() - GROUPS_MAX;
        let light = self.groups.iter().filter(|(_, rhythm)| !rhythm.is_open());
        let mut light: Vec<(u64, i64, Group)> =
            light.map(|(group, rhythm)| (rhythm.weight(), rhythm.newest(), group.clone())).collect();
        light.sort_unstable();
        for (_, _, group) in light.into_iter().take(n_surplus) {
            let rhythm = self.groups.remove(&group);
            if let Some(undo) = undo.as_deref_mut() {
                undo.groups.entry(group).or_insert(rhythm);
            }
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
            found.extend(whole.fold(number, record, &settings, None));
        }
        assert!(!found.is_empty());
        for cut in [1, 151, 153, 199] {
            let (mut memory, mut again) = (Memory::default(), Vec::new());
            for (number, record) in (0..).zip(&records) {
                if number == cut {
                    memory = Memory::read(&memory.snapshot().unwrap()).unwrap();
                    // What is read twice is folded once.
                    assert_eq!(memory.fold(cut - 1, &records[0], &settings, None), []);
                }
                again.extend(memory.fold(number, record, &settings, None));
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
            memory.fold(
                slot,
                &record(["mailbox:heavy.example".to_owned()].into_iter(), slot as i64, 0),
                &settings,
                None,
            );
        }
        let flood = (0..2 * GROUPS_MAX).map(|n| format!("mailbox:d{n}.example"));
        memory.fold(3, &record(flood, 3, 0), &settings, None);
        assert_eq!(memory.groups.len(), GROUPS_MAX);
        // Some more are borne with until the next are looked for.
        for number in 0..600 {
            let one = [format!("mailbox:n{number}.example")].into_iter();
            memory.fold(4 + number, &record(one, 4, 0), &settings, None);
            assert!(memory.groups.len() <= GROUPS_MAX + GROUPS_SPARE);
        }
        assert!(memory.groups.contains_key(&Group::Mailbox("heavy.example".to_owned())));
    }

    /// Beside a memory that is copied for every batch, which is right by itself.
    #[test]
    fn an_aborted_batch_leaves_the_memory_as_it_was() {
        let settings = Policy::built_in().incidents;
        let mut random = event_log::memory::SplitMix64::new(3);
        let (mut memory, mut copied) = (Memory::default(), Memory::default());
        let (mut next, mut slot) = (0, 0);
        let (mut n_found, mut n_aborted, mut n_full) = (0, 0, 0);
        for _ in 0..1_500 {
            let mut undo = Undo::of(&memory);
            let mut copy = copied.clone();
            let first = next;
            for _ in 0..=random.below(4) {
                slot += random.below(2) as i64;
                // Some are told of all the time and bounce for hours, hundreds of others come and go; some come too late.
                let busy = (0..random.below(4)).map(|n| format!("mailbox:busy{n}.example"));
                let rare = (0..random.below(40)).map(|_| 0).collect::<Vec<_>>();
                let rare = rare.into_iter().map(|_| format!("mailbox:d{}.example", random.below(4_000)));
                let groups: Vec<String> = busy.chain(rare).collect();
                let bounced = if slot / 40 % 3 == 2 { 60 } else { 0 };
                let record = record(groups.into_iter(), slot - 2 * i64::from(next % 5 == 0), bounced);
                let policy = memory.policy + u32::from(next % 50 == 0);
                (memory.policy, copy.policy) = (policy, policy);
                let found = memory.fold(next, &record, &settings, Some(&mut undo));
                assert_eq!(found, copy.fold(next, &record, &settings, None));
                n_found += found.len();
                n_full += usize::from(memory.groups.len() == GROUPS_MAX);
                next += 1;
            }
            if random.below(3) == 0 {
                memory.undo(undo);
                (next, n_aborted) = (first, n_aborted + 1);
            } else {
                copied = copy;
            }
            assert_eq!(memory, copied);
        }
        assert!(n_found > 50 && n_aborted > 300 && n_full > 10, "{n_found} {n_aborted} {n_full}");
    }
}
