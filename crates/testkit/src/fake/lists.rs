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
pub struct Lists {
    lists: BTreeMap<String, BTreeMap<String, Entry>>,
    /// Contacts that the provider knows, on a list or not.
    contacts: BTreeSet<String>,
}

impl Lists {
    /// An entry.
    pub fn get(&self, list: &str, address: &str) -> Option<&Entry> {
        self.lists.get(list)?.get(&address.to_ascii_lowercase())
    }

    /// Makes an entry, or adds tags to it; what it was made for first stays.
    pub fn put(&mut self, list: &str, address: &str, origin: Origin, reason: &str, tags: &[String]) {
        let entries = self.lists.entry(list.to_owned()).or_default();
        let entry = entries.entry(address.to_ascii_lowercase());
        let entry = entry.or_insert_with(|| Entry { origin, reason: reason.to_owned(), tags: BTreeSet::new() });
        entry.tags.extend(tags.iter().cloned());
    }

    /// Removes an entry, or one tag of it and the entry with its last one. Whether there was one.
    pub fn remove(&mut self, list: &str, address: &str, tag: Option<&str>) -> bool {
        let address = address.to_ascii_lowercase();
        let Some(entries) = self.lists.get_mut(list) else { return false };
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

    /// Makes an entry anew: what it was made for before is forgotten.
    pub fn replace(&mut self, list: &str, address: &str, reason: &str) {
        self.remove(list, address, None);
        self.put(list, address, Origin::Api, reason, &[]);
    }

    /// The provider knows this contact from now on.
    pub fn meet(&mut self, address: &str) {
        self.contacts.insert(address.to_ascii_lowercase());
    }

    /// Whether the provider knows this contact.
    pub fn knows(&self, address: &str) -> bool {
        let address = address.to_ascii_lowercase();
        self.contacts.contains(&address) || self.lists.values().any(|entries| entries.contains_key(&address))
    }

    /// The addresses on a list, sorted.
    pub fn addresses(&self, list: &str) -> Vec<String> {
        self.lists.get(list).map(|entries| entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// How many different addresses stand on any list.
    pub fn distinct(&self) -> usize {
        self.lists.values().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>().len()
    }
}
