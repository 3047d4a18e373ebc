//! Suppressions in force, counted in the store while it goes on changing, and moved by deltas between two counts. Pure.
//!
//! A count takes a while, and what it reads may be newer than its beginning. So it remembers the position of each row that
//! was decided since (or might have been), and the deltas that were told meanwhile. At its end a delta moves the count unless
//! the row that was read holds it already.

use domain::Reason;
use std::collections::{BTreeMap, HashMap};

/// What a suppression is counted under: the number of its tenant's label, why, and the sort of its scope.
pub(crate) type Series = (u16, Reason, &'static str);

/// So many rows and deltas are remembered, each. What comes beyond while a count goes on makes it inexact by as much.
const REMEMBERED_MAX: usize = 262_144;

/// A change of one recipient in one scope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) partition: u32,
    /// A hash of the recipient.
    pub(crate) recipient: u64,
    /// Number of the position that decided.
    pub(crate) position: u64,
    pub(crate) before: Option<Series>,
    pub(crate) now: Option<Series>,
}

/// One partition's part.
#[derive(Debug, Default)]
struct Share {
    series: HashMap<Series, i64>,
    /// Rows that were read and may hold deltas which are told only later, with their positions.
    recent: HashMap<u64, u64>,
}

impl Share {
    fn holds(&self, change: &Move) -> bool {
        self.recent.get(&change.recipient).is_some_and(|position| *position >= change.position)
    }

    fn apply(&mut self, change: &Move) {
        if let Some(before) = change.before {
            *self.series.entry(before).or_default() -= 1;
        }
        if let Some(now) = change.now {
            *self.series.entry(now).or_default() += 1;
        }
    }
}

/// A count that goes on.
#[derive(Debug, Default)]
struct Counting {
    /// For each partition that is counted, the first position whose deltas may still be told.
    floors: BTreeMap<u32, u64>,
    shares: BTreeMap<u32, Share>,
    moves: Vec<Move>,
    n_remembered: usize,
    n_forgotten: u64,
}

/// What is in force in the partitions of this process.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    /// Ours; without a share until it is counted.
    owned: BTreeMap<u32, Option<Share>>,
    counting: Option<Counting>,
}

impl InForce {
    /// A partition is ours from now on, and is to be counted.
    pub(crate) fn own(&mut self, partition: u32) {
        self.owned.insert(partition, None);
        self.forget(partition);
    }

    /// It is not any more.
    pub(crate) fn lose(&mut self, partition: u32) {
        self.owned.remove(&partition);
        self.forget(partition);
    }

    fn forget(&mut self, partition: u32) {
        if let Some(counting) = &mut self.counting {
            counting.floors.remove(&partition);
            counting.shares.remove(&partition);
        }
    }

    /// Our partitions.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        self.owned.keys().copied().collect()
    }

    /// Whether one of them was never counted.
    pub(crate) fn wants_count(&self) -> bool {
        self.owned.values().any(Option::is_none)
    }

    /// A count begins, of the partitions that are ours. `floors` are positions before which every delta was told by now.
    pub(crate) fn begin(&mut self, floors: BTreeMap<u32, u64>) {
        let floors: BTreeMap<u32, u64> =
            floors.into_iter().filter(|(partition, _)| self.owned.contains_key(partition)).collect();
        let shares = floors.keys().map(|partition| (*partition, Share::default())).collect();
        self.counting = Some(Counting { floors, shares, ..Counting::default() });
    }

    /// The count found a row, decided at this position.
    pub(crate) fn row(
        &mut self,
        partition: u32,
        recipient: u64,
        position: u64,
        in_force: impl IntoIterator<Item = Series>,
    ) {
        let Some(counting) = &mut self.counting else { return };
        let (Some(share), Some(floor)) = (counting.shares.get_mut(&partition), counting.floors.get(&partition)) else {
            return;
        };
        for series in in_force {
            *share.series.entry(series).or_default() += 1;
        }
        if position < *floor {
        } else if counting.n_remembered < REMEMBERED_MAX {
            counting.n_remembered += 1;
            share.recent.insert(recipient, position);
        } else {
            counting.n_forgotten += 1;
        }
    }

    /// The count is over. Says by how many its outcome may be wrong.
    pub(crate) fn end(&mut self) -> u64 {
        let Some(counting) = self.counting.take() else { return 0 };
        let Counting { mut shares, moves, n_forgotten, .. } = counting;
        for change in moves {
            if let Some(share) = shares.get_mut(&change.partition).filter(|share| !share.holds(&change)) {
                share.apply(&change);
            }
        }
        for (partition, share) in shares {
            self.owned.insert(partition, Some(share));
        }
        n_forgotten
    }

    /// The count was given up.
    pub(crate) fn abandon(&mut self) {
        self.counting = None;
    }

    /// A delta was told. Says whether what is shown moves.
    pub(crate) fn moved(&mut self, change: Move) -> bool {
        if let Some(counting) =
            self.counting.as_mut().filter(|counting| counting.floors.contains_key(&change.partition))
        {
            match counting.moves.len() < REMEMBERED_MAX {
                true => counting.moves.push(change),
                false => counting.n_forgotten += 1,
            }
        }
        let Some(Some(share)) = self.owned.get_mut(&change.partition) else { return false };
        let is_news = !share.holds(&change);
        if is_news {
            share.apply(&change);
        }
        is_news
    }

    /// What is shown: the sum over partitions that were counted.
    pub(crate) fn totals(&self) -> BTreeMap<Series, i64> {
        let mut totals = BTreeMap::new();
        for (series, count) in self.owned.values().flatten().flat_map(|share| &share.series) {
            *totals.entry(*series).or_default() += count;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HARD: Series = (0, Reason::HardBounce, "all");
    const LEFT: Series = (0, Reason::Unsubscribe, "marketing");

    fn change(recipient: u64, position: u64, before: Option<Series>, now: Option<Series>) -> Move {
        Move { partition: 0, recipient, position, before, now }
    }

    fn counted(rows: &[(u64, u64)], floor: u64) -> InForce {
        let mut in_force = InForce::default();
        in_force.own(0);
        in_force.begin([(0, floor)].into());
        rows.iter().for_each(|(recipient, position)| in_force.row(0, *recipient, *position, [HARD]));
        assert_eq!(in_force.end(), 0);
        in_force
    }

    #[test]
    fn nothing_is_shown_before_it_was_counted() {
        let mut in_force = InForce::default();
        in_force.own(0);
        assert!(in_force.wants_count() && !in_force.moved(change(1, 1, None, Some(HARD))));
        assert_eq!(in_force.totals(), BTreeMap::new());
        in_force.begin([(0, 5), (1, 5)].into());
        in_force.row(0, 1, 1, [HARD]);
        in_force.row(1, 2, 1, [HARD]);
        in_force.end();
        assert!(!in_force.wants_count());
        assert_eq!(in_force.totals(), [(HARD, 1)].into(), "the other partition is another process's");
        in_force.lose(0);
        assert_eq!(in_force.totals(), BTreeMap::new());
    }

    #[test]
    fn a_delta_that_the_row_held_already_moves_nothing() {
        // Written at 9, and told only after the count.
        let mut in_force = counted(&[(1, 3), (2, 9)], 6);
        assert!(!in_force.moved(change(2, 9, None, Some(HARD))));
        assert_eq!(in_force.totals(), [(HARD, 2)].into());
        assert!(
            in_force.moved(change(2, 10, Some(HARD), None)) && in_force.moved(change(1, 11, Some(HARD), Some(LEFT)))
        );
        assert_eq!(in_force.totals(), [(HARD, 0), (LEFT, 1)].into());
    }

    #[test]
    fn the_very_first_record_counts_once_however_late_it_is_told() {
        let mut in_force = counted(&[(1, 0)], 0);
        assert!(!in_force.moved(change(1, 0, None, Some(HARD))));
        assert_eq!(in_force.totals(), [(HARD, 1)].into());
    }

    #[test]
    fn what_is_lost_while_it_is_counted_is_not_counted() {
        let mut in_force = InForce::default();
        in_force.own(0);
        in_force.begin([(0, 0)].into());
        in_force.row(0, 1, 1, [HARD]);
        in_force.lose(0);
        in_force.own(0);
        in_force.row(0, 1, 1, [HARD]);
        in_force.end();
        assert!(in_force.wants_count());
        in_force.begin([(0, 0)].into());
        in_force.abandon();
        assert!(in_force.wants_count());
    }

    /// One step of a world: a recipient changes, or the count reads the row of one.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Change(u64, bool),
        Read,
        Tell,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12_u64, any::<bool>()).prop_map(|(recipient, is_hard)| Step::Change(recipient, is_hard)),
            Just(Step::Read),
            Just(Step::Read),
            Just(Step::Tell),
            Just(Step::Tell),
        ]
    }

    proptest! {
        /// Whatever changes before, during and after a count, and however late its deltas are told: in the end the figure is
        /// that of the store.
        #[test]
        fn the_figure_is_that_of_the_store(before in prop::collection::vec(step(), 0..30), during in prop::collection::vec(step(), 0..60)) {
            let mut store: BTreeMap<u64, (u64, Option<Series>)> = BTreeMap::new();
            let (mut untold, mut next) = (std::collections::VecDeque::new(), 0);
            let mut in_force = InForce::default();
            in_force.own(0);
            let mut floor = 0;
            let mut change_one = |store: &mut BTreeMap<u64, (u64, Option<Series>)>, recipient, is_hard| {
                let position = next;
                next += 1;
                let was = store.get(&recipient).and_then(|(_, series)| *series);
                let now = match (was, is_hard) {
                    (Some(HARD), _) => None,
                    (_, true) => Some(HARD),
                    (_, false) => Some(LEFT),
                };
                store.insert(recipient, (position, now));
                change(recipient, position, was, now)
            };
            for step in before {
                match step {
                    Step::Change(recipient, is_hard) => untold.push_back(change_one(&mut store, recipient, is_hard)),
                    Step::Tell | Step::Read => if let Some(change) = untold.pop_front() {
                        floor = change.position + 1;
                        in_force.moved(change);
                    }
                }
            }
            in_force.begin([(0, floor)].into());
            let mut read_up_to = 0;
            for step in during.into_iter().chain(std::iter::repeat_n(Step::Read, 12)) {
                match step {
                    Step::Change(recipient, is_hard) => untold.push_back(change_one(&mut store, recipient, is_hard)),
                    Step::Tell => if let Some(change) = untold.pop_front() { in_force.moved(change); },
                    Step::Read => if let Some((recipient, (at, series))) = store.range(read_up_to..).next() {
                        in_force.row(0, *recipient, *at, *series);
                        read_up_to = recipient + 1;
                    }
                }
            }
            prop_assert_eq!(in_force.end(), 0);
            untold.into_iter().for_each(|change| { in_force.moved(change); });
            let mut truth = BTreeMap::new();
            for series in store.values().filter_map(|(_, series)| *series) {
                *truth.entry(series).or_insert(0_i64) += 1;
            }
            let shown: BTreeMap<Series, i64> = in_force.totals().into_iter().filter(|(_, count)| *count != 0).collect();
            prop_assert_eq!(shown, truth);
        }
    }
}
