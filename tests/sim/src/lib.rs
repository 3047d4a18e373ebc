//! The simulator: the production runner, stages, policy and jobs over a log and a store in memory, stepped by one seeded
//! scheduler that crashes, expels, delays and lies at every seam; and an oracle that folds the committed log on its own.
//!
//! One seed is one world. [`simulate`] runs it and answers with what was seen, or with [`Red`]: the invariant that broke
//! and how. [`explain`] runs a red seed again with its history.

mod act;
mod fold;
mod oracle;
mod plant;
mod provider;
mod scenario;
mod seams;
mod settle;
mod weather;
mod worker;
mod world;

pub use plant::Bug;
pub use scenario::Scenario;

/// What must hold. Every red run names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Every acknowledged webhook, and every delta that the committed log implies, is there.
    NoLoss,
    /// Nothing is there twice.
    NoDup,
    /// A recipient's deltas come in order; each one's before is the former's now.
    KeyOrder,
    /// Store, state topic and deltas agree with a fold of the committed log.
    StateMatchesLog,
    /// Once the faults stop, everything is drained in a bounded number of steps.
    Progress,
    /// Nothing stays in force past its end once the scanner ran, and an end has one event id (R7).
    Expires,
    /// An applied policy reaches every recipient with evidence (R9).
    PolicyReaches,
    /// What is found or ruled of an incident reaches every bounce in it, and no other.
    IncidentReaches,
    /// An erasure changes nothing that is in force.
    ErasureKeeps,
    /// Whoever was erased is forgotten.
    ErasureForgets,
    /// The same events in any order give the same state.
    AnyOrder,
    /// A provider holds whom it is to hold back, and nobody else.
    ProvidersConverge,
    /// A stage or job called its own data broken.
    Broken,
}

/// A run that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Red {
    /// Which invariant.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

impl Red {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

/// What a run went through, so that a test can see that the seeds exercise what they claim to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Futures polled.
    pub n_polls: u64,
    /// Records in the committed events log.
    pub n_events: u64,
    /// Deltas.
    pub n_deltas: u64,
    /// Workers that died.
    pub n_crashes: u64,
    /// Members expelled while alive.
    pub n_zombies: u64,
    /// Times the store lost its tail.
    pub n_losses: u64,
    /// New logs.
    pub n_logs: u64,
    /// Events that a scanner appended.
    pub n_expired: u64,
    /// Policies applied.
    pub n_policies: u64,
    /// Verdicts on incidents in the log.
    pub n_verdicts: u64,
    /// Of these, counted in each partition, those that the store no longer keeps.
    pub n_verdicts_spent: u64,
    /// Deltas that say that something is provisional.
    pub n_provisional: u64,
    /// Erased recipients of whom nothing older was left.
    pub n_forgotten: u64,
    /// Rewinds.
    pub n_rewinds: u64,
    /// Dead letters.
    pub n_dead: u64,
    /// Partitions of which a lane told what was in force before it began.
    pub n_bootstraps: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.n_polls += other.n_polls;
        self.n_events += other.n_events;
        self.n_deltas += other.n_deltas;
        self.n_crashes += other.n_crashes;
        self.n_zombies += other.n_zombies;
        self.n_losses += other.n_losses;
        self.n_logs += other.n_logs;
        self.n_expired += other.n_expired;
        self.n_policies += other.n_policies;
        self.n_verdicts += other.n_verdicts;
        self.n_verdicts_spent += other.n_verdicts_spent;
        self.n_provisional += other.n_provisional;
        self.n_forgotten += other.n_forgotten;
        self.n_rewinds += other.n_rewinds;
        self.n_dead += other.n_dead;
        self.n_bootstraps += other.n_bootstraps;
    }
}

/// Runs one world to its end.
pub fn simulate(scenario: &Scenario) -> Result<Seen, Red> {
    world::World::new(scenario.clone(), false).run()
}

/// Runs a world again and tells its history: the newest lines of it, then how it ended.
pub fn explain(scenario: &Scenario) -> String {
    let mut world = world::World::new(scenario.clone(), true);
    let result = world.run();
    let mut told = format!("{scenario:#?}\n");
    for line in world.history() {
        told.push_str(&line);
        told.push('\n');
    }
    match result {
        Ok(seen) => told.push_str(&format!("green: {seen:?}\n")),
        Err(red) => told.push_str(&format!(
            "red: {:?}: {}\nSIM_SEED={} SIM_BUG={:?} cargo test -p sim-tests one_seed -- --nocapture\n",
            red.invariant, red.detail, scenario.seed, scenario.bug
        )),
    }
    told
}
