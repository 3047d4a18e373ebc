//! A batch's outputs and positions as one transaction.

use super::{
    super::{client::slice, lock, message, said, topics::TopicError},
    KafkaSession, has, is_retriable, list, number, place,
};
use crate::{Batch, CommitError, Output, Outputs};
use rdkafka::{
    consumer::{Consumer, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, Producer},
};
use std::time::{Duration, Instant};

/// One call of a commit blocks at most so long, then it is called again.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long the full queue is given to empty before the next attempt.
const QUEUE_WAIT: Duration = Duration::from_millis(20);

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
        if batch.records.is_empty() {
            return Ok(());
        }
        self.refuse(batch)?;
        let places = self.places(outputs)?;
        let Some(metadata) = self.metadata.take() else {
            return Err(CommitError::Aborted("the batch was rewound".to_owned()));
        };
        let deadline = Instant::now() + Duration::from_millis(self.log.shared.config.commit_timeout_ms);
        match self.transaction(batch, outputs, &places, &metadata, deadline) {
            Ok(()) => {
                for (_, partition, next) in batch.next_offsets() {
                    if let Some(buffer) = self.buffers.get_mut(&partition) {
                        buffer.start = next.offset();
                    }
                }
                Ok(())
            }
            Err(Failed::Undo(why)) => Err(self.undo(why)),
            Err(Failed::ForGood(why)) => Err(self.fatal(why)),
        }
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
        batch: &Batch,
        outputs: &Outputs,
        places: &[u32],
        metadata: &ConsumerGroupMetadata,
        deadline: Instant,
    ) -> Result<(), Failed> {
        *lock(&self.failed) = None;
        self.producer.begin_transaction().map_err(|error| sort(&error))?;
        for (output, partition) in outputs.records().zip(places) {
            self.send(output, *partition, deadline)?;
        }
        if self.consumer.assignment_lost() {
            return Err(Failed::Undo("the group gave our partitions to others".to_owned()));
        }
        self.send_offsets(batch, metadata, deadline)?;
        self.end_transaction(deadline)
    }

    fn send(&self, output: &Output, partition: u32, deadline: Instant) -> Result<(), Failed> {
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
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if Instant::now() < deadline => {
                    // Running out of time here is what is expected: the queue has moved on.
                    let _ = self.producer.flush(QUEUE_WAIT);
                }
                Err((error, _)) => return Err(Failed::Undo(self.why(&error))),
            }
        }
    }

    fn send_offsets(&self, batch: &Batch, metadata: &ConsumerGroupMetadata, deadline: Instant) -> Result<(), Failed> {
        let next = batch.next_offsets().into_iter().map(|(_, partition, next)| (partition, place(next.offset())));
        let offsets = list(&self.topic, next).map_err(|error| Failed::Undo(said(&error)))?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.producer.send_offsets_to_transaction(&offsets, metadata, slice(left, CALL_MAX)) {
                Ok(()) => return Ok(()),
                Err(error) if is_retriable(&error) && !left.is_zero() => {}
                Err(error) if is_retriable(&error) => return Err(Failed::Undo(self.why(&error))),
                Err(error) => return Err(sort_with(&error, self.why(&error))),
            }
        }
    }

    /// Until the broker answered, the same commit is tried again: after it was asked once, undoing it would guess.
    fn end_transaction(&self, deadline: Instant) -> Result<(), Failed> {
        let mut was_asked = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.producer.commit_transaction(slice(left, CALL_MAX)) {
                Ok(()) => return Ok(()),
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
            if left.is_zero() {
                return Err(Failed::ForGood("no broker told in time whether the commit happened".to_owned()));
            }
        }
    }

    fn undo(&mut self, why: String) -> CommitError {
        let deadline = Instant::now() + Duration::from_millis(self.log.shared.config.commit_timeout_ms);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.producer.abort_transaction(slice(left, CALL_MAX)) {
                Ok(()) => return CommitError::Aborted(why),
                Err(error) if is_retriable(&error) && !left.is_zero() => {}
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
