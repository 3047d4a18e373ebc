//! What one seed's world is made of.

use crate::Bug;
use event_log::memory::{Rates, SplitMix64};

/// The knobs of a world. Each seed draws which faults are on, so that rare ones meet (swarm testing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Decides everything else.
    pub seed: u64,
    /// How many things senders, operators and schedules do.
    pub n_acts: u32,
    /// How many recipients.
    pub n_recipients: u64,
    /// Partitions of the events topic.
    pub n_partitions: u32,
    /// Largest batch.
    pub batch_max: usize,
    /// Webhooks go through the normalizer; else events are appended as they are.
    pub raw: bool,
    /// Workers die anywhere.
    pub crashes: bool,
    /// Members are expelled and go on running; workers stall.
    pub zombies: bool,
    /// Commits abort or stay without an answer, polls and read-backs fail, appends fail with or without effect.
    pub log_faults: bool,
    /// Store calls fail, in the middle too.
    pub store_faults: bool,
    /// The store loses its unsynced tail, at most so many offsets of it.
    pub sync_window: u64,
    /// Policies are applied and swept.
    pub policies: bool,
    /// Time passes in days: ends pass, scanners and the unengaged job run.
    pub time: bool,
    /// The log is replaced by a new one, at most so many times.
    pub new_logs: u32,
    /// Recipients are erased. No old event comes again after it.
    pub erasures: bool,
    /// A newer revision of the rules reads some failures otherwise.
    pub corrections: bool,
    /// The guard finds incidents, operators rule, and sweeps bring it to those that came before.
    pub incidents: bool,
    /// So many acts before the end the lanes of a provider begin; none if 0.
    pub lanes: u32,
    /// What is broken on purpose.
    pub bug: Bug,
}

impl Scenario {
    /// The world of a seed.
    pub fn drawn(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed ^ 0x5157_ee13);
        let mut often = |of_ten: u64| random.below(10) < of_ten;
        let loss = often(3);
        let erasures = often(2);
        let new_logs = u32::from(!erasures && often(3));
        let raw = !erasures && often(3);
        let mut scenario = Self {
            seed,
            n_acts: 40,
            n_recipients: 2,
            n_partitions: if loss { 1 } else { 2 },
            batch_max: 4,
            raw,
            crashes: often(6),
            zombies: often(5),
            log_faults: often(6),
            store_faults: often(5),
            sync_window: if loss { 6 } else { 0 },
            policies: often(3),
            time: often(6),
            new_logs,
            erasures,
            corrections: often(3),
            incidents: false,
            lanes: 0,
            bug: Bug::None,
        };
        scenario.n_acts = 15 + random.below(45) as u32;
        scenario.n_recipients = 1 + random.below(4);
        scenario.batch_max = 1 + random.below(8) as usize;
        if random.below(10) < 2 {
            scenario.lanes = 1 + random.below(u64::from(scenario.n_acts)) as u32;
        }
        scenario.incidents = random.below(10) < 3;
        scenario
    }

    /// The world of a seed with a rule broken, and what it takes for the breach to show turned on.
    #[must_use]
    pub fn planted(seed: u64, bug: Bug) -> Self {
        let mut scenario = Self { bug, ..Self::drawn(seed) };
        bug.prepare(&mut scenario);
        scenario
    }

    /// The same world with nothing broken.
    #[must_use]
    pub fn control(&self) -> Self {
        Self { bug: Bug::None, ..self.clone() }
    }

    pub(crate) fn rates(&self) -> Rates {
        if !self.log_faults {
            return Rates { cut: 300, marker: 100, ..Rates::default() };
        }
        Rates {
            poll_nothing: 50,
            cut: 500,
            commit_aborted: 120,
            commit_happened_untold: 50,
            commit_failed_untold: 50,
            read_back: 50,
            append_busy: 30,
            append_unavailable: 60,
            append_happened_untold: 60,
            marker: 200,
        }
    }
}
