//! Resident memory of every role through minutes of a steady load.

use super::{
    Pipeline,
    fleet::Fleet,
    pace::{self, EVENTS, Pace},
    role::Role,
};
use crate::{
    Options, events,
    http::Connection,
    say,
    stats::{floor, median, round},
    usage,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const RATIO_MAX: f64 = 1.1;
const SAMPLES: u32 = 600;
const SAMPLE_LEAST: Duration = Duration::from_millis(250);
/// The part of the run that is not judged: caches fill.
const WARM_UP: f64 = 0.1;
/// Where nobody measured what the suppressor holds.
const EVENTS_PER_SECOND: f64 = 400.0;
/// Of what the suppressor holds.
const MODERATE: f64 = 0.25;
/// Far from what is sent elsewhere.
const FIRST_EVENT: u64 = 600_000_000;
/// Addresses of each check, one check a sample.
const ADDRESSES: u64 = 100;

/// One run.
pub(super) fn measure(pipeline: &mut Pipeline, options: &Options) -> anyhow::Result<Value> {
    let rate = pipeline.sustained.map_or(EVENTS_PER_SECOND, |sustained| sustained * MODERATE);
    let lasting = Duration::from_secs_f64(options.minutes * 60.0);
    say(&format!("  {rate:.0} events/s for {:.1} minutes", options.minutes));
    let mut fleet = Fleet::start(&pipeline.cluster)?;
    let pace = Pace {
        address: fleet.of(Role::Gateway)?.address,
        webhooks_per_second: rate / EVENTS as f64,
        lasting,
        first_event: FIRST_EVENT,
        keep: false,
    };
    let keys = Arc::clone(&pipeline.cluster.keys);
    let load = std::thread::Builder::new().name("load".to_owned()).spawn(move || pace::run(&keys, pace))?;
    let began = Instant::now();
    let every = (lasting / SAMPLES).max(SAMPLE_LEAST);
    let mut samples: BTreeMap<&'static str, Vec<(f64, f64)>> = BTreeMap::new();
    let (mut checks, mut told) = (0, Instant::now());
    while !load.is_finished() {
        std::thread::sleep(every);
        fleet.alive()?;
        check(&fleet, checks)?;
        checks += 1;
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        for served in &fleet.served {
            samples.entry(served.role.word()).or_default().push((minutes, usage::resident_mb(served.pid())?));
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            say(&format!("    {minutes:.0} minutes"));
        }
    }
    let outcome = load.join().map_err(|_| anyhow::anyhow!("the load's thread ended"))??;
    let lag = fleet.of(Role::Suppressor)?.scrape()?.sum("quell_stage_lag_records");
    let calls = fleet.provider_calls();
    fleet.stop()?;
    let (mut floors, mut roles) = (Vec::new(), Map::new());
    for (role, samples) in &samples {
        let trend = Trend::of(samples)?;
        floors.push(floor(
            &format!("{role}: memory of the last quarter to the first"),
            trend.ratio(),
            RATIO_MAX,
            false,
        ));
        roles.insert((*role).to_owned(), trend.show());
    }
    Ok(json!({
        "floors": floors,
        "measured": "resident memory; after the first tenth of the run, the medians of the first and the last quarter",
        "minutes": options.minutes,
        "events_per_s": rate.round(),
        "webhooks": outcome.webhooks(),
        "webhooks_refused": outcome.refused(),
        "checks": checks,
        "addresses_per_check": ADDRESSES,
        "provider_calls": calls,
        "lag_at_the_end": lag,
        "roles": roles,
    }))
}

/// Asks the lookup, so that it works too.
fn check(fleet: &Fleet, number: u64) -> anyhow::Result<()> {
    let addresses: Vec<String> = (0..ADDRESSES)
        .map(|place| format!("\"{}\"", events::address(events::scatter(number * ADDRESSES + place) % 1_000_000)))
        .collect();
    let body = format!(r#"{{"class":"marketing","recipients":[{}]}}"#, addresses.join(","));
    let mut connection = Connection::open(fleet.of(Role::Lookup)?.address)?;
    let answer = connection.send("POST", "/v1/check", "application/json", body.as_bytes())?;
    anyhow::ensure!(answer.status == 200, "a check was answered {}", answer.status);
    Ok(())
}

/// How memory went: medians of two quarters and the slope between, in MB.
#[derive(Debug, PartialEq)]
struct Trend {
    samples: usize,
    first: f64,
    last: f64,
    max: f64,
    slope_per_minute: f64,
}

impl Trend {
    /// Of samples (minute, MB) in their order, the warm-up cut off.
    fn of(samples: &[(f64, f64)]) -> anyhow::Result<Self> {
        let warm = (samples.len() as f64 * WARM_UP).ceil() as usize;
        let samples = samples.get(warm..).unwrap_or_default();
        anyhow::ensure!(samples.len() >= 8, "too few samples for a trend: more --minutes are needed");
        let quarter = samples.len() / 4;
        let middle = |samples: &[(f64, f64)]| median(samples.iter().map(|(_, mb)| *mb).collect());
        Ok(Self {
            samples: samples.len(),
            first: middle(&samples[..quarter]),
            last: middle(&samples[samples.len() - quarter..]),
            max: samples.iter().map(|(_, mb)| *mb).fold(0.0, f64::max),
            slope_per_minute: slope(samples),
        })
    }

    fn ratio(&self) -> f64 {
        self.last / self.first
    }

    fn show(&self) -> Value {
        json!({
            "samples": self.samples,
            "first_quarter_mb": round(self.first),
            "last_quarter_mb": round(self.last),
            "max_mb": round(self.max),
            "last_to_first": round(self.ratio()),
            "mb_per_minute": round(self.slope_per_minute),
            "verdict": if self.ratio() <= RATIO_MAX { "flat" } else { "grows" },
        })
    }
}

/// Least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let n = samples.len().max(1) as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| samples.iter().map(pick).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let above: f64 = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let below: f64 = samples.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_told_from_noise() {
        let check = |mb: fn(f64) -> f64, slope: f64, verdict: &str| {
            let samples: Vec<(f64, f64)> = (0..100).map(|at| f64::from(at) / 10.0).map(|x| (x, mb(x))).collect();
            let trend = Trend::of(&samples).unwrap();
            assert!((trend.slope_per_minute - slope).abs() < 0.01, "{trend:?}");
            assert_eq!(trend.show()["verdict"], verdict, "{trend:?}");
        };
        check(|_| 50.0, 0.0, "flat");
        check(|x| 50.0 + x, 1.0, "grows");
        // The first tenth is not judged.
        check(|x| if x < 1.0 { 10.0 } else { 50.0 }, 0.0, "flat");
        assert!(Trend::of(&[(0.0, 1.0); 5]).is_err());
    }
}
