//! Events a CPU second of `quell serve --role normalizer`, alone beside the broker: raw webhooks of a hundred events lie in
//! the log when it starts.

use super::{
    Pipeline,
    follow::{Window, follow},
    role::{Role, Served},
    servers::Cluster,
};
use crate::{
    Options, fill, say,
    stats::{floor, median, round, spread},
};
use event_log::{
    Append as _,
    kafka::{KafkaConfig, KafkaLog},
};
use serde_json::{Value, json};

const EVENTS_PER_WEBHOOK: u64 = 100;
const FLOOR: f64 = 40_000.0;
const WRITERS: u64 = 64;

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    window: Window,
    broker_cpu: f64,
}

impl Run {
    fn events_per_cpu_second(&self) -> f64 {
        self.window.records * EVENTS_PER_WEBHOOK as f64 / self.window.cpu
    }
}

/// So many rounds.
pub(super) fn measure(pipeline: &mut Pipeline, options: &Options) -> anyhow::Result<Value> {
    for _ in 0..options.rounds {
        round_of(pipeline, options.events())?;
    }
    Ok(show(&pipeline.normalized))
}

/// Appends about so many events as raw webhooks and has them normalized. Says how many canonical events that made.
pub(super) fn round_of(pipeline: &mut Pipeline, events: u64) -> anyhow::Result<u64> {
    let webhooks = (events / EVENTS_PER_WEBHOOK).max(1);
    let events = webhooks * EVENTS_PER_WEBHOOK;
    say(&format!("  appending {webhooks} raw webhooks of {EVENTS_PER_WEBHOOK} events"));
    append(&pipeline.cluster, pipeline.webhooks, webhooks)?;
    pipeline.webhooks += webhooks;
    let mut normalizer = Served::spawn(&pipeline.cluster, Role::Normalizer, "")?;
    let mut broker_before = 0.0;
    let window = follow(&mut normalizer, webhooks, || {
        broker_before = pipeline.cluster.cpu()?[0];
        Ok(())
    })?;
    let broker_cpu = pipeline.cluster.cpu()?[0] - broker_before;
    normalizer.stop()?;
    let (made, dead) =
        (window.last.sum("quell_normalizer_events_total"), window.last.sum("quell_normalizer_dead_letters_total"));
    anyhow::ensure!(made == events as f64 && dead == 0.0, "{made} of {events} events came out, {dead} dead letters");
    let run = Run { window, broker_cpu };
    say(&format!("    normalizer: {:.0} events a CPU second", run.events_per_cpu_second()));
    pipeline.normalized.push(run);
    Ok(events)
}

/// The results.
pub(super) fn show(runs: &[Run]) -> Value {
    let rates: Vec<f64> = runs.iter().map(Run::events_per_cpu_second).collect();
    let middle = median(rates.clone());
    let one = |run: &Run| {
        let mut shown = run.window.show();
        shown["events_per_cpu_s"] = json!(run.events_per_cpu_second().round());
        shown["events_per_s"] = json!((run.window.per_second() * EVENTS_PER_WEBHOOK as f64).round());
        shown["broker_cpu_s"] = json!(round(run.broker_cpu));
        shown
    };
    json!({
        "floors": [floor("events a CPU second of the normalizer", middle, FLOOR, true)],
        "events_per_webhook": EVENTS_PER_WEBHOOK,
        "form": "SendGrid; 60 % deliveries, 30 % opens, 10 % failures; 5 % told twice",
        "events_per_cpu_s": spread(rates),
        "measured": "from the first committed batch to the last; CPU of the whole process, its start and the broker excluded",
        "runs": runs.iter().map(one).collect::<Vec<_>>(),
    })
}

fn append(cluster: &Cluster, first: u64, webhooks: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let brokers = cluster.broker.bootstrap().to_owned();
    let log = KafkaLog::connect(KafkaConfig { brokers, client_id: "bench".to_owned(), ..KafkaConfig::default() })?;
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let log = log.clone();
            writers.spawn(async move {
                for number in (first + writer..first + webhooks).step_by(WRITERS as usize) {
                    log.append(schemas::topics::RAW, None, fill::raw(number, EVENTS_PER_WEBHOOK)?).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        Ok(())
    })
}
