//! A worker: a runner in a future that is polled by hand.

use crate::{plant::Plant, seams::SimSession, weather::pause};
use event_log::{Fatal, Limits, Runner, RunnerEvent, RunnerOptions, Stage, memory::MemberId};
use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use suppressor::{Suppressor, store::erasing::Erasing};

/// Which stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Normalizer,
    Suppressor,
    Syncer,
}

/// One process of one stage.
pub(crate) struct Worker {
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) member: MemberId,
    /// Not scheduled before this tick.
    pub(crate) stalled_until: u64,
    is_killed: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<RunnerEvent>>>,
    /// It has a batch to process.
    has_batch: bool,
    is_between_steps: Arc<AtomicBool>,
    future: Pin<Box<dyn Future<Output = Fatal> + Send>>,
}

impl Worker {
    pub(crate) fn new<T: Stage + 'static>(
        id: u64,
        role: Role,
        session: SimSession,
        stage: T,
        batch_max: usize,
    ) -> Self {
        let (member, is_killed) = (session.member(), session.kill_switch());
        let events: Arc<Mutex<Vec<RunnerEvent>>> = Arc::default();
        let told = Arc::clone(&events);
        let limits = Limits { records_max: batch_max, bytes_max: 1 << 20, wait: Duration::ZERO };
        let options = RunnerOptions {
            backoff_first: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
            read_back_max: 3,
            ..RunnerOptions::new(limits)
        };
        let mut runner = Runner::new(session, stage, options);
        let is_between_steps = Arc::new(AtomicBool::new(true));
        let between = Arc::clone(&is_between_steps);
        let future = Box::pin(async move {
            loop {
                between.store(false, Ordering::Relaxed);
                match runner.step().await {
                    Ok(event) => told.lock().unwrap_or_else(PoisonError::into_inner).push(event),
                    Err(fatal) => return fatal,
                }
                between.store(true, Ordering::Relaxed);
                pause().await;
            }
        });
        Self { id, role, member, stalled_until: 0, is_killed, events, has_batch: false, is_between_steps, future }
    }

    /// Goes on until it next yields. An answer means that the process ended.
    pub(crate) fn poll(&mut self) -> Option<Fatal> {
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(fatal) => Some(fatal),
            Poll::Pending => None,
        }
    }

    /// What its runner did since the last call.
    pub(crate) fn told(&mut self) -> Vec<RunnerEvent> {
        let told = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(last) = told.last() {
            self.has_batch = matches!(last, RunnerEvent::Polled(_));
        }
        told
    }

    /// Whether its next step is a look at its group, or a commit: nothing is called any more for what it has.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_between_steps.load(Ordering::Relaxed) && !self.has_batch
    }

    /// Dies without a word: the group hears of it only when it is expelled.
    pub(crate) fn kill(self) -> MemberId {
        self.is_killed.store(true, Ordering::Relaxed);
        self.member
    }
}

/// The stage as the simulator runs it.
pub(crate) type SimSuppressor = Suppressor<Erasing<Plant>>;
