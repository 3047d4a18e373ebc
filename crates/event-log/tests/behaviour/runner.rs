//! The loop: phases, one way back, shutdown, panics.

use crate::harness::*;
use async_trait::async_trait;
use event_log::{
    Batch, CommitError, Consumed, Fatal, Fate, Limits, Observer, Outputs, PhaseName, Polled, Runner, RunnerEvent,
    RunnerOptions, Session, SessionError, Stage, StageError, Verdict,
    memory::{CommitFault, Faults, MemoryLog},
    session::Assigned,
    spawn_runner,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What the next calls of the stage answer; with nothing said, they work.
#[derive(Debug, Default)]
struct Script {
    process: VecDeque<StageError>,
    assigned: VecDeque<Result<Option<u64>, StageError>>,
    prepare: VecDeque<Result<bool, StageError>>,
    committed: VecDeque<StageError>,
    is_panicking: bool,
    is_forgetful: bool,
    calls: Vec<String>,
}

/// Copies to `state`; a value `dead` is dead, `skip` is ignored.
#[derive(Debug, Clone, Default)]
struct Copying(Arc<Mutex<Script>>);

impl Copying {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.script().calls)
    }
}

#[async_trait]
impl Stage for Copying {
    fn name(&self) -> &'static str {
        "copying"
    }

    async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
        let mut script = self.script();
        script.calls.push(format!("process {}", batch.records.len()));
        assert!(!script.is_panicking, "as told");
        if let Some(error) = script.process.pop_front() {
            return Err(error);
        }
        let mut outputs = copy_to("state", batch);
        for (verdict, consumed) in outputs.verdicts.iter_mut().zip(&batch.records) {
            match value(consumed).as_str() {
                "dead" => verdict.fate = Fate::Dead("broken"),
                "skip" => *verdict = Verdict { fate: Fate::Ignored("skipped"), outputs: vec![] },
                _ => {}
            }
        }
        if script.is_forgetful {
            outputs.verdicts.pop();
        }
        Ok(outputs)
    }

    async fn committed(&mut self, batch: &Batch) -> Result<(), StageError> {
        let mut script = self.script();
        script.calls.push(format!("committed {}", batch.records.len()));
        script.committed.pop_front().map_or(Ok(()), Err)
    }

    async fn assigned(&mut self, assigned: &Assigned) -> Result<Option<u64>, StageError> {
        let mut script = self.script();
        script.calls.push(format!("assigned {}", assigned.partition));
        script.assigned.pop_front().unwrap_or(Ok(None))
    }

    async fn reapply(&mut self, records: &[Consumed]) -> Result<(), StageError> {
        let values: Vec<String> = records.iter().map(value).collect();
        self.script().calls.push(format!("reapply {}", values.join(",")));
        Ok(())
    }

    async fn prepare(&mut self, assigned: &Assigned) -> Result<bool, StageError> {
        let mut script = self.script();
        let Some(answer) = script.prepare.pop_front() else { return Ok(true) };
        script.calls.push(format!("prepare {}", assigned.partition));
        answer
    }

    fn revoked(&mut self, partitions: &[u32]) {
        self.script().calls.push(format!("revoked {partitions:?}"));
    }
}

fn options() -> RunnerOptions {
    RunnerOptions { read_back_max: 2, ..RunnerOptions::new(limits(4, 1 << 20)) }
}

fn log_of(values: &[&str]) -> MemoryLog {
    let log = MemoryLog::new(&topics());
    for (n, value) in values.iter().enumerate() {
        log.append_now("single", None, record(&format!("k{n}"), value)).unwrap();
    }
    log
}

fn runner(log: &MemoryLog, stage: &Copying) -> Runner<event_log::memory::MemorySession, Copying> {
    Runner::new(log.join(GROUP, "single").unwrap(), stage.clone(), options())
}

/// Steps until the poll finds nothing, and tells the phases it went through.
async fn run(runner: &mut Runner<event_log::memory::MemorySession, Copying>) -> Result<Vec<PhaseName>, Fatal> {
    let mut phases = Vec::new();
    for _ in 0..1_000 {
        phases.push(runner.phase());
        if runner.step().await? == RunnerEvent::Nothing {
            return Ok(phases);
        }
    }
    panic!("never done: {phases:?}");
}

fn state_of(log: &MemoryLog) -> usize {
    (0..4).map(|partition| log.records("state", partition).len()).sum()
}

#[tokio::test]
async fn every_record_ends_somewhere() {
    let log = log_of(&["a", "dead", "skip", "b"]);
    let stage = Copying::default();
    let mut runner = runner(&log, &stage);
    let mut reports = Vec::new();
    loop {
        match runner.step().await.unwrap() {
            RunnerEvent::Committed(report) => reports.push(report),
            RunnerEvent::Nothing => break,
            _ => {}
        }
    }
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    assert_eq!((report.n_records, report.n_outputs, report.n_emitted), (4, 3, 2));
    assert_eq!((report.ignored.get("skipped"), report.dead.get("broken")), (Some(&1), Some(&1)));
    assert_eq!(
        report.n_records,
        report.n_emitted + report.ignored.values().sum::<u64>() + report.dead.values().sum::<u64>()
    );
    assert_eq!(stage.calls(), ["assigned 0", "process 4", "committed 4"]);
    assert_eq!(runner.lag(), Some(0));
}

#[tokio::test]
async fn a_rewind_is_the_way_back_from_everything() {
    use PhaseName::{Commit, Poll, Process, Rewind, Wait};
    let check = |prepare: fn(&MemoryLog, &Copying), before: &'static [PhaseName]| async move {
        let log = log_of(&["a", "b"]);
        let stage = Copying::default();
        prepare(&log, &stage);
        let mut runner = runner(&log, &stage);
        let phases = run(&mut runner).await.unwrap();
        let expected: Vec<_> = before.iter().copied().chain([Rewind, Wait, Poll, Process, Commit, Poll]).collect();
        assert_eq!(phases, expected);
        assert_eq!(state_of(&log), 2, "each record has its effect once");
        let calls = stage.calls();
        assert!(calls.contains(&"revoked [0]".to_owned()), "caches are dropped before a rewind: {calls:?}");
    };
    check(
        |_, stage| stage.script().process.push_back(StageError::Unavailable("away".to_owned())),
        &[Poll, Poll, Poll, Process],
    )
    .await;
    check(|log, _| log.next_commit(CommitFault::Aborted), &[Poll, Poll, Poll, Process, Commit]).await;
}

#[tokio::test]
async fn waits_grow_to_a_cap_and_batches_shrink() {
    let log = log_of(&["a", "b", "c", "d"]);
    let stage = Copying::default();
    stage.script().process.extend((0..10).map(|_| StageError::Unavailable("away".to_owned())));
    let mut runner = runner(&log, &stage);
    let (mut waits, mut sizes) = (Vec::new(), Vec::new());
    loop {
        match runner.step().await.unwrap() {
            RunnerEvent::Rewound { wait, .. } => waits.push(wait.as_millis()),
            RunnerEvent::Polled(n_records) => sizes.push(n_records),
            RunnerEvent::Nothing => break,
            _ => {}
        }
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000]);
    assert_eq!(sizes, [4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3], "small until one gets through, then whole again");
    assert_eq!(state_of(&log), 4);
}

#[tokio::test]
async fn a_new_partition_is_applied_again_in_chunks() {
    let log = log_of(&["a", "b", "c", "d", "e"]);
    let stage = Copying::default();
    run(&mut runner(&log, &stage)).await.unwrap();
    stage.calls();
    log.append_now("single", None, record("k", "f")).unwrap();
    // The stage asks for what lies from 1 on; the store is away at first, and reading fails once.
    #[derive(Debug)]
    struct FailsOnce(bool);
    impl Faults for FailsOnce {
        fn read_back_fails(&mut self) -> bool {
            std::mem::take(&mut self.0)
        }
    }
    log.set_faults(FailsOnce(true));
    stage.script().assigned.extend([Err(StageError::Unavailable("away".to_owned())), Ok(Some(1))]);
    run(&mut runner(&log, &stage)).await.unwrap();
    let expected = [
        "assigned 0",
        "revoked [0]",
        "assigned 0",
        "revoked [0]",
        "reapply b,c",
        "reapply d,e",
        "process 1",
        "committed 1",
    ];
    assert_eq!(stage.calls(), expected, "nothing is processed before, and nothing emitted by it");
    assert_eq!(state_of(&log), 6);
}

#[tokio::test]
async fn a_partition_lost_while_it_could_not_be_prepared_is_let_go() {
    let log = log_of(&["a"]);
    let stage = Copying::default();
    let mut runner = runner(&log, &stage);
    stage.script().assigned.extend((0..3).map(|_| Err(StageError::Unavailable("away".to_owned()))));
    for _ in 0..4 {
        runner.step().await.unwrap();
    }
    log.expel(runner.session().id());
    run(&mut runner).await.unwrap();
    let calls = stage.calls();
    let assigned = calls.iter().filter(|call| *call == "assigned 0").count();
    assert!(assigned >= 2 && calls.ends_with(&["process 1".to_owned(), "committed 1".to_owned()]), "{calls:?}");
    assert_eq!(state_of(&log), 1);
}

#[tokio::test]
async fn a_stage_prepares_a_partition_in_slices() {
    let log = log_of(&["a", "b"]);
    let stage = Copying::default();
    run(&mut runner(&log, &stage)).await.unwrap();
    stage.calls();
    log.append_now("single", None, record("k", "c")).unwrap();
    let away = || Err(StageError::Unavailable("away".to_owned()));
    stage.script().assigned.push_back(Ok(Some(0)));
    stage.script().prepare.extend([Ok(false), away(), away(), Ok(false), away(), Ok(true)]);
    let mut runner = runner(&log, &stage);
    let mut waits = Vec::new();
    loop {
        match runner.step().await.unwrap() {
            RunnerEvent::Rewound { wait, .. } => waits.push(wait.as_millis()),
            RunnerEvent::Nothing => break,
            _ => {}
        }
    }
    let expected = [
        "assigned 0",
        "reapply a,b",
        "prepare 0",
        "prepare 0",
        "revoked [0]",
        "prepare 0",
        "revoked [0]",
        "prepare 0",
        "prepare 0",
        "revoked [0]",
        "prepare 0",
        "process 1",
        "committed 1",
    ];
    assert_eq!(stage.calls(), expected, "it goes on where it was, and nothing is processed before it is done");
    assert_eq!(waits, [100, 200, 100], "a slice that is done is progress");
    assert_eq!(state_of(&log), 3);
}

/// Whoever takes a partition over must not meet a slice of its former owner.
#[tokio::test]
async fn a_partition_taken_away_between_two_slices_is_prepared_no_further() {
    let log = log_of(&["a"]);
    let (former, next) = (Copying::default(), Copying::default());
    former.script().prepare.extend([Ok(false), Ok(false), Ok(false)]);
    next.script().prepare.extend([Ok(false), Ok(true)]);
    let mut owner = runner(&log, &former);
    while owner.step().await.unwrap() != RunnerEvent::Prepared(0) {}
    let mut other = runner(&log, &next);
    run(&mut other).await.unwrap();
    assert_eq!(next.calls(), [""; 0], "one member has the only partition");
    log.expel(owner.session().id());
    run(&mut other).await.unwrap();
    run(&mut owner).await.unwrap();
    assert_eq!(next.calls(), ["assigned 0", "prepare 0", "prepare 0", "process 1", "committed 1"]);
    assert_eq!(former.calls(), ["assigned 0", "prepare 0", "revoked [0]"]);
    // It comes back, and is a new partition again.
    log.expel(other.session().id());
    run(&mut owner).await.unwrap();
    assert_eq!(former.calls(), ["assigned 0", "prepare 0", "prepare 0"]);
    assert_eq!(state_of(&log), 1);
}

#[tokio::test]
async fn what_is_fatal_ends_the_runner() {
    let check = |prepare: fn(&MemoryLog, &Copying), expected: Fatal, n_state: usize| async move {
        let log = log_of(&["a", "b"]);
        let stage = Copying::default();
        prepare(&log, &stage);
        let mut runner = runner(&log, &stage);
        assert_eq!(run(&mut runner).await, Err(expected));
        assert_eq!(runner.step().await, Err(Fatal::Ended), "it stays ended");
        assert_eq!(state_of(&log), n_state);
    };
    check(
        |_, stage| stage.script().process.push_back(StageError::Broken("bad".to_owned())),
        Fatal::Stage("bad".to_owned()),
        0,
    )
    .await;
    check(
        |_, stage| stage.script().assigned.push_back(Err(StageError::Broken("bad".to_owned()))),
        Fatal::Stage("bad".to_owned()),
        0,
    )
    .await;
    check(
        |_, stage| stage.script().prepare.push_back(Err(StageError::Broken("bad".to_owned()))),
        Fatal::Stage("bad".to_owned()),
        0,
    )
    .await;
    check(|_, stage| stage.script().is_forgetful = true, Fatal::Verdicts { records: 2, verdicts: 1 }, 0).await;
    check(|log, _| log.next_commit(CommitFault::HappenedUntold), Fatal::Commit("no answer".to_owned()), 2).await;
    check(|log, _| log.next_commit(CommitFault::FailedUntold), Fatal::Commit("no answer".to_owned()), 0).await;
}

#[tokio::test]
async fn tidying_up_that_fails_loses_nothing() {
    let log = log_of(&["a"]);
    let stage = Copying::default();
    stage.script().committed.push_back(StageError::Unavailable("away".to_owned()));
    let mut runner = runner(&log, &stage);
    let mut told = None;
    for _ in 0..5 {
        if let RunnerEvent::Committed(report) = runner.step().await.unwrap() {
            told = report.after_commit;
        }
    }
    assert_eq!(told.as_deref(), Some("away"));
    assert_eq!(stage.calls(), ["assigned 0", "process 1", "committed 1"], "nothing is done twice");
    assert_eq!(log.committed_offset(GROUP, "single", 0), Some(1));
}

#[tokio::test]
async fn the_time_of_the_oldest_record_that_waits_is_known() {
    let log = MemoryLog::new(&topics());
    for at_ms in [50, 40, 60, 70, 80, 90] {
        log.append_now("single", None, at(at_ms, "k", "v")).unwrap();
    }
    let stage = Copying::default();
    stage.script().process.push_back(StageError::Unavailable("away".to_owned()));
    let mut runner = runner(&log, &stage);
    let mut seen = vec![None];
    while runner.step().await.unwrap() != RunnerEvent::Nothing {
        if seen.last() != Some(&runner.oldest_ms()) {
            seen.push(runner.oldest_ms());
        }
    }
    // A batch that fails, and a smaller one of the same; what is behind it is not older than its newest; the rest.
    assert_eq!(seen, [None, Some(40), Some(50), Some(60), None]);
}

#[derive(Debug, Default)]
struct Watching(Mutex<Vec<String>>);

impl Observer for Watching {
    fn stepped(&self, _stage: &'static str, phase: PhaseName, event: &RunnerEvent, _took: Duration) {
        if let RunnerEvent::Committed(report) = event {
            self.0.lock().unwrap().push(format!("{} {}", phase.tag(), report.n_records));
        }
    }

    fn lag(&self, _stage: &'static str, n_records: u64) {
        let line = format!("lag {n_records}");
        let mut lines = self.0.lock().unwrap();
        if lines.last() != Some(&line) {
            lines.push(line);
        }
    }

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        self.0.lock().unwrap().push(format!("{stage} ended {:?}", result.map_err(Fatal::tag)));
    }
}

const WAITING: Limits = Limits { records_max: 4, bytes_max: 1 << 20, wait: Duration::from_millis(20) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_runs_until_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_embedded(directory.path());
    let (stage, observer, shutdown) = (Copying::default(), Arc::new(Watching::default()), CancellationToken::new());
    let session = log.session(GROUP, "single", &[0]).unwrap();
    let handle = spawn_runner("copying-0", session, stage, WAITING, shutdown.clone(), observer.clone()).unwrap();
    for n in 0..20 {
        append(&log, "single", record(&format!("k{n}"), "v")).await;
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while event_log::Browse::committed(&log, GROUP, "single", 0).await.unwrap() != Some(20) {
        assert!(std::time::Instant::now() < deadline, "not copied in time");
        event_log::Browse::changed(&log, "state", Duration::from_millis(50)).await;
    }
    shutdown.cancel();
    assert_eq!(handle.ended().await, Ok(()));
    let mut n_state = 0;
    for partition in 0..4 {
        n_state += kept(&log, "state", partition).await.len();
    }
    assert_eq!(n_state, 20);
    let lines = observer.0.lock().unwrap().clone();
    assert_eq!(lines.last().unwrap(), "copying ended Ok(())");
    let copied: u64 =
        lines.iter().filter_map(|line| line.strip_prefix("commit ")).map(|n| n.parse::<u64>().unwrap()).sum();
    assert_eq!(copied, 20);
    log.session(GROUP, "single", &[0]).expect("its partitions are free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_told_and_never_a_silent_zombie() {
    let log = log_of(&["a"]);
    let (stage, observer) = (Copying::default(), Arc::new(Watching::default()));
    stage.script().is_panicking = true;
    let session = log.join(GROUP, "single").unwrap();
    let handle =
        spawn_runner("copying-0", session, stage, WAITING, CancellationToken::new(), observer.clone()).unwrap();
    assert_eq!(handle.ended().await, Err(Fatal::Panicked("as told".to_owned())));
    assert_eq!(observer.0.lock().unwrap().last().unwrap(), "copying ended Err(\"panicked\")");
}

#[test]
fn a_shutdown_finishes_what_was_begun() {
    let log = log_of(&["a", "b", "c", "d", "e"]);
    let shutdown = CancellationToken::new();
    /// Asks for the shutdown in the middle of the first batch.
    #[derive(Debug)]
    struct Stopping(Copying, CancellationToken);
    #[async_trait]
    impl Stage for Stopping {
        fn name(&self) -> &'static str {
            "stopping"
        }
        async fn process(&mut self, batch: &Batch) -> Result<Outputs, StageError> {
            self.1.cancel();
            self.0.process(batch).await
        }
    }
    let stage = Stopping(Copying::default(), shutdown.clone());
    let session = log.join(GROUP, "single").unwrap();
    let handle = spawn_runner("stopping-0", session, stage, WAITING, shutdown, Arc::new(())).unwrap();
    assert_eq!(handle.join(), Ok(()));
    assert_eq!(log.committed_offset(GROUP, "single", 0), Some(4), "the first batch is committed, no second begun");
    assert_eq!(state_of(&log), 4);
}

#[test]
fn a_shutdown_does_not_wait_for_a_partition_to_be_prepared() {
    let log = log_of(&["a"]);
    let shutdown = CancellationToken::new();
    /// Never done; asks for the shutdown in its third slice.
    #[derive(Debug)]
    struct Endless(u32, CancellationToken);
    #[async_trait]
    impl Stage for Endless {
        fn name(&self) -> &'static str {
            "endless"
        }
        async fn prepare(&mut self, _assigned: &Assigned) -> Result<bool, StageError> {
            self.0 += 1;
            assert!(self.0 <= 3, "a slice after the shutdown");
            if self.0 == 3 {
                self.1.cancel();
            }
            Ok(false)
        }
        async fn process(&mut self, _batch: &Batch) -> Result<Outputs, StageError> {
            Err(StageError::Broken("not prepared".to_owned()))
        }
    }
    let session = log.join(GROUP, "single").unwrap();
    let stage = Endless(0, shutdown.clone());
    let handle = spawn_runner("endless-0", session, stage, WAITING, shutdown, Arc::new(())).unwrap();
    assert_eq!(handle.join(), Ok(()));
    assert_eq!(log.committed_offset(GROUP, "single", 0), None);
}

/// A session whose commit waits until the process is to stop, if it may, and then ends for good.
#[derive(Debug)]
struct Unanswered {
    polled: Option<Batch>,
    waits: bool,
    stop: CancellationToken,
}

impl Session for Unanswered {
    fn poll(&mut self, _limits: &Limits) -> Result<Polled, SessionError> {
        Ok(self.polled.take().map_or(Polled::Nothing, Polled::Batch))
    }

    fn commit(&mut self, _batch: &Batch, _outputs: &Outputs) -> Result<(), CommitError> {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while self.waits && !self.stop.is_cancelled() {
            assert!(std::time::Instant::now() < deadline, "nobody said that the process is to stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(CommitError::Fatal("nobody answered".to_owned()))
    }

    fn rewind(&mut self) -> Result<(), SessionError> {
        Ok(())
    }

    fn idle(&mut self, _wait: Duration) -> Result<(), SessionError> {
        Ok(())
    }

    fn read_back(&mut self, _: &str, _: u32, _: u64, _: u64) -> Result<Vec<Consumed>, SessionError> {
        Ok(Vec::new())
    }

    fn stop_with(&mut self, stop: CancellationToken) {
        self.stop = stop;
    }
}

#[test]
fn a_commit_that_waits_is_told_of_the_stop_and_its_end_is_no_failure() {
    let batch = || {
        let mut session = log_of(&["a"]).join(GROUP, "single").unwrap();
        (0..9).find_map(|_| match session.poll(&WAITING).unwrap() {
            Polled::Batch(batch) => Some(batch),
            _ => None,
        })
    };
    let run = |waits, shutdown: &CancellationToken| {
        let session = Unanswered { polled: batch(), waits, stop: CancellationToken::new() };
        assert!(session.polled.is_some());
        spawn_runner("waiting-0", session, Copying::default(), WAITING, shutdown.clone(), Arc::new(())).unwrap()
    };
    let stop = CancellationToken::new();
    let failure = Err(Fatal::Commit("nobody answered".to_owned()));
    assert_eq!(run(false, &stop).join(), failure, "nobody asked for its end");
    let waiting = run(true, &stop);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished());
    stop.cancel();
    assert_eq!(waiting.join(), Ok(()));
}
