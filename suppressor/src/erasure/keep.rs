//! What is kept of an erased recipient's evidence. Pure.

use super::Pseudonym;
use crate::{Evidence, Policy, evidence::FailureEvidence, policy::decisive};
use domain::{Channel, EventId, IncidentMark, Kind, Ruling};

/// The rows that give the same decision as all of them, stripped of what names the recipient, their messages or what was said
/// of them, and the row of the erasure itself, all at its position.
///
/// Ids are new: those of events are hashes of content, which somebody could guess. They keep the rows' order. The erasure's own receipt is that of the
/// newest evidence, so that "now" stays where it was and no end passes by being erased.
pub fn keep<'a>(
    rows: impl Iterator<Item = &'a Evidence> + Clone,
    channel: Channel,
    policy: &Policy,
    erasure: &Evidence,
    pseudonym: &Pseudonym,
) -> Vec<Evidence> {
    let id = |number: u32| {
        let derived = EventId::derive(&["erased", &pseudonym.to_string(), &erasure.position.to_string()]);
        let mut id = *derived.as_bytes();
        id[..4].copy_from_slice(&number.to_be_bytes());
        EventId::from_bytes(id)
    };
    let now = rows.clone().map(|row| row.received_at).max().unwrap_or(erasure.received_at);
    let bare = |row: &Evidence, number: u32| Evidence {
        event_id: id(number),
        occurred_at: row.effective_at(),
        received_at: row.received_at,
        rules: row.rules,
        position: erasure.position,
        policy: policy.version,
        kind: row.kind,
        provider: row.provider.clone(),
        source: row.source.clone(),
        message_id: None,
        scope: row.scope.clone(),
        failure: row.failure.as_ref().map(|failure| FailureEvidence {
            attribution: failure.attribution,
            class: failure.class,
            rule: failure.rule.clone(),
            code: None,
            diagnostic: None,
        }),
        receipt_id: String::new(),
        limit: row.limit,
        new_policy: None,
        actor: None,
        note: None,
        marks: Vec::new(),
    };
    let own = Evidence { received_at: now, ..bare(erasure, 0) };
    let mut kept = vec![own];
    for (number, (row, incident)) in (1..).zip(decisive(rows.clone(), channel, policy)) {
        let marks = incident.and_then(|incident| mark(rows.clone(), row, incident)).into_iter().collect();
        kept.push(Evidence { marks, ..bare(row, number) });
    }
    kept.sort_by_key(Evidence::row_key);
    kept
}

/// The mark by which a bounce is held.
fn mark<'a>(rows: impl Iterator<Item = &'a Evidence>, row: &'a Evidence, incident: EventId) -> Option<IncidentMark> {
    let said = rows.filter(|other| other.kind == Kind::Reconsidered).chain([row]);
    let mut marks = said.flat_map(|other| &other.marks).filter(|mark| mark.incident == incident);
    marks.find(|mark| mark.ruling == Ruling::Held).cloned()
}
