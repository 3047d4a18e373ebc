//! Follows a stage from its first committed batch to its last: the process's start is not measured.

use super::role::Served;
use crate::{scrape::Scrape, stats::round, usage};
use anyhow::bail;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(50);
const STALLED_AFTER: Duration = Duration::from_secs(90);
/// Records that a stage has committed, whatever became of them.
const RECORDS: &str = "quell_stage_records_total";

/// A moment at which a stage had just committed something.
#[derive(Debug, Clone)]
struct Moment {
    at: Instant,
    cpu: f64,
    records: f64,
    scrape: Scrape,
}

/// What a stage did between two such moments.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Records committed.
    pub(super) records: f64,
    pub(super) seconds: f64,
    /// Seconds of the whole process.
    pub(super) cpu: f64,
    pub(super) resident_mb: f64,
    first: Scrape,
    /// What the process told at the end.
    pub(super) last: Scrape,
}

impl Window {
    /// How much a metric grew.
    pub(super) fn grown(&self, name: &str, label: &str) -> f64 {
        self.last.sum_where(name, label) - self.first.sum_where(name, label)
    }

    pub(super) fn per_second(&self) -> f64 {
        self.records / self.seconds
    }

    /// What it did and used.
    pub(super) fn show(&self) -> Value {
        let mut shown = work(&self.first, &self.last);
        shown["records"] = json!(self.records);
        shown["seconds"] = json!(round(self.seconds));
        shown["cpu_s"] = json!(round(self.cpu));
        shown["cores_used"] = json!(round(self.cpu / self.seconds));
        shown["cpu_us_per_record"] = json!(round(self.cpu * 1e6 / self.records));
        shown["resident_mb"] = json!(round(self.resident_mb));
        shown
    }
}

/// Where a stage's time went between two moments; of several workers the sum.
pub(super) fn work(first: &Scrape, last: &Scrape) -> Value {
    const PHASE: &str = "quell_stage_phase_seconds_sum";
    let grown = |name: &str, label: &str| last.sum_where(name, label) - first.sum_where(name, label);
    let batches = grown("quell_stage_batch_records_count", "");
    let each = |sum: f64| round(sum / batches.max(1.0));
    json!({
        "batches": batches,
        "records_per_batch": each(grown(RECORDS, "")),
        "process_s": round(grown(PHASE, "phase=\"process\"")),
        "commit_s": round(grown(PHASE, "phase=\"commit\"")),
        "process_ms_per_batch": each(grown(PHASE, "phase=\"process\"") * 1e3),
        "commit_ms_per_batch": each(grown(PHASE, "phase=\"commit\"") * 1e3),
        "rewinds": grown("quell_stage_rewinds_total", ""),
    })
}

/// Watches a process that was just started until it has committed so many records. `begun` is called at its first commit.
pub(super) fn follow(
    served: &mut Served,
    records: u64,
    mut begun: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Window> {
    let (mut first, mut last): (Option<Moment>, Option<Moment>) = (None, None);
    let mut moved = Instant::now();
    loop {
        std::thread::sleep(LOOK);
        served.alive()?;
        let now = look(served).filter(|now| now.records > 0.0);
        let known = last.as_ref().map_or(0.0, |last| last.records);
        if let Some(now) = now.filter(|now| now.records > known) {
            moved = Instant::now();
            if first.is_none() {
                begun()?;
                first = Some(now.clone());
            }
            last = Some(now);
        }
        match (&first, &last) {
            (Some(first), Some(last)) if last.records >= records as f64 => return window(served, first, last),
            _ => {}
        }
        if moved.elapsed() > STALLED_AFTER {
            bail!("{} stalled at {known} of {records} records; its log is above", served.role.word());
        }
    }
}

/// None while it does not answer yet.
fn look(served: &Served) -> Option<Moment> {
    let scrape = served.scrape().ok()?;
    let (at, cpu, records) = (Instant::now(), usage::cpu_seconds(served.pid()).ok()?, scrape.sum(RECORDS));
    Some(Moment { at, cpu, records, scrape })
}

fn window(served: &Served, first: &Moment, last: &Moment) -> anyhow::Result<Window> {
    let window = Window {
        records: last.records - first.records,
        seconds: (last.at - first.at).as_secs_f64(),
        cpu: last.cpu - first.cpu,
        resident_mb: usage::resident_mb(served.pid())?,
        first: first.scrape.clone(),
        last: last.scrape.clone(),
    };
    if window.records <= 0.0 || window.cpu <= 0.0 {
        bail!("{} was done before it could be watched: more --events are needed", served.role.word());
    }
    Ok(window)
}

/// How many records a stage has committed by now.
pub(super) fn committed(served: &Served) -> anyhow::Result<f64> {
    Ok(served.scrape()?.sum(RECORDS))
}
