//! What goes before a measure of latency: the same load, until what the measures before left behind is over.
//!
//! Broker and store are Java programs that translate themselves to machine code while they work, on the cores that are
//! measured. And each soft bounce of a round ends in the past, as events bear times of months ago: those ends pass through
//! the suppressor when it gets to them, so many at once as no sender's days bring about.

use super::{
    Pipeline,
    fleet::Fleet,
    pace::{self, EVENTS, Pace},
    role::Role,
};
use crate::{say, stats::round};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// What is looked at by itself.
const SLICE: Duration = Duration::from_secs(10);
const SLICES_MIN: u64 = 3;
const SLICES_MAX: u64 = 30;
/// Cores that both servers' compilers may take still.
const COMPILING_MAX: f64 = 0.15;
/// Ends that may pass for each event: of what is sent here one in twenty-five is a soft bounce.
const ENDS_MAX: f64 = 0.06;
/// Far from what is sent elsewhere.
const FIRST_EVENT: u64 = 400_000_000;

/// How it went.
#[derive(Debug)]
pub(super) struct WarmUp {
    /// Sent in all.
    pub(super) events: u64,
    seconds: f64,
    settled: bool,
    last: Aftermath,
}

/// What went on beside the load, a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Aftermath {
    compiling_cores: f64,
    ends: f64,
}

impl Aftermath {
    fn is_over(self, events_per_second: f64) -> bool {
        self.compiling_cores <= COMPILING_MAX && self.ends <= ENDS_MAX * events_per_second
    }
}

/// Counters at a moment, to tell what went on since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    compiling: f64,
    compacting: f64,
    ends: f64,
}

impl Beside {
    pub(super) fn now(pipeline: &Pipeline, fleet: &Fleet) -> anyhow::Result<Self> {
        let threads = pipeline.cluster.cpu_by_thread()?;
        let of = |names: &[&str]| {
            let is_of = |thread: &str| names.iter().any(|name| thread.starts_with(name));
            threads.iter().filter(|(thread, _)| is_of(thread)).map(|(_, seconds)| seconds).sum()
        };
        Ok(Self {
            compiling: of(&["C1 Compiler", "C2 Compiler"]),
            compacting: of(&["CompactionExec"]),
            ends: ends(fleet)?,
        })
    }

    fn since(self, before: Self, seconds: f64) -> Aftermath {
        Aftermath {
            compiling_cores: (self.compiling - before.compiling).max(0.0) / seconds,
            ends: (self.ends - before.ends).max(0.0) / seconds,
        }
    }

    /// For the results: what took the machine's time, or came in, beside the load that was measured.
    pub(super) fn show_since(self, before: Self, seconds: f64) -> Value {
        let Aftermath { compiling_cores, ends } = self.since(before, seconds);
        json!({
            "servers_compiling_cores": round(compiling_cores),
            "store_compacting_cores": round((self.compacting - before.compacting).max(0.0) / seconds),
            "ends_per_s": round(ends),
        })
    }
}

/// Ends that passed since the suppressor started.
pub(super) fn ends(fleet: &Fleet) -> anyhow::Result<f64> {
    Ok(fleet.of(Role::Suppressor)?.scrape()?.sum_where("quell_suppressor_events_total", "kind=\"expired\""))
}

/// Sends at the pace that is to be measured. Blocks for half a minute to five minutes.
pub(super) fn run(pipeline: &Pipeline, fleet: &Fleet, webhooks_per_second: f64) -> anyhow::Result<WarmUp> {
    let keys = Arc::clone(&pipeline.cluster.keys);
    let address = fleet.of(Role::Gateway)?.address;
    let mut warm_up = WarmUp { events: 0, seconds: 0.0, settled: false, last: Aftermath::default() };
    for slice in 1..=SLICES_MAX {
        let before = Beside::now(pipeline, fleet)?;
        let first_event = FIRST_EVENT + warm_up.events;
        let pace = Pace { address, webhooks_per_second, lasting: SLICE, first_event, keep: false };
        warm_up.events += pace::run(&keys, pace)?.webhooks() * EVENTS;
        warm_up.seconds += SLICE.as_secs_f64();
        warm_up.last = Beside::now(pipeline, fleet)?.since(before, SLICE.as_secs_f64());
        let Aftermath { compiling_cores, ends } = warm_up.last;
        say(&format!("    warming up: servers compile on {compiling_cores:.2} cores, {ends:.0} ends/s"));
        warm_up.settled = warm_up.last.is_over(webhooks_per_second * EVENTS as f64);
        if warm_up.settled && slice >= SLICES_MIN {
            break;
        }
    }
    Ok(warm_up)
}

impl WarmUp {
    /// For the results.
    pub(super) fn show(&self) -> Value {
        json!({
            "seconds": self.seconds,
            "settled": self.settled,
            "servers_compiling_cores": round(self.last.compiling_cores),
            "ends_per_s": round(self.last.ends),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_alone_is_no_aftermath() {
        let of = |compiling_cores, ends| Aftermath { compiling_cores, ends };
        assert!(of(0.1, 40.0).is_over(1_000.0));
        assert!(!of(0.5, 40.0).is_over(1_000.0));
        assert!(!of(0.1, 400.0).is_over(1_000.0));
        let at = |compiling, ends| Beside { compiling, compacting: 0.0, ends };
        assert_eq!(at(5.0, 300.0).since(at(3.0, 100.0), 10.0), of(0.2, 20.0));
        // A compiler's thread that ended took its seconds along.
        assert_eq!(at(2.0, 300.0).since(at(3.0, 100.0), 10.0), of(0.0, 20.0));
    }
}
