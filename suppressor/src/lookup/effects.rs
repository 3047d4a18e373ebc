//! What each row of evidence does: for explanations, by asking `decide` itself about a row alone and beside others. Pure.

use crate::{
    Evidence, Policy,
    policy::{decide, ruled},
};
use domain::{Attribution, Cause, Channel, Decision, EventId, Kind, Ruling, Scope, Timestamp};
use std::{borrow::Cow, collections::BTreeMap};

/// What one row does to the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// What is in force rests on it.
    Suppresses(Scope),
    /// It was told in an incident: what is in force on it is provisional.
    Provisional(Scope, EventId),
    /// It was told in an incident that an operator undid.
    Undone(EventId),
    /// It supports what is in force on another event.
    Supports(Scope),
    /// Something newer undoes it.
    Overridden(EventId, Kind, Timestamp),
    /// It suppressed for a while that has passed.
    Ended(Option<Timestamp>),
    /// A failure that is not the recipient's own never suppresses.
    NotTheRecipients(Attribution),
    /// A later revision of the rules reads the same event in another way.
    Corrected,
    /// No rule of the policy makes a suppression of it.
    NoRule,
    /// It undoes older evidence of such kinds.
    Undoes,
    /// It is kept, and changes nothing now.
    Recorded,
}

impl Effect {
    /// A stable tag.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Suppresses(_) => "suppresses",
            Self::Provisional(..) => "provisional",
            Self::Undone(_) => "undone",
            Self::Supports(_) => "supports",
            Self::Overridden(..) => "overridden",
            Self::Ended(_) => "ended",
            Self::NotTheRecipients(_) => "not_the_recipients_fault",
            Self::Corrected => "corrected",
            Self::NoRule => "no_rule",
            Self::Undoes => "undoes",
            Self::Recorded => "recorded",
        }
    }

    /// One plain sentence.
    pub(super) fn sentence(&self, row: &Evidence) -> String {
        let (kind, at) = (row.kind, row.effective_at());
        match self {
            Self::Suppresses(scope) => format!("the {kind} of {at} suppresses in scope {scope}"),
            Self::Provisional(scope, incident) => format!(
                "the {kind} of {at} suppresses in scope {scope} provisionally: it was told in incident {incident}, and a \
                 second bounce confirms it or a delivery releases it"
            ),
            Self::Undone(incident) => format!("the {kind} of {at} does not count: incident {incident} was undone"),
            Self::Supports(scope) => format!("the {kind} of {at} supports the suppression in scope {scope}"),
            Self::Overridden(_, by, when) => format!("the {kind} of {at} no longer counts: {by} at {when}"),
            Self::Ended(Some(end)) => format!("the {kind} of {at} suppressed until {end}"),
            Self::Ended(None) => format!("the {kind} of {at} suppressed for a while that has passed"),
            Self::NotTheRecipients(whose) => {
                format!("the {kind} of {at} was a failure of the {whose}, not of the recipient: it never suppresses")
            }
            Self::Corrected => format!("the {kind} of {at} was read again by later rules"),
            Self::NoRule => format!("no rule of the policy suppresses for the {kind} of {at}"),
            Self::Undoes => format!("the {kind} of {at} undoes older evidence"),
            Self::Recorded => format!("the {kind} of {at} was recorded and changes nothing"),
        }
    }
}

/// What every row does, in their order, given what is in force on them at `now`.
pub(super) fn effects(
    rows: &[&Evidence],
    in_force: &[&Cause],
    channel: Channel,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Effect> {
    let newest = newest_overrides(rows);
    let settled: Vec<Cow<'_, Evidence>> = rows.iter().map(|row| settled(row, rows)).collect();
    let alone: Vec<Decision> = settled.iter().map(|row| decide(std::iter::once(&**row), channel, policy)).collect();
    let mut undoing: Vec<EventId> = Vec::new();
    let mut effects: Vec<Effect> = settled
        .iter()
        .zip(&alone)
        .map(|(row, alone)| {
            let effect = effect(row, alone.causes().first(), rows, in_force, &newest, channel, policy, now);
            if let Effect::Overridden(by, ..) = effect {
                undoing.push(by);
            }
            effect
        })
        .collect();
    for (row, effect) in rows.iter().zip(&mut effects) {
        if *effect == Effect::Recorded && undoing.contains(&row.event_id) {
            *effect = Effect::Undoes;
        }
    }
    effects
}

#[expect(clippy::too_many_arguments, reason = "one private helper, called in one place")]
fn effect(
    row: &Evidence,
    alone: Option<&Cause>,
    rows: &[&Evidence],
    in_force: &[&Cause],
    newest: &[&Evidence],
    channel: Channel,
    policy: &Policy,
    now: Timestamp,
) -> Effect {
    let is_same = |other: &&&Evidence| other.event_id == row.event_id && other.occurred_at == row.occurred_at;
    if rows.iter().filter(is_same).any(|other| other.rules > row.rules) {
        return Effect::Corrected;
    }
    let bounced = matches!(row.kind, Kind::BouncedHard | Kind::BouncedSoft);
    if bounced && !row.is_own_failure() {
        return Effect::NotTheRecipients(
            row.failure.as_ref().map_or(Attribution::Provider, |failure| failure.attribution),
        );
    }
    if let Some(mark) = row.marks.iter().find(|mark| mark.ruling == Ruling::Undone && row.kind == Kind::BouncedHard) {
        return Effect::Undone(mark.incident);
    }
    if let Some(cause) = in_force.iter().find(|cause| cause.event_id == row.event_id) {
        return match cause.incident {
            Some(incident) => Effect::Provisional(cause.scope.clone(), incident),
            None => Effect::Suppresses(cause.scope.clone()),
        };
    }
    let suppressing = bounced
        || matches!(row.kind, Kind::Complaint | Kind::Unsubscribed | Kind::Unengaged | Kind::SuppressedManually);
    if !suppressing {
        return Effect::Recorded;
    }
    let Some(alone) = alone else {
        // An end given by hand may lie before the receipt.
        return row
            .limit
            .filter(|_| row.kind == Kind::SuppressedManually)
            .map_or(Effect::NoRule, |end| Effect::Ended(Some(end)));
    };
    let still = |decision: &Decision| {
        decision.causes().iter().any(|cause| cause.scope == alone.scope && cause.reason == alone.reason)
    };
    let before_end = |other: &&&Evidence| alone.until.is_none_or(|end| other.effective_at() < end);
    let overriding = newest.iter().filter(before_end).find(|other| {
        // Its receipt is set to its own time, so that only what it says counts, not the time that passed until it came.
        let mut moved = (**other).clone();
        moved.received_at = moved.effective_at();
        !still(&decide([row, &moved].into_iter(), channel, policy))
    });
    if let Some(by) = overriding {
        return Effect::Overridden(by.event_id, by.kind, by.effective_at());
    }
    if let Some(cause) = in_force.iter().find(|cause| cause.scope == alone.scope && cause.reason == alone.reason) {
        return Effect::Supports(cause.scope.clone());
    }
    match alone.until {
        Some(end) if end <= now => Effect::Ended(Some(end)),
        Some(_) => Effect::Ended(None),
        None => Effect::Recorded,
    }
}

/// A hard bounce with what holds for it as its only mark, so that it says by itself what it says among the others.
fn settled<'a>(row: &'a Evidence, rows: &[&'a Evidence]) -> Cow<'a, Evidence> {
    let is_marked = rows.iter().any(|other| !other.marks.is_empty());
    if row.kind != Kind::BouncedHard || !is_marked {
        return Cow::Borrowed(row);
    }
    let mut settled = row.clone();
    settled.marks.clear();
    if let Some((ruling, incident)) = ruled(row, rows) {
        let marks = rows.iter().flat_map(|other| &other.marks).chain(&row.marks);
        let mark = marks.filter(|mark| mark.incident == incident).find(|mark| mark.ruling == ruling);
        settled.marks.extend(mark.cloned());
    }
    Cow::Owned(settled)
}

/// The newest row of each kind and scope that can undo others, oldest first.
fn newest_overrides<'a>(rows: &[&'a Evidence]) -> Vec<&'a Evidence> {
    let mut newest: BTreeMap<(Kind, Option<&Scope>), &Evidence> = BTreeMap::new();
    for row in rows {
        let undoes = matches!(
            row.kind,
            Kind::Delivered | Kind::ReleasedManually | Kind::Resubscribed | Kind::Erased | Kind::Opened | Kind::Clicked
        );
        let is_newer = |known: &&Evidence| known.effective_at() < row.effective_at();
        if undoes && newest.get(&(row.kind, row.scope.as_ref())).is_none_or(is_newer) {
            newest.insert((row.kind, row.scope.as_ref()), row);
        }
    }
    let mut newest: Vec<&Evidence> = newest.into_values().collect();
    newest.sort_by_key(|row| (row.effective_at(), row.event_id));
    newest
}
