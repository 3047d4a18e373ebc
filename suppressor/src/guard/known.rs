//! What is known of incidents: the guard's findings and operators' rulings, folded. The order in which they come to a
//! partition does not matter: of the guard's the highest revision counts, of the operators' the latest.

use crate::{Evidence, store::IncidentRow};
use domain::{EventId, Group, IncidentMark, Kind, Recipient, Ruling, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

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

/// Folds rows, in any order, to incidents by id.
pub fn incidents<'a>(rows: impl IntoIterator<Item = &'a IncidentRow>) -> BTreeMap<EventId, Incident> {
    let mut all: BTreeMap<EventId, Incident> = BTreeMap::new();
    for row in rows {
        all.entry(row.incident).and_modify(|known| known.take(row)).or_insert_with(|| Incident::of(row));
    }
    all
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

    /// In which incidents a row of evidence is, by what its partition knew before a position. Only hard bounces that are
    /// the recipient's own failure are, and a confirmed incident says no more of them than none.
    pub fn marks(&self, partition: u32, position: u64, recipient: &Recipient, row: &Evidence) -> Vec<IncidentMark> {
        let Some(since) = self.since.get(&partition).filter(|since| !since.is_empty()) else { return Vec::new() };
        if row.kind != Kind::BouncedHard || !row.is_own_failure() {
            return Vec::new();
        }
        let known = since.range(..position).map(|(_, known)| known);
        let known = known.filter(|known| known.group.holds(recipient, &row.provider));
        let marks = incidents(known).into_values().map(|incident| incident.mark());
        let told = marks.filter(|mark| mark.reaches(recipient, &row.provider, row.effective_at()));
        told.filter(|mark| mark.ruling != Ruling::Confirmed).collect()
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

    #[test]
    fn marks_go_by_position_group_and_time() {
        let mut known = Known::default();
        known.add(0, 10, found(1, 300, false));
        known.add(0, 20, ruled(Ruling::Undone, 250));
        let jane = Recipient::email("jane@one.example").unwrap();
        let row = |seconds: i64| Evidence {
            event_id: EventId::derive(&["e"]),
            occurred_at: at(seconds),
            received_at: at(1_000),
            rules: 1,
            position: 15,
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
        };
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
