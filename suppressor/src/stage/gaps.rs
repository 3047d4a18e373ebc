//! What lies between a restored store and the log, where the log no longer holds it (R4).
//!
//! A store that is behind is made up to date from the log. A backup that is older than what the log keeps cannot be: records
//! are missing for good, and whoever went on would release people who must stay suppressed.
//!
//! That the oldest kept offset lies above what was applied says nothing alone: a partition in which nothing came for as long
//! as the log keeps looks the same, as offsets are also taken by what is no record. A record that is still to be applied
//! again tells: then the store is behind, and what lay before that record is not known. It may have been nothing, where a
//! store lost the newest of a partition in a crash after months of silence; refusing is then the safe side, and has a way out.

use event_log::{Consumed, Position, StageError, session::Assigned};
use std::collections::HashMap;

/// Of each partition since it was assigned: how far its store is, and the oldest offset that the log keeps. It outlives a
/// rewind, which no assignment follows.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<u32, Gap>);

#[derive(Debug, Clone, Copy)]
struct Gap {
    /// What comes after the last that was applied; none where nothing was.
    next: Option<u64>,
    oldest: u64,
}

impl Gaps {
    /// A partition is ours. Whether something may be missing between what was applied and what is kept.
    pub(super) fn assigned(&mut self, assigned: &Assigned, applied: Option<Position>) -> bool {
        let Assigned { partition, oldest, epoch, committed, .. } = *assigned;
        self.0.remove(&partition);
        // Who raised the epoch knows, and what is kept is applied again.
        let is_known = applied.is_some_and(|applied| applied.epoch != epoch);
        let next = applied.map(|applied| applied.next().offset());
        let committed = committed.map_or(0, |committed| committed.offset());
        let is_open = !is_known && next.unwrap_or(0) < oldest.min(committed);
        if is_open {
            self.0.insert(partition, Gap { next, oldest });
        }
        is_open
    }

    /// Refuses records that lie behind a gap.
    pub(super) fn check(&self, records: &[Consumed]) -> Result<(), StageError> {
        let behind = |consumed: &Consumed| {
            let gap = self.0.get(&consumed.position.partition)?;
            Some((consumed.position, *gap))
        };
        match records.iter().find_map(behind) {
            Some((position, gap)) => Err(StageError::Broken(gap.refusal(position))),
            None => Ok(()),
        }
    }
}

impl Gap {
    fn refusal(self, position: Position) -> String {
        let Position { partition, offset, .. } = position;
        let oldest = self.oldest;
        match self.next {
            Some(next) => format!(
                "partition {partition}: the store has applied what lies before offset {next}, offset {offset} was committed, and the \
                 log keeps nothing before {oldest}; refusing to go on without what lay between. Restore a newer backup, or, if \
                 that is lost, raise the log's epoch: what is kept is then applied again"
            ),
            None => format!(
                "partition {partition}: the store has applied nothing, offset {offset} was committed, and the log keeps nothing \
                 before {oldest}; refusing to go on without what lay there. Restore a backup of the store, or, if that is lost, \
                 delete the group's positions: it then begins with what is kept, and tells all of it anew"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{NextOffset, Record};

    fn record(partition: u32, offset: u64) -> Consumed {
        let record = Record { key: None, value: None, headers: Vec::new(), timestamp_ms: 0 };
        Consumed { topic: "e".into(), position: Position { epoch: 3, partition, offset }, record }
    }

    fn assigned(oldest: u64, committed: u64) -> Assigned {
        let committed = Some(NextOffset::from_stored(committed));
        Assigned { topic: "e".into(), partition: 1, committed, epoch: 3, oldest }
    }

    /// Whether a record that is to be applied again is refused.
    fn refused(applied: Option<(u16, u64)>, oldest: u64, committed: u64) -> Option<String> {
        let applied = applied.map(|(epoch, offset)| Position { epoch, partition: 1, offset });
        let mut gaps = Gaps::default();
        gaps.assigned(&assigned(oldest, committed), applied);
        assert_eq!(gaps.check(&[]), Ok(()));
        assert_eq!(gaps.check(&[record(0, oldest)]), Ok(()), "another partition");
        let checked = gaps.check(&[record(1, oldest)]);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_no_longer_kept_is_refused_where_it_was_not_applied() {
        let said = refused(Some((3, 6)), 12, 20).unwrap();
        assert!(said.contains("before offset 7") && said.contains("newer backup") && said.contains("epoch"), "{said}");
        let said = refused(None, 12, 20).unwrap();
        assert!(said.contains("applied nothing") && said.contains("group's positions"), "{said}");
        assert!(refused(Some((3, 10)), 12, 20).is_some(), "one record");
    }

    #[test]
    fn what_the_log_holds_or_somebody_accepted_is_not() {
        for (applied, oldest, committed) in [
            (Some((3, 11)), 12, 20),
            (Some((3, 6)), 0, 20),
            (None, 0, 20),
            (Some((3, 19)), 20, 20),
            // The group stands before the oldest that is kept, and so does the store.
            (Some((3, 6)), 12, 7),
            (None, 12, 0),
            // The epoch was raised since.
            (Some((2, 6)), 12, 20),
        ] {
            assert_eq!(refused(applied, oldest, committed), None, "{applied:?} {oldest} {committed}");
        }
    }

    #[test]
    fn another_assignment_counts_anew() {
        let mut gaps = Gaps::default();
        let applied = |offset| Some(Position { epoch: 3, partition: 1, offset });
        assert!(gaps.assigned(&assigned(12, 20), applied(6)));
        assert!(!gaps.assigned(&assigned(12, 20), applied(11)));
        assert_eq!(gaps.check(&[record(1, 12)]), Ok(()));
    }
}
