//! What may go wrong, decided by a plan.

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// It happens, and is told.
    None,
    /// It does not happen, and is told: [`crate::CommitError::Aborted`].
    Aborted,
    /// It happens, but the answer is lost: [`crate::CommitError::Fatal`].
    HappenedUntold,
    /// It does not happen, and the answer is lost: [`crate::CommitError::Fatal`].
    FailedUntold,
}

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// It happens, and is told.
    None,
    /// The queue is full.
    Busy,
    /// It does not happen.
    Unavailable,
    /// It happens, but the answer is an error.
    HappenedUntold,
}

/// Decides at every place where something may go wrong. What is not overridden works.
pub trait Faults: Send + std::fmt::Debug {
    /// Whether this poll finds nothing though there is something.
    fn poll_finds_nothing(&mut self) -> bool {
        false
    }

    /// How many records this poll brings at most: from 1 to `records_max`.
    fn cut(&mut self, records_max: usize) -> usize {
        records_max
    }

    /// What becomes of this commit.
    fn commit(&mut self) -> CommitFault {
        CommitFault::None
    }

    /// Whether this read-back fails.
    fn read_back_fails(&mut self) -> bool {
        false
    }

    /// What becomes of this append.
    fn append(&mut self) -> AppendFault {
        AppendFault::None
    }

    /// Offsets that a transaction leaves unused in each partition it wrote to, as a broker's end-of-transaction markers
    /// do.
    fn marker(&mut self) -> u64 {
        0
    }
}

/// Nothing goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// How often things go wrong, each in a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Polls that find nothing.
    pub poll_nothing: u32,
    /// Polls that bring fewer records than they might.
    pub cut: u32,
    /// Commits that abort.
    pub commit_aborted: u32,
    /// Commits that happen and are not told.
    pub commit_happened_untold: u32,
    /// Commits that do not happen and are not told.
    pub commit_failed_untold: u32,
    /// Read-backs that fail.
    pub read_back: u32,
    /// Appends refused as busy.
    pub append_busy: u32,
    /// Appends that do not happen.
    pub append_unavailable: u32,
    /// Appends that happen and are told as errors.
    pub append_happened_untold: u32,
    /// Transactions that leave an offset unused.
    pub marker: u32,
}

/// Faults from a seed: the same seed, the same calls, the same faults.
#[derive(Debug, Clone)]
pub struct SeededFaults {
    random: SplitMix64,
    rates: Rates,
}

impl SeededFaults {
    /// Faults at the given rates.
    pub const fn new(seed: u64, rates: Rates) -> Self {
        Self { random: SplitMix64::new(seed), rates }
    }

    fn happens(&mut self, per_thousand: u32) -> bool {
        self.random.below(1_000) < u64::from(per_thousand)
    }
}

impl Faults for SeededFaults {
    fn poll_finds_nothing(&mut self) -> bool {
        self.happens(self.rates.poll_nothing)
    }

    fn cut(&mut self, records_max: usize) -> usize {
        if self.happens(self.rates.cut) { 1 + self.random.below(records_max as u64) as usize } else { records_max }
    }

    fn commit(&mut self) -> CommitFault {
        let Rates { commit_aborted, commit_happened_untold, commit_failed_untold, .. } = self.rates;
        let choices = [
            (commit_aborted, CommitFault::Aborted),
            (commit_happened_untold, CommitFault::HappenedUntold),
            (commit_failed_untold, CommitFault::FailedUntold),
        ];
        self.random.choose(&choices).unwrap_or(CommitFault::None)
    }

    fn read_back_fails(&mut self) -> bool {
        self.happens(self.rates.read_back)
    }

    fn append(&mut self) -> AppendFault {
        let Rates { append_busy, append_unavailable, append_happened_untold, .. } = self.rates;
        let choices = [
            (append_busy, AppendFault::Busy),
            (append_unavailable, AppendFault::Unavailable),
            (append_happened_untold, AppendFault::HappenedUntold),
        ];
        self.random.choose(&choices).unwrap_or(AppendFault::None)
    }

    fn marker(&mut self) -> u64 {
        u64::from(self.happens(self.rates.marker))
    }
}

/// A small random number generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): good
/// enough to choose faults, and the same on every machine.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// From a seed; every seed is as good as any other.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        // The bias is below end / 2^64.
        if end == 0 { 0 } else { self.next() % end }
    }

    /// One of the choices, each with its weight in a thousand; `None` for the rest.
    fn choose<T: Copy>(&mut self, choices: &[(u32, T)]) -> Option<T> {
        let mut drawn = self.below(1_000);
        for (weight, choice) in choices {
            match drawn.checked_sub(u64::from(*weight)) {
                None => return Some(*choice),
                Some(rest) => drawn = rest,
            }
        }
        None
    }
}
