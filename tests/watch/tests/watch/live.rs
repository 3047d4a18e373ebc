//! All of it in real programs: a real Prometheus scrapes a real `quell up` that is sent real webhooks.

use crate::{alertmanager::Alertmanager, instance::Instance, prometheus::Prometheus, traffic::Traffic};
use std::time::{Duration, Instant};
use watch_tests::{
    dashboard::{ANNOTATIONS, Choice, Dashboard},
    dashboards,
    panel::Look,
};

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(40);
/// How far back the panels look: the whole run.
const LOOK_BACK_SECONDS: u64 = 120;
/// What a panel says where there is nothing.
const FALLBACK: &str = " or on () vector(0)";

/// What no calm run of a minute has: troubles that are none here, and rhythms of a week. Whoever asks for them gets the
/// fallback, and that these figures exist under these names and labels another test holds.
const UNSEEN: [&str; 13] = [
    "up{job",
    "quell_gateway_spool",
    "quell_gateway_drained",
    "quell_gateway_log_breaker_open",
    "quell_gateway_webhooks_turned_away",
    "quell_gateway_webhooks_usual_week",
    "quell_gateway_shadow_failures",
    "quell_gateway_outside_calls",
    "quell_http_connections_ended",
    "quell_suppressor_events_usual",
    "quell_guard_held",
    "quell_stage_rewinds",
    "quell_traces_dropped",
];
/// The same of a provider or subscriber that takes everything.
const UNREFUSED: [&str; 2] = ["result=\"refused\"", "quell_notifier_dead_letters"];

/// A query as Grafana sends it.
fn filled(expr: &str, dashboard: &Dashboard) -> String {
    let mut expr = expr.replace("$__rate_interval", "5s");
    for variable in &dashboard.variables {
        let value = match (variable.choice, variable.name) {
            (Choice::Many, _) => ".*",
            (Choice::One, "provider") => "sendgrid",
            (Choice::One, "tenant") => "acme",
            (Choice::One, other) => panic!("which {other}?"),
        };
        expr = expr.replace(&format!("${}", variable.name), value);
    }
    assert!(!expr.contains('$'), "a variable that {} does not have: {expr}", dashboard.uid);
    expr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_run_fills_every_panel_and_raises_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let mut instance = Instance::start(folder.path()).await;
    let alertmanager = Alertmanager::start(folder.path()).await;
    let prometheus = Prometheus::start(folder.path(), instance.admin, alertmanager.port).await;
    until("quell is scraped", async || prometheus.instant("count_over_time(quell_build_info[1m]) >= 2").await).await;

    let mut traffic = Traffic::default();
    traffic.little(&instance).await;
    until("the first events are counted", async || {
        prometheus.instant("sum(quell_suppressor_mailbox_events_total) > 10 and sum(count_over_time(quell_gateway_webhooks_total{status=\"401\"}[1m])) >= 2").await
    })
    .await;
    instance.apply_policy(folder.path());
    traffic.much(&instance).await;
    until("every provider is told", async || {
        prometheus
            .instant("sum(quell_syncer_pending) == 0 and sum(quell_syncer_outcomes_total{result=\"done\"}) > 150")
            .await
    })
    .await;

    alerts_arrive(&alertmanager, &prometheus).await;
    panels_are_full(&prometheus).await;
    variables_have_values(&prometheus).await;
    for [name, _, expr, _] in ANNOTATIONS {
        let seen = prometheus.range(expr, LOOK_BACK_SECONDS).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!seen.is_empty(), "{name} are not drawn: {expr}");
    }
    let rules = prometheus.rules().await;
    assert!(rules.len() > 60, "{}", rules.len());
    let ill: Vec<_> = rules.iter().filter(|(_, health, _)| health != "ok").collect();
    assert!(ill.is_empty(), "rules that cannot be evaluated: {ill:?}");
    instance.assert_alive();
}

/// More than 100 suppressions raise the plain alert; half of the mail bouncing wakes somebody up.
async fn alerts_arrive(alertmanager: &Alertmanager, prometheus: &Prometheus) {
    until("the alert fires", async || {
        prometheus.instant("ALERTS{alertname=\"QuellSuppressionSpike\", alertstate=\"firing\"}").await
    })
    .await;
    until("the Alertmanager knows it, and who is on call was told", async || {
        let known = alertmanager.alert("QuellSuppressionSpike").await.is_some();
        let told = alertmanager.told().iter().any(|name| name == "QuellBounceRateHigh");
        Ok(if known && told { vec![1.0] } else { Vec::new() })
    })
    .await;
    let alert = alertmanager.alert("QuellSuppressionSpike").await.unwrap();
    let text = alert["annotations"]["description"].as_str().unwrap();
    let count: f64 = text.split(' ').next().unwrap().parse().unwrap();
    // Rounded for the reader: 100.3, just past the line, is told as 100.
    assert!(count >= 100.0, "{text}");
    assert!(alert["annotations"]["runbook_url"].as_str().unwrap().ends_with("/QuellSuppressionSpike.md"), "{alert}");
    let told = alertmanager.told();
    assert!(!told.iter().any(|name| name == "QuellSuppressionSpike"), "nobody is woken by a warning: {told:?}");
}

/// Recorded series follow what they are recorded from by some evaluations, so that a panel may fill a little later.
async fn panels_are_full(prometheus: &Prometheus) {
    let begun = Instant::now();
    loop {
        let wrong = panels_that_are_not_full(prometheus).await;
        if wrong.is_empty() {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{} queries:\n{}", wrong.len(), wrong.join("\n"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn panels_that_are_not_full(prometheus: &Prometheus) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for dashboard in dashboards::all() {
        for (panel, query) in dashboard.panels().flat_map(|panel| panel.queries.iter().map(move |query| (panel, query)))
        {
            count += 1;
            // A fallback would answer where nothing was ever counted.
            let expr = filled(&query.expr, &dashboard).replace(FALLBACK, "");
            let answer = match panel.look {
                Look::Bars | Look::Table => prometheus.instant(&expr).await,
                Look::Stat | Look::Lines | Look::Stack => prometheus.range(&expr, LOOK_BACK_SECONDS).await,
            };
            match answer {
                Ok(values) if values.is_empty() => {
                    let is_unseen = UNSEEN.iter().chain(&UNREFUSED).any(|figure| expr.contains(figure));
                    if is_unseen && query.expr.contains(FALLBACK) {
                        continue;
                    }
                    wrong.push(format!("{}: {:?} is empty: {expr}", dashboard.uid, panel.title))
                }
                Ok(_) => {}
                Err(error) => wrong.push(format!("{}: {:?} fails, {error}: {expr}", dashboard.uid, panel.title)),
            }
        }
    }
    assert!(count > 100, "{count}");
    wrong
}

async fn variables_have_values(prometheus: &Prometheus) {
    for dashboard in dashboards::all() {
        for variable in &dashboard.variables {
            let values = prometheus.label(variable.of, variable.name).await;
            assert!(!values.is_empty(), "{}: ${} can be nothing", dashboard.uid, variable.name);
        }
    }
}

/// Asks again until there is an answer.
async fn until(what: &str, ask: impl AsyncFn() -> Result<Vec<f64>, String>) {
    let begun = Instant::now();
    let mut last = ask().await;
    while last.as_ref().is_ok_and(Vec::is_empty) || last.is_err() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {} s: {last:?}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
        last = ask().await;
    }
}
