//! What has to be changed at a provider for one recipient.

use super::{ApiSettings, SuppressionApi};
use domain::Scope;
use std::collections::{BTreeMap, BTreeSet};

/// What a call does to a list. Removals come first: taking one tag away may take the whole entry with it, and what has to
/// stay is then written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Take the recipient off.
    Remove,
    /// Put the recipient on.
    Add,
}

/// A place in a provider's lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The list, by the name used in outcomes, e.g. `global`, `group/42`, `bounces`.
    pub list: String,
    /// The tag within it, where entries have tags.
    pub tag: Option<String>,
}

impl Place {
    /// A list whose entries have no tags, or its whole entry.
    pub fn list(name: &str) -> Self {
        Self { list: name.to_owned(), tag: None }
    }
}

/// One change of one list. Recipients with the same edit share calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edit {
    /// On or off.
    pub action: Action,
    /// Which list.
    pub list: String,
    /// Adding: every tag that the entry is to have. Removing: the tags to take away; none is the whole entry.
    pub tags: Vec<String>,
}

/// What should hold for a recipient at a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Scopes in force.
    pub in_force: BTreeSet<Scope>,
    /// Those of them that the provider holds already, because it told us of them and suppresses by itself.
    pub held: BTreeSet<Scope>,
    /// Scopes that were released and are not in force.
    pub released: BTreeSet<Scope>,
    /// The release is an operator's act: complaints may be removed.
    pub by_hand: bool,
}

/// The edits that bring a provider to what is desired, removals first. Adding what is there and removing what is not are
/// harmless with every provider here, so nothing is asked before.
pub fn edits(api: &dyn SuppressionApi, settings: &ApiSettings, desired: &Desired) -> Vec<Edit> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for place in desired.in_force.iter().flat_map(|scope| api.places(settings, scope)) {
        wanted.entry(place.list).or_default().extend(place.tag);
    }
    let mut out = removals(api, settings, desired, &wanted);
    let missing: BTreeSet<String> = desired
        .in_force
        .difference(&desired.held)
        .flat_map(|scope| api.places(settings, scope))
        .map(|place| place.list)
        .collect();
    out.extend(missing.into_iter().map(|list| {
        let tags = wanted.get(&list).map(|tags| tags.iter().cloned().collect()).unwrap_or_default();
        Edit { action: Action::Add, list, tags }
    }));
    out
}

fn removals(
    api: &dyn SuppressionApi,
    settings: &ApiSettings,
    desired: &Desired,
    wanted: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Edit> {
    if desired.released.is_empty() {
        return Vec::new();
    }
    let mut places: BTreeSet<Place> = BTreeSet::new();
    for scope in &desired.released {
        places.extend(api.places(settings, scope));
        places.extend(api.own_places(scope));
    }
    if desired.in_force.is_empty() {
        // Nothing holds any more: off every list, whole entries at once.
        let every = api.every_place(settings);
        places.retain(|place| !every.iter().any(|whole| whole.list == place.list));
        places.extend(every);
    }
    // What the provider fills by itself for a scope that is still in force.
    let guarded: BTreeSet<Place> = desired.in_force.iter().flat_map(|scope| api.own_places(scope)).collect();
    let mut off: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for place in places {
        let kept = match (&place.tag, wanted.get(&place.list)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(tag), Some(tags)) => tags.contains(tag),
        };
        if kept || guarded.contains(&place) || (api.holds_complaints(&place) && !desired.by_hand) {
            continue;
        }
        off.entry(place.list).or_default().extend(place.tag);
    }
    off.into_iter()
        .flat_map(|(list, tags)| {
            // A call takes one tag away; no tag is the whole entry.
            let edit = |tags| Edit { action: Action::Remove, list: list.clone(), tags };
            if tags.is_empty() { vec![edit(Vec::new())] } else { tags.into_iter().map(|tag| edit(vec![tag])).collect() }
        })
        .collect()
}
