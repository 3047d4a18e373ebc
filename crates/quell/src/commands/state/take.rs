//! Out of a store.

use super::{Audit, Engines, FORM, Head, Known, Line, Moved, cluster, embedded};
use crate::{config::Config, engine::Engine};
use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
use event_log::{Browse, Position};
use schemas::{codec, decode, topics, wire::DeltaRecord};
use service::{Clock as _, SystemClock};
use std::io::Write;
use suppressor::{
    History, Store,
    jobs::reconsider,
    store::{PolicyRow, erasing},
};

const PAGE: usize = 500;
/// Changes of one recipient that are moved: the newest.
const AUDIT_MAX: usize = 10_000;

/// Writes everything that is to be moved.
pub(crate) async fn take(config: &Config, engines: Engines, out: &mut impl Write) -> anyhow::Result<Moved> {
    match engines {
        Engines::Embedded => from(config, &embedded(config)?, out).await,
        Engines::Cluster => from(config, &cluster(config).await?, out).await,
    }
}

async fn from<E: Engine>(config: &Config, engine: &E, out: &mut impl Write) -> anyhow::Result<Moved> {
    let (log, store): (&dyn Browse, &dyn Store) = (engine.log(), engine.store());
    drained(log, topics::NORMALIZERS, topics::RAW).await?;
    drained(log, topics::SUPPRESSORS, topics::EVENTS).await?;
    for account in &config.accounts {
        // A release that it has not told would be forgotten: the state says only what is in force.
        let lane = syncer::Account::new(account.to_lane())?.group();
        drained(log, &lane, topics::DELTAS).await?;
    }

    if reconsider::is_under_way(store).await? {
        bail!("a sweep after a change of policy is under way: start the suppressor again and wait until it is over");
    }

    let partitions = log.partitions(topics::EVENTS)?;
    let mut epoch = 0;
    let mut newest: Vec<(u64, PolicyRow)> = Vec::new();
    for partition in 0..partitions {
        epoch = epoch.max(store.applied(partition).await?.map_or(0, epoch_of));
        for (position, row) in store.policies(partition).await? {
            epoch = epoch.max(epoch_of(position));
            // One numbering for all the new partitions: a policy holds in each from where it held first.
            match newest.iter_mut().find(|(_, known)| known.version == row.version) {
                Some((since, _)) => *since = (*since).min(position),
                None => newest.push((position, row)),
            }
        }
    }
    newest.sort_by_key(|(_, row)| row.version);
    // In one numbering a later version holds later, whatever the partitions were at.
    let mut last = None;
    for (position, _) in &mut newest {
        *position = last.map_or(*position, |last: u64| (last + 1).max(*position));
        last = Some(*position);
    }
    let now = Timestamp::from_micros(SystemClock.now_micros())?;
    let erasure_key = erasing::noted_key(store).await?;
    let head = Head { form: FORM.to_owned(), taken_at: now.to_string(), epoch, erasure_key };
    write(out, &Line::Head(head))?;
    let mut moved = Moved { epoch, ..Moved::default() };
    for (position, row) in newest {
        write(out, &Line::Policy { position, row })?;
        moved.policies += 1;
    }
    // Every partition was told the same.
    for (position, row) in store.incidents(0).await? {
        write(out, &Line::Incident { position, row })?;
    }
    for (partition, _) in store.erased_up_to().await? {
        let mut after = None;
        loop {
            let rows = store.erased(partition, after, PAGE).await?;
            let Some(last) = rows.last().map(|(position, _)| *position) else { break };
            after = Some(last);
            for (position, row) in rows {
                write(out, &Line::Erased { partition, position, row: Box::new(row) })?;
                moved.erased += 1;
            }
        }
    }
    let mut after = None;
    loop {
        let page = store.scan(after.as_deref(), PAGE).await?;
        let keys: Vec<_> = page.items.iter().map(|(key, _)| key.clone()).collect();
        let in_force = store.in_force(&keys).await?;
        for ((key, history), in_force) in page.items.into_iter().zip(in_force) {
            let highest = history.rows.iter().map(|row| epoch_of(row.position)).max().unwrap_or(0);
            if highest > epoch {
                bail!("the store holds positions of epoch {highest}, above its applied ones: it is being written to");
            }
            moved.recipients += 1;
            moved.suppressions += in_force.as_ref().map_or(0, |known| known.decision.by_scope().len() as u64);
            let audit = audit(store, &key, &history).await?;
            write(out, &Line::Recipient(Box::new(Known { key, history, in_force, audit })))?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(moved),
        }
    }
}

fn epoch_of(number: u64) -> u16 {
    Position::from_number(number, 0).epoch
}

/// Refuses while a group has records left to process: they would be missing.
async fn drained(log: &dyn Browse, group: &str, topic: &str) -> anyhow::Result<()> {
    for partition in 0..log.partitions(topic)? {
        let from = match log.committed(group, topic, partition).await? {
            Some(committed) => committed,
            None => log.range(topic, partition).await?.0,
        };
        if !log.read(topic, partition, from, 1).await?.is_empty() {
            bail!(
                "partition {partition} of {topic} holds records that {group} has not processed: stop the gateways, wait \
                 until quell_stage_lag_records is 0, stop the rest, then export"
            );
        }
    }
    Ok(())
}

async fn audit(store: &dyn Store, key: &domain::RecipientKey, history: &History) -> anyhow::Result<Vec<Audit>> {
    if history.rows.is_empty() {
        return Ok(Vec::new());
    }
    let entries = store.audit(key, AUDIT_MAX).await?;
    schemas::ready(entries.iter().map(|(_, _, delta)| delta.as_slice())).await?;
    let entry = |(position, scope, delta): (u64, _, Vec<u8>)| {
        let delta = codec::encode_embedded(&decode::<DeltaRecord>(&delta)?)?;
        Ok(Audit { position, scope, delta: STANDARD.encode(delta) })
    };
    entries.into_iter().map(entry).collect()
}

fn write(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line).context("cannot write the file")?;
    Ok(out.write_all(b"\n")?)
}
