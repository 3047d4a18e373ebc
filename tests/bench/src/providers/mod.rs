//! What a parsed event costs, for each provider: nanoseconds and allocations, beside those of reading the same bodies into
//! nothing but the generic value of their format, in turns.
//!
//! Time is measured here, with the allocator of `quell`; allocations are counted by a process of their own (`allocations`),
//! as counting costs time.

mod cases;

use crate::{
    Options,
    stats::{floor, round},
};
use anyhow::Context as _;
use cases::{Case, Format};
use serde_json::{Value, json};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// How much more a parsed event may cost than a generic value.
const TIMES_MAX: f64 = 4.0;
/// Each of these runs of each side.
const RUN: Duration = Duration::from_millis(60);
const ROUNDS_MIN: usize = 7;

/// Every provider.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Value> {
    let allocations = allocations()?;
    let (mut rows, mut floors) = (Vec::new(), Vec::new());
    for case in cases::all()? {
        let name = case.provider.name();
        let rounds = options.rounds.max(ROUNDS_MIN);
        let (mut parse, mut read) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
        for _ in 0..rounds {
            read.push(nanoseconds(&case, || case.read()));
            parse.push(nanoseconds(&case, || assert_eq!(case.parse(), case.events)));
        }
        let (parse, read) = (least(&parse), least(&read));
        let counted =
            |what: &str| allocations[name][what].as_f64().context("a provider's allocations were not counted");
        let (parse_allocations, read_allocations) = (counted("event")?, counted("value")?);
        let times = |event: f64, value: f64| event / value.max(f64::MIN_POSITIVE);
        floors.push(floor(&format!("{name}: time, times a generic value's"), times(parse, read), TIMES_MAX, false));
        let allocated = times(parse_allocations, read_allocations);
        floors.push(floor(&format!("{name}: allocations, times a generic value's"), allocated, TIMES_MAX, false));
        let bytes: usize = case.bodies.iter().map(|body| body.bytes.len()).sum();
        rows.push(json!({
            "provider": name,
            "bodies": case.bodies.len(),
            "events": case.events,
            "bytes_an_event": round(bytes as f64 / case.events as f64),
            "event": { "ns": round(parse), "allocations": parse_allocations, "allocated_bytes": counted("event_bytes")? },
            "value": {
                "format": case.bodies.first().map(|body| word(body.format)),
                "ns": round(read), "allocations": read_allocations, "allocated_bytes": counted("value_bytes")?,
            },
        }));
    }
    Ok(json!({ "floors": floors, "providers": rows }))
}

/// Nanoseconds an event.
fn nanoseconds(case: &Case, work: impl Fn()) -> f64 {
    let (began, mut passes) = (Instant::now(), 0_u32);
    while began.elapsed() < RUN {
        work();
        passes += 1;
    }
    began.elapsed().as_nanos() as f64 / (f64::from(passes) * case.events as f64)
}

/// The fastest run: whatever made another slower was the machine's.
fn least(runs: &[f64]) -> f64 {
    runs.iter().copied().fold(f64::INFINITY, f64::min)
}

/// In the results.
const fn word(format: Format) -> &'static str {
    match format {
        Format::Json => "JSON value",
        Format::Sns => "JSON values of the SNS envelope and of its text",
        Format::JsonLines => "JSON value a line",
        Format::Form => "form pairs",
        Format::FormJson(_) => "form pairs and the JSON value in one",
        Format::Mail => "MIME parts",
    }
}

/// What the process beside this one counts.
fn allocations() -> anyhow::Result<Value> {
    let path = std::env::current_exe()?.with_file_name("allocations");
    let output = Command::new(&path).output().with_context(|| format!("cannot run {}", path.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "counting allocations failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
