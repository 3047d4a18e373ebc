//! The event log: append a record durably; poll a batch, and commit its outputs and positions as one.
//!
//! This crate knows neither recipients nor schemas: keys and values are bytes. What touches the world stands behind
//! [`Append`], [`Session`] and [`Browse`]; a stage's logic is a [`Stage`]; one [`Runner`] polls, processes, commits,
//! rewinds and waits for all of them.

pub mod append;
pub mod browse;
pub mod embedded;
mod gather;
pub mod kafka;
pub mod memory;
pub mod partition;
pub mod position;
pub mod record;
pub mod runner;
pub mod session;
pub mod stage;

pub use append::{Append, AppendError};
pub use browse::{Browse, BrowseError};
pub use position::{NextOffset, Position};
pub use record::{Consumed, Header, Record, TopicSpec};
pub use runner::{
    BatchReport, Fatal, Observer, PhaseName, Runner, RunnerEvent, RunnerHandle, RunnerOptions, spawn_runner,
};
pub use session::{Batch, CommitError, Limits, Polled, Session, SessionError};
pub use stage::{Fate, Output, Outputs, Stage, StageError, Verdict};
