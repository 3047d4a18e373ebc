//! Events a second through normalizer and suppressor, as `quell up` runs them, every batch's commit synced.

use crate::{
    Options,
    child::{Process, argument},
    fill::EVENTS_PER_WEBHOOK,
    run_directory, say,
    servers::{CACHE_BYTES, PARTITIONS, open_log},
    stats::{floor, median, round, spread},
    usage,
};
use anyhow::{Context as _, bail};
use event_log::{Fatal, Limits, Observer, PhaseName, RunnerEvent, embedded::open_database, spawn_runner};
use normalizer::Normalizer;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};
use suppressor::{Suppressor, stage::NoMetrics, store::embedded::EmbeddedStore};
use tokio_util::sync::CancellationToken;

const FLOOR_PER_S: f64 = 30_000.0;
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// With one and with two workers of the suppressor.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Value> {
    let events = options.events() / EVENTS_PER_WEBHOOK * EVENTS_PER_WEBHOOK;
    anyhow::ensure!(events > 0, "--events must be at least {EVENTS_PER_WEBHOOK}");
    let filled = run_directory(&options.data)?;
    say(&format!("  filling a log with {events} events"));
    Process::ours(&["fill-log", argument(filled.path())?, &events.to_string()], &[])?.document()?;
    let mut cases = serde_json::Map::new();
    let mut best: f64 = 0.0;
    for workers in [2_u32, 1] {
        let mut runs = Vec::new();
        for _ in 0..options.rounds {
            let directory = run_directory(&options.data)?;
            copy(filled.path(), directory.path())?;
            let arguments = ["run-pipeline", argument(directory.path())?, &events.to_string(), &workers.to_string()];
            let run = Process::ours(&arguments, &[])?.document()?;
            say(&format!("    {workers} workers: {} events/s", run["events_per_s"]));
            runs.push(run);
        }
        let rates: Vec<f64> = runs.iter().filter_map(|run| run["events_per_s"].as_f64()).collect();
        best = best.max(median(rates.clone()));
        cases.insert(format!("suppressor_workers_{workers}"), json!({ "events_per_s": spread(rates), "runs": runs }));
    }
    Ok(json!({
        "events": events,
        "events_per_webhook": EVENTS_PER_WEBHOOK,
        "mixture": "60 % deliveries, 30 % opens, 10 % failures; 1,000,000 recipients; 5 % told twice",
        "floors": [floor("events/s, the better median", best, FLOOR_PER_S, true)],
        "cases": cases,
    }))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// What the stages did so far.
#[derive(Debug, Default, Clone)]
struct Progress {
    records: u64,
    batches: u64,
    emitted: u64,
    ignored: BTreeMap<&'static str, u64>,
    dead: u64,
    outputs: u64,
    process_s: f64,
    commit_s: f64,
}

/// Watches the runners of one stage.
#[derive(Debug)]
struct Watcher {
    progress: Mutex<Progress>,
    tell: mpsc::Sender<Result<(), String>>,
}

impl Watcher {
    fn new(tell: &mpsc::Sender<Result<(), String>>) -> Arc<Self> {
        Arc::new(Self { progress: Mutex::default(), tell: tell.clone() })
    }

    fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Watcher {
    fn stepped(&self, _stage: &'static str, phase: PhaseName, event: &RunnerEvent, took: Duration) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            PhaseName::Process => progress.process_s += took.as_secs_f64(),
            PhaseName::Commit => progress.commit_s += took.as_secs_f64(),
            _ => {}
        }
        if let RunnerEvent::Committed(report) = event {
            progress.records += report.n_records;
            progress.batches += 1;
            progress.emitted += report.n_emitted;
            progress.outputs += report.n_outputs;
            progress.dead += report.dead.values().sum::<u64>();
            for (reason, count) in &report.ignored {
                *progress.ignored.entry(reason).or_default() += count;
            }
            // The main thread may have seen enough.
            drop(self.tell.send(Ok(())));
        }
    }

    fn lag(&self, _stage: &'static str, _n_records: u64) {}

    fn ended(&self, stage: &'static str, result: Result<(), &Fatal>) {
        if let Err(error) = result {
            drop(self.tell.send(Err(format!("{stage}: {error}"))));
        }
    }
}

/// Runs the stages over a filled log until it is drained; prints what that took.
pub(crate) fn child(directory: &Path, events: u64, workers: u32) -> anyhow::Result<()> {
    let db = open_database(directory, CACHE_BYTES)?;
    let log = open_log(directory, db.clone())?;
    let store = EmbeddedStore::open(db)?;
    // As in `quell up`.
    let limits = Limits { records_max: 1_000, bytes_max: 8 << 20, wait: Duration::from_millis(500) };
    let (tell, told) = mpsc::channel();
    let (normalized, suppressed) = (Watcher::new(&tell), Watcher::new(&tell));
    let stop = CancellationToken::new();
    let partitions: Vec<u32> = (0..PARTITIONS).collect();

    let (began, cpu_before) = (Instant::now(), usage::cpu_seconds_by_thread(std::process::id())?);
    let session = log.session(schemas::topics::NORMALIZERS, schemas::topics::RAW, &partitions)?;
    let stage = Normalizer::new(Arc::new(normalizer::Nobody));
    let raw_limits = Limits { bytes_max: 512 * 1_024, ..limits };
    let mut handles = vec![spawn_runner("normalizer", session, stage, raw_limits, stop.clone(), normalized.clone())?];
    for worker in 0..workers {
        let own: Vec<u32> = partitions.iter().copied().filter(|partition| partition % workers == worker).collect();
        let session = log.session(schemas::topics::SUPPRESSORS, schemas::topics::EVENTS, &own)?;
        let stage = Suppressor::new(store.clone(), Arc::new(NoMetrics));
        let name = format!("suppressor-{worker}");
        handles.push(spawn_runner(&name, session, stage, limits, stop.clone(), suppressed.clone())?);
    }
    let mut normalized_in = None;
    while suppressed.progress().records < events {
        match told.recv_timeout(STALLED_AFTER) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => bail!("a stage ended: {error}"),
            Err(_) => bail!("the pipeline stalled at {:?}", suppressed.progress()),
        }
        if normalized_in.is_none() && normalized.progress().records >= events / EVENTS_PER_WEBHOOK {
            normalized_in = Some(began.elapsed().as_secs_f64());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut cpu = usage::cpu_seconds_by_thread(std::process::id())?;
    for (name, before) in cpu_before {
        cpu.entry(name).and_modify(|seconds| *seconds -= before);
    }
    stop.cancel();
    for handle in handles {
        handle.join()?;
    }
    let (normalized, suppressed) = (normalized.progress(), suppressed.progress());
    anyhow::ensure!(
        normalized.dead == 0 && suppressed.dead == 0,
        "there are dead letters: {normalized:?} {suppressed:?}"
    );
    anyhow::ensure!(suppressed.records == events, "{} events came out, not {events}", suppressed.records);
    let duplicates = suppressed.ignored.get("duplicate").copied().unwrap_or(0);
    anyhow::ensure!(duplicates > 0 && suppressed.outputs > 0, "no duplicates or no deltas: {suppressed:?}");
    let total: f64 = cpu.values().sum();
    let document = json!({
        "events_per_s": (events as f64 / seconds).round(),
        "seconds": round(seconds),
        "normalizer_done_after_s": normalized_in.map(round),
        "cpu_s": round(total),
        "cpu_us_per_event": round(total * 1e6 / events as f64),
        "cpu_s_by_thread": cpu.into_iter().map(|(name, seconds)| (name, round(seconds))).collect::<BTreeMap<_, _>>(),
        "peak_mb": round(usage::peak_mb(std::process::id())?),
        "normalizer": show(&normalized),
        "suppressor": show(&suppressed),
    });
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{document}").context("cannot tell")
}

fn show(progress: &Progress) -> Value {
    json!({
        "records": progress.records,
        "batches": progress.batches,
        "emitted": progress.emitted,
        "ignored": progress.ignored,
        "outputs": progress.outputs,
        "process_s": round(progress.process_s),
        "commit_s": round(progress.commit_s),
    })
}
