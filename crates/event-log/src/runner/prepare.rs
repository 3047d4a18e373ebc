//! What comes before the first record of a new partition, in steps: asking the stage, applying records again, and the
//! stage's own work.

use super::{Fatal, Phase, Runner, RunnerEvent, failed};
use crate::{NextOffset, Session, Stage, StageError, session::Assigned};
use std::time::Duration;

/// A partition that was given to us and is not ready.
#[derive(Debug)]
pub(super) struct Pending {
    assigned: Assigned,
    left: Left,
}

/// What is left to do for a new partition.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// The stage was not asked yet.
    Ask,
    /// This range is to be applied again.
    Reapply(u64, u64),
    /// What the stage does before the first record.
    Prepare,
}

impl Pending {
    pub(super) const fn new(assigned: Assigned) -> Self {
        Self { assigned, left: Left::Ask }
    }

    pub(super) const fn partition(&self) -> u32 {
        self.assigned.partition
    }
}

impl<S: Session, T: Stage> Runner<S, T> {
    /// Asks the stage about a new partition, applies the next chunk of its records again, or lets the stage do a slice of its
    /// own work. A partition that could not be prepared stays first in line; nothing is polled before all are.
    pub(super) async fn prepare(&mut self, mut pending: Pending) -> Result<(Phase, RunnerEvent), Fatal> {
        let stepped = match pending.left {
            Left::Ask => self.ask(&mut pending).await?,
            Left::Reapply(from, to) => self.reapply(&mut pending, from, to).await?,
            Left::Prepare => Ok(None),
        };
        let event = match stepped {
            Ok(Some(event)) => event,
            // Nothing is to be applied again, or no more.
            Ok(None) => {
                pending.left = Left::Prepare;
                return self.slice(pending).await;
            }
            Err(why) => return Ok(self.unprepared(pending, why)),
        };
        self.pending.push_front(pending);
        Ok((Phase::Poll, event))
    }

    fn unprepared(&mut self, pending: Pending, why: String) -> (Phase, RunnerEvent) {
        self.pending.push_front(pending);
        self.is_unsure = true;
        failed("assign_unavailable", why)
    }

    /// The inner error is one to try again.
    async fn ask(&mut self, pending: &mut Pending) -> Result<Result<Option<RunnerEvent>, String>, Fatal> {
        let Assigned { partition, committed, .. } = pending.assigned;
        let from = match self.stage.assigned(&pending.assigned).await {
            Ok(from) => from,
            Err(StageError::Unavailable(why)) => return Ok(Err(why)),
            Err(StageError::Broken(why)) => return Err(Fatal::Stage(why)),
        };
        let to = committed.unwrap_or(NextOffset::START).offset();
        let Some(from) = from.filter(|from| *from < to) else { return Ok(Ok(None)) };
        pending.left = Left::Reapply(from, to);
        Ok(Ok(Some(RunnerEvent::Reapplied { partition, n_records: 0 })))
    }

    /// The inner error is one to try again.
    async fn reapply(
        &mut self,
        pending: &mut Pending,
        from: u64,
        to: u64,
    ) -> Result<Result<Option<RunnerEvent>, String>, Fatal> {
        let Assigned { topic, partition, .. } = &pending.assigned;
        let until = to.min(from.saturating_add(self.options.read_back_max.max(1)));
        let records = match self.session.read_back(topic, *partition, from, until) {
            Ok(records) => records,
            Err(error) => return Ok(Err(error.to_string())),
        };
        // It may take long, and who never polls is thrown out of the group; what was lost meanwhile fails the next read.
        self.session.idle(Duration::ZERO)?;
        match self.stage.reapply(&records).await {
            Ok(()) => {}
            Err(StageError::Unavailable(why)) => return Ok(Err(why)),
            Err(StageError::Broken(why)) => return Err(Fatal::Stage(why)),
        }
        if until >= to {
            return Ok(Ok(None));
        }
        let event = RunnerEvent::Reapplied { partition: *partition, n_records: records.len() };
        pending.left = Left::Reapply(until, to);
        Ok(Ok(Some(event)))
    }

    /// A slice of what the stage does before the first record. The look comes right before it: between the two nothing tells
    /// the group that we let go, so no other owner begins while the slice lasts.
    async fn slice(&mut self, pending: Pending) -> Result<(Phase, RunnerEvent), Fatal> {
        let partition = pending.assigned.partition;
        if let Some(change) = self.session.look()? {
            self.pending.push_front(pending);
            self.is_unsure = true;
            return Ok((Phase::Poll, self.change(change)));
        }
        match self.stage.prepare(&pending.assigned).await {
            Ok(true) => Ok((Phase::Poll, RunnerEvent::Ready(partition))),
            Ok(false) => {
                // It got on: the next failure is a first one.
                self.n_rewinds = 0;
                self.pending.push_front(pending);
                Ok((Phase::Poll, RunnerEvent::Prepared(partition)))
            }
            Err(StageError::Unavailable(why)) => Ok(self.unprepared(pending, why)),
            Err(StageError::Broken(why)) => Err(Fatal::Stage(why)),
        }
    }
}
