//! Signed webhooks a second: the whole of `quell up` (its stages work on the same cores meanwhile), the gateway alone, and
//! a bare axum handler, in turns. Every run has a fresh process and directory, so that none pays for the one before.

use crate::{
    Options,
    child::{Process, argument},
    instance::Instance,
    load::{self, Outcome},
    refusals,
    requests::{Form, GENERIC_1, GENERIC_100, Keys, MAILGUN_1, SENDGRID_100},
    run_directory, say,
    stats::{floor, median, round},
    usage,
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// Connections and form.
const CASES: [(usize, Form); 6] =
    [(64, GENERIC_1), (256, GENERIC_1), (64, GENERIC_100), (256, GENERIC_100), (64, MAILGUN_1), (64, SENDGRID_100)];
const P99_MS_MAX: f64 = 100.0;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    BareAxum,
    GatewayOnly,
    QuellUp,
}

const TARGETS: [Target; 3] = [Target::BareAxum, Target::GatewayOnly, Target::QuellUp];

impl Target {
    /// In the results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BareAxum => "bare_axum",
            Self::GatewayOnly => "gateway_only",
            Self::QuellUp => "quell_up",
        }
    }
}

/// One run's figures.
pub(crate) struct Run {
    pub(crate) outcome: Outcome,
    pub(crate) peak_mb: f64,
    /// Events that the normalizer emitted by the end, where there is one.
    pub(crate) normalized: Option<f64>,
    /// Webhooks that went to the spool, where there is one: the broker did not answer in time.
    pub(crate) spooled: Option<f64>,
}

impl Run {
    pub(crate) fn per_second(&self) -> f64 {
        self.outcome.taken() as f64 / self.outcome.seconds
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.outcome.server_cpu * 1e6 / self.outcome.taken().max(1) as f64
    }

    pub(crate) fn show(&self) -> Value {
        let Outcome { statuses, server_cpu, client_cpu, seconds, .. } = &self.outcome;
        json!({
            "webhooks_per_s": self.per_second().round(),
            "p50_ms": self.outcome.quantile_ms(0.5),
            "p99_ms": self.outcome.quantile_ms(0.99),
            "max_ms": self.outcome.quantile_ms(1.0),
            "server_cpu_us_per_webhook": round(self.cpu_micros()),
            "server_cores_used": round(server_cpu / seconds),
            "client_cores_used": round(client_cpu / seconds),
            "statuses": statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<Map<_, _>>(),
            "server_peak_mb": round(self.peak_mb),
            "events_normalized": self.normalized,
            "webhooks_spooled": self.spooled,
        })
    }
}

/// All cases.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Value> {
    let keys = Keys::new()?;
    let mut cases = Vec::new();
    let mut floors = Vec::new();
    let is_asked = |form: &Form| options.form.as_ref().is_none_or(|asked| asked == form.name);
    for (connections, form) in CASES.into_iter().filter(|(_, form)| is_asked(form)) {
        say(&format!("  {} at {connections} connections", form.name));
        let requests = keys.requests(form)?;
        let mut runs: [Vec<Run>; 3] = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for (target, runs) in TARGETS.into_iter().zip(&mut runs) {
                let run = one(options, &keys, target, connections, &requests)?;
                anyhow::ensure!(run.outcome.taken() > 0, "{} took nothing: {:?}", target.name(), run.outcome.statuses);
                say(&format!("    {}: {:.0}/s", target.name(), run.per_second()));
                runs.push(run);
            }
        }
        let rates = runs.each_ref().map(|runs| median(runs.iter().map(Run::per_second).collect()));
        let [bare, alone, whole] = rates;
        let cpu = runs.each_ref().map(|runs| median(runs.iter().map(Run::cpu_micros).collect()));
        let p99 = median(runs[2].iter().map(|run| run.outcome.quantile_ms(0.99)).collect());
        let share = if connections == 64 { 1.0 / 3.0 } else { 0.5 };
        let what = |figure: &str| format!("{}, {connections} connections: {figure}", form.name);
        floors.push(floor(&what("gateway alone to bare axum"), alone / bare, round(share), true));
        floors.push(floor(&what("quell up to bare axum"), whole / bare, round(share), true));
        floors.push(floor(&what("p99 of quell up, ms"), p99, P99_MS_MAX, false));
        let mut case = json!({
            "form": form.name,
            "events_per_webhook": form.events,
            "bytes_per_request": requests.iter().map(Vec::len).sum::<usize>() / requests.len().max(1),
            "different_requests": requests.len(),
            "connections": connections,
            "median_webhooks_per_s": { "bare_axum": bare.round(), "gateway_only": alone.round(), "quell_up": whole.round() },
            "median_cpu_us_per_webhook": { "bare_axum": round(cpu[0]), "gateway_only": round(cpu[1]), "quell_up": round(cpu[2]) },
            "to_bare": { "gateway_only": round(alone / bare), "quell_up": round(whole / bare) },
            "runs": {},
        });
        for (target, runs) in TARGETS.iter().zip(&runs) {
            case["runs"][target.name()] = runs.iter().map(Run::show).collect();
        }
        cases.push(case);
    }
    let mut refusals = Vec::new();
    if options.form.is_none() {
        let (measured, of_refusals) = refusals::measure(options, &keys)?;
        refusals = measured;
        floors.extend(of_refusals);
    }
    Ok(json!({ "floors": floors, "cases": cases, "refusals": refusals }))
}

/// One run on a fresh process and directory.
pub(crate) fn one(
    options: &Options,
    keys: &Keys,
    target: Target,
    connections: usize,
    requests: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<Run> {
    let directory = run_directory(&options.data)?;
    let measured = Duration::from_secs_f64(options.seconds);
    if target == Target::QuellUp {
        let instance = Instance::start(&options.quell, directory.path(), keys)?;
        let outcome = load::run(instance.gateway, instance.pid(), requests, connections, measured)?;
        let normalized = Some(instance.counter("quell_normalizer_events_total")?);
        return Ok(Run { outcome, peak_mb: usage::peak_mb(instance.pid())?, normalized, spooled: None });
    }
    let path = argument(directory.path())?;
    let arguments = if target == Target::BareAxum { vec!["bare-axum"] } else { vec!["gateway-only", path] };
    let mut process = Process::ours(&arguments, &keys.environment())?;
    let address = process.first_line()?.parse()?;
    let outcome = load::run(address, process.id(), requests, connections, measured)?;
    Ok(Run { outcome, peak_mb: usage::peak_mb(process.id())?, normalized: None, spooled: None })
}
