//! `decide`: evidence and policy in, what is in force out. Pure; its answer depends on the set of rows alone.

use super::{Ends, Policy, Rule};
use crate::Evidence;
use domain::{Cause, Channel, Decision, EventId, Kind, Reason, Ruling, Scope, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Revision of this code. Raised when `decide` gives another answer for evidence and policy it already understood;
/// part of a policy's version, so that a new build reconsiders instead of silently disagreeing with its own past.
pub const DECIDE_REVISION: u32 = 1;

/// The rule by which hard bounces in an incident are held.
pub const PROVISIONAL_RULE: &str = "bounce.provisional";

/// What is in force, given the evidence.
///
/// "Now" is the newest receipt in the evidence: an end at or before it has passed (R7).
pub fn decide<'a>(rows: impl Iterator<Item = &'a Evidence> + Clone, channel: Channel, policy: &Policy) -> Decision {
    let rows = in_force_rows(rows);
    let Some(now) = rows.iter().map(|row| row.received_at).max() else {
        return Decision::default();
    };
    let overrides = Overrides::of(&rows);
    let mut lasting: BTreeMap<(Scope, Reason), Lasting<'_>> = BTreeMap::new();
    let mut soft: BTreeMap<Scope, Vec<(&Evidence, &Rule)>> = BTreeMap::new();
    let mut held: BTreeMap<(Scope, Reason), Held<'_>> = BTreeMap::new();
    for row in &rows {
        match part(row, &rows, &overrides, channel, policy) {
            None => {}
            Some(Part::Held(scope, rule, incident)) => {
                held.entry((scope, rule.reason)).or_insert_with(|| Held::new(incident, row)).add(row);
            }
            Some(Part::Window(scope, rule)) => soft.entry(scope).or_default().push((row, rule)),
            Some(Part::Lasting(scope, rule)) => {
                lasting.entry((scope, rule.reason)).or_insert_with(|| Lasting::new(rule)).add(row);
            }
        }
    }
    // Another bounce, outside of every incident, confirms.
    held.retain(|key, _| !lasting.contains_key(key));
    let mut causes: Vec<Cause> = lasting.into_iter().filter_map(|(key, lasting)| lasting.cause(key)).collect();
    causes.extend(soft.into_iter().filter_map(|(scope, failures)| window(&scope, &failures, policy)));
    causes.extend(held.into_iter().map(|(key, held)| held.cause(key, policy)));
    causes.retain(|cause| cause.until.is_none_or(|until| until > now));
    Decision::new(causes)
}

/// The rows that a decision rests on, with the incident under which they are held: without the rest it would be the same, as
/// long as the newest receipt is.
pub fn decisive<'a>(
    rows: impl Iterator<Item = &'a Evidence> + Clone,
    channel: Channel,
    policy: &Policy,
) -> Vec<(&'a Evidence, Option<EventId>)> {
    let rows = in_force_rows(rows);
    let overrides = Overrides::of(&rows);
    let with_part = |row: &&'a Evidence| match part(row, &rows, &overrides, channel, policy)? {
        Part::Held(_, _, incident) => Some((*row, Some(incident))),
        Part::Window(..) | Part::Lasting(..) => Some((*row, None)),
    };
    rows.iter().filter_map(with_part).collect()
}

/// What a row adds to a decision.
enum Part<'p> {
    /// For a while, as it was told in an incident.
    Held(Scope, &'p Rule, EventId),
    /// A failure that opens a window, or falls into one.
    Window(Scope, &'p Rule),
    /// Until evidence ends it.
    Lasting(Scope, &'p Rule),
}

/// What a row adds; `None` where it suppresses nothing, or something undoes it.
fn part<'p>(
    row: &Evidence,
    rows: &[&Evidence],
    overrides: &Overrides,
    channel: Channel,
    policy: &'p Policy,
) -> Option<Part<'p>> {
    let class = row.failure.as_ref().map(|failure| failure.class);
    let bounced = matches!(row.kind, Kind::BouncedHard | Kind::BouncedSoft);
    if bounced && !row.is_own_failure() {
        return None;
    }
    let rule = policy.rule(channel, row.kind, class)?;
    let scope = match row.kind {
        Kind::Unsubscribed | Kind::SuppressedManually => row.scope.clone().unwrap_or_else(|| rule.scope.clone()),
        _ => rule.scope.clone(),
    };
    let ruled = if overrides.is_marked && row.kind == Kind::BouncedHard { ruled(row, rows) } else { None };
    match ruled {
        Some((Ruling::Undone, _)) => None,
        // A delivery releases it, whatever the rule says of bounces that are not doubtful.
        Some((Ruling::Held, incident)) => {
            (!overrides.undo(row, Ends::Window, &scope)).then_some(Part::Held(scope, rule, incident))
        }
        _ if overrides.undo(row, rule.ends, &scope) => None,
        _ if rule.ends == Ends::Window => Some(Part::Window(scope, rule)),
        _ => Some(Part::Lasting(scope, rule)),
    }
}

/// The version of the policy that holds for a recipient on these rows: that of the newest `reconsidered`, else the one
/// in force in its partition at its first event (R9). After an erasure the next event is the first: until it comes, what was
/// kept stays as it was. `None` where there are no rows.
pub fn policy_version<'a>(rows: impl Iterator<Item = &'a Evidence> + Clone) -> Option<u32> {
    let erased = rows.clone().filter(|row| row.kind == Kind::Erased).map(|row| row.position).max();
    let rows = rows.filter(move |row| erased.is_none_or(|erased| row.position >= erased));
    let reconsidered = rows
        .clone()
        .filter(|row| row.kind == Kind::Reconsidered && row.new_policy.is_some())
        .max_by_key(|row| row.position)
        .and_then(|row| row.new_policy);
    let first = || {
        let later = |row: &&Evidence| erased.is_none_or(|erased| row.position > erased);
        let since = rows.clone().filter(later).min_by_key(|row| row.position);
        since.or_else(|| rows.min_by_key(|row| row.position)).map(|row| row.policy)
    };
    reconsidered.or_else(first)
}

/// The rows that count, by effective time: of one event the highest revision, and nothing below an erasure.
fn in_force_rows<'a>(rows: impl Iterator<Item = &'a Evidence> + Clone) -> Vec<&'a Evidence> {
    let erased = rows.clone().filter(|row| row.kind == Kind::Erased).map(|row| row.position).max();
    let mut kept: Vec<&Evidence> = rows.filter(|row| erased.is_none_or(|erased| row.position >= erased)).collect();
    kept.sort_by_key(|row| (row.occurred_at, row.event_id, std::cmp::Reverse(row.rules)));
    kept.dedup_by_key(|row| (row.occurred_at, row.event_id));
    kept.sort_by_key(|row| (row.effective_at(), row.event_id));
    kept
}

/// What holds for a hard bounce by the incidents it was told in, and the first of these that says so; `None` where it was
/// told in none, or in confirmed ones only.
///
/// A bounce's own marks say what its position knew; those of `reconsidered` rows what was found or ruled since. Of one
/// incident's the newest counts. Of several incidents one that is undone outweighs one that holds.
pub fn ruled<'a>(row: &'a Evidence, rows: &[&'a Evidence]) -> Option<(Ruling, EventId)> {
    let at = row.effective_at();
    let said = rows.iter().filter(|other| other.kind == Kind::Reconsidered).flat_map(|other| {
        let reaching = other.marks.iter().filter(|mark| mark.reaches_at(&row.provider, at));
        reaching.map(|mark| (mark.incident, other.position, mark.ruling))
    });
    let own = row.marks.iter().map(|mark| (mark.incident, row.position, mark.ruling));
    let mut newest: BTreeMap<EventId, (u64, Ruling)> = BTreeMap::new();
    for (incident, position, ruling) in own.chain(said) {
        let known = newest.entry(incident).or_insert((position, ruling));
        *known = (*known).max((position, ruling));
    }
    let of = |wanted: Ruling| {
        let mut found = newest.iter().filter(move |(_, (_, ruling))| *ruling == wanted);
        found.next().map(|(incident, _)| (wanted, *incident))
    };
    of(Ruling::Undone).or_else(|| of(Ruling::Held))
}

/// Times from which older evidence no longer counts.
struct Overrides {
    /// Whether any row was told in an incident, or of one.
    is_marked: bool,
    released: Option<Timestamp>,
    released_scopes: BTreeMap<Scope, Timestamp>,
    delivered: Option<Timestamp>,
    resubscribed: BTreeMap<Scope, Timestamp>,
    engaged: Option<Timestamp>,
}

impl Overrides {
    fn of(rows: &[&Evidence]) -> Self {
        let mut all = Self {
            is_marked: rows.iter().any(|row| !row.marks.is_empty()),
            released: None,
            released_scopes: BTreeMap::new(),
            delivered: None,
            resubscribed: BTreeMap::new(),
            engaged: None,
        };
        // Rows come by effective time, so the last of each kind is the newest.
        for row in rows {
            let at = row.effective_at();
            match row.kind {
                Kind::Delivered => all.delivered = Some(at),
                Kind::Opened | Kind::Clicked => all.engaged = Some(at),
                Kind::Resubscribed => {
                    all.resubscribed.insert(row.scope.clone().unwrap_or(Scope::Marketing), at);
                }
                Kind::ReleasedManually => match &row.scope {
                    None => all.released = Some(at),
                    Some(scope) => {
                        all.released_scopes.insert(scope.clone(), at);
                    }
                },
                _ => {}
            }
        }
        all
    }

    /// Whether something newer undoes this row. At equal times the suppressing event wins.
    fn undo(&self, row: &Evidence, ends: Ends, scope: &Scope) -> bool {
        let at = row.effective_at();
        let newer = |time: Option<&Timestamp>| time.is_some_and(|time| *time > at);
        if newer(self.released.as_ref()) || newer(self.released_scopes.get(scope)) {
            return true;
        }
        match ends {
            Ends::Never => false,
            Ends::Window => newer(self.delivered.as_ref()),
            Ends::Resubscribe => newer(self.resubscribed.get(scope)),
            // Void beside an engagement newer than the one the job saw, whenever the job ran.
            Ends::Engagement => match (self.engaged, row.limit) {
                (Some(engaged), Some(seen)) => engaged > seen,
                (Some(_), None) => true,
                (None, _) => false,
            },
        }
    }
}

/// A cause that nothing but evidence ends: since the oldest row that still counts.
struct Lasting<'a> {
    rule: &'a Rule,
    oldest: Option<&'a Evidence>,
    for_good: bool,
    until: Option<Timestamp>,
    providers: BTreeSet<&'a str>,
}

impl<'a> Lasting<'a> {
    fn new(rule: &'a Rule) -> Self {
        Self { rule, oldest: None, for_good: false, until: None, providers: BTreeSet::new() }
    }

    fn add(&mut self, row: &'a Evidence) {
        self.oldest = self.oldest.or(Some(row));
        let end = if row.kind == Kind::SuppressedManually { row.limit } else { None };
        match end {
            None => self.for_good = true,
            Some(end) => self.until = self.until.max(Some(end)),
        }
        self.providers.insert(&row.provider);
    }

    fn cause(self, (scope, reason): (Scope, Reason)) -> Option<Cause> {
        let oldest = self.oldest?;
        Some(Cause {
            scope,
            reason,
            since: oldest.effective_at(),
            until: if self.for_good { None } else { self.until },
            rule: self.rule.id.clone(),
            event_id: oldest.event_id,
            provider: oldest.provider.clone(),
            source: oldest.source.clone(),
            providers: self.providers.into_iter().map(str::to_owned).collect(),
            incident: None,
        })
    }
}

/// Hard bounces in incidents, with nothing that confirms them: for a while after the newest.
struct Held<'a> {
    incident: EventId,
    oldest: &'a Evidence,
    newest: &'a Evidence,
    providers: BTreeSet<&'a str>,
}

impl<'a> Held<'a> {
    fn new(incident: EventId, row: &'a Evidence) -> Self {
        Self { incident, oldest: row, newest: row, providers: BTreeSet::new() }
    }

    /// The next by effective time.
    fn add(&mut self, row: &'a Evidence) {
        self.newest = row;
        self.providers.insert(&row.provider);
    }

    fn cause(self, (scope, reason): (Scope, Reason), policy: &Policy) -> Cause {
        Cause {
            scope,
            reason,
            since: self.oldest.effective_at(),
            until: Some(self.newest.effective_at().plus_seconds(policy.incidents.hold_seconds)),
            rule: PROVISIONAL_RULE.to_owned(),
            event_id: self.oldest.event_id,
            provider: self.oldest.provider.clone(),
            source: self.oldest.source.clone(),
            providers: self.providers.into_iter().map(str::to_owned).collect(),
            incident: Some(self.incident),
        }
    }
}

/// Soft failures, by effective time: each one after the end of the running window opens the next.
fn window(scope: &Scope, failures: &[(&Evidence, &Rule)], policy: &Policy) -> Option<Cause> {
    let windows = policy.windows;
    let mut opened = 0_u32;
    let mut length = windows.first_seconds;
    let mut current: Option<(&Evidence, &Rule, Option<Timestamp>)> = None;
    for (row, rule) in failures {
        let at = row.effective_at();
        match current {
            Some((_, _, None)) => break,
            Some((_, _, Some(end))) if at < end => continue,
            _ => {}
        }
        let until = if opened >= windows.for_good_after { None } else { Some(at.plus_seconds(length)) };
        current = Some((row, rule, until));
        opened += 1;
        length = length.saturating_mul(windows.factor);
    }
    let (row, rule, until) = current?;
    let providers: BTreeSet<&str> = failures.iter().map(|(row, _)| row.provider.as_str()).collect();
    Some(Cause {
        scope: scope.clone(),
        reason: rule.reason,
        since: row.effective_at(),
        until,
        rule: rule.id.clone(),
        event_id: row.event_id,
        provider: row.provider.clone(),
        source: row.source.clone(),
        providers: providers.into_iter().map(str::to_owned).collect(),
        incident: None,
    })
}
