//! What `state` says was released: a bounded part of it at a time.

use domain::{RecipientKey, Scope};
use providers::suppression_api::Desired;
use std::collections::{BTreeMap, BTreeSet};

/// A recipient with a release.
#[derive(Debug, Default)]
struct Release {
    /// Released scopes, each with the offset of its tombstone.
    tombstones: BTreeMap<Scope, u64>,
    /// What else is in force for the recipient.
    in_force: BTreeSet<Scope>,
}

/// Recipients with a release, in their order, at most so many at a time: those from `from` on, below `until`.
#[derive(Debug)]
pub(crate) struct Releases {
    known: BTreeMap<RecipientKey, Release>,
    from: Option<RecipientKey>,
    until: Option<RecipientKey>,
    max: usize,
}

impl Releases {
    /// At most `max` recipients at a time, at least one.
    pub(crate) fn new(max: usize) -> Self {
        Self { known: BTreeMap::new(), from: None, until: None, max: max.max(1) }
    }

    /// Takes note of a record of `state`, in its partition's order. A newer suppression undoes a release.
    pub(crate) fn note(&mut self, key: &RecipientKey, scope: &Scope, offset: u64, is_tombstone: bool) {
        if !is_tombstone {
            if let Some(release) = self.known.get_mut(key) {
                release.tombstones.remove(scope);
                if release.tombstones.is_empty() {
                    self.known.remove(key);
                }
            }
            return;
        }
        if !self.holds(key) {
            return;
        }
        self.known.entry(key.clone()).or_default().tombstones.insert(scope.clone(), offset);
        if self.known.len() > self.max {
            // It and all after it belong to a later part.
            self.until = self.known.pop_last().map(|(key, _)| key);
        }
    }

    /// Whether the recipient belongs to this part.
    fn holds(&self, key: &RecipientKey) -> bool {
        self.from.as_ref().is_none_or(|from| key >= from) && self.until.as_ref().is_none_or(|until| key < until)
    }

    /// Whether a suppression at this offset of `state` was released after it.
    pub(crate) fn is_over(&self, key: &RecipientKey, scope: &Scope, offset: u64) -> bool {
        self.known.get(key).and_then(|release| release.tombstones.get(scope)).is_some_and(|at| *at > offset)
    }

    /// Keeps what is in force for a recipient with a release. `false` for any other.
    pub(crate) fn keep(&mut self, key: &RecipientKey, scope: &Scope) -> bool {
        let known = self.known.get_mut(key);
        known.map(|release| release.in_force.insert(scope.clone())).is_some()
    }

    /// The first recipients of this part, with what is desired for them.
    pub(crate) fn first(&self, n_max: usize) -> Vec<(RecipientKey, Desired)> {
        let desired = |release: &Release| Desired {
            in_force: release.in_force.clone(),
            released: release.tombstones.keys().filter(|scope| !release.in_force.contains(*scope)).cloned().collect(),
            ..Desired::default()
        };
        self.known.iter().take(n_max).map(|(key, release)| (key.clone(), desired(release))).collect()
    }

    /// These are done with.
    pub(crate) fn forget(&mut self, done: &[(RecipientKey, Desired)]) {
        for (key, _) in done {
            self.known.remove(key);
        }
    }

    /// Whether there are recipients beyond this part.
    pub(crate) const fn has_more(&self) -> bool {
        self.until.is_some()
    }

    /// Begins the next part: `state` is to be read again.
    pub(crate) fn next_part(&mut self) {
        self.known.clear();
        self.from = self.until.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(who: u8) -> RecipientKey {
        testkit::builders::recipient_key(&format!("user{who:03}@example.com"))
    }

    /// Each part holds a stretch of the recipients whose newest record of a scope is a tombstone; together they are all.
    fn check(max: usize, records: &[(u8, bool, bool)]) {
        let scope = |first: bool| if first { Scope::All } else { Scope::Marketing };
        let mut newest = BTreeMap::new();
        for (who, first, is_tombstone) in records {
            newest.insert((key(*who), scope(*first)), *is_tombstone);
        }
        let mut expected: BTreeMap<RecipientKey, BTreeSet<Scope>> = BTreeMap::new();
        for ((key, scope), _) in newest.iter().filter(|(_, is_tombstone)| **is_tombstone) {
            expected.entry(key.clone()).or_default().insert(scope.clone());
        }
        let (mut releases, mut found) = (Releases::new(max), Vec::new());
        for _ in 0..1_000 {
            for (offset, (who, first, is_tombstone)) in (0..).zip(records) {
                releases.note(&key(*who), &scope(*first), offset, *is_tombstone);
                assert!(releases.known.len() <= max);
            }
            loop {
                let first = releases.first(2);
                releases.forget(&first);
                if first.is_empty() {
                    break;
                }
                found.extend(first.into_iter().map(|(key, desired)| (key, desired.released)));
            }
            if !releases.has_more() {
                break;
            }
            releases.next_part();
        }
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_release_is_in_one_part(
            max in 1..6usize,
            records in prop::collection::vec((0..12u8, any::<bool>(), any::<bool>()), 0..60),
        ) {
            check(max, &records);
        }
    }

    #[test]
    fn what_is_in_force_beside_a_release_is_kept() {
        let mut releases = Releases::new(9);
        releases.note(&key(1), &Scope::All, 5, true);
        assert!(releases.is_over(&key(1), &Scope::All, 4) && !releases.is_over(&key(1), &Scope::All, 6));
        assert!(!releases.is_over(&key(1), &Scope::Marketing, 4) && !releases.is_over(&key(2), &Scope::All, 4));
        assert!(releases.keep(&key(1), &Scope::Marketing) && !releases.keep(&key(2), &Scope::All));
        // Suppressed again after the part was read.
        assert!(releases.keep(&key(1), &Scope::All));
        let desired = Desired { in_force: [Scope::All, Scope::Marketing].into(), ..Desired::default() };
        assert_eq!(releases.first(9), [(key(1), desired)]);
    }
}
