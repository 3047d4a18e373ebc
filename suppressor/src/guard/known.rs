//! What is known of incidents: the guard's findings and operators' rulings, folded. The order in which they come to a
//! partition does not matter: of the guard's the highest revision counts, of the operators' the latest.
//!
//! Nothing is known for ever. The guard's newest verdict is a partition's clock: an incident that ended [`KEPT_SECONDS`]
//! before it is forgotten, from that verdict's position on, whatever still lies in the store. So what is forgotten is a
//! function of the rows below a position, as marks are, and a replay forgets the same. [`Known::spent`] says which rows no
//! position that can still be replayed has any use for.

use crate::{Evidence, store::IncidentRow};
use domain::{EventId, Group, IncidentMark, Kind, Recipient, Ruling, Timestamp};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

/// How long an incident is known after its end: as long as the log keeps events, and as the longest hold after that. By
/// then no bounce of its time is in the log, and nothing that was held for it is held any more.
pub const KEPT_SECONDS: i64 = 180 * 86_400;
/// How long what was said of an incident is kept beside what was said later: longer than any owner that lost its partition
/// may still be about to write at positions between the two.
const SETTLED_SECONDS: i64 = 7 * 86_400;

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Which.
    pub id: EventId,
    /// Whose bounces.
    pub group: Group,
    /// Start of the jump, in event time.
    pub from: Timestamp,
    /// End, in event time; of one that lasts, how far it is known to last.
    pub to: Timestamp,
    /// The rate is back to its rhythm.
    pub is_over: bool,
    /// What holds for its bounces.
    pub ruling: Ruling,
    /// Version of the policy by which it was found.
    pub policy: u32,
    /// Hard bounces counted in it.
    pub bounced: u64,
    /// Of these, of recipients who lately opened or clicked.
    pub engaged: u64,
    /// When the guard last said something of it.
    pub found_at: Timestamp,
    /// When an operator ruled.
    pub ruled_at: Option<Timestamp>,
    /// Who.
    pub ruled_by: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// How many verdicts of the guard it rests on.
    #[serde(skip)]
    pub revision: u32,
}

impl Incident {
    fn of(row: &IncidentRow) -> Self {
        let mut incident = Self {
            id: row.incident,
            group: row.group.clone(),
            from: row.from,
            to: row.to,
            is_over: row.is_over,
            ruling: Ruling::Held,
            policy: row.policy,
            bounced: row.bounced,
            engaged: row.engaged,
            found_at: row.decided_at,
            ruled_at: None,
            ruled_by: None,
            note: None,
            revision: row.revision,
        };
        incident.take(row);
        incident
    }

    fn take(&mut self, row: &IncidentRow) {
        if row.revision > self.revision {
            (self.revision, self.to, self.is_over) = (row.revision, row.to, row.is_over);
            (self.policy, self.bounced, self.engaged) = (row.policy, row.bounced, row.engaged);
            self.found_at = row.decided_at;
        }
        if row.revision == 0 && Some((row.decided_at, row.ruling)) > self.ruled_at.map(|at| (at, self.ruling)) {
            (self.ruling, self.ruled_at) = (row.ruling, Some(row.decided_at));
            self.ruled_by = Some(row.decided_by.clone());
            self.note = Some(row.note.clone()).filter(|note| !note.is_empty());
        }
    }

    /// Its mark as of now.
    pub fn mark(&self) -> IncidentMark {
        IncidentMark { incident: self.id, group: self.group.clone(), ruling: self.ruling, from: self.from, to: self.to }
    }

    /// What a sweep brings to the rows that came before: another tag, another sweep.
    pub fn tag(&self) -> String {
        let ruled = self.ruled_at.map_or(0, Timestamp::as_micros);
        format!("{} {ruled} {}", self.ruling, if self.is_over { "over" } else { "open" })
    }

    /// When what its tag says was decided.
    pub fn tagged_at(&self) -> Timestamp {
        match self.ruled_at {
            Some(ruled_at) if self.is_over => ruled_at.max(self.found_at),
            Some(ruled_at) => ruled_at,
            None => self.found_at,
        }
    }
}

/// Folds rows, in any order, to incidents by id; without those that are forgotten.
pub fn incidents<'a>(rows: impl IntoIterator<Item = &'a IncidentRow>) -> BTreeMap<EventId, Incident> {
    let (mut all, mut clock) = (BTreeMap::<EventId, Incident>::new(), Clock::default());
    for row in rows {
        clock.note(row);
        all.entry(row.incident).and_modify(|known| known.take(row)).or_insert_with(|| Incident::of(row));
    }
    all.retain(|_, incident| !clock.is_over(incident));
    all
}

/// When the guard last spoke. Operators' clocks are others: one that is wrong must not make everything forgotten.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock(Option<Timestamp>);

impl Clock {
    /// The clock of some rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a IncidentRow>) -> Self {
        let mut clock = Self::default();
        rows.into_iter().for_each(|row| clock.note(row));
        clock
    }

    fn note(&mut self, row: &IncidentRow) {
        if row.revision > 0 {
            self.0 = self.0.max(Some(row.decided_at));
        }
    }

    /// Whether an incident is so long over that it is forgotten.
    pub fn is_over(self, incident: &Incident) -> bool {
        self.is_past(incident.to, KEPT_SECONDS)
    }

    fn is_past(self, at: Timestamp, seconds: i64) -> bool {
        self.0.is_some_and(|clock| at.plus_seconds(seconds) < clock)
    }
}

/// The incidents of each partition by position: a cache of what the store has (R8, R9).
#[derive(Debug, Default)]
pub struct Known {
    since: HashMap<u32, BTreeMap<u64, IncidentRow>>,
}

impl Known {
    /// Whether a partition's are here.
    pub fn has(&self, partition: u32) -> bool {
        self.since.contains_key(&partition)
    }

    /// A partition's, as the store has them.
    pub fn load(&mut self, partition: u32, rows: Vec<(u64, IncidentRow)>) {
        self.since.insert(partition, rows.into_iter().collect());
    }

    /// A partition is gone.
    pub fn forget(&mut self, partition: u32) {
        self.since.remove(&partition);
    }

    /// One more.
    pub fn add(&mut self, partition: u32, position: u64, row: IncidentRow) {
        self.since.entry(partition).or_default().insert(position, row);
    }

    /// Rows of a partition that no position at or after `horizon` has any use for, as all of these have others below them:
    /// a newer verdict or ruling that settled, or what makes their incident forgotten. The row that is the clock stays. What
    /// lies at or after the horizon decides nothing here: it may yet be processed again, or never be committed.
    pub fn spent(&self, partition: u32, horizon: u64) -> Vec<u64> {
        let Some(since) = self.since.get(&partition) else { return Vec::new() };
        let below: Vec<(u64, &IncidentRow)> = since.range(..horizon).map(|(position, row)| (*position, row)).collect();
        let spoken = below.iter().filter(|(_, row)| row.revision > 0);
        let Some(newest) = spoken.max_by_key(|(position, row)| (row.decided_at, *position)) else { return Vec::new() };
        let clock = Clock(Some(newest.1.decided_at));
        let known = incidents(below.iter().map(|(_, row)| *row));
        // Of what settled, the row that counts most: of the guard's and of the operators', for each incident.
        let mut settled: BTreeMap<(EventId, bool), (Rank, Reverse<u64>)> = BTreeMap::new();
        for (position, row) in below.iter().filter(|(_, row)| clock.is_past(row.decided_at, SETTLED_SECONDS)) {
            // Of two that say the same the first counts.
            let found = (rank(row), Reverse(*position));
            let best = settled.entry((row.incident, row.revision == 0)).or_insert(found);
            *best = (*best).max(found);
        }
        let is_spent = |position: u64, row: &IncidentRow| {
            let better = settled.get(&(row.incident, row.revision == 0));
            !known.contains_key(&row.incident) || better.is_some_and(|better| *better > (rank(row), Reverse(position)))
        };
        let spent = below.iter().filter(|(position, row)| *position != newest.0 && is_spent(*position, row));
        spent.map(|(position, _)| *position).collect()
    }

    /// Forgets rows that are in the store no more.
    pub fn drop_rows(&mut self, partition: u32, positions: &[u64]) {
        if let Some(since) = self.since.get_mut(&partition) {
            positions.iter().for_each(|position| drop(since.remove(position)));
        }
    }

    /// In which incidents a row of evidence is, by what its partition knew before a position. Only hard bounces that are
    /// the recipient's own failure are, and a confirmed incident says no more of them than none.
    pub fn marks(&self, partition: u32, position: u64, recipient: &Recipient, row: &Evidence) -> Vec<IncidentMark> {
        let Some(since) = self.since.get(&partition).filter(|since| !since.is_empty()) else { return Vec::new() };
        if row.kind != Kind::BouncedHard || !row.is_own_failure() {
            return Vec::new();
        }
        let before = || since.range(..position).map(|(_, known)| known);
        let clock = Clock::of(before());
        let known = incidents(before().filter(|known| known.group.holds(recipient, &row.provider)));
        let known = known.into_values().filter(|incident| !clock.is_over(incident));
        let marks = known.map(|incident| incident.mark());
        let told = marks.filter(|mark| mark.reaches(recipient, &row.provider, row.effective_at()));
        told.filter(|mark| mark.ruling != Ruling::Confirmed).collect()
    }
}

/// How much a row counts beside others of its incident and its kind.
type Rank = (u32, Timestamp, Ruling);

fn rank(row: &IncidentRow) -> Rank {
    match row.revision {
        0 => (0, row.decided_at, row.ruling),
        revision => (revision, Timestamp::EPOCH, Ruling::Held),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    fn found(revision: u32, to: i64, is_over: bool) -> IncidentRow {
        IncidentRow {
            incident: EventId::derive(&["i"]),
            group: Group::Mailbox("one.example".to_owned()),
            from: at(100),
            to: at(to),
            revision,
            is_over,
            ruling: Ruling::Held,
            policy: 0,
            bounced: u64::from(revision) * 10,
            engaged: 0,
            decided_at: at(200 + i64::from(revision)),
            decided_by: "guard".to_owned(),
            note: String::new(),
        }
    }

    fn ruled(ruling: Ruling, when: i64) -> IncidentRow {
        let (decided_by, note) = ("jo".to_owned(), "looked".to_owned());
        IncidentRow { ruling, decided_at: at(when), decided_by, note, ..found(0, 300, false) }
    }

    #[test]
    fn the_order_of_what_is_said_does_not_matter() {
        let rows = [
            found(1, 300, false),
            ruled(Ruling::Confirmed, 250),
            found(3, 280, true),
            ruled(Ruling::Undone, 260),
            found(2, 400, false),
        ];
        let expected = incidents(&rows);
        let incident = expected.values().next().unwrap();
        assert_eq!((incident.to, incident.is_over, incident.bounced), (at(280), true, 30));
        assert_eq!((incident.ruling, incident.ruled_by.as_deref()), (Ruling::Undone, Some("jo")));
        for turn in 0..rows.len() {
            let mut turned = rows.clone();
            turned.rotate_left(turn);
            assert_eq!(incidents(&turned), expected);
            turned.reverse();
            assert_eq!(incidents(&turned), expected);
        }
    }

    const DAY: i64 = 86_400;

    fn row_of(id: u64, spoken: IncidentRow, from: i64, to: i64) -> IncidentRow {
        IncidentRow { incident: EventId::derive(&[&id.to_string()]), from: at(from), to: at(to), ..spoken }
    }

    fn bounce(position: u64, seconds: i64) -> Evidence {
        Evidence {
            event_id: EventId::derive(&["e"]),
            occurred_at: at(seconds),
            received_at: at(seconds),
            rules: 1,
            position,
            policy: 0,
            kind: Kind::BouncedHard,
            provider: "sendgrid".to_owned(),
            source: "default".to_owned(),
            message_id: None,
            scope: None,
            failure: None,
            receipt_id: String::new(),
            limit: None,
            new_policy: None,
            actor: None,
            note: None,
            marks: Vec::new(),
        }
    }

    #[test]
    fn an_incident_is_forgotten_from_the_position_that_says_how_late_it_is() {
        let mut known = Known::default();
        let spoken = |seconds: i64| IncidentRow { decided_at: at(seconds), ..found(1, 0, true) };
        known.add(0, 10, row_of(1, spoken(10 * DAY), 9 * DAY, 10 * DAY));
        known.add(0, 20, IncidentRow { incident: EventId::derive(&["1"]), ..ruled(Ruling::Undone, 11 * DAY) });
        // An operator's clock moves nothing.
        known.add(0, 30, IncidentRow { incident: EventId::derive(&["1"]), ..ruled(Ruling::Undone, 900 * DAY) });
        known.add(0, 40, row_of(2, spoken(190 * DAY), 189 * DAY, 190 * DAY));
        known.add(0, 50, row_of(3, spoken(190 * DAY + 1), 189 * DAY, 190 * DAY));
        let jane = Recipient::email("jane@one.example").unwrap();
        let late = |position: u64| known.marks(0, position, &jane, &bounce(position, 9 * DAY + DAY / 2)).len();
        assert_eq!([late(11), late(41), late(51), late(99)], [1, 1, 0, 0]);
        assert_eq!(known.marks(0, 51, &jane, &bounce(51, 189 * DAY + 5)).len(), 2);
        let rows: Vec<&IncidentRow> = known.since[&0].values().collect();
        assert_eq!(incidents(rows).len(), 2);
        // What is spent goes below the horizon alone; the verdict that is the clock stays.
        assert_eq!(known.spent(0, 50), Vec::<u64>::new());
        assert_eq!(known.spent(0, 51), [10, 20, 30]);
        assert_eq!(known.spent(1, 51), Vec::<u64>::new());
    }

    /// Whatever is told of incidents in whatever order: without the rows that are spent, each position from the horizon on
    /// has the same marks, and the rows that are left are bounded by what was told lately.
    #[test]
    fn without_what_is_spent_every_later_position_has_the_same_marks() {
        let mut random = event_log::memory::SplitMix64::new(7);
        let jane = Recipient::email("jane@one.example").unwrap();
        let (mut n_spent, mut n_marked) = (0, 0);
        for _ in 0..400 {
            let (mut whole, mut day) = (Known::default(), 0_i64);
            for position in 0..40 {
                day += [0, 0, 1, 9, 40][random.below(5) as usize];
                let id = random.below(5);
                // An incident has one beginning.
                let from = id as i64 * 60 * DAY;
                let row = match random.below(3) {
                    0 => ruled([Ruling::Confirmed, Ruling::Undone][random.below(2) as usize], day * DAY),
                    _ => IncidentRow { decided_at: at(day * DAY), ..found(1 + random.below(4) as u32, 0, false) },
                };
                let to = from + (1 + i64::from(row.revision)) * DAY;
                whole.add(0, position, row_of(id, row, from, to));
            }
            let horizon = random.below(41);
            let mut left = Known::default();
            left.load(0, whole.since[&0].clone().into_iter().collect());
            let spent = left.spent(0, horizon);
            left.drop_rows(0, &spent);
            n_spent += spent.len();
            for position in horizon..=40 {
                for of in 0..5 {
                    let bounce = bounce(position, of * 60 * DAY + DAY / 2);
                    let marks = whole.marks(0, position, &jane, &bounce);
                    n_marked += marks.len();
                    assert_eq!(left.marks(0, position, &jane, &bounce), marks);
                }
            }
            assert_eq!(left.spent(0, horizon), Vec::<u64>::new());
        }
        assert!(n_spent > 1_000 && n_marked > 10_000, "{n_spent} {n_marked}");
    }

    #[test]
    fn marks_go_by_position_group_and_time() {
        let mut known = Known::default();
        known.add(0, 10, found(1, 300, false));
        known.add(0, 20, ruled(Ruling::Undone, 250));
        let jane = Recipient::email("jane@one.example").unwrap();
        let row = |seconds: i64| bounce(15, seconds);
        let rulings = |position, recipient: &Recipient, row: &Evidence| {
            known.marks(0, position, recipient, row).iter().map(|mark| mark.ruling).collect::<Vec<_>>()
        };
        assert_eq!(rulings(10, &jane, &row(150)), []);
        assert_eq!(rulings(11, &jane, &row(150)), [Ruling::Held]);
        assert_eq!(rulings(21, &jane, &row(150)), [Ruling::Undone]);
        assert_eq!(rulings(11, &jane, &row(301)), []);
        assert_eq!(rulings(11, &Recipient::email("jane@two.example").unwrap(), &row(150)), []);
        assert_eq!(rulings(11, &jane, &Evidence { kind: Kind::BouncedSoft, ..row(150) }), []);
        assert_eq!(known.marks(1, 11, &jane, &row(150)), []);
    }
}
