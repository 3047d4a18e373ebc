//! The lists of a fake provider.

use std::collections::{BTreeMap, BTreeSet};

/// Who put an entry on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The provider by itself.
    Provider,
    /// A call of its API.
    Api,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who made it first.
    pub origin: Origin,
    /// The provider's word for why.
    pub reason: String,
    /// Tags, where the provider has them.
    pub tags: BTreeSet<String>,
}

/// Lists by name, entries by address in lower case.
#[derive(Debug, Default)]
pub struct Lists(BTreeMap<String, BTreeMap<String, Entry>>);

impl Lists {
    /// An entry.
    pub fn get(&self, list: &str, address: &str) -> Option<&Entry> {
        self.0.get(list)?.get(&address.to_ascii_lowercase())
    }

    /// Makes an entry, or adds tags to it; what it was made for first stays.
    pub fn put(&mut self, list: &str, address: &str, origin: Origin, reason: &str, tags: &[String]) {
        let entries = self.0.entry(list.to_owned()).or_default();
        let entry = entries.entry(address.to_ascii_lowercase());
        let entry = entry.or_insert_with(|| Entry { origin, reason: reason.to_owned(), tags: BTreeSet::new() });
        entry.tags.extend(tags.iter().cloned());
    }

    /// Removes an entry, or one tag of it and the entry with its last one. Whether there was one.
    pub fn remove(&mut self, list: &str, address: &str, tag: Option<&str>) -> bool {
        let address = address.to_ascii_lowercase();
        let Some(entries) = self.0.get_mut(list) else { return false };
        match (tag, entries.get_mut(&address)) {
            (_, None) => false,
            (None, Some(_)) => entries.remove(&address).is_some(),
            (Some(tag), Some(entry)) => {
                let had = entry.tags.remove(tag);
                if entry.tags.is_empty() {
                    entries.remove(&address);
                }
                had
            }
        }
    }

    /// The addresses on a list, sorted.
    pub fn addresses(&self, list: &str) -> Vec<String> {
        self.0.get(list).map(|entries| entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// How many different addresses stand on any list.
    pub fn distinct(&self) -> usize {
        self.0.values().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().len()
    }
}
