//! What a batch of deltas asks of one provider. Pure.

use crate::Account;
use domain::{Change, Delta, EventId, Kind, RecipientKey, Scope};
use providers::suppression_api::{Action, Desired, Edit, edits};
use std::collections::{BTreeMap, BTreeSet};

/// A recipient at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose.
    pub key: RecipientKey,
    /// The delta that decided: the newest of the recipient.
    pub delta_id: EventId,
    /// What has to be changed, removals first.
    pub edits: Vec<Edit>,
}

/// What becomes of one delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It cannot be read.
    Dead(String),
    /// It does not concern this account; the reason is a stable tag.
    Ignored(&'static str),
    /// Nothing to tell; the reason is a stable tag.
    Skipped(&'static str),
    /// Settled when these edits of a target are.
    Work {
        /// Index of the target.
        target: usize,
        /// Indices of its edits.
        edits: Vec<usize>,
    },
}

/// A batch as one provider sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each delta, in order.
    pub steps: Vec<Step>,
    /// Recipients with something to change.
    pub targets: Vec<Target>,
}

impl Plan {
    /// Targets by edit, removals first. Recipients with the same edit share calls.
    pub fn by_edit(&self) -> BTreeMap<&Edit, Vec<usize>> {
        let mut groups: BTreeMap<&Edit, Vec<usize>> = BTreeMap::new();
        for (index, target) in self.targets.iter().enumerate() {
            for edit in &target.edits {
                groups.entry(edit).or_default().push(index);
            }
        }
        groups
    }
}

/// Folds deltas (in the order of their partitions) to the newest desired state of each recipient.
///
/// The newest position of a recipient counts: it tells all that is in force. `removed_lately` names recipients that this
/// lane took off a list a short while ago: what their provider told us since may have been undone by that very removal, so
/// they are told again even by the account that told us.
pub fn plan(
    account: &Account,
    deltas: &[Result<Delta, String>],
    removed_lately: &dyn Fn(&RecipientKey) -> bool,
) -> Plan {
    let mut plan = Plan { steps: vec![Step::Ignored("other_tenant"); deltas.len()], targets: Vec::new() };
    let mut by_recipient: BTreeMap<&RecipientKey, Vec<(usize, &Delta)>> = BTreeMap::new();
    for (index, delta) in deltas.iter().enumerate() {
        let step = match delta {
            Err(reason) => Step::Dead(reason.clone()),
            Ok(delta) if delta.key.tenant != account.tenant => continue,
            Ok(delta) if delta.key.recipient.channel() != account.lists.channel() => Step::Skipped("other_channel"),
            Ok(delta) if !account.is_told(&delta.scope) => Step::Skipped("scope_not_told"),
            Ok(delta) => {
                by_recipient.entry(&delta.key).or_default().push((index, delta));
                continue;
            }
        };
        plan.steps[index] = step;
    }
    for (key, deltas) in by_recipient {
        plan_recipient(account, key, &deltas, removed_lately(key), &mut plan);
    }
    plan
}

fn plan_recipient(account: &Account, key: &RecipientKey, deltas: &[(usize, &Delta)], removed: bool, plan: &mut Plan) {
    let Some((_, newest)) = deltas.iter().max_by_key(|(index, delta)| (delta.position, *index)) else { return };
    let mut by_scope: BTreeMap<&Scope, (usize, &Delta)> = BTreeMap::new();
    for (index, delta) in deltas {
        let best = by_scope.entry(&delta.scope).or_insert((*index, delta));
        if (delta.position, *index) >= (best.1.position, best.0) {
            *best = (*index, delta);
        }
    }
    // What is provisional is in force here for a few days, and is told only once it is confirmed; a release of it is told
    // like any other, as the provider may have put the recipient on its own list.
    let provisional = &newest.provisional;
    let told = newest.in_force.iter().map(|(scope, _)| scope).filter(|scope| !provisional.contains(scope));
    let in_force: BTreeSet<Scope> = told.filter(|scope| account.is_told(scope)).cloned().collect();
    let held = by_scope
        .iter()
        .filter(|(scope, (_, delta))| {
            in_force.contains(**scope)
                && delta.change != Change::Released
                && !removed
                && account.told_us(&delta.trigger)
        })
        .map(|(scope, _)| (*scope).clone())
        .collect();
    let released: BTreeSet<Scope> = by_scope
        .keys()
        .filter(|scope| !in_force.contains(**scope) && !provisional.contains(scope))
        .map(|scope| (*scope).clone())
        .collect();
    let by_hand = released
        .iter()
        .any(|scope| by_scope.get(scope).is_some_and(|(_, delta)| delta.trigger.kind == Kind::ReleasedManually));
    let desired = Desired { in_force, held, released, by_hand };
    let is_told = !by_scope.keys().all(|scope| provisional.contains(scope));
    let target = Target {
        key: key.clone(),
        delta_id: newest.delta_id,
        edits: if is_told { edits(account.lists, &account.settings, &desired) } else { Vec::new() },
    };
    let place = plan.targets.len();
    for (index, delta) in deltas {
        plan.steps[*index] = if by_scope.get(&delta.scope).is_some_and(|(latest, _)| latest != index) {
            Step::Skipped("superseded")
        } else if provisional.contains(&delta.scope) {
            Step::Skipped("provisional")
        } else {
            step(account, &desired, &delta.scope, &target, place)
        };
    }
    if !target.edits.is_empty() {
        plan.targets.push(target);
    }
}

/// Which edits settle the newest delta of a scope.
fn step(account: &Account, desired: &Desired, scope: &Scope, target: &Target, place: usize) -> Step {
    let suppressed = desired.in_force.contains(scope);
    if desired.held.contains(scope) {
        return Step::Skipped("told_us");
    }
    let mut places = account.lists.places(&account.settings, scope);
    if suppressed && places.is_empty() {
        return Step::Skipped("no_list");
    }
    places.extend(account.lists.own_places(scope));
    let (action, any_list) =
        if suppressed { (Action::Add, false) } else { (Action::Remove, desired.in_force.is_empty()) };
    let edits: Vec<usize> = target
        .edits
        .iter()
        .enumerate()
        .filter(|(_, edit)| edit.action == action && (any_list || places.iter().any(|place| place.list == edit.list)))
        .map(|(index, _)| index)
        .collect();
    if !edits.is_empty() {
        return Step::Work { target: place, edits };
    }
    let complaint = places.iter().any(|place| account.lists.holds_complaints(place));
    match (complaint && !desired.by_hand, places.is_empty()) {
        (true, _) => Step::Skipped("complaint_kept"),
        (false, true) => Step::Skipped("no_list"),
        (false, false) => Step::Skipped("still_suppressed"),
    }
}
