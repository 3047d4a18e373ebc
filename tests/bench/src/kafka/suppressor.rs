//! Events a second of `quell serve --role suppressor`, what it asks of the store for each, and what share that is of what
//! the store takes from a program that does nothing else. In turns.

use super::{
    Pipeline,
    ceiling::Plan,
    counts::{Asker, Counts},
    follow::{Window, follow},
    normalizer,
    role::{Role, Served},
    servers::CEILING_KEYSPACE,
};
use crate::{
    Options,
    child::Process,
    say,
    stats::{median, round, spread},
};
use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// Made-up rows of the minimal program begin anew here in each round.
const ROUND_ROWS: u64 = 1 << 32;

/// One run over what the normalizer made.
struct Run {
    window: Window,
    counts: Counts,
    server_cpu: [f64; 2],
    /// Requests a second of the minimal program afterwards.
    ceiling: Option<Value>,
}

impl Run {
    fn requests_per_second(&self) -> f64 {
        let (reads, writes) = self.counts.totals();
        (reads + writes) as f64 / self.window.seconds
    }

    fn ceiling_per_second(&self) -> Option<f64> {
        let ceiling = self.ceiling.as_ref()?;
        Some(ceiling["requests"].as_f64()? / ceiling["seconds"].as_f64()?)
    }

    fn share(&self) -> Option<f64> {
        Some(self.requests_per_second() / self.ceiling_per_second()?)
    }

    fn an_event(&self, count: u64) -> f64 {
        round(count as f64 / self.window.records)
    }

    fn show(&self) -> Value {
        let mut shown = self.window.show();
        let (reads, writes) = self.counts.totals();
        let each = |counts: &std::collections::BTreeMap<String, u64>| -> Map<String, Value> {
            counts.iter().map(|(table, count)| (table.clone(), json!(self.an_event(*count)))).collect()
        };
        shown["events_per_s"] = json!(self.window.per_second().round());
        shown["reads_per_event"] = json!(self.an_event(reads));
        shown["writes_per_event"] = json!(self.an_event(writes));
        shown["reads_per_event_by_table"] = Value::Object(each(&self.counts.reads));
        shown["writes_per_event_by_table"] = Value::Object(each(&self.counts.writes));
        shown["requests_per_s"] = json!(self.requests_per_second().round());
        shown["ceiling_requests_per_s"] = json!(self.ceiling_per_second().map(f64::round));
        shown["ceiling"] = json!(self.ceiling);
        shown["share_of_ceiling"] = json!(self.share().map(round));
        shown["broker_cpu_s"] = json!(round(self.server_cpu[0]));
        shown["store_cpu_s"] = json!(round(self.server_cpu[1]));
        shown["duplicates"] = json!(self.window.grown("quell_suppressor_duplicates_total", ""));
        shown["deltas"] = json!(self.window.grown("quell_suppressor_deltas_total", ""));
        shown
    }
}

/// So many rounds.
pub(super) fn measure(pipeline: &mut Pipeline, options: &Options) -> anyhow::Result<Value> {
    let asker = Asker::connect(pipeline.cluster.store.address())?;
    let mut runs: Vec<Run> = Vec::new();
    for number in 0..options.rounds {
        let mut run = one(pipeline, &asker, options.events())?;
        let plan = Plan {
            contact_point: pipeline.cluster.store.address().to_owned(),
            keyspace: CEILING_KEYSPACE.to_owned(),
            counts: run.counts.clone(),
            sizes: asker.sizes()?,
            first: number as u64 * ROUND_ROWS,
        };
        let ceiling = Process::ours(&["bare-store", &serde_json::to_string(&plan)?], &[])?.document();
        run.ceiling = Some(ceiling.context("the minimal program of the store")?);
        if let (Some(ceiling), Some(share)) = (run.ceiling_per_second(), run.share()) {
            say(&format!(
                "    store: {:.0} requests/s by the suppressor, {ceiling:.0}/s by the minimal program: {:.0} %",
                run.requests_per_second(),
                share * 100.0
            ));
        }
        runs.push(run);
    }
    let rates: Vec<f64> = runs.iter().map(|run| run.window.per_second()).collect();
    pipeline.sustained = Some(median(rates.clone()));
    let of = |figure: &dyn Fn(&Run) -> f64| spread(runs.iter().map(figure).collect());
    Ok(json!({
        "events_per_round": options.events(),
        "mixture": "60 % deliveries, 30 % opens, 10 % failures; 1,000,000 recipients; 5 % told twice",
        "measured": "from the first committed batch to lag 0, all canonical events in the log beforehand; requests as the store \
                     counts them; the ceiling is a program that sends as many of the same statements, 256 at once",
        "events_per_s": spread(rates),
        "reads_per_event": of(&|run| run.counts.totals().0 as f64 / run.window.records),
        "writes_per_event": of(&|run| run.counts.totals().1 as f64 / run.window.records),
        "requests_per_s": of(&Run::requests_per_second),
        "ceiling_requests_per_s": of(&|run| run.ceiling_per_second().unwrap_or_default()),
        "share_of_ceiling": of(&|run| run.share().unwrap_or_default()),
        "runs": runs.iter().map(Run::show).collect::<Vec<_>>(),
    }))
}

/// Normalizes so many events and has them worked through.
fn one(pipeline: &mut Pipeline, asker: &Asker, events: u64) -> anyhow::Result<Run> {
    let events = normalizer::round_of(pipeline, events)?;
    say(&format!("  working through {events} canonical events"));
    let mut suppressor = Served::spawn(&pipeline.cluster, Role::Suppressor, "")?;
    let (mut before, mut cpu_before) = (Counts::default(), [0.0; 2]);
    let window = follow(&mut suppressor, events, || {
        (before, cpu_before) = (asker.counts()?, pipeline.cluster.cpu()?);
        Ok(())
    })?;
    let (after, cpu) = (asker.counts()?, pipeline.cluster.cpu()?);
    suppressor.stop()?;
    let dead = window.last.sum_where("quell_stage_records_total", "fate=\"dead\"");
    anyhow::ensure!(dead == 0.0, "the suppressor made {dead} dead letters");
    say(&format!("    suppressor: {:.0} events/s", window.per_second()));
    let server_cpu = [cpu[0] - cpu_before[0], cpu[1] - cpu_before[1]];
    Ok(Run { counts: after.since(&before), window, server_cpu, ceiling: None })
}

/// Events a second that the suppressor holds; measured now, over a part of a round, where it was not.
pub(super) fn sustained(pipeline: &mut Pipeline, options: &Options) -> anyhow::Result<f64> {
    if let Some(sustained) = pipeline.sustained {
        return Ok(sustained);
    }
    say("  what the suppressor holds, as nobody measured it yet");
    let asker = Asker::connect(pipeline.cluster.store.address())?;
    let run = one(pipeline, &asker, options.events() / 3)?;
    let sustained = run.window.per_second();
    pipeline.sustained = Some(sustained);
    Ok(sustained)
}
