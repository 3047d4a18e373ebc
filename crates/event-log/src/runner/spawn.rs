//! A runner on a thread of its own.

use super::{Fatal, Observer, Runner, RunnerEvent, RunnerOptions};
use crate::{Session, Stage};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A running runner.
#[derive(Debug)]
pub struct RunnerHandle {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<Result<(), Fatal>>,
}

impl RunnerHandle {
    /// Waits for the end. `Ok` after a shutdown; on an error the process is to end.
    pub async fn ended(self) -> Result<(), Fatal> {
        // The thread answers before it ends, whatever happens; it can only fail to if it could not unwind.
        self.ended.await.unwrap_or_else(|_| Err(Fatal::Panicked("the runner's thread is gone".to_owned())))
    }

    /// Waits for the end, outside of async code.
    pub fn join(self) -> Result<(), Fatal> {
        let lost = || Fatal::Panicked("the runner's thread is gone".to_owned());
        let mut ended = self.ended;
        self.thread.join().map_err(|_| lost())?;
        ended.try_recv().unwrap_or_else(|_| Err(lost()))
    }

    /// Whether the thread is gone.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Runs a stage over a session on a thread called `name`, until `shutdown` is cancelled or something fatal happens.
///
/// A shutdown is looked at only while nothing is open: what was begun is finished. Only a commit that waits for somebody
/// gives up soon, and a session that ends then is no failure: what it leaves is what a kill leaves. A panic of the stage or the session
/// is caught and told as [`Fatal::Panicked`]: there is never a thread that looks alive and does nothing. Whoever holds
/// the handle, or watches through the observer, ends the process on an error.
///
/// The thread has a runtime of its own, which makes progress only while the stage works: a stage's connections sleep
/// while the session polls, so its polls should be short, or its clients live on another runtime.
pub fn spawn_runner<S, T>(
    name: &str,
    session: S,
    stage: T,
    options: impl Into<RunnerOptions>,
    shutdown: CancellationToken,
    observer: Arc<dyn Observer>,
) -> std::io::Result<RunnerHandle>
where
    S: Session + 'static,
    T: Stage + 'static,
{
    let options = options.into();
    let (answer, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let stage_name = stage.name();
        give_way(stage_name);
        let mut session = session;
        session.stop_with(shutdown.clone());
        let runner = Runner::new(session, stage, options);
        let run = catch_unwind(AssertUnwindSafe(|| run(runner, &shutdown, &*observer)));
        let result = run.unwrap_or_else(|panic| Err(Fatal::Panicked(message(&*panic))));
        match &result {
            Ok(()) => tracing::info!(stage = stage_name, "runner stopped"),
            Err(error) => tracing::error!(stage = stage_name, %error, "runner ended for good"),
        }
        // A panicking observer must not keep the end from being told.
        let told = catch_unwind(AssertUnwindSafe(|| observer.ended(stage_name, result.as_ref().copied())));
        if told.is_err() {
            tracing::error!(stage = stage_name, "observer panicked");
        }
        // Nobody may be waiting any more.
        drop(answer.send(result));
    })?;
    Ok(RunnerHandle { thread, ended })
}

/// How much a stage's thread gives way to the threads that answer requests, in the system's steps of niceness.
const NICENESS: i32 = 10;

/// On full cores a provider's webhook is answered first and processed a little later. On Linux niceness is a thread's own.
fn give_way(stage: &str) {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(stage, %error, "cannot lower the thread's priority");
    }
}

fn run<S: Session, T: Stage>(
    mut runner: Runner<S, T>,
    shutdown: &CancellationToken,
    observer: &dyn Observer,
) -> Result<(), Fatal> {
    let stage = runner.stage().name();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fatal::Start(error.to_string()))?;
    let mut unread_since = None;
    while runner.is_open() || !shutdown.is_cancelled() {
        let (phase, began) = (runner.phase(), Instant::now());
        let event = match runtime.block_on(runner.step()) {
            Err(error @ (Fatal::Session(_) | Fatal::Commit(_))) if shutdown.is_cancelled() => {
                tracing::warn!(stage, %error, "not finished before the stop: the next owner reads what became of it");
                return Ok(());
            }
            stepped => stepped?,
        };
        observer.stepped(stage, phase, &event, began.elapsed());
        tell(stage, &event);
        if tells_lag(&event) {
            let lag = runner.lag();
            if let Some(n_records) = lag {
                observer.lag(stage, n_records);
            }
            observer.oldest(stage, oldest(runner.oldest_ms(), lag, &mut unread_since));
        } else if matches!(event, RunnerEvent::Polled(_)) {
            observer.oldest(stage, runner.oldest_ms());
        }
    }
    Ok(())
}

/// Of what was never polled nobody knows the time: then it counts from when it was first seen to wait.
fn oldest(polled_ms: Option<i64>, lag: Option<u64>, unread_since: &mut Option<i64>) -> Option<i64> {
    if polled_ms.is_some() || lag.is_none_or(|n_records| n_records == 0) {
        *unread_since = None;
        return polled_ms;
    }
    let now_ms = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    Some(*unread_since.get_or_insert_with(now_ms))
}

/// Also while the stage stands still: that is when it grows.
fn tells_lag(event: &RunnerEvent) -> bool {
    use RunnerEvent::{Committed, Nothing, Prepared, Reapplied, Rewound, Waited};
    matches!(event, Nothing | Committed(_) | Prepared(_) | Reapplied { .. } | Rewound { .. } | Waited)
}

fn tell(stage: &'static str, event: &RunnerEvent) {
    match event {
        RunnerEvent::Assigned(partitions) => tracing::info!(stage, ?partitions, "partitions assigned"),
        RunnerEvent::Revoked(partitions) => tracing::info!(stage, ?partitions, "partitions revoked"),
        RunnerEvent::Failed(rewind) => {
            tracing::warn!(stage, reason = rewind.reason, why = rewind.why, "going back to the committed positions");
        }
        RunnerEvent::Committed(report) => {
            if let Some(why) = &report.after_commit {
                tracing::warn!(stage, why, "tidying up after a commit failed; nothing of the batch is lost");
            }
        }
        RunnerEvent::Nothing
        | RunnerEvent::Polled(_)
        | RunnerEvent::Unchanged
        | RunnerEvent::Reapplied { .. }
        | RunnerEvent::Prepared(_)
        | RunnerEvent::Ready(_)
        | RunnerEvent::Processed
        | RunnerEvent::Rewound { .. }
        | RunnerEvent::Waited => tracing::trace!(stage, ?event, "stepped"),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_polled_counts_from_when_it_was_seen_to_wait() {
        let mut since = None;
        assert_eq!(oldest(Some(5), Some(3), &mut since), Some(5));
        assert_eq!((oldest(None, Some(0), &mut since), oldest(None, None, &mut since), since), (None, None, None));
        let first = oldest(None, Some(3), &mut since).unwrap();
        assert!(first > 1_700_000_000_000, "{first}");
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(oldest(None, Some(9), &mut since), Some(first));
        assert_eq!((oldest(None, Some(0), &mut since), since), (None, None));
    }
}
