//! Which committed evidence may go (R6): what kept, committed evidence overrides whatever still arrives.

use crate::evidence::{Evidence, History, RowKey};
use domain::Kind;
use std::collections::BTreeSet;

/// Failures that are not the recipient's own never decide; so many of the newest stay for explanations.
const FOREIGN_FAILURES_KEPT: usize = 8;

/// Row keys that may be deleted, given that every row below `committed` is committed.
///
/// Overridden are: deliveries and human opens or clicks older than the newest of their sort; soft failures older than
/// the newest delivery; expiries older than the newest; old failures of others. Never trimmed, whatever overrides them:
/// the newest row of each kind, the row with the newest receipt (it is `decide`'s now), the row at the lowest position
/// (its policy is the recipient's), and every event known in more than one revision.
///
/// A committed erasure takes all below it (R5); what lies below it overrides nothing any more.
pub fn trimmable(history: &History, committed: u64) -> Vec<RowKey> {
    let erased = history.erasures().filter(|position| *position < committed).max().unwrap_or(0);
    let (gone, left): (Vec<&Evidence>, Vec<&Evidence>) = history.rows.iter().partition(|row| row.position < erased);
    gone.into_iter().map(Evidence::row_key).chain(overridden(&left, committed)).collect()
}

fn overridden(rows: &[&Evidence], committed: u64) -> Vec<RowKey> {
    if rows.len() < 4 {
        return Vec::new();
    }
    let below: Vec<&Evidence> = rows.iter().copied().filter(|row| row.position < committed).collect();
    let newest = |pick: &dyn Fn(&Evidence) -> bool| {
        below.iter().filter(|row| pick(row)).max_by_key(|row| (row.effective_at(), row.event_id)).copied()
    };
    let delivered = newest(&|row| row.kind == Kind::Delivered);
    let engaged = newest(&Evidence::is_engagement);
    let expired = newest(&|row| row.kind == Kind::Expired);
    let soft = newest(&|row| row.kind == Kind::BouncedSoft);
    let last_receipt = below.iter().map(|row| row.received_at).max();
    let first_position = below.iter().map(|row| row.position).min();
    let revised: BTreeSet<_> = rows
        .windows(2)
        .filter(|pair| pair[0].event_id == pair[1].event_id && pair[0].occurred_at == pair[1].occurred_at)
        .map(|pair| pair[0].event_id)
        .collect();
    let mut foreign: Vec<&Evidence> =
        below.iter().copied().filter(|row| is_bounce(row) && !row.is_own_failure()).collect();
    foreign.sort_by_key(|row| std::cmp::Reverse((row.effective_at(), row.event_id)));
    let foreign_gone: BTreeSet<RowKey> = foreign.iter().skip(FOREIGN_FAILURES_KEPT).map(|row| row.row_key()).collect();

    let older = |row: &Evidence, than: Option<&Evidence>| {
        than.is_some_and(|newest| (row.effective_at(), row.event_id) < (newest.effective_at(), newest.event_id))
    };
    below
        .iter()
        .filter(|row| Some(row.received_at) != last_receipt && Some(row.position) != first_position)
        .filter(|row| !revised.contains(&row.event_id))
        // Clamped by its first receipt: told again, a later one would make it newer.
        .filter(|row| !row.clamped())
        .filter(|row| match row.kind {
            Kind::Delivered => older(row, delivered),
            Kind::Opened | Kind::Clicked => older(row, engaged),
            Kind::Expired => older(row, expired),
            Kind::BouncedSoft if row.is_own_failure() => {
                older(row, soft) && delivered.is_some_and(|delivered| row.effective_at() < delivered.effective_at())
            }
            Kind::BouncedHard | Kind::BouncedSoft => foreign_gone.contains(&row.row_key()),
            _ => false,
        })
        .map(|row| row.row_key())
        .collect()
}

fn is_bounce(row: &Evidence) -> bool {
    matches!(row.kind, Kind::BouncedHard | Kind::BouncedSoft)
}
