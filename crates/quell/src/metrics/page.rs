//! `docs/metrics.md` lists every metric that any role registers, and no other.

use super::{StageMetrics, show_policy};
use crate::{
    config::Config,
    engine::{Embedded, Engine as _},
    process::Process,
};
use ingest_gateway::{
    EmbeddedTokens, Gateway, GatewayDeps, HttpFetch, Spooling, SpoolingDeps, Way, spool::SpoolConfig,
};
use std::{collections::BTreeMap, sync::Arc};

/// Name → type and labels.
type Listed = BTreeMap<String, (String, Vec<String>)>;

/// The rows of the page's tables.
fn documented() -> Listed {
    let page = include_str!("../../../../docs/metrics.md");
    let mut listed = Listed::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning, worry] = cells[..] else { panic!("five cells a row: {line}") };
        assert!(!meaning.is_empty() && !worry.is_empty(), "{line}");
        let labels = labels.split(", ").filter(|label| *label != "—").map(|label| label.trim_matches('`').to_owned());
        let known = listed.insert(name.trim_matches('`').to_owned(), (kind.to_owned(), labels.collect()));
        assert!(known.is_none(), "twice: {line}");
    }
    listed
}

/// Everything that the parts register, as they do in `quell up` and in each role of `quell serve`.
fn registered() -> Listed {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
    let engine = Embedded::open(&config).unwrap();
    let process = Process::begin(config, &[]).unwrap();
    StageMetrics::new(&process).unwrap();
    show_policy(&process).unwrap();
    syncer::Metrics::new(&process.metrics).unwrap();
    notifier::Metrics::new(&process.metrics).unwrap();
    crate::alarms::start(&process).unwrap();
    let spool = SpoolConfig { directory: dir.path().join("spool"), ..SpoolConfig::default() };
    let spooling = Spooling::open(
        &spool,
        SpoolingDeps {
            append: Arc::new(engine.log().clone()),
            receipts: None,
            clock: process.clock.clone(),
            readiness: process.readiness.clone(),
            metrics: process.metrics.clone(),
        },
    );
    Gateway::new(GatewayDeps {
        append: Way::Spooling(spooling.unwrap()),
        clock: process.clock.clone(),
        sources: process.config.gateway_sources().unwrap(),
        tokens: Arc::new(EmbeddedTokens::open(engine.log()).unwrap()),
        fetch: Arc::new(HttpFetch::default()),
        readiness: process.readiness.clone(),
        metrics: process.metrics.clone(),
        traces: process.traces.clone(),
        limits: process.config.gateway.limits.clone(),
    })
    .unwrap();
    let families = process.metrics.families().into_iter();
    families.map(|family| (family.name, (family.kind.to_owned(), family.labels))).collect()
}

#[tokio::test]
async fn the_page_lists_every_metric_and_no_other() {
    let (documented, registered) = (documented(), registered());
    for (name, found) in &registered {
        assert_eq!(documented.get(name), Some(found), "docs/metrics.md about {name}");
    }
    for name in documented.keys() {
        assert!(registered.contains_key(name), "docs/metrics.md names {name}, which nothing registers");
    }
    assert!(registered.len() > 50, "{}", registered.len());
}
