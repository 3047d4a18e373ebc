//! Counts the allocations of a parsed event, and of the generic value of the same bodies, for each provider; prints one JSON
//! object. A program of its own, as counting costs time and `bench` measures it.

#[path = "../providers/cases.rs"]
mod cases;

use cases::Case;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::Write as _;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> anyhow::Result<()> {
    let mut counted = serde_json::Map::new();
    for case in cases::all()? {
        // What is made once in a process costs no event.
        case.parse();
        case.read();
        let (event, event_bytes) = count(&case, || assert_eq!(case.parse(), case.events));
        let (value, value_bytes) = count(&case, || case.read());
        let figures = json!({ "event": event, "event_bytes": event_bytes, "value": value, "value_bytes": value_bytes });
        counted.insert(case.provider.name().to_owned(), figures);
    }
    writeln!(std::io::stdout(), "{}", Value::Object(counted))?;
    Ok(())
}

/// Allocations (growing one counts as another) and bytes, an event.
fn count(case: &Case, work: impl Fn()) -> (f64, f64) {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    let an_event = |number: usize| {
        let exact = number as f64 / case.events as f64;
        (exact * 100.0).round() / 100.0
    };
    let grown = usize::try_from(change.bytes_reallocated).unwrap_or_default();
    (an_event(change.allocations + change.reallocations), an_event(change.bytes_allocated + grown))
}
