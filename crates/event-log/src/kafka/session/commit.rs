//! A batch's outputs and positions as one transaction.
//!
//! How long it takes at most, whatever the brokers do: `commit_timeout_ms` and one call more (five seconds), and the same
//! again to undo it. Once the process is to stop it is one call for each. What is not clear by then ends the session; so
//! does a client that was ended for good, at once.
//!
//! Positions that are refused for who sends them (`FENCED_INSTANCE_ID`, `UNKNOWN_MEMBER_ID`, `ILLEGAL_GENERATION`) are undone,
//! never sent again: the member may have joined anew meanwhile, then the next batch bears its new name. Where it is fenced
//! indeed, librdkafka ends the consumer.

use super::{
    super::{client::slice, lock, message, said, topics::TopicError},
    CALL_MAX, KafkaSession, has, is_retriable, list, number, place,
    positions::{self, Refused},
    waits::{Patience, Wait},
};
use crate::{Batch, CommitError, Output, Outputs};
use rdkafka::{
    consumer::{Consumer, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, Producer},
};
use std::time::{Duration, Instant};

/// How often the producer is asked whether it is through.
const DELIVERY_LOOK: Duration = Duration::from_micros(500);

/// What becomes of a transaction that did not go through.
enum Failed {
    /// Nothing was decided: it can be undone.
    Undo(String),
    /// It may have been committed, or we are fenced: nothing may be tried any more.
    ForGood(String),
}

impl KafkaSession {
    pub(super) fn commit_batch(&mut self, batch: &Batch, outputs: &Outputs) -> Result<(), CommitError> {
        self.alive().map_err(|error| CommitError::Fatal(error.0))?;
        if let Some(why) = self.ended_client() {
            return Err(self.fatal(why));
        }
        if batch.records.is_empty() {
            return Ok(());
        }
        self.refuse(batch)?;
        let places = self.places(outputs)?;
        let Some(metadata) = self.metadata.take() else {
            return Err(CommitError::Aborted("the batch was rewound".to_owned()));
        };
        let next: Vec<(u32, u64)> =
            batch.next_offsets().into_iter().map(|(_, partition, next)| (partition, next.offset())).collect();
        self.in_transaction(&next, outputs, &places, metadata)?;
        let look_at = self.pace.again();
        for (partition, next) in next {
            self.buffers.get_mut(partition).into_iter().for_each(|buffer| buffer.commit(next, look_at));
        }
        Ok(())
    }

    /// Outputs, each at its place, and the group's next positions as one transaction.
    pub(super) fn in_transaction(
        &mut self,
        next: &[(u32, u64)],
        outputs: &Outputs,
        places: &[u32],
        metadata: ConsumerGroupMetadata,
    ) -> Result<(), CommitError> {
        match self.transaction(next, outputs, places, metadata) {
            Ok(()) => Ok(()),
            Err(Failed::Undo(why)) => Err(self.undo(why)),
            Err(Failed::ForGood(why)) => Err(self.fatal(why)),
        }
    }

    fn patience(&self) -> Patience {
        Patience::new(Duration::from_millis(self.log.shared.config.commit_timeout_ms), &self.stop)
    }

    fn fatal(&mut self, why: String) -> CommitError {
        self.ended = Some(why.clone());
        CommitError::Fatal(why)
    }

    /// Why this batch may not be committed by us, if it may not.
    fn refuse(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let (ours, now) = (batch.generation, self.generation);
        if ours != now {
            return Err(CommitError::Aborted(format!("batch of generation {ours}, the session is at {now}")));
        }
        if self.consumer.assignment_lost() {
            return Err(CommitError::Aborted("the group gave our partitions to others".to_owned()));
        }
        let foreign = batch
            .next_offsets()
            .into_iter()
            .find(|(topic, partition, _)| **topic != *self.topic || !has(&self.cursors, *partition));
        match foreign {
            Some((topic, partition, _)) => {
                Err(self.fatal(format!("partition {partition} of {topic} does not belong to this session")))
            }
            None => Ok(()),
        }
    }

    /// The partition of every output. What can never be appended is found before anything is begun.
    fn places(&mut self, outputs: &Outputs) -> Result<Vec<u32>, CommitError> {
        let places: Result<Vec<u32>, CommitError> = outputs.records().map(|output| self.place(output)).collect();
        if let Err(CommitError::Fatal(why)) = &places {
            self.ended = Some(why.clone());
        }
        places
    }

    fn place(&self, output: &Output) -> Result<u32, CommitError> {
        let fatal = |why: String| CommitError::Fatal(format!("an output cannot be appended: {why}"));
        let shared = &self.log.shared;
        let Output { topic, partition, record } = output;
        let (bytes, bytes_max) = (message::size_of(record), shared.config.record_bytes_max);
        if bytes > bytes_max {
            return Err(fatal(format!("record of {bytes} bytes is larger than the log takes ({bytes_max})")));
        }
        let known = shared.topic(topic).map_err(|error| match error {
            TopicError::Missing => fatal(format!("no topic {topic}: run `quell topics apply`")),
            TopicError::Unavailable(why) => CommitError::Aborted(why),
        })?;
        match partition {
            Some(partition) if *partition < known.partitions => Ok(*partition),
            Some(partition) => match shared.look_up(topic) {
                Ok(known) if *partition < known.partitions => Ok(*partition),
                Ok(_) => Err(fatal(format!("no partition {partition} of topic {topic}"))),
                Err(TopicError::Missing) => Err(fatal(format!("no topic {topic}"))),
                Err(TopicError::Unavailable(why)) => Err(CommitError::Aborted(why)),
            },
            None => Ok(known.choose(record.key.as_deref(), Duration::ZERO)),
        }
    }

    fn transaction(
        &self,
        next: &[(u32, u64)],
        outputs: &Outputs,
        places: &[u32],
        metadata: ConsumerGroupMetadata,
    ) -> Result<(), Failed> {
        let mut patience = self.patience();
        *lock(&self.failed) = None;
        self.producer.begin_transaction().map_err(|error| sort(&error))?;
        for (output, partition) in outputs.records().zip(places) {
            self.send(output, *partition, &mut patience)?;
        }
        if self.consumer.assignment_lost() {
            return Err(Failed::Undo("the group gave our partitions to others".to_owned()));
        }
        self.send_positions(next, metadata, &mut patience)?;
        self.end_transaction(&mut patience)
    }

    fn send(&self, output: &Output, partition: u32, patience: &mut Patience) -> Result<(), Failed> {
        let record = &output.record;
        loop {
            let native = BaseRecord {
                topic: &output.topic,
                partition: Some(number(partition)),
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: Some(record.timestamp_ms),
                headers: message::headers(record),
                delivery_opaque: (),
            };
            match self.producer.send(native) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if !patience.left().is_zero() => {
                    if let Some(why) = self.ended_client() {
                        return Err(Failed::ForGood(why));
                    }
                    std::thread::sleep(DELIVERY_LOOK);
                }
                Err((error, _)) => return Err(Failed::Undo(self.why(&error))),
            }
        }
    }

    fn send_positions(
        &self,
        next: &[(u32, u64)],
        metadata: ConsumerGroupMetadata,
        patience: &mut Patience,
    ) -> Result<(), Failed> {
        let positions = list(&self.topic, next.iter().map(|(partition, next)| (*partition, place(*next))));
        let positions = positions.map_err(|error| Failed::Undo(said(&error)))?;
        match positions::send(&self.producer, positions, metadata, patience, || self.ended_client()) {
            Ok(()) => Ok(()),
            Err(Refused::NotCalled(why)) => Err(Failed::Undo(why)),
            Err(Refused::Said(error)) if is_retriable(&error) => Err(Failed::Undo(self.why(&error))),
            Err(Refused::Said(error)) => Err(sort_with(&error, self.why(&error))),
            Err(Refused::GivenUp(why)) => Err(Failed::ForGood(why)),
        }
    }

    /// Until every output is delivered, at most so long. The library's own flush, which every commit begins with, sleeps a
    /// tenth of a second where anything is still under way: the reports that it waits for go to the producer's own thread.
    fn await_deliveries(&self, most: Duration) {
        let until = Instant::now() + most;
        while self.producer.in_flight_count() > 0 && Instant::now() < until {
            std::thread::sleep(DELIVERY_LOOK);
        }
    }

    /// Until the broker answered, the same commit is tried again: after it was asked once, undoing it would guess.
    fn end_transaction(&self, patience: &mut Patience) -> Result<(), Failed> {
        let mut wait = Wait::default();
        let mut was_asked = false;
        loop {
            // Counted from the first attempt on.
            let waited = wait.lasts(Instant::now());
            self.await_deliveries(slice(patience.left(), CALL_MAX));
            let left = patience.left();
            match self.producer.commit_transaction(slice(left, CALL_MAX)) {
                Ok(()) => {
                    if let Some(waited) = wait.ends(Instant::now()) {
                        tracing::info!(group = self.group, ?waited, "the commit was answered");
                    }
                    return Ok(());
                }
                // The outputs are not all delivered: the broker was not asked yet.
                Err(error @ KafkaError::Flush(_)) => {
                    if left.is_zero() && !was_asked {
                        return Err(Failed::Undo(self.why(&error)));
                    }
                }
                Err(error) if is_retriable(&error) => was_asked = true,
                // A later refusal does not tell what became of the first attempt.
                Err(error) if was_asked => return Err(Failed::ForGood(self.why(&error))),
                Err(error) => return Err(sort_with(&error, self.why(&error))),
            }
            if let Some(waited) = waited {
                tracing::warn!(group = self.group, ?waited, "a commit is not answered, and is tried again");
            }
            if let Some(why) = self.ended_client() {
                return Err(Failed::ForGood(why));
            }
            if left.is_zero() {
                let when = patience.when();
                return Err(Failed::ForGood(format!("no broker told whether the commit happened {when}")));
            }
        }
    }

    fn undo(&mut self, why: String) -> CommitError {
        let mut patience = self.patience();
        loop {
            let left = patience.left();
            match self.producer.abort_transaction(slice(left, CALL_MAX)) {
                Ok(()) => return CommitError::Aborted(why),
                Err(error) if is_retriable(&error) && !left.is_zero() && self.ended_client().is_none() => {}
                Err(error) => return self.fatal(format!("{why}; and it cannot be undone: {}", said(&error))),
            }
        }
    }

    /// What an error says, with the reason why an output was not delivered where that is the cause.
    fn why(&self, error: &KafkaError) -> String {
        match lock(&self.failed).as_ref() {
            Some(failed) => format!("{}: {failed}", said(error)),
            None => said(error),
        }
    }
}

fn sort(error: &KafkaError) -> Failed {
    sort_with(error, said(error))
}

/// Errors that ask to be undone are; any other is for good (librdkafka, "Transactional producer", error handling).
fn sort_with(error: &KafkaError, why: String) -> Failed {
    match error {
        KafkaError::Transaction(error) if error.txn_requires_abort() && !error.is_fatal() => Failed::Undo(why),
        _ => Failed::ForGood(why),
    }
}
