//! One subscriber's lane: the stage that posts its deltas.

use crate::{
    Metrics, Receiver, Subscriber,
    calls::LaneCalls,
    courier::{Courier, End, Offer},
    letter,
    status::{Halt, LaneStatus},
};
use async_trait::async_trait;
use domain::{Delta, EventId, RecipientKey};
use event_log::{Batch, Browse, Consumed, Fate, Limits, Outputs, Stage, StageError, Verdict, session::Assigned};
use schemas::{DecodeError, decode, headers, topics, wire::DeltaRecord};
use service::{Clock, traces::Traces};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// Bounds of one poll of a lane.
pub const LIMITS: Limits = Limits { records_max: 256, bytes_max: 4 * 1024 * 1024, wait: Duration::from_millis(200) };

/// How long a batch may take in one go; then the session has a look at its group, and the same batch goes on.
const BATCH_MS_MAX: i64 = 60_000;
/// Where a delta failed so often, those behind its batch are looked at.
const STUCK_AFTER: u32 = 3;
/// How far behind, in each partition.
const AHEAD_MAX: usize = 1_000;

/// Which topic a lane reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The deltas, as they are made.
    Deltas,
    /// Dead letters of this subscriber on their way back.
    Redeliveries,
}

impl Way {
    /// The topic.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Deltas => topics::DELTAS,
            Self::Redeliveries => topics::REDELIVERIES,
        }
    }
}

/// What a record is to this subscriber.
enum Read {
    Offer(Box<Delta>),
    Ignored(&'static str),
    Dead(String),
}

/// One subscriber's lane.
#[derive(Debug)]
pub struct Lane {
    subscriber: Arc<Subscriber>,
    way: Way,
    courier: Courier,
    browse: Arc<dyn Browse>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    status: LaneStatus,
    /// Deltas of the batch that was processed last.
    batch: Vec<EventId>,
}

impl Lane {
    /// A lane that has posted nothing yet.
    pub fn new(
        subscriber: Arc<Subscriber>,
        way: Way,
        receiver: Arc<dyn Receiver>,
        browse: Arc<dyn Browse>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let status = LaneStatus::new();
        if way == Way::Deltas {
            metrics.disabled.with_label_values(&[subscriber.name.as_str()]).set(0);
            metrics.oldest_pending.with(&subscriber.name);
            metrics.dead_letters.with_label_values(&[subscriber.name.as_str()]);
        }
        let (to, calls) = (Arc::clone(&subscriber), LaneCalls::new(Traces::off(), &subscriber, way));
        let courier = Courier::new(to, receiver, calls, Arc::clone(&clock), metrics.clone(), status.clone());
        Self { subscriber, way, courier, browse, clock, metrics, status, batch: Vec::new() }
    }

    /// The same with its posts traced.
    #[must_use]
    pub fn traced(mut self, traces: Traces) -> Self {
        self.courier.calls = LaneCalls::new(traces, &self.subscriber, self.way);
        self
    }

    /// The subscriber.
    pub fn subscriber(&self) -> &Subscriber {
        &self.subscriber
    }

    /// A handle on how it fares.
    pub fn status(&self) -> LaneStatus {
        self.status.clone()
    }

    /// The inner error is the record's; the outer one says that it cannot be read yet.
    fn read(&self, consumed: &Consumed) -> Result<Read, DecodeError> {
        if self.way == Way::Redeliveries && !is_for(consumed, &self.subscriber.name) {
            return Ok(Read::Ignored("other_subscriber"));
        }
        let Some(value) = &consumed.record.value else { return Ok(Read::Dead("no value".to_owned())) };
        let delta = match decode::<DeltaRecord>(value) {
            Ok(record) => Delta::try_from(record).map_err(|error| error.to_string()),
            Err(error) if error.is_unresolved() => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        Ok(match delta {
            Ok(delta) => match self.subscriber.passes_over(&delta) {
                Some(reason) if self.way == Way::Deltas => Read::Ignored(reason),
                _ => Read::Offer(Box::new(delta)),
            },
            Err(detail) => Read::Dead(detail),
        })
    }

    async fn read_all(&self, records: &[Consumed]) -> Result<Vec<Read>, StageError> {
        let away = |error: DecodeError| StageError::Unavailable(error.to_string());
        schemas::ready(records.iter().filter_map(|consumed| consumed.record.value.as_deref())).await.map_err(away)?;
        records.iter().map(|consumed| self.read(consumed)).collect::<Result<_, _>>().map_err(away)
    }

    /// What lies behind a batch in which something is stuck: whether that is taken tells whether the endpoint is down, and
    /// nobody waits for another's delta.
    async fn ahead(&self, batch: &Batch, offers: &[(usize, Delta)]) -> Result<Vec<(Consumed, Read)>, StageError> {
        let is_stuck = |delta: &Delta| {
            self.courier
                .track(&delta.delta_id)
                .is_some_and(|track| track.end.is_none() && track.attempts >= STUCK_AFTER)
        };
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        for consumed in &batch.records {
            let end = ends.entry(consumed.position.partition).or_default();
            *end = (*end).max(consumed.position.offset + 1);
        }
        let stuck = offers.iter().filter(|(_, delta)| is_stuck(delta));
        let partitions: std::collections::BTreeSet<u32> =
            stuck.filter_map(|(index, _)| Some(batch.records.get(*index)?.position.partition)).collect();
        let mut found = Vec::new();
        for partition in partitions {
            let from = ends.get(&partition).copied().unwrap_or_default();
            let read = self.browse.read(self.way.topic(), partition, from, AHEAD_MAX).await;
            let records = read.map_err(|error| StageError::Unavailable(error.to_string()))?;
            let reads = self.read_all(&records).await?;
            found.extend(records.into_iter().zip(reads));
        }
        Ok(found)
    }

    /// The deltas to post: those of the batch, and behind them those ahead.
    async fn offers(&self, batch: &Batch, reads: Vec<(usize, Delta)>) -> Result<Vec<Offer>, StageError> {
        let ahead = self.ahead(batch, &reads).await?;
        let mut numbers: HashMap<RecipientKey, usize> = HashMap::new();
        let mut offers = Vec::with_capacity(reads.len() + ahead.len());
        let mut offer = |delta: Delta, consumed: Option<&Consumed>, is_ahead: bool| {
            let next = numbers.len();
            let who = *numbers.entry(delta.key.clone()).or_insert(next);
            let made_ms = consumed.map_or(0, |consumed| consumed.record.timestamp_ms);
            let traced = consumed.and_then(|consumed| self.courier.calls.traced(consumed));
            offers.push(Offer { delta, made_ms, who, is_ahead, traced });
        };
        for (index, delta) in reads {
            offer(delta, batch.records.get(index), false);
        }
        for (consumed, read) in ahead {
            if let Read::Offer(delta) = read {
                offer(*delta, Some(&consumed), true);
            }
        }
        Ok(offers)
    }

    /// Since when the oldest delta of the batch waits that is not settled.
    fn show_oldest(&self, offers: &[Offer]) {
        if self.way != Way::Deltas {
            return;
        }
        let is_open = |offer: &&Offer| {
            !offer.is_ahead && self.courier.track(&offer.delta.delta_id).is_none_or(|track| track.end.is_none())
        };
        let oldest_ms = offers.iter().filter(is_open).map(|offer| offer.made_ms).min();
        self.metrics.oldest_pending.with(&self.subscriber.name).since(oldest_ms);
    }

    fn verdict(&self, consumed: &Consumed, read: &Verdicted<'_>) -> Result<Verdict, schemas::EncodeError> {
        let emitted = Verdict { fate: Fate::Emitted, outputs: Vec::new() };
        let (delta, reason, detail) = match read {
            Verdicted::Ignored(reason) => return Ok(Verdict { fate: Fate::Ignored(reason), ..emitted }),
            Verdicted::Dead(detail) => (None, letter::MALFORMED, detail.as_str()),
            Verdicted::Offered(delta) => {
                let track = self.courier.track(&delta.delta_id);
                let why = track.map_or("", |track| track.why.as_str());
                match track.and_then(|track| track.end) {
                    Some(End::TooOld) => (Some(*delta), letter::UNDELIVERED, why),
                    Some(End::Refused) => (Some(*delta), letter::REFUSED, why),
                    Some(End::Taken) | None => return Ok(emitted),
                }
            }
        };
        let now_micros = self.clock.now_micros();
        letter::dead_letter(&self.subscriber, consumed, delta, reason, detail, now_micros)
    }

    fn count_dead(&self, verdicts: &[Verdict]) {
        let dead = verdicts.iter().filter(|verdict| matches!(verdict.fate, Fate::Dead(_))).count();
        if dead > 0 {
            let subscriber = self.subscriber.name.as_str();
            self.metrics.dead_letters.with_label_values(&[subscriber]).inc_by(dead as u64);
            tracing::warn!(
                subscriber,
                dead,
                "deltas were not taken and become dead letters; see `quell dead-letters list`"
            );
        }
    }
}

/// A record of the batch once all is settled.
enum Verdicted<'a> {
    Offered(&'a Delta),
    Ignored(&'static str),
    Dead(String),
}

fn is_for(consumed: &Consumed, subscriber: &str) -> bool {
    let header = consumed.record.headers.iter().find(|header| header.name == headers::SUBSCRIBER);
    header.is_some_and(|header| header.value == subscriber.as_bytes())
}

fn unavailable(why: &dyn std::fmt::Display) -> StageError {
    StageError::Unavailable(why.to_string())
}

#[async_trait]
impl Stage for Lane {
    fn name(&self) -> &'static str {
        headers::NOTIFIER
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let reads = self.read_all(&batch.records).await?;
        let (mut wanted, mut others) = (Vec::new(), BTreeMap::new());
        for (index, read) in reads.into_iter().enumerate() {
            match read {
                Read::Offer(delta) => wanted.push((index, *delta)),
                Read::Ignored(reason) => drop(others.insert(index, Verdicted::Ignored(reason))),
                Read::Dead(detail) => drop(others.insert(index, Verdicted::Dead(detail))),
            }
        }
        let places: Vec<usize> = wanted.iter().map(|(index, _)| *index).collect();
        let offers = self.offers(batch, wanted).await?;
        self.show_oldest(&offers);
        let until_ms = self.clock.now_millis().saturating_add(BATCH_MS_MAX);
        let delivered = self.courier.deliver(&offers, until_ms).await;
        self.show_oldest(&offers);
        match delivered {
            Ok(true) => {}
            Ok(false) => return Err(unavailable(&"its posts take long; going on after a look at the group")),
            Err(halt @ (Halt::Away(_) | Halt::Gone | Halt::Stopped)) => return Err(unavailable(&halt)),
        }
        // Those of the batch come first, in its order.
        let mut offered: BTreeMap<usize, &Delta> =
            places.iter().copied().zip(offers.iter().map(|offer| &offer.delta)).collect();
        let mut verdicts = Vec::with_capacity(batch.records.len());
        for (index, consumed) in batch.records.iter().enumerate() {
            let read = match (offered.remove(&index), others.remove(&index)) {
                (Some(delta), _) => Verdicted::Offered(delta),
                (None, Some(other)) => other,
                (None, None) => return Err(StageError::Broken("a record of the batch was not read".to_owned())),
            };
            verdicts.push(self.verdict(consumed, &read).map_err(|error| StageError::Broken(error.to_string()))?);
        }
        self.count_dead(&verdicts);
        self.batch = offers.iter().filter(|offer| !offer.is_ahead).map(|offer| offer.delta.delta_id).collect();
        Ok(Outputs { verdicts })
    }

    async fn committed(&mut self, _batch: &Batch) -> Result<(), StageError> {
        self.courier.forget(&std::mem::take(&mut self.batch));
        Ok(())
    }

    /// Another owner may have posted meanwhile; what is posted twice bears the same id.
    async fn assigned(&mut self, _assigned: &Assigned) -> Result<Option<u64>, StageError> {
        self.courier.forget_all();
        Ok(None)
    }
}
