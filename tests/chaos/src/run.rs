//! One run: servers, instances, load and faults; then the verdict.

use crate::{
    cases,
    cluster::Cluster,
    erasures::{self, Asked},
    fact,
    faults::{Faults, Outages},
    fleet::Fleet,
    http::Http,
    instance::{Common, Role},
    journal::Journal,
    judge::Judge,
    load::{Load, Parts, SENDERS, unix_now},
    providers::Providers,
    report::Report,
    rolling::{self, Rolled},
    settle,
    webhook::{self, Signer},
};
use anyhow::{Context as _, bail};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `quell` binary.
    pub quell: PathBuf,
    /// Decides load and faults.
    pub seed: u64,
    /// At least so many events.
    pub events: u64,
    /// Over how long they are spread, if the pipeline can take them so fast.
    pub span: Duration,
    /// At least so many kills.
    pub kills_min: u64,
    /// How long everything may take to settle afterwards.
    pub settle_max: Duration,
    /// What goes on beside the load.
    pub plan: Plan,
    /// What the instances log, as `logs.filter` has it.
    pub logs: String,
}

/// What goes on beside the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Instances are killed and servers taken away.
    Chaos,
    /// Every instance is replaced once.
    Rolling,
    /// Nothing.
    Calm,
}

/// The broker lost the ends of transactions in one of its restarts, and nothing settled: no verdict. Run it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerDropped;

impl std::fmt::Display for BrokerDropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the single broker dropped the ends of transactions in a restart (its log has \"Couldn't find leader endpoint\"): run it again")
    }
}

const READY_MAX: Duration = Duration::from_secs(120);

/// Runs it. What it wrote is removed if all is well, and else kept, and named on standard error.
///
/// # Errors
/// Something could not be started or read, or nothing settled: that is no verdict.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    if !options.quell.is_file() {
        bail!("{} is not there: build it by `cargo build -p quell`", options.quell.display());
    }
    let dir = tempfile::Builder::new().prefix("quell-chaos-").tempdir()?;
    let journal = Journal::new(dir.path())?;
    journal.say(&format!("seed {}: starting a broker and a store", options.seed));
    let cluster = tokio::task::spawn_blocking(Cluster::start).await??;
    let ended = on_cluster(options, dir.path(), &cluster, &journal).await;
    let is_well = ended.as_ref().is_ok_and(|report| report.wrong().is_empty());
    let ended = match ended {
        Err(error) if cluster.has_dropped_markers() => Err(error.context(BrokerDropped)),
        other => other,
    };
    if !is_well {
        cluster.keep_logs(dir.path());
        let kept = dir.keep();
        journal.say(&format!("seed {}: all logs are kept in {}", options.seed, kept.display()));
    }
    // Ending the servers takes a moment, and blocks.
    tokio::task::spawn_blocking(move || drop(cluster)).await?;
    ended.with_context(|| format!("the run with seed {}", options.seed))
}

async fn on_cluster(
    options: &Options,
    dir: &Path,
    cluster: &Arc<Cluster>,
    journal: &Journal,
) -> anyhow::Result<Report> {
    cluster.prepare(dir, &options.quell).await?;
    let (signer, providers) = (Signer::new()?, Arc::new(Providers::start().await?));
    let (sources, mut variables) = signer.sources();
    let (accounts, credentials) = providers.accounts();
    variables.extend(credentials);
    let (erasure, key) = erasures::config();
    variables.push(key);
    let logs = &options.logs;
    let config = format!("\n[logs]\nfilter = \"{logs}\"\n{}{erasure}{sources}{accounts}", cluster.config());
    let common = Common { binary: options.quell.clone(), config, variables };
    let fleet = Fleet::start(dir, &common)?;
    let supervisor = tokio::spawn(fleet.clone().supervise(journal.clone()));
    let http = Http::new(SENDERS)?;
    fleet.ready(&http, READY_MAX).await.context("before anything was sent")?;

    let span = i64::try_from(options.span.as_secs()).unwrap_or(60);
    let now = unix_now();
    let (facts, ends) = (fact::facts(options.seed, options.events, now, span), fact::last_end(now, span));
    let webhooks = webhook::webhooks(options.seed, &facts);
    journal.say(&format!(
        "{} instances are ready; sending {} facts in {} webhooks",
        fleet.len(),
        facts.len(),
        webhooks.len()
    ));
    let gateways = fleet.addresses(Role::Gateway);
    let parts =
        Parts { webhooks, gateways, signer, providers: providers.clone(), seed: options.seed, span: options.span };
    let load = Load::new(parts)?;
    let log = cluster.log()?;
    let begun = Instant::now();
    let under = under_load(options, &load, &fleet, cluster, journal).await?;
    let took = begun.elapsed();
    fleet.hurry();
    journal.say("everything was sent; faults are over");

    let begun = Instant::now();
    fleet.ready(&http, READY_MAX).await.context("after the faults")?;
    let lookup = fleet.addresses(Role::Lookup).into_iter().next().context("a lookup")?;
    erasures::forgotten(&http, &lookup, &under.asked, options.settle_max).await?;
    settle::settled(&log, &fleet, &http, journal, ends, options.settle_max).await?;
    let settled = begun.elapsed();
    journal.say("settled; judging");
    let obligations = load.seen().obligations.clone();
    let judge = Judge {
        log: &log,
        http: &http,
        lookup: &lookup,
        facts: &facts,
        obligations: &obligations,
        providers: &providers,
        asked: &under.asked,
    };
    let mut verdict = judge.judge().await?;
    std::fs::write(dir.join("cases"), cases::describe(&log, &facts, &verdict).await?)?;
    supervisor.abort();
    let unclean = {
        let fleet = fleet.clone();
        tokio::task::spawn_blocking(move || fleet.stop()).await??
    };
    verdict.wrong.insert("processes that did not end well", unclean);
    if let Some(rolled) = &under.rolled {
        verdict.wrong.insert("faults of the replacement", rolled.wrong.clone());
    }
    let seen = std::mem::take(&mut *load.seen());
    verdict.wrong.insert("answers that no good webhook gets", seen.wrong.clone());
    Ok(Report {
        seed: options.seed,
        took_seconds: took.as_secs_f64(),
        settled_seconds: settled.as_secs_f64(),
        facts: facts.len() as u64,
        seen,
        kills: fleet.kills(),
        ended: fleet.ended(),
        outages: under.outages,
        rolled: under.rolled,
        provider_calls: providers.calls(),
        erasures_refused: under.asked.n_refused,
        verdict,
    })
}

/// What went on beside the load.
#[derive(Debug, Default)]
struct Under {
    outages: Outages,
    rolled: Option<Rolled>,
    asked: Asked,
}

/// Sends everything under what is planned.
async fn under_load(
    options: &Options,
    load: &Arc<Load>,
    fleet: &Fleet,
    cluster: &Arc<Cluster>,
    journal: &Journal,
) -> anyhow::Result<Under> {
    let log = cluster.log()?;
    let governor = tokio::spawn(settle::govern(load.clone(), log.clone(), journal.clone()));
    let faults = Arc::new(Faults {
        seed: options.seed,
        fleet: fleet.clone(),
        cluster: cluster.clone(),
        providers: load.providers.clone(),
        journal: journal.clone(),
        kills_min: options.kills_min,
        enough: AtomicBool::new(false),
        n_kills: AtomicU64::new(0),
    });
    let (beside, plan) = (faults.clone(), options.plan);
    let lookup = fleet.addresses(Role::Lookup).into_iter().next().context("a lookup")?;
    let (sender, said) = (load.clone(), journal.clone());
    let erasing = tokio::spawn(async move { erasures::ask(&sender, &lookup, &said).await });
    let (fleet, http, journal) = (fleet.clone(), load.http.clone(), journal.clone());
    let going_on = tokio::spawn(async move {
        anyhow::Ok(match plan {
            Plan::Chaos => Under { outages: beside.run().await?, ..Under::default() },
            Plan::Rolling => {
                let rolled = Some(rolling::roll(&fleet, &http, &log, &journal).await?);
                Under { rolled, ..Under::default() }
            }
            Plan::Calm => Under::default(),
        })
    });
    let sent = load.run().await;
    faults.enough.store(true, Ordering::Relaxed);
    let under = going_on.await??;
    governor.abort();
    sent?;
    Ok(Under { asked: erasing.await??, ..under })
}
