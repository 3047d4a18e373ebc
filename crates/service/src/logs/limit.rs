//! How many lines one place in the code may write: an attack, or a peer that is away, repeats the same line for ever. Pure.

use std::{collections::HashMap, hash::Hash};

const WINDOW_MS: u64 = 60_000;

/// Counts the lines of each place in windows of a minute.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    places: HashMap<K, Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// When the window that is open began.
    since_ms: u64,
    n_written: u64,
    /// Since the last time it was told.
    n_left_out: u64,
    /// The message of the first that was left out.
    message: String,
}

/// Lines of one place that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut<K> {
    pub(super) place: K,
    pub(super) n_lines: u64,
    pub(super) message: String,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self { places: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// Whether a line may be written: the first `most` of a minute. `message` is asked for the first that may not.
    pub(super) fn admits(&mut self, place: &K, most: u64, now_ms: u64, message: impl FnOnce() -> String) -> bool {
        let known = match self.places.get_mut(place) {
            Some(known) => known,
            None => self.places.entry(place.clone()).or_insert(Place { since_ms: now_ms, ..Place::default() }),
        };
        if now_ms.saturating_sub(known.since_ms) >= WINDOW_MS {
            (known.since_ms, known.n_written) = (now_ms, 0);
        }
        if known.n_written < most {
            known.n_written += 1;
            return true;
        }
        if known.n_left_out == 0 {
            known.message = message();
        }
        known.n_left_out += 1;
        false
    }

    /// What was left out in windows that are over, or in `all`; told once.
    pub(super) fn left_out(&mut self, now_ms: u64, all: bool) -> Vec<LeftOut<K>> {
        let is_due = |place: &Place| all || now_ms.saturating_sub(place.since_ms) >= WINDOW_MS;
        let due = self.places.iter_mut().filter(|(_, place)| place.n_left_out > 0 && is_due(place));
        due.map(|(key, place)| LeftOut {
            place: key.clone(),
            n_lines: std::mem::take(&mut place.n_left_out),
            message: std::mem::take(&mut place.message),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_and_the_rest_is_counted() {
        let mut limiter = Limiter::default();
        let mut flood = |place: &'static str, at_ms: u64| {
            (0..1_000).filter(|n| limiter.admits(&place, 5, at_ms, || format!("message {n}"))).count()
        };
        assert_eq!((flood("a", 10), flood("a", 59_000), flood("b", 59_000)), (5, 0, 5));
        assert!(limiter.left_out(60_009, false).is_empty());
        let told = limiter.left_out(60_010, false);
        assert_eq!(told, [LeftOut { place: "a", n_lines: 1_995, message: "message 5".to_owned() }]);
        assert!(limiter.left_out(60_011, false).is_empty());
        let told = limiter.left_out(60_012, true);
        assert_eq!((told.len(), told[0].place, told[0].n_lines), (1, "b", 995));
    }

    #[test]
    fn a_new_window_opens_with_the_next_line_and_nothing_is_forgotten() {
        let mut limiter = Limiter::default();
        let mut n_written = 0;
        // A line every second, for ten minutes, told at their ends.
        let mut n_told = 0;
        for second in 0..600_u64 {
            n_written += u64::from(limiter.admits(&"a", 5, second * 1_000, String::new));
            n_told += limiter.left_out(second * 1_000, false).iter().map(|left| left.n_lines).sum::<u64>();
        }
        assert_eq!(n_written, 50);
        n_told += limiter.left_out(600_000, true).iter().map(|left| left.n_lines).sum::<u64>();
        assert_eq!(n_written + n_told, 600);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_admits_no_more() {
        let mut limiter = Limiter::default();
        assert!(limiter.admits(&"a", 1, 5_000, String::new));
        assert!(!limiter.admits(&"a", 1, 0, String::new));
        assert!(!limiter.admits(&"none", 0, 0, String::new));
    }
}
