//! R9: the policy in the log is the one that holds. A file is applied by itself only where nothing was ever decided; a
//! changed one that was not applied is refused.

use crate::{commands::state, engine::Engine, process::Process};
use anyhow::{Context as _, bail};
use domain::Timestamp;
use schemas::topics;
use suppressor::{Policy, Store, jobs::reconsider};

/// Holds the configured file against what is in force, and reads what is in force.
pub(crate) async fn check<E: Engine>(process: &Process, engine: &E) -> anyhow::Result<()> {
    let store: &dyn Store = engine.store();
    state::is_whole(store).await?;
    if let Some(file) = &process.config.policy.file {
        let document = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Policy::parse(1, &document)?;
        let asked = reconsider::asked(store).await?;
        match reconsider::newest(store).await? {
            Some(row) if asked.is_none() && row.document == document => {}
            None if store.scan(None, 1).await?.items.is_empty() => {
                let now = Timestamp::from_micros(process.clock.now_micros())?;
                let version = reconsider::apply(store, engine.log(), &document, now, "first start").await?;
                tracing::info!(version, "applied the policy file");
            }
            // It may still lie behind events in the log, which only a start brings on.
            _ if asked.as_ref() == Some(&document) => {}
            _ => bail!(
                "{} is not the policy in force. Start with the file that was applied last (or without policy.file), then \
                 run `quell policy apply {}`",
                file.display(),
                file.display()
            ),
        }
    }
    let partitions = event_log::Append::partitions(engine.log(), topics::EVENTS)?;
    Ok(process.policy.refresh(store, partitions).await?)
}
