//! Why a runner ended.

use crate::SessionError;

/// A runner that cannot go on: end the process; whoever owns the partitions next reads the truth from the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The session ended.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A commit failed for good, or nobody can tell whether it happened.
    #[error("commit failed for good: {0}")]
    Commit(String),
    /// The stage said that going on would corrupt data.
    #[error("stage is broken: {0}")]
    Stage(String),
    /// The stage forgot a record, or made one up.
    #[error("stage gave {verdicts} verdicts for {records} records")]
    Verdicts {
        /// How many records the batch had.
        records: usize,
        /// How many verdicts came.
        verdicts: usize,
    },
    /// The stage or the session panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The thread could not be set up.
    #[error("the runner's thread cannot start: {0}")]
    Start(String),
    /// It was stepped after it had ended.
    #[error("the runner has ended already")]
    Ended,
}

impl Fatal {
    /// A stable tag for metrics.
    pub const fn tag(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Commit(_) => "commit",
            Self::Stage(_) => "stage",
            Self::Verdicts { .. } => "verdicts",
            Self::Panicked(_) => "panicked",
            Self::Start(_) => "start",
            Self::Ended => "ended",
        }
    }
}
