//! The one source of chance: the same seed gives the same load and the same plan of faults.

/// A small deterministic generator: SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// One for each use of a seed, so that what one draws does not move another.
    pub(crate) fn new(seed: u64, usage: u64) -> Self {
        let mut dice = Self(seed ^ usage.wrapping_mul(0xd134_2543_de82_ef95));
        dice.roll(2);
        dice
    }

    /// A number below `below`; 0 where that is 0.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(below).unwrap_or(0)
    }

    /// As [`Self::roll`], for an index.
    pub(crate) fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll(high.saturating_sub(low) + 1)
    }

    /// Any of these.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.index(all.len())).copied()
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for index in (1..all.len()).rev() {
            all.swap(index, self.index(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_each_usage_others() {
        let draw = |seed, usage| {
            let mut dice = Dice::new(seed, usage);
            (0..5).map(|_| dice.roll(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
        assert_eq!(Dice::new(1, 1).roll(0), 0);
        let mut all: Vec<u32> = (0..100).collect();
        Dice::new(3, 3).shuffle(&mut all);
        assert_ne!(all, (0..100).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
