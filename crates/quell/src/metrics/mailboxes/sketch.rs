//! Which names of a stream are heavy, in bounded room: Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient computation of
//! frequent and top-k elements in data streams", 2005), with the error of each count kept beside it. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

#[derive(Debug, Default)]
struct Entry {
    name: String,
    hash: u64,
    /// At least as often as it came.
    count: u64,
    /// How much of the count it may have taken over from those it displaced.
    error: u64,
}

/// Counts of the heaviest names. A count less its error is never more than how often the name came: a name that came once is
/// never taken for a heavy one, however many such names there are.
#[derive(Debug)]
pub(super) struct Sketch {
    entries: Vec<Entry>,
    by_hash: HashMap<u64, usize>,
    entries_max: usize,
    /// No count is below it.
    least: u64,
    /// Where the search for one at it goes on.
    hand: usize,
    hasher: RandomState,
}

impl Sketch {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            by_hash: HashMap::new(),
            entries_max: entries_max.max(1),
            least: 0,
            hand: 0,
            hasher: RandomState::new(),
        }
    }

    /// Counts a name; says how often it came at least.
    pub(super) fn add(&mut self, name: &str) -> u64 {
        let hash = self.hasher.hash_one(name);
        let place = match self.by_hash.get(&hash) {
            // Two names of one hash share a count; they cannot be chosen from outside, as the hash is keyed.
            Some(place) => *place,
            None if self.entries.len() < self.entries_max => {
                self.entries.push(Entry { name: name.to_owned(), hash, count: 0, error: 0 });
                self.by_hash.insert(hash, self.entries.len() - 1);
                (self.least, self.hand) = (0, 0);
                self.entries.len() - 1
            }
            None => self.displace(name, hash),
        };
        let entry = &mut self.entries[place];
        entry.count += 1;
        if entry.name == name { entry.count - entry.error } else { 0 }
    }

    /// Gives the place of one of the rarest names to another, which takes over its count.
    fn displace(&mut self, name: &str, hash: u64) -> usize {
        let place = self.rarest();
        let entry = &mut self.entries[place];
        self.by_hash.remove(&entry.hash);
        entry.name.clear();
        entry.name.push_str(name);
        (entry.hash, entry.error) = (hash, entry.count);
        self.by_hash.insert(hash, place);
        place
    }

    /// The place of a name with the least count. A turn of the hand finds them all, so one costs little on average.
    fn rarest(&mut self) -> usize {
        for _ in 0..self.entries.len() {
            let place = self.hand % self.entries.len();
            if self.entries[place].count <= self.least {
                return place;
            }
            self.hand = place + 1;
        }
        self.least = self.entries.iter().map(|entry| entry.count).min().unwrap_or(0);
        self.entries.iter().position(|entry| entry.count == self.least).unwrap_or(0)
    }

    /// Halves every count, so that what was heavy once does not stay so for ever.
    pub(super) fn age(&mut self) {
        for entry in &mut self.entries {
            // What remains certain is never more than half of what was.
            let certain = (entry.count - entry.error) / 2;
            entry.count /= 2;
            entry.error = entry.count - certain.min(entry.count);
        }
        (self.least, self.hand) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_exact_while_there_is_room() {
        let mut sketch = Sketch::new(3);
        let told: Vec<u64> = ["a", "b", "a", "c", "a", "b"].iter().map(|name| sketch.add(name)).collect();
        assert_eq!(told, [1, 1, 2, 1, 3, 2]);
        sketch.age();
        assert_eq!((sketch.add("a"), sketch.add("b"), sketch.add("c")), (2, 2, 1));
    }

    #[test]
    fn who_displaces_another_starts_anew() {
        let mut sketch = Sketch::new(2);
        ["a", "a", "a", "b", "b"].iter().for_each(|name| {
            sketch.add(name);
        });
        assert_eq!(sketch.add("c"), 1, "it took the place of b, and none of its weight");
        assert_eq!(sketch.add("a"), 4);
        assert_eq!(sketch.add("b"), 1);
    }

    proptest! {
        /// Never more than how often it came; and what comes often enough has a place.
        #[test]
        fn what_it_says_is_certain(room in 1..12_usize, names in prop::collection::vec(0..30_u8, 0..600)) {
            let mut sketch = Sketch::new(room);
            let mut truth: HashMap<u8, u64> = HashMap::new();
            for name in &names {
                let came = truth.entry(*name).or_default();
                *came += 1;
                prop_assert!(sketch.add(&name.to_string()) <= *came);
            }
            prop_assert!(sketch.entries.len() <= room && sketch.by_hash.len() == sketch.entries.len());
            for (name, came) in truth {
                let is_heavy = came as usize * room > names.len();
                let has_place = sketch.entries.iter().any(|entry| entry.name == name.to_string());
                prop_assert!(!is_heavy || has_place, "{name} came {came} times of {}", names.len());
            }
        }
    }
}
