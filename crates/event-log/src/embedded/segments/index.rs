//! Where in a segment to begin to read: a place about every so many bytes, for each partition.

/// From one place to the next: what is read in vain at most to find a record.
const STRIDE: u32 = 16 * 1_024;

/// A segment's places. Bounded by its size: some hundred kilobytes at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// By partition: how many records of it come before in this segment, and where the next one lies.
    places: Vec<Vec<(u32, u32)>>,
}

impl Index {
    /// A record was found or written at a place; records of a partition are told in order.
    pub(super) fn note(&mut self, partition: u32, n_before: u32, at: u32) {
        let partition = partition as usize;
        if partition >= self.places.len() {
            self.places.resize_with(partition + 1, Vec::new);
        }
        let Some(places) = self.places.get_mut(partition) else { return };
        if places.last().is_none_or(|(_, last)| at.saturating_sub(*last) >= STRIDE) {
            places.push((n_before, at));
        }
    }

    /// Where to begin, to come to the record of a partition that so many come before. `None` where it has none.
    pub(super) fn place(&self, partition: u32, n_before: u64) -> Option<u64> {
        let places = self.places.get(partition as usize)?;
        let after = places.partition_point(|(before, _)| u64::from(*before) <= n_before);
        places.get(after.checked_sub(1)?).map(|(_, at)| u64::from(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_never_beyond_the_record_and_not_far_before_it() {
        let mut index = Index::default();
        let at = |n: u32| 40 + n * 3_000;
        for n in 0..1_000 {
            index.note(n % 3, n / 3, at(n));
        }
        for n in 0..1_000 {
            let place = index.place(n % 3, u64::from(n / 3)).unwrap();
            let distance = u64::from(at(n)) - place;
            assert!(distance < u64::from(STRIDE) + 9_000, "{n}: {distance}");
        }
        assert_eq!(index.place(3, 0), None);
        assert!(index.places[0].len() < 200);
    }
}
