//! Metrics of the parts, registered once for the process. `docs/metrics.md` lists all there are; a test keeps the two in
//! step.

mod calls;
mod guard;
mod in_force;
mod labels;
pub(crate) mod mailboxes;
#[cfg(test)]
mod page;
mod runners;
mod stages;

pub(crate) use calls::{LookupCalls, StoreCalls};
pub(crate) use guard::GuardCounts;
pub(crate) use runners::{LaneObserver, RunnerMetrics};
pub(crate) use stages::StageMetrics;

use crate::process::Process;
use service::telemetry::{Metrics, TelemetryError};
use std::sync::Arc;

/// What every process shows of itself.
pub(crate) fn show_build(metrics: &Metrics) -> Result<(), TelemetryError> {
    let build = metrics.gauges("quell_build_info", "1, with the version of this program.", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

/// What a process shows that follows the policy.
pub(crate) fn show_policy(process: &Process) -> Result<(), TelemetryError> {
    let policy = Arc::clone(&process.policy);
    let help = "Version of the suppression policy in force, as this process knows it; 0 is the built-in one.";
    process.metrics.pulled("quell_policy_version", help, move || f64::from(policy.get().newest().version))
}
