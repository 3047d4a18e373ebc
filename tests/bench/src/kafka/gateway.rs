//! What a signed webhook costs `quell serve --role gateway` until it lies in Kafka, beside a minimal program that writes the
//! same bytes to a topic of the same broker. Every run has a fresh process.

use super::{
    role::{Role, Served},
    servers::Cluster,
};
use crate::{
    Options,
    child::Process,
    gateway::Run,
    load,
    requests::{Form, GENERIC_1, GENERIC_100},
    say,
    stats::{floor, median, round},
    usage,
};
use anyhow::Context as _;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const CONNECTIONS: usize = 64;
const FORMS: [Form; 2] = [GENERIC_1, GENERIC_100];
const RATIO_MAX: f64 = 1.5;
const TOPIC: &str = "bench.minimal";
const TOPIC_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// With the producer's settings of the gateway, and the bytes that it writes.
    Minimal,
    Gateway,
    /// The webhooks' bodies alone.
    MinimalBodies,
    /// Without compression, which the broker then stores and the replicas copy.
    MinimalUncompressed,
}

const TARGETS: [Target; 4] = [Target::Minimal, Target::Gateway, Target::MinimalBodies, Target::MinimalUncompressed];
/// One after the other, so that both meet the same machine.
const COMPARED: [Target; 2] = [Target::Minimal, Target::Gateway];
const FOR_SCALE: [Target; 2] = [Target::MinimalBodies, Target::MinimalUncompressed];
/// Pairs to compare in each round: what a webhook costs a process varies by a third from one run to the next, the minimal
/// program as much as the gateway.
const PAIRS: usize = 5;

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Gateway => "gateway",
            Self::MinimalBodies => "minimal_bodies",
            Self::MinimalUncompressed => "minimal_uncompressed",
        }
    }
}

/// Both forms.
pub(super) fn measure(options: &Options) -> anyhow::Result<Value> {
    let cluster = Cluster::start(options)?;
    create_topic(cluster.broker.bootstrap(), options.partitions)?;
    let (mut cases, mut floors) = (Vec::new(), Vec::new());
    for form in FORMS {
        say(&format!("  {} at {CONNECTIONS} connections", form.name));
        let requests = cluster.keys.requests(form)?;
        let mut runs: [Vec<Run>; 4] = Default::default();
        let mut measure = |target: Target| -> anyhow::Result<()> {
            let run = one(options, &cluster, target, &requests)?;
            let (taken, statuses) = (run.outcome.taken(), &run.outcome.statuses);
            anyhow::ensure!(taken > 0, "{} took nothing: {statuses:?}", target.name());
            say(&format!("    {}: {:.0}/s, {:.1} us each", target.name(), run.per_second(), run.cpu_micros()));
            runs[target as usize].push(run);
            Ok(())
        };
        // The broker compiles itself while it first meets a load, beside whoever is measured then.
        say("    a round before, which does not count");
        COMPARED.into_iter().try_for_each(|target| one(options, &cluster, target, &requests).map(drop))?;
        for _ in 0..options.rounds {
            (0..PAIRS).try_for_each(|_| COMPARED.into_iter().try_for_each(&mut measure))?;
            FOR_SCALE.into_iter().try_for_each(&mut measure)?;
        }
        let ratio = ratio(&runs[0], &runs[1]);
        floors.push(floor(
            &format!("{}: CPU of the gateway to the minimal program", form.name),
            ratio,
            RATIO_MAX,
            false,
        ));
        cases.push(show(form, &requests, &runs));
    }
    Ok(json!({ "cluster": Cluster::facts(options), "floors": floors, "cases": cases }))
}

fn cpu(runs: &[Run]) -> f64 {
    median(runs.iter().map(Run::cpu_micros).collect())
}

fn ratio(minimal: &[Run], gateway: &[Run]) -> f64 {
    cpu(gateway) / cpu(minimal)
}

fn show(form: Form, requests: &[Vec<u8>], runs: &[Vec<Run>; 4]) -> Value {
    let [minimal, gateway, bodies, uncompressed] = runs;
    let mut case = json!({
        "form": form.name,
        "events_per_webhook": form.events,
        "bytes_per_request": requests.iter().map(Vec::len).sum::<usize>() / requests.len().max(1),
        "different_requests": requests.len(),
        "connections": CONNECTIONS,
        "gateway_cpu_to_minimal": round(ratio(minimal, gateway)),
        "gateway_cpu_to_minimal_bodies": round(ratio(bodies, gateway)),
        "gateway_cpu_to_minimal_uncompressed": round(ratio(uncompressed, gateway)),
        "median": {},
        "runs": {},
    });
    for (target, runs) in TARGETS.iter().zip(runs) {
        let middle = |figure: fn(&Run) -> f64| round(median(runs.iter().map(figure).collect()));
        case["median"][target.name()] = json!({
            "cpu_us_per_webhook": round(cpu(runs)),
            "webhooks_per_s": middle(Run::per_second),
            "p50_ms": middle(|run| run.outcome.quantile_ms(0.5)),
            "p99_ms": middle(|run| run.outcome.quantile_ms(0.99)),
        });
        case["runs"][target.name()] = runs.iter().map(Run::show).collect();
    }
    case
}

fn one(options: &Options, cluster: &Cluster, target: Target, requests: &Arc<Vec<Vec<u8>>>) -> anyhow::Result<Run> {
    let measured = Duration::from_secs_f64(options.seconds);
    let compression = match target {
        Target::Gateway => {
            let served = Served::start(cluster, Role::Gateway, "")?;
            let outcome = load::run(served.address, served.pid(), requests, CONNECTIONS, measured)?;
            let spooled = Some(served.scrape()?.sum("quell_gateway_spooled_total"));
            let peak_mb = usage::peak_mb(served.pid())?;
            served.stop()?;
            return Ok(Run { outcome, peak_mb, normalized: None, spooled });
        }
        Target::Minimal | Target::MinimalBodies => "lz4",
        Target::MinimalUncompressed => "none",
    };
    let written = if target == Target::MinimalBodies { "bodies" } else { "raw-webhooks" };
    let arguments = ["minimal-gateway", cluster.broker.bootstrap(), TOPIC, compression, written];
    let mut process = Process::ours(&arguments, &cluster.keys.environment())?;
    let address = process.first_line()?.parse()?;
    let outcome = load::run(address, process.id(), requests, CONNECTIONS, measured)?;
    Ok(Run { outcome, peak_mb: usage::peak_mb(process.id())?, normalized: None, spooled: None })
}

/// A topic like that of the raw webhooks.
fn create_topic(brokers: &str, partitions: u32) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let topic = NewTopic::new(TOPIC, i32::try_from(partitions)?, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime")
        .set("segment.bytes", "268435456")
        .set("max.message.bytes", "16777216");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(TOPIC_WITHIN)).request_timeout(Some(TOPIC_WITHIN));
    for created in runtime.block_on(admin.create_topics([&topic], &options))? {
        created.map_err(|(name, code)| anyhow::anyhow!("topic {name}: {code}")).context("cannot make a topic")?;
    }
    Ok(())
}
