//! Into a store that is empty.

use super::{Engines, FORM, Head, Known, Line, Moved, cluster, embedded};
use crate::{config::Config, engine::Engine, serve};
use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{Decision, Delta};
use event_log::{Append, Record, partition::partition_of};
use futures_util::future::try_join_all;
use schemas::{encode, topics, wire::StateRecord};
use service::{Clock as _, SystemClock};
use std::io::{BufRead, Read as _};
use suppressor::{
    Store,
    store::{Due, Write, erasing, identity},
};

const CHUNK: usize = 200;
const LINE_BYTES_MAX: u64 = 256 << 20;
/// Which move a store was filled by.
const NOTE: &str = "state.import";

/// Reads everything that was moved. Run again after an interruption, it goes over the same rows and changes nothing.
pub(crate) async fn bring(config: &Config, engines: Engines, input: &mut impl BufRead) -> anyhow::Result<Moved> {
    let Some(Line::Head(head)) = next(input)? else {
        bail!("the file does not begin as one of `quell export --state` does");
    };
    if head.form != FORM {
        bail!("the file is of form {:?}; this build reads {FORM}", head.form);
    }
    match engines {
        Engines::Embedded => {
            let engine = embedded(config)?;
            while engine.log().epoch() <= head.epoch {
                engine.log().raise_epoch()?;
            }
            into(&engine, engine.log().epoch(), head, input).await
        }
        Engines::Cluster => {
            let epoch = config.kafka.epoch;
            if epoch <= head.epoch {
                bail!(
                    "kafka.epoch is {epoch}, and the file holds positions of epoch {}: set kafka.epoch to {} in every \
                     process, before anything runs",
                    head.epoch,
                    head.epoch + 1
                );
            }
            let engine = cluster(config).await?;
            if let Some(known) = identity::identity(engine.store()).await?.filter(|known| known.epoch < epoch) {
                bail!(
                    "the store was written to under epoch {}: a state is only brought into an empty one",
                    known.epoch
                );
            }
            // Whoever runs under another epoch from now on is refused.
            identity::claim(engine.store(), &serve::identity_of(&engine).await?).await?;
            into(&engine, epoch, head, input).await
        }
    }
}

async fn into<E: Engine>(engine: &E, epoch: u16, head: Head, input: &mut impl BufRead) -> anyhow::Result<Moved> {
    let (log, store): (&dyn Append, &dyn Store) = (engine.log(), engine.store());
    let partitions = log.partitions(topics::EVENTS)?;
    for partition in 0..partitions {
        if store.applied(partition).await?.is_some() {
            bail!(
                "the store was written to by a suppressor: a state is only brought into an empty one, before any runs"
            );
        }
    }
    let (under_way, done) = (format!("{}\nunder way", head.taken_at), format!("{}\ndone", head.taken_at));
    match store.note(NOTE).await? {
        Some(note) if note == under_way => {}
        Some(note) if note == done => bail!("this very state was brought in already: nothing is left to do"),
        None if store.scan(None, 1).await?.items.is_empty() => store.put_note(NOTE, &under_way).await?,
        _ => bail!("the store holds something already: a state is only brought into an empty one"),
    }
    if let Some(fingerprint) = &head.erasure_key {
        erasing::note_key(store, fingerprint).await?;
    }
    let mut moved = Moved { epoch, ..Moved::default() };
    let mut chunk = Vec::with_capacity(CHUNK);
    while let Some(line) = next(input)? {
        match line {
            Line::Head(_) => bail!("the file has two beginnings"),
            Line::Policy { position, row } => {
                for partition in 0..partitions {
                    store.put_policy(partition, position, row.clone()).await?;
                }
                moved.policies += 1;
            }
            Line::Incident { position, row } => {
                for partition in 0..partitions {
                    store.put_incident(partition, position, row.clone()).await?;
                }
            }
            Line::Erased { partition, position, row } => {
                store.put_erased(partition, position, *row).await?;
                moved.erased += 1;
            }
            Line::Recipient(known) => {
                moved.recipients += 1;
                chunk.push(*known);
                if chunk.len() >= CHUNK {
                    moved.suppressions += put(log, store, std::mem::take(&mut chunk)).await?;
                }
            }
        }
    }
    moved.suppressions += put(log, store, chunk).await?;
    store.put_note(NOTE, &done).await?;
    Ok(moved)
}

/// Refuses a store into which a state was brought in part: a suppressor would decide on what is there.
pub(crate) async fn is_whole(store: &dyn Store) -> anyhow::Result<()> {
    if store.note(NOTE).await?.is_some_and(|note| note.ends_with("under way")) {
        bail!("a state was brought in only in part: run `quell import --state` again with the same file, then start");
    }
    Ok(())
}

/// State first: who reads it later than the store's rows were written finds all of them.
async fn put(log: &dyn Append, store: &dyn Store, chunk: Vec<Known>) -> anyhow::Result<u64> {
    let partitions = log.partitions(topics::STATE)?;
    let mut records = Vec::new();
    for known in &chunk {
        // As the suppressor puts them: by recipient, in the partition of its events and deltas.
        let partition = partition_of(known.key.to_log_key().as_bytes(), partitions);
        records.extend(state(known)?.into_iter().map(|record| (partition, record)));
    }
    let n_records = records.len() as u64;
    let append = |(partition, record)| log.append(topics::STATE, Some(partition), record);
    try_join_all(records.into_iter().map(append)).await?;
    let writes = chunk.into_iter().map(write).collect::<anyhow::Result<Vec<_>>>()?;
    store.apply(writes, &[]).await?;
    Ok(n_records)
}

/// A record for each scope in force, as the suppressor writes them.
fn state(known: &Known) -> anyhow::Result<Vec<Record>> {
    let Some(in_force) = &known.in_force else { return Ok(Vec::new()) };
    let timestamp_ms = SystemClock.now_millis();
    let mut records = Vec::new();
    for (scope, _, _, standing) in Delta::between(&Decision::default(), &in_force.decision) {
        let Some(standing) = standing else { continue };
        let key = &known.key;
        let value = StateRecord {
            tenant: key.tenant.to_string(),
            channel: key.recipient.channel().to_string(),
            recipient: key.recipient.as_str().to_owned(),
            address: in_force.address.clone(),
            scope: scope.to_string(),
            standing: standing.into(),
            position: i64::try_from(in_force.position).context("a position")?,
        };
        records.push(Record {
            key: Some(StateRecord::log_key(key, &scope).into()),
            value: Some(encode(&value)?),
            headers: Vec::new(),
            timestamp_ms,
        });
    }
    Ok(records)
}

fn write(known: Known) -> anyhow::Result<Write> {
    let Known { key, history, in_force, audit } = known;
    let causes = in_force.iter().flat_map(|in_force| in_force.decision.causes());
    let due = causes.filter_map(|cause| Some(Due { at: cause.until?, key: key.clone(), scope: cause.scope.clone() }));
    let due = due.collect();
    let audit = audit.into_iter().map(|entry| {
        let delta = STANDARD.decode(&entry.delta).context("the file holds a delta that is no base64")?;
        Ok((entry.position, entry.scope, delta))
    });
    let audit = audit.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Write {
        rows: history.rows.clone(),
        trimmed: Vec::new(),
        in_force,
        seen: Vec::new(),
        messages: Vec::new(),
        due,
        audit,
        key,
        history,
        forget: None,
    })
}

fn next(input: &mut impl BufRead) -> anyhow::Result<Option<Line>> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("cannot read the file")?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        bail!("the file ends within a line: it was not finished");
    }
    serde_json::from_slice(&line).map(Some).context("the file holds a line that this build cannot read")
}
