//! Why: the decision as of now or of a past moment, with everything it rests on. Pure.

use super::effects::{Effect, effects};
use crate::{
    Evidence, History, Policy,
    policy::{decide, policy_version},
};
use domain::{Cause, Channel, Decision, Delta, Scope, Standing, Timestamp};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// The moment that is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    /// Now.
    pub(super) now: Timestamp,
    /// What had happened by then, as the evidence tells it today.
    pub(super) at: Option<Timestamp>,
    /// What had been received by then.
    pub(super) known_at: Option<Timestamp>,
}

/// What an explanation was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// `decide` on the rows of that moment.
    Evidence,
    /// The deltas told until then, as evidence of that time was trimmed since.
    Audit,
}

/// An explanation.
#[derive(Debug)]
pub(super) struct Explanation<'a> {
    pub(super) basis: Basis,
    /// What counts in each scope.
    pub(super) in_force: Vec<(Scope, Standing, Vec<String>)>,
    /// Rows of that moment, newest first, with what each does; all of them.
    pub(super) rows: Vec<(&'a Evidence, Effect)>,
    /// Version of the policy that decided.
    pub(super) policy: u32,
    /// One sentence for each scope in force, or why none is.
    pub(super) sentences: Vec<String>,
}

/// The policy of a version is away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownPolicy(pub(super) u32);

/// Explains a recipient. `deltas` are the recipient's, oldest first.
pub(super) fn explain<'a>(
    history: &'a History,
    deltas: &[Delta],
    channel: Channel,
    as_of: AsOf,
    policy_of: impl Fn(u32) -> Option<Arc<Policy>>,
) -> Result<Explanation<'a>, UnknownPolicy> {
    let happened = |row: &&Evidence| as_of.at.is_none_or(|at| row.effective_at() <= at);
    let known = |row: &&Evidence| as_of.known_at.is_none_or(|at| row.received_at <= at);
    let told = shown(history);
    let rows: Vec<&Evidence> = told.iter().copied().filter(happened).filter(known).collect();
    let moment = [as_of.at, as_of.known_at].into_iter().flatten().min().unwrap_or(as_of.now);
    let version = policy_version(rows.iter().copied()).unwrap_or_default();
    let policy = policy_of(version).ok_or(UnknownPolicy(version))?;
    let decision = decide(rows.iter().copied(), channel, &policy);
    let causes: Vec<&Cause> =
        decision.causes().iter().filter(|cause| cause.until.is_none_or(|until| until > moment)).collect();
    let mut explained: Vec<(&Evidence, Effect)> = {
        let effects = effects(&rows, &causes, channel, &policy, moment);
        rows.iter().copied().zip(effects).collect()
    };
    explained.sort_by_key(|(row, _)| Reverse((row.effective_at(), row.event_id, row.rules)));
    let is_past = as_of.at.is_some() || as_of.known_at.is_some();
    if is_past && was_trimmed(&told, deltas, moment) {
        let in_force = told_by(deltas, moment);
        let sentences = audit_sentences(&in_force, moment);
        return Ok(Explanation { basis: Basis::Audit, in_force, rows: explained, policy: version, sentences });
    }
    let kept = Decision::new(causes.into_iter().cloned().collect());
    let in_force: Vec<_> = kept
        .by_scope()
        .into_iter()
        .map(|(scope, cause)| (scope.clone(), cause.standing(), cause.providers.clone()))
        .collect();
    let sentences = sentences(&in_force, &explained);
    Ok(Explanation { basis: Basis::Evidence, in_force, rows: explained, policy: version, sentences })
}

/// What there is to explain by: of an erased recipient what the erasure kept and what came later, also while the rest waits to
/// be forgotten.
fn shown(history: &History) -> Vec<&Evidence> {
    let erased = history.erasures().max();
    history.all().filter(|row| erased.is_none_or(|erased| row.position >= erased)).collect()
}

/// Whether evidence that mattered at a moment is gone: a delta rests on an event that is no longer kept, and something
/// kept that came later is what allowed it to go (R6).
fn was_trimmed(rows: &[&Evidence], deltas: &[Delta], moment: Timestamp) -> bool {
    let is_kept = |id| rows.iter().any(|row| row.event_id == id);
    let came_later = rows.iter().any(|row| row.effective_at() > moment);
    let rested_on = deltas.iter().flat_map(|delta| {
        let standing = delta.now.iter().map(|standing| standing.event_id);
        standing.chain([delta.trigger.event_id])
    });
    came_later && rested_on.into_iter().any(|id| !is_kept(id))
}

/// What the deltas received by a moment had told of it.
fn told_by(deltas: &[Delta], moment: Timestamp) -> Vec<(Scope, Standing, Vec<String>)> {
    let mut scopes: BTreeMap<&Scope, &Standing> = BTreeMap::new();
    for delta in deltas.iter().filter(|delta| delta.decided_at <= moment) {
        match &delta.now {
            Some(standing) => scopes.insert(&delta.scope, standing),
            None => scopes.remove(&delta.scope),
        };
    }
    let holds = |standing: &&Standing| standing.until.is_none_or(|until| until > moment);
    let held = scopes.into_iter().filter(|(_, standing)| holds(standing));
    held.map(|(scope, standing)| (scope.clone(), standing.clone(), vec![standing.provider.clone()])).collect()
}

fn in_force_sentence(scope: &Scope, standing: &Standing) -> String {
    let Standing { reason, since, provider, rule, .. } = standing;
    let end = standing.until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
    let held = standing.incident.map(|incident| format!(" (provisional, in incident {incident})")).unwrap_or_default();
    format!("suppressed in scope {scope} for {reason} since {since}, {end}: told by {provider}, by rule {rule}{held}")
}

fn sentences(in_force: &[(Scope, Standing, Vec<String>)], rows: &[(&Evidence, Effect)]) -> Vec<String> {
    if !in_force.is_empty() {
        return in_force.iter().map(|(scope, standing, _)| in_force_sentence(scope, standing)).collect();
    }
    if rows.is_empty() {
        return vec!["not suppressed: no evidence is known of this recipient".to_owned()];
    }
    let telling = rows.iter().filter(|(_, effect)| !matches!(effect, Effect::Recorded | Effect::Undoes));
    let because: Vec<String> =
        telling.take(3).map(|(row, effect)| format!("not suppressed: {}", effect.sentence(row))).collect();
    if because.is_empty() {
        vec!["not suppressed: no failure, complaint or opt-out is known".to_owned()]
    } else {
        because
    }
}

fn audit_sentences(in_force: &[(Scope, Standing, Vec<String>)], moment: Timestamp) -> Vec<String> {
    if in_force.is_empty() {
        return vec![format!("not suppressed at {moment}, by the changes told until then")];
    }
    in_force.iter().map(|(scope, standing, _)| in_force_sentence(scope, standing)).collect()
}
