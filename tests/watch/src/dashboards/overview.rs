//! Is anything wrong?

use super::{
    ANY, BOUNCES, COMPLAINTS, DEAD_LETTERS, LAG_SECONDS, OPT_OUT_SECONDS, SOME, bounce_rate, complaint_rate, or_zero,
};
use crate::{
    dashboard::{Dashboard, Row},
    panel::{ORANGE, Panel, RED, YELLOW},
};

const STAGES: &str = "stage!~\"quell[.](syncer|notifier|redeliver)[.].*\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-overview",
        title: "Quell: overview",
        description: "Is anything wrong? Green is well. A figure leads to the dashboard that says more.",
        variables: Vec::new(),
        rows: vec![
            Row { title: "", panels: health() },
            Row { title: "Alerts", panels: alerts() },
            Row { title: "What goes on", panels: flow() },
        ],
    }
}

fn health() -> Vec<Panel> {
    vec![
        Panel::stat(
            "alerts",
            &or_zero("count(ALERTS{alertname=~\"Quell.*\", alertstate=\"firing\", severity=~\"critical|warning\"})"),
        )
        .limits(&ANY)
        .help("Critical ones and warnings that fire now."),
        Panel::stat("instances down", &or_zero("count(up{job=~\"quell.*\"} == 0)")).limits(&ANY),
        Panel::stat("webhooks", "sum(rate(quell_gateway_webhooks_total{status=~\"2..\"}[$__rate_interval]))")
            .unit("reqps")
            .to("ingest", "/d/quell-ingest?${__url_time_range}")
            .help("Taken, a second."),
        Panel::stat(
            "refused",
            "sum(provider_source_cause:quell_gateway_webhooks_refused:increase15m or on () vector(0)) \
             / (sum(provider_source:quell_gateway_webhooks:increase15m) > 0) or on () vector(0)",
        )
        .unit("percentunit")
        .limits(&[(0.01, YELLOW), (0.05, ORANGE)])
        .to("ingest", "/d/quell-ingest?${__url_time_range}")
        .help("Share of the webhooks of fifteen minutes that were refused, those to unknown paths left out."),
        Panel::stat("behind", &format!("max(quell_stage_lag_seconds{{{STAGES}}})"))
            .unit("s")
            .limits(&LAG_SECONDS)
            .to("pipeline", "/d/quell-pipeline?${__url_time_range}")
            .help("Age of the oldest record that has still to be processed."),
        Panel::stat("dead letters", &or_zero(&format!("sum({DEAD_LETTERS})")))
            .limits(&SOME)
            .to("pipeline", "/d/quell-pipeline?${__url_time_range}")
            .help("In the last hour."),
        Panel::stat("oldest not told", &or_zero("max(quell_syncer_oldest_pending_seconds)"))
            .unit("s")
            .limits(&[(1_800.0, YELLOW), (21_600.0, ORANGE)])
            .to("sync-back", "/d/quell-sync?${__url_time_range}")
            .help("Age of the oldest change that some provider has not taken."),
        Panel::stat("oldest opt-out", &or_zero("max(quell_syncer_oldest_optout_seconds)"))
            .unit("s")
            .limits(&OPT_OUT_SECONDS)
            .to("sync-back", "/d/quell-sync?${__url_time_range}")
            .help("Age of the oldest opt-out or complaint that some provider has not taken. Two days are allowed."),
        Panel::stat(
            "new suppressions",
            &or_zero(
                "sum(increase(quell_suppressor_deltas_total{change=\"suppressed\", reason!~\"manual|unengaged\"}[1h]))",
            ),
        )
        .limits(&[(100.0, ORANGE)])
        .to("deliverability", "/d/quell-deliverability?${__url_time_range}")
        .help("In the last hour."),
        Panel::stat("hard bounces", &or_zero(&bounce_rate("1d", "", "")))
            .unit("percentunit")
            .limits(&BOUNCES)
            .to("deliverability", "/d/quell-deliverability?${__url_time_range}")
            .slow()
            .help("Share of a day's mail. The goal is less than 0.5 %."),
        Panel::stat("complaints", &or_zero(&complaint_rate("1d", "", "")))
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .to("deliverability", "/d/quell-deliverability?${__url_time_range}")
            .slow()
            .help("Share of a day's mail. The goal is less than 0.02 %; at 0.3 % mailbox providers refuse."),
        Panel::stat("in force", &or_zero("sum(quell_suppressions_in_force)")).help("Suppressions in force."),
        Panel::stat("incidents", &or_zero("max(quell_guard_incidents_open)"))
            .limits(&SOME)
            .to("deliverability", "/d/quell-deliverability?${__url_time_range}")
            .help("Groups of recipients whose bounces are held back."),
        Panel::stat("accounts blocked", &or_zero("sum(max by (account) (quell_syncer_account_blocked))"))
            .limits(&ANY)
            .to("sync-back", "/d/quell-sync?${__url_time_range}"),
        Panel::stat("stages down", &or_zero("sum(quell_stage_down)"))
            .limits(&ANY)
            .to("pipeline", "/d/quell-pipeline?${__url_time_range}"),
        Panel::stat("spooled", &or_zero("sum(quell_gateway_spool_records)"))
            .limits(&[(1.0, YELLOW), (10_000.0, RED)])
            .to("ingest", "/d/quell-ingest?${__url_time_range}")
            .help("Webhooks that wait on a gateway's disk for the log."),
    ]
}

fn alerts() -> Vec<Panel> {
    vec![
        Panel::table("firing now").wide(16).query("ALERTS{alertname=~\"Quell.*\", alertstate=\"firing\"}", ""),
        Panel::lines("Quell's own alarms")
            .wide(8)
            .query("max by (alarm) (quell_alarms_firing) or on () vector(0)", "{{alarm}}")
            .query(
                "sum by (outcome) (increase(quell_alarms_posts_total[1h])) or on () vector(0)",
                "posts, an hour: {{outcome}}",
            )
            .help("What it tells without Prometheus, by its log and by webhook."),
    ]
}

fn flow() -> Vec<Panel> {
    vec![
        Panel::stack("webhooks taken")
            .unit("reqps")
            .query(
                "sum by (provider) (rate(quell_gateway_webhooks_total{status=~\"2..\"}[$__rate_interval]))",
                "{{provider}}",
            )
            .to("this provider", "/d/quell-provider?var-provider=${__field.labels.provider}&${__url_time_range}"),
        Panel::stack("events")
            .unit("eps")
            .query("sum by (kind) (rate(quell_suppressor_events_total[$__rate_interval]))", "{{kind}}"),
        Panel::stack("new suppressions, an hour")
            .query("sum by (reason) (reason:quell_suppressor_suppressed:increase1h)", "{{reason}}"),
        Panel::lines("recipients not told yet")
            .query("sum by (account) (quell_syncer_pending)", "{{account}}")
            .to("this account", "/d/quell-sync?var-account=${__field.labels.account}&${__url_time_range}"),
    ]
}
