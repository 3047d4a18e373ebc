//! The incident guard: finds when the hard bounces of a mailbox domain, or those that a provider tells, jump far beyond
//! their own rhythm, and says so in the log.
//!
//! - The suppressor counts ([`count`]) into `quell.statistics.v1`, in the batch's transaction; every group has one owner.
//! - [`stage::Guard`] folds the counts ([`memory`]) and judges them ([`detect`], pure). Its verdicts go to every partition
//!   of `quell.events.v1`, in its batch's transaction.
//! - The suppressor keeps verdicts by partition and position ([`known`]), as it keeps policies: which incident a bounce is
//!   in depends on its position alone. What came before a verdict is reached by [`crate::jobs::incidents`].
//!
//! Neither counts nor engagement ever reach `decide`: it sees the marks on the evidence, and nothing else.

pub mod count;
pub mod detect;
pub mod known;
pub mod memory;
mod stage;

pub use known::{Clock, Incident, KEPT_SECONDS, incidents};
pub use stage::{Guard, GuardMetrics, NoGuardMetrics};
