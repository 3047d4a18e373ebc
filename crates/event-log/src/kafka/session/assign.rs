//! Changes of assignment: answered by the session, inside its polls.

use super::{super::said, Buffer, KafkaSession, SLICE, context::Change, has, list, lock, number, place};
use crate::{NextOffset, Polled, SessionError, gather::Cursor, session::Assigned};
use rdkafka::{
    Offset,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// A committed position beyond the end may be a replica that has not caught up yet; after so long it is an error.
const BEYOND_FOR: Duration = Duration::from_secs(20);

/// Where a new partition begins.
#[derive(Debug, Clone, Copy)]
struct Start {
    partition: u32,
    committed: Option<u64>,
    oldest: u64,
    end: u64,
}

impl Start {
    fn offset(&self) -> u64 {
        self.committed.unwrap_or(self.oldest)
    }
}

impl KafkaSession {
    /// Answers what it can. An assignment whose positions cannot be read yet waits for the next call; the member stays in
    /// its group meanwhile.
    pub(super) fn answer_changes(&mut self) -> Result<(), SessionError> {
        loop {
            let Some(change) = lock(&self.told.changes).front().cloned() else { return Ok(()) };
            match &change {
                Change::Revoke(partitions) => self.revoke(partitions)?,
                Change::Assign(partitions) => {
                    if !self.assign(partitions)? {
                        return Ok(());
                    }
                }
            }
            self.generation += 1;
            self.metadata = None;
            self.unanswered_since = None;
            lock(&self.told.changes).pop_front();
        }
    }

    /// Whatever librdkafka is waiting for, and no more: the session ends.
    pub(super) fn acknowledge(&self, change: &Change) {
        let answered = match change {
            Change::Assign(partitions) => {
                list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)))
                    .and_then(|list| self.consumer.incremental_assign(&list))
            }
            Change::Revoke(partitions) => {
                list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)))
                    .and_then(|list| self.consumer.incremental_unassign(&list))
            }
        };
        if let Err(error) = answered {
            tracing::debug!(error = said(&error), "a change of assignment while leaving");
        }
    }

    fn revoke(&mut self, partitions: &[u32]) -> Result<(), SessionError> {
        for partition in partitions {
            if let Some(buffer) = self.buffers.remove(partition) {
                self.n_buffered -= buffer.records.len();
                self.bytes_buffered -= buffer.records.iter().map(super::size_of_record).sum::<usize>();
            }
            lock(&self.told.seen).remove(partition);
        }
        let ours: Vec<u32> = partitions.iter().copied().filter(|partition| has(&self.cursors, *partition)).collect();
        self.cursors.retain(|cursor| !partitions.contains(&cursor.partition));
        let unassigned = list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)))
            .and_then(|list| self.consumer.incremental_unassign(&list));
        if let Err(error) = unassigned {
            return Err(self.end(format!("partitions cannot be given back: {}", said(&error))));
        }
        if !ours.is_empty() {
            self.untold.push_back(Polled::Revoked(ours));
        }
        Ok(())
    }

    /// Finds out where the partitions begin, and begins. `false` where no broker tells.
    fn assign(&mut self, partitions: &[u32]) -> Result<bool, SessionError> {
        let new: Vec<u32> = partitions.iter().copied().filter(|partition| !has(&self.cursors, *partition)).collect();
        let starts = match self.starts(&new) {
            Ok(starts) => starts,
            Err(error) => {
                tracing::debug!(group = self.group, error = said(&error), "committed positions cannot be read yet");
                return Ok(false);
            }
        };
        let mut settled = Vec::with_capacity(starts.len());
        for start in starts {
            match self.settle(start)? {
                Some(start) => settled.push(start),
                None => return Ok(false),
            }
        }
        let begin = list(&self.topic, settled.iter().map(|start| (start.partition, place(start.offset()))));
        if let Err(error) = begin.and_then(|begin| self.consumer.incremental_assign(&begin)) {
            return Err(self.end(format!("partitions cannot be taken: {}", said(&error))));
        }
        let mut assigned = Vec::with_capacity(settled.len());
        for start in &settled {
            let (partition, offset) = (start.partition, start.offset());
            let (end, is_awaited) = (start.end, start.end > offset);
            let buffer = Buffer { fetched: offset, start: offset, end, is_awaited, ..Buffer::default() };
            self.buffers.insert(partition, buffer);
            self.cursors.push(Cursor { partition, next: offset });
            let committed = start.committed.map(NextOffset::from_stored);
            assigned.push(Assigned { topic: Arc::clone(&self.topic), partition, committed, epoch: self.log.epoch() });
        }
        // Partitions that come while paused come unpaused.
        if std::mem::take(&mut self.is_paused) {
            self.set_paused(true)?;
        }
        if !assigned.is_empty() {
            self.untold.push_back(Polled::Assigned(assigned));
        }
        Ok(true)
    }

    fn starts(&self, partitions: &[u32]) -> Result<Vec<Start>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let asked = list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        // The broker answers only once no transaction over these positions is open: that of a former owner has ended.
        let told = self.consumer.committed_offsets(asked, SLICE)?;
        let mut committed = BTreeMap::new();
        for element in told.elements_for_topic(&self.topic) {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), u64::try_from(offset).unwrap_or(0));
            }
        }
        let oldest = self.log.shared.oldest(&self.topic, partitions)?;
        let ends = self.log.shared.ends(&self.topic, partitions)?;
        if oldest.len() != partitions.len() || ends.len() != partitions.len() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition));
        }
        let start = |((partition, oldest), end): ((&u32, u64), u64)| Start {
            partition: *partition,
            committed: committed.get(&number(*partition)).copied(),
            oldest,
            end: end.max(oldest),
        };
        Ok(partitions.iter().zip(oldest).zip(ends).map(start).collect())
    }

    /// Refuses a position that the log does not hold any more. `None`: not sure yet.
    fn settle(&mut self, start: Start) -> Result<Option<Start>, SessionError> {
        let Start { partition, committed, oldest, end } = start;
        match committed {
            Some(committed) if committed < oldest && self.from_oldest => {
                tracing::warn!(group = self.group, partition, committed, oldest, "records between are no longer kept");
                Ok(Some(Start { committed: Some(oldest), ..start }))
            }
            Some(committed) if committed < oldest => {
                let why = self.not_kept(partition, committed, oldest);
                Err(self.end(why))
            }
            Some(committed) if committed > end => {
                let since = *self.unanswered_since.get_or_insert_with(Instant::now);
                if since.elapsed() < BEYOND_FOR {
                    return Ok(None);
                }
                let (group, topic) = (&self.group, &self.topic);
                let why = format!(
                    "group {group} stands at {committed} in partition {partition} of {topic}, which ends at {end}: the topic \
                     was made anew or lost records; raise kafka.epoch and import the state, or give the group a new name"
                );
                Err(self.end(why))
            }
            _ => Ok(Some(start)),
        }
    }

    fn not_kept(&self, partition: u32, committed: u64, oldest: u64) -> String {
        let (group, topic) = (&self.group, &self.topic);
        format!(
            "group {group} stands at {committed} in partition {partition} of {topic}, whose oldest kept record is {oldest}: \
             the records between are lost to it; restore the store from a backup, or move the group on by hand"
        )
    }

    /// Which partition is read where nothing is kept any more.
    pub(super) fn what_is_not_kept(&self) -> String {
        let partitions = self.partitions();
        let oldest = self.log.shared.oldest(&self.topic, &partitions);
        let found = oldest.ok().and_then(|oldest| {
            partitions.iter().zip(oldest).find_map(|(partition, oldest)| {
                let fetched = self.buffers.get(partition)?.fetched;
                (fetched < oldest).then(|| self.not_kept(*partition, fetched, oldest))
            })
        });
        let unsure = || format!("the records to be read next in one of {partitions:?} of {} are not kept", self.topic);
        found.unwrap_or_else(unsure)
    }
}
