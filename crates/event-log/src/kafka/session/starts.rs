//! Where partitions begin that were given to us.
//!
//! Each is told of on its own: one without a leader, or with a position that cannot be yet, holds up no other.

use super::{
    super::{said, topics::Told},
    KafkaSession, SLICE, list, number,
};
use crate::SessionError;
use rdkafka::{
    Offset,
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So many questions for committed positions are under way at once.
const ASKED_AT_ONCE: usize = 32;

/// A committed position beyond the end may be a replica that has not caught up yet; after so long it is an error.
const BEYOND_FOR: Duration = Duration::from_secs(20);

/// Where a new partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) partition: u32,
    pub(super) committed: Option<u64>,
    pub(super) oldest: u64,
    pub(super) end: u64,
}

impl Start {
    /// The committed position, or the oldest kept record where there is none that is kept.
    pub(super) fn offset(&self) -> u64 {
        self.committed.unwrap_or(self.oldest).max(self.oldest)
    }
}

/// Partitions that cannot begin yet, and why.
pub(super) type Waiting = BTreeMap<u32, String>;

/// Those that can begin, and those that wait, with the reason.
fn sort(partitions: &[u32], committed: &Told<Option<u64>>, bounds: &Told<(u64, u64)>) -> (Vec<Start>, Waiting) {
    let (mut starts, mut waiting) = (Vec::new(), Waiting::new());
    for partition in partitions.iter().copied() {
        let committed = of(committed, partition);
        let bounds = of(bounds, partition);
        match committed.and_then(|committed| Ok((committed, bounds?))) {
            Ok((committed, (oldest, end))) => {
                starts.push(Start { partition, committed, oldest, end: end.max(oldest) });
            }
            Err(why) => drop(waiting.insert(partition, why)),
        }
    }
    (starts, waiting)
}

fn of<T: Clone>(told: &Told<T>, partition: u32) -> Result<T, String> {
    told.get(&partition).cloned().unwrap_or_else(|| Err("nobody told of it".to_owned()))
}

/// Why a committed position was not told. For as long as a transaction over it is open librdkafka asks again, in silence.
fn why_untold(error: &KafkaError) -> String {
    let may_be_open = match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit) => {
            "; a transaction over it may still be open, see docs/cluster.md where that lasts"
        }
        _ => "",
    };
    format!("the committed position: {}{may_be_open}", said(error))
}

/// The same reason for all.
fn none_told<T>(partitions: &[u32], why: &str) -> Told<T> {
    partitions.iter().map(|partition| (*partition, Err(why.to_owned()))).collect()
}

impl KafkaSession {
    /// Those of the waiting partitions that can begin now, and why the others cannot.
    pub(super) fn find_starts(&mut self) -> Result<(Vec<Start>, Waiting), SessionError> {
        let partitions: Vec<u32> = self.unbegun.keys().copied().collect();
        let committed = self.committed_each(&partitions);
        let known: Vec<u32> = partitions
            .iter()
            .copied()
            .filter(|partition| committed.get(partition).is_some_and(Result::is_ok))
            .collect();
        let bounds = match self.log.shared.bounds_each(&self.topic, &known, SLICE) {
            Ok(bounds) => bounds,
            Err(error) => none_told(&known, &said(&error)),
        };
        let (starts, mut waiting) = sort(&partitions, &committed, &bounds);
        let mut settled = Vec::with_capacity(starts.len());
        for start in starts {
            match self.settle(start)? {
                Ok(()) => settled.push(start),
                Err(why) => drop(waiting.insert(start.partition, why)),
            }
        }
        Ok((settled, waiting))
    }

    /// The broker tells a position only once no transaction over it is open: that of a former owner has ended. librdkafka
    /// answers a question only when all that it asks for is told, so each partition is asked for on its own, all at once.
    fn committed_each(&self, partitions: &[u32]) -> Told<Option<u64>> {
        let at_once = partitions.len().div_ceil(ASKED_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            let ask = |some| {
                let thread = std::thread::Builder::new().name("kafka-starts".to_owned());
                (some, thread.spawn_scoped(scope, move || self.committed_of(some)))
            };
            let asked: Vec<_> = partitions.chunks(at_once).map(ask).collect();
            let told = asked.into_iter().map(|(some, asked)| match asked.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(told)) => told,
                Ok(Err(_)) => none_told(some, "the question ended in a panic"),
                Err(error) => none_told(some, &format!("no thread to ask by: {error}")),
            });
            told.flatten().collect()
        })
    }

    /// Blocks for [`SLICE`] at most.
    fn committed_of(&self, partitions: &[u32]) -> Told<Option<u64>> {
        let asked = list(&self.topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)));
        let told = match asked.and_then(|asked| self.consumer.committed_offsets(asked, SLICE)) {
            Ok(told) => told,
            Err(error) => return none_told(partitions, &why_untold(&error)),
        };
        let of = |partition: &u32| {
            let element = told.find_partition(&self.topic, number(*partition))?;
            let committed = match (element.error(), element.offset()) {
                (Err(error), _) => Err(why_untold(&error)),
                (Ok(()), Offset::Offset(offset)) => Ok(Some(u64::try_from(offset).unwrap_or(0))),
                (Ok(()), _) => Ok(None),
            };
            Some((*partition, committed))
        };
        partitions.iter().filter_map(of).collect()
    }

    /// Refuses a position that the log does not hold any more. The inner error: not sure yet, and why.
    fn settle(&mut self, start: Start) -> Result<Result<(), String>, SessionError> {
        let Start { partition, committed, oldest, end } = start;
        match committed {
            Some(committed) if committed < oldest && self.from_oldest => {
                tracing::warn!(group = self.group, partition, committed, oldest, "records between are no longer kept");
                Ok(Ok(()))
            }
            Some(committed) if committed < oldest => {
                let why = self.not_kept(partition, committed, oldest);
                Err(self.end(why))
            }
            Some(committed) if committed > end => {
                let beyond_since = self.unbegun.entry(partition).or_default();
                if beyond_since.get_or_insert_with(Instant::now).elapsed() < BEYOND_FOR {
                    return Ok(Err(format!("the group stands at {committed}, and it ends at {end}")));
                }
                let (group, topic) = (&self.group, &self.topic);
                let why = format!(
                    "group {group} stands at {committed} in partition {partition} of {topic}, which ends at {end}: the topic \
                     was made anew or lost records; raise kafka.epoch and import the state, or give the group a new name"
                );
                Err(self.end(why))
            }
            _ => Ok(Ok(())),
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
                let fetched = self.buffers.get(*partition)?.fetched;
                (fetched < oldest).then(|| self.not_kept(*partition, fetched, oldest))
            })
        });
        let unsure = || format!("the records to be read next in one of {partitions:?} of {} are not kept", self.topic);
        found.unwrap_or_else(unsure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_told_of_holds_up_no_other() {
        let leaderless = || "it has no leader".to_owned();
        let committed: Told<Option<u64>> = BTreeMap::from([
            (0, Ok(Some(5))),
            (1, Ok(None)),
            (2, Ok(Some(1))),
            (3, Err("unstable".to_owned())),
            (4, Ok(None)),
        ]);
        let bounds = BTreeMap::from([(0, Ok((2, 9))), (1, Ok((3, 0))), (2, Err(leaderless())), (3, Ok((0, 1)))]);
        let (starts, waiting) = sort(&[0, 1, 2, 3, 4, 5], &committed, &bounds);
        let start = |partition, committed, oldest, end| Start { partition, committed, oldest, end };
        assert_eq!(starts, [start(0, Some(5), 2, 9), start(1, None, 3, 3)]);
        let nothing = || "nobody told of it".to_owned();
        let expected = Waiting::from([(2, leaderless()), (3, "unstable".to_owned()), (4, nothing()), (5, nothing())]);
        assert_eq!(waiting, expected, "a position that is not told is not none");
    }

    #[test]
    fn a_partition_begins_where_the_group_stands_or_at_the_oldest() {
        let check = |committed, expected| {
            assert_eq!(Start { partition: 0, committed, oldest: 4, end: 9 }.offset(), expected, "{committed:?}");
        };
        check(None, 4);
        check(Some(2), 4);
        check(Some(7), 7);
    }
}
