//! A subscriber of deltas: a plain `read_committed` consumer that notes when each came.

use anyhow::Context as _;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use schemas::{topics, wire::DeltaRecord};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const POLL: Duration = Duration::from_millis(100);
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// A delta that came.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) at: Instant,
    /// Of the webhook that brought it about.
    pub(super) receipt: String,
}

/// When it came, and its bytes.
type Unread = (Instant, Vec<u8>);

/// Reads on a thread of its own from the end on.
#[derive(Debug)]
pub(super) struct Subscriber {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Vec<Unread>>>,
}

impl Subscriber {
    /// From now on.
    pub(super) fn start(brokers: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "bench-subscriber")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topics::DELTAS), ASK_WITHIN)?;
        let topic = metadata.topics().first().context("no topic of deltas")?;
        let mut places = TopicPartitionList::new();
        for partition in topic.partitions() {
            let (_, end) = consumer.fetch_watermarks(topics::DELTAS, partition.id(), ASK_WITHIN)?;
            places.add_partition_offset(topics::DELTAS, partition.id(), Offset::Offset(end))?;
        }
        consumer.assign(&places)?;
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = std::thread::Builder::new().name("subscriber".to_owned()).spawn(move || {
            let mut came = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Some(polled) = consumer.poll(POLL) else { continue };
                let message = polled.context("reading deltas")?;
                came.push((Instant::now(), message.payload().unwrap_or_default().to_vec()));
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(came)
        })?;
        Ok(Self { stop, count, thread })
    }

    /// How many came so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// All that came.
    pub(super) fn stop(self) -> anyhow::Result<Vec<Came>> {
        self.stop.store(true, Ordering::Relaxed);
        let came = self.thread.join().map_err(|_| anyhow::anyhow!("the subscriber's thread ended"))??;
        let read = |(at, bytes): Unread| {
            let delta: DeltaRecord = schemas::decode(&bytes).context("a delta")?;
            Ok(Came { at, receipt: delta.trigger.receipt_id })
        };
        came.into_iter().map(read).collect()
    }
}
