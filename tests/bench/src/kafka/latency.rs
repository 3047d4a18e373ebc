//! From a webhook to the delta that it brings about, at a `read_committed` consumer, at half of what the suppressor holds.
//! One process of every role.

use super::{
    Pipeline,
    deltas::{Came, Subscriber},
    fleet::Fleet,
    follow::{committed, work},
    pace::{self, EVENTS, Outcome, Pace, Sent},
    role::Role,
    suppressor,
    warm_up::{self, Beside},
};
use crate::{
    Options, say,
    stats::{floor, round},
    usage,
};
use anyhow::bail;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

const P50_MS_MAX: f64 = 200.0;
const P99_MS_MAX: f64 = 1_000.0;
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// Nothing came for so long after everything was worked through.
const QUIET: Duration = Duration::from_secs(2);
/// Far from what is sent elsewhere.
const FIRST_EVENT: u64 = 500_000_000;

/// One run.
pub(super) fn measure(pipeline: &mut Pipeline, options: &Options) -> anyhow::Result<Value> {
    let sustained = suppressor::sustained(pipeline, options)?;
    let webhooks_per_second = sustained / 2.0 / EVENTS as f64;
    say(&format!("  {:.0} events/s, half of {sustained:.0}, for {} s", sustained / 2.0, options.latency_seconds));
    let fleet = Fleet::start(&pipeline.cluster)?;
    let keys = Arc::clone(&pipeline.cluster.keys);
    let address = fleet.of(Role::Gateway)?.address;
    let warm_up = warm_up::run(pipeline, &fleet, webhooks_per_second)?;
    let mut events = warm_up.events;
    worked_through(&fleet, events)?;

    let subscriber = Subscriber::start(pipeline.cluster.broker.bootstrap())?;
    let lasting = Duration::from_secs_f64(options.latency_seconds);
    let stages = [fleet.of(Role::Normalizer)?, fleet.of(Role::Suppressor)?];
    let before = [stages[0].scrape()?, stages[1].scrape()?];
    let cpu = || fleet.served.iter().map(|served| usage::cpu_seconds(served.pid())).collect::<anyhow::Result<Vec<_>>>();
    let (cpu_before, beside) = (cpu()?, Beside::now(pipeline, &fleet)?);
    let pace = Pace { address, webhooks_per_second, lasting, first_event: FIRST_EVENT, keep: true };
    let outcome = pace::run(&keys, pace)?;
    let beside = Beside::now(pipeline, &fleet)?.show_since(beside, options.latency_seconds);
    events += outcome.webhooks() * EVENTS;
    let ended = Instant::now();
    worked_through(&fleet, events)?;
    let drained = ended.elapsed();
    let cores = cpu()?.into_iter().zip(cpu_before).zip(&fleet.served).map(|((after, before), served)| {
        (served.role.word().to_owned(), json!(round((after - before) / options.latency_seconds)))
    });
    let cores: Map<String, Value> = cores.collect();
    let stages = json!({
        "normalizer": work(&before[0], &stages[0].scrape()?),
        "suppressor": work(&before[1], &stages[1].scrape()?),
    });
    let mut count = subscriber.count();
    loop {
        std::thread::sleep(QUIET);
        let now = subscriber.count();
        if now == count {
            break;
        }
        count = now;
    }
    let came = subscriber.stop()?;
    let calls = fleet.provider_calls();
    fleet.stop()?;
    let mut document = show(&outcome, &came)?;
    document["sustained_events_per_s"] = json!(sustained.round());
    document["events_per_s"] = json!((outcome.webhooks() * EVENTS) as f64 / options.latency_seconds);
    document["drained_after_s"] = json!(round(drained.as_secs_f64()));
    document["provider_calls"] = json!(calls);
    document["cores_used"] = Value::Object(cores);
    document["stages"] = stages;
    document["warm_up"] = warm_up.show();
    document["beside"] = beside;
    Ok(document)
}

/// Waits until the suppressor has committed so many events; ends that pass are none of them.
fn worked_through(fleet: &Fleet, events: u64) -> anyhow::Result<()> {
    let suppressor = fleet.of(Role::Suppressor)?;
    let deadline = Instant::now() + DRAIN_WITHIN;
    loop {
        let ends = warm_up::ends(fleet)?;
        let done = committed(suppressor)? - ends;
        if done >= events as f64 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "after {} s {done} of {events} events were worked through: the machine cannot hold this rate",
                DRAIN_WITHIN.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn show(outcome: &Outcome, came: &[Came]) -> anyhow::Result<Value> {
    let due: HashMap<&str, Instant> = outcome.sent.iter().map(|sent| (sent.receipt.as_str(), sent.due)).collect();
    let first = due.values().min().copied();
    let mut ms: Vec<f64> = Vec::new();
    let mut by_second: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for delta in came {
        if let (Some(due), Some(first)) = (due.get(delta.receipt.as_str()), first) {
            let took = delta.at.saturating_duration_since(*due).as_secs_f64() * 1_000.0;
            ms.push(took);
            by_second.entry(due.saturating_duration_since(first).as_secs()).or_default().push(took);
        }
    }
    let by_second: Vec<Value> = by_second
        .into_iter()
        .map(|(second, mut ms)| {
            ms.sort_by(f64::total_cmp);
            json!([second, quantile(&ms, 0.5).round(), quantile(&ms, 1.0).round()])
        })
        .collect();
    anyhow::ensure!(!ms.is_empty(), "no delta came for any of {} webhooks", outcome.webhooks());
    ms.sort_by(f64::total_cmp);
    let mut answered: Vec<f64> =
        outcome.sent.iter().map(|Sent { answered, .. }| answered.as_secs_f64() * 1e3).collect();
    answered.sort_by(f64::total_cmp);
    let (p50, p99) = (quantile(&ms, 0.5), quantile(&ms, 0.99));
    let statuses: Map<String, Value> =
        outcome.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    Ok(json!({
        "floors": [
            floor("webhook to delta, p50, ms", p50, P50_MS_MAX, false),
            floor("webhook to delta, p99, ms", p99, P99_MS_MAX, false),
        ],
        "measured": "from when a webhook is due to be sent until its delta is in the hands of a read_committed consumer",
        "events_per_webhook": EVENTS,
        "deltas": ms.len(),
        "deltas_of_others": came.len() - ms.len(),
        "p50_ms": round(p50),
        "p90_ms": round(quantile(&ms, 0.9)),
        "p99_ms": round(p99),
        "max_ms": round(quantile(&ms, 1.0)),
        "second_p50_max_ms": by_second,
        "answered_p50_ms": round(quantile(&answered, 0.5)),
        "answered_p99_ms": round(quantile(&answered, 0.99)),
        "sender_late_at_most_ms": round(outcome.late.as_secs_f64() * 1e3),
        "statuses": statuses,
    }))
}

/// Of a sorted list.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_are_matched_with_their_webhooks() {
        let due = Instant::now();
        let sent = |receipt: &str| Sent { receipt: receipt.to_owned(), due, answered: Duration::from_millis(1) };
        let outcome = Outcome { sent: vec![sent("a"), sent("b")], ..Outcome::default() };
        let came = |receipt: &str, ms| Came { at: due + Duration::from_millis(ms), receipt: receipt.to_owned() };
        let shown = show(&outcome, &[came("a", 10), came("b", 40), came("x", 5)]).unwrap();
        assert_eq!((shown["deltas"].as_u64(), shown["deltas_of_others"].as_u64()), (Some(2), Some(1)));
        assert_eq!(shown["p99_ms"].as_f64(), Some(40.0));
        assert!(show(&outcome, &[came("x", 5)]).is_err());
    }
}
