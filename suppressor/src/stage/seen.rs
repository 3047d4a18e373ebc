//! Which events of a batch were brought before, where no row of evidence tells: what is no evidence, and what was trimmed.

use super::{Suppressor, Work, records::Read, unavailable};
use crate::{Evidence, History, store::Store};
use domain::{CanonicalEvent, EventId, Kind, RecipientKey, Timestamp, event::RULES_REVISION};
use event_log::StageError;
use std::collections::{BTreeMap, HashMap};

/// So many revisions of the rules are looked through for a trimmed event.
const REVISIONS_MAX: usize = 64;

/// What the store is asked: of which record of the batch, and under which time and id.
type Asked = Vec<(usize, (Timestamp, EventId))>;
/// What it answers: of which record, under which id, and the position that brought it first.
pub(super) type Told = Vec<(usize, EventId, Option<u64>)>;

impl<S: Store> Suppressor<S> {
    /// Of what is no evidence: nothing else of the recipient has to be known for it.
    pub(super) async fn seen_plain(&self, reads: &[Read]) -> Result<Told, StageError> {
        let plain = |(place, read): (usize, &Read)| match read {
            Read::Event(event) if Evidence::of(event, 0, 0).is_none() => {
                Some((place, (event.occurred_at, event.event_id)))
            }
            _ => None,
        };
        self.ask(reads.iter().enumerate().filter_map(plain).collect()).await
    }

    /// For each record the position that first brought its event.
    pub(super) async fn seen(
        &self,
        reads: &[Read],
        works: &BTreeMap<RecipientKey, Work>,
        plain: Told,
    ) -> Result<Vec<Option<u64>>, StageError> {
        let mut wanted = Asked::new();
        for (place, read) in reads.iter().enumerate() {
            let Read::Event(event) = read else { continue };
            let ids = works.get(&event.key()).map(|work| trimmed_ids(event, &work.history)).unwrap_or_default();
            wanted.extend(ids.into_iter().map(|id| (place, (event.occurred_at, id))));
        }
        let trimmed = self.ask(wanted).await?;
        let here: HashMap<EventId, u64> =
            works.values().flat_map(|work| &work.write.seen).map(|(_, id, position)| (*id, *position)).collect();
        let mut seen: Vec<Option<u64>> = vec![None; reads.len()];
        for (place, id, found) in plain.into_iter().chain(trimmed) {
            seen[place] = [seen[place], found, here.get(&id).copied()].into_iter().flatten().min();
        }
        Ok(seen)
    }

    async fn ask(&self, asked: Asked) -> Result<Told, StageError> {
        if asked.is_empty() {
            return Ok(Told::new());
        }
        let (places, events): (Vec<usize>, Vec<(Timestamp, EventId)>) = asked.into_iter().unzip();
        let found = self.store.seen(&events).await.map_err(unavailable)?;
        Ok(places.into_iter().zip(events).zip(found).map(|((place, (_, id)), found)| (place, id, found)).collect())
    }
}

/// Under which ids the store's table of seen events may know evidence whose row is gone.
fn trimmed_ids(event: &CanonicalEvent, history: &History) -> Vec<EventId> {
    let Some(row) = Evidence::of(event, 0, 0) else { return Vec::new() };
    // Trimmed is only what something newer overrides, or what lay below an erasure.
    let may_go = |known: &Evidence| known.kind == Kind::Erased || known.effective_at() >= row.effective_at();
    if !history.all().any(may_go) || history.rows.iter().any(|known| known.row_key() == row.row_key()) {
        return Vec::new();
    }
    // In its own revision of the rules, or in a later one.
    let revisions = row.rules..=RULES_REVISION.max(row.rules);
    revisions.take(REVISIONS_MAX).map(|rules| trimmed_id(&row.event_id, rules)).collect()
}

/// Under which id a trimmed row is known there: a newer revision of the rules is another row.
pub(super) fn trimmed_id(event_id: &EventId, rules: u32) -> EventId {
    EventId::derive(&["trimmed", &event_id.to_string(), &rules.to_string()])
}
