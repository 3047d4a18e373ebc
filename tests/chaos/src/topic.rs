//! Whole topics, as a plain `read_committed` consumer sees them.

use anyhow::Context as _;
use event_log::{Browse as _, Consumed, kafka::KafkaLog};
use schemas::{Wire, decode};

const PAGE: usize = 5_000;

/// Every committed record, partition by partition.
pub(crate) async fn read_all(log: &KafkaLog, topic: &str) -> anyhow::Result<Vec<Consumed>> {
    let mut all = Vec::new();
    for partition in 0..log.partitions(topic)? {
        let mut offset = 0;
        loop {
            let page = log.read(topic, partition, offset, PAGE).await.with_context(|| format!("reading {topic}"))?;
            let Some(last) = page.last() else { break };
            offset = last.position.offset + 1;
            all.extend(page);
        }
    }
    Ok(all)
}

/// A record's value, as one of ours.
pub(crate) fn read<T: Wire>(consumed: &Consumed) -> anyhow::Result<T> {
    let value = consumed.record.value.as_deref().context("a record without a value")?;
    decode(value).with_context(|| format!("a record of {}", consumed.topic))
}

/// How many partitions hold records that a group has not worked through.
pub(crate) async fn behind(log: &KafkaLog, group: &str, topic: &str) -> anyhow::Result<u64> {
    let mut n_behind = 0;
    for partition in 0..log.partitions(topic)? {
        let committed = log.committed(group, topic, partition).await?.unwrap_or(0);
        // What lies behind the committed position may be no record but the end of a transaction.
        if !log.read(topic, partition, committed, 1).await?.is_empty() {
            n_behind += 1;
        }
    }
    Ok(n_behind)
}

/// About how many records a group has before it.
pub(crate) async fn lag(log: &KafkaLog, group: &str, topic: &str) -> anyhow::Result<u64> {
    let mut lag = 0;
    for partition in 0..log.partitions(topic)? {
        let (_, end) = log.range(topic, partition).await?;
        lag += end.saturating_sub(log.committed(group, topic, partition).await?.unwrap_or(0));
    }
    Ok(lag)
}
