//! From a webhook to a decision: normalizer, suppressor, store, lookups.

use super::{ANY, DEAD_LETTERS, LAG_SECONDS, SOME, or_zero, quantile};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, RED, YELLOW},
};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-pipeline",
        title: "Quell: pipeline",
        description: "From a webhook to a decision: the stages, the store, lookups, and the processes themselves.",
        variables: vec![Variable::many("stage", "quell_stage_records_total")],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "Stages", panels: stages() },
            Row { title: "Events", panels: events() },
            Row { title: "How late", panels: delays() },
            Row { title: "Store and lookups", panels: store() },
            Row { title: "Processes", panels: processes() },
        ],
    }
}

/// A share of the events.
fn share(title: &str, counter: &str, help: &str) -> Panel {
    let expr = format!(
        "sum(rate({counter}[$__rate_interval])) / (sum(rate(quell_normalizer_events_total[$__rate_interval])) > 0) or on () vector(0)"
    );
    Panel::stat(title, &expr).unit("percentunit").help(help)
}

fn figures() -> Vec<Panel> {
    vec![
        Panel::stat("events", "sum(rate(quell_suppressor_events_total[$__rate_interval]))").unit("eps"),
        Panel::stat("behind", "max(quell_stage_lag_seconds{stage!~\"quell[.](syncer|notifier|redeliver)[.].*\"})")
            .unit("s")
            .limits(&LAG_SECONDS),
        share("duplicates", "quell_suppressor_duplicates_total", "Events that were known already."),
        share("late", "quell_suppressor_late_total", "Events that came more than an hour after they happened."),
        share(
            "out of order",
            "quell_suppressor_out_of_order_total",
            "Events older than the newest known of their recipient.",
        ),
        Panel::stat("dead letters", &or_zero(&format!("sum({DEAD_LETTERS})"))).limits(&SOME).help("In the last hour."),
        Panel::stat("store errors", &or_zero("sum(increase(quell_store_errors_total[5m]))"))
            .limits(&ANY)
            .help("In five minutes."),
        Panel::stat("stages down", &or_zero("sum(quell_stage_down)")).limits(&ANY),
    ]
}

fn stages() -> Vec<Panel> {
    vec![
        Panel::lines("records that wait").query("sum by (stage) (quell_stage_lag_records{stage=~\"$stage\"})", "{{stage}}"),
        Panel::lines("age of the oldest that waits")
            .unit("s")
            .query("max by (stage) (quell_stage_lag_seconds{stage=~\"$stage\"})", "{{stage}}"),
        Panel::stack("records")
            .unit("ops")
            .query("sum by (stage, fate) (rate(quell_stage_records_total{stage=~\"$stage\"}[$__rate_interval]))", "{{stage}} {{fate}}"),
        Panel::lines("time of a batch, 99 %")
            .unit("s")
            .query(&quantile("0.99", "quell_stage_phase_seconds", "stage=~\"$stage\"", "stage, phase"), "{{stage}} {{phase}}"),
        Panel::lines("records of a batch, half").query(&quantile("0.5", "quell_stage_batch_records", "stage=~\"$stage\"", "stage"), "{{stage}}"),
        Panel::stack("begun again").unit("ops").query(
            "sum by (stage, reason) (rate(quell_stage_rewinds_total{stage=~\"$stage\"}[$__rate_interval])) or on () vector(0)",
            "{{stage}} {{reason}}",
        )
        .help("Times a stage went back to its committed positions."),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::stack("events by kind")
            .unit("eps")
            .query("sum by (kind) (rate(quell_suppressor_events_total[$__rate_interval]))", "{{kind}}"),
        Panel::stack("left out, by reason").unit("eps").query(
            "sum by (reason) (rate(quell_normalizer_ignored_total[$__rate_interval])) or on () vector(0)",
            "{{reason}}",
        ),
        Panel::stack("dead letters, an hour")
            .query(&format!("{DEAD_LETTERS} or on () vector(0)"), "{{provider}} {{stage}} {{reason}}"),
        Panel::lines("duplicates, late, out of order, from the future")
            .unit("eps")
            .query("sum(rate(quell_suppressor_duplicates_total[$__rate_interval])) or on () vector(0)", "duplicates")
            .query("sum(rate(quell_suppressor_late_total[$__rate_interval])) or on () vector(0)", "late")
            .query(
                "sum(rate(quell_suppressor_out_of_order_total[$__rate_interval])) or on () vector(0)",
                "out of order",
            )
            .query("sum(rate(quell_suppressor_clamped_total[$__rate_interval])) or on () vector(0)", "from the future"),
    ]
}

fn delays() -> Vec<Panel> {
    vec![
        Panel::lines("event to webhook")
            .unit("s")
            .query(&quantile("0.5", "quell_normalizer_event_delay_seconds", "", "provider"), "{{provider}} half")
            .query(&quantile("0.95", "quell_normalizer_event_delay_seconds", "", "provider"), "{{provider}} 95 %")
            .help("How long providers take to tell.")
            .to("this provider", "/d/quell-provider?var-provider=${__field.labels.provider}&${__url_time_range}"),
        Panel::lines("webhook to delta")
            .unit("s")
            .query(&quantile("0.5", "quell_suppressor_delta_delay_seconds", "", ""), "half")
            .query(&quantile("0.99", "quell_suppressor_delta_delay_seconds", "", ""), "99 %")
            .help("How long Quell takes to decide."),
    ]
}

fn store() -> Vec<Panel> {
    vec![
        Panel::lines("calls of the store, 99 %")
            .unit("s")
            .limits(&[(0.25, YELLOW), (1.0, ORANGE)])
            .query(&quantile("0.99", "quell_store_seconds", "", "operation"), "{{operation}}"),
        Panel::stack("calls of the store")
            .unit("ops")
            .query("sum by (operation) (rate(quell_store_seconds_count[$__rate_interval]))", "{{operation}}"),
        Panel::stack("failures of the store").unit("ops").query(
            "sum by (operation) (rate(quell_store_errors_total[$__rate_interval])) or on () vector(0)",
            "{{operation}}",
        ),
        Panel::stack("lookups").unit("reqps").query(
            "sum by (route, status) (rate(quell_lookup_requests_total[$__rate_interval]))",
            "{{route}} {{status}}",
        ),
        Panel::stack("recipients checked")
            .unit("ops")
            .query("sum by (answer) (rate(quell_lookup_checked_total[$__rate_interval]))", "{{answer}}"),
        Panel::lines("time of a lookup, 99 %")
            .unit("s")
            .limits(&[(0.5, YELLOW), (5.0, RED)])
            .query(&quantile("0.99", "quell_lookup_seconds", "", "route"), "{{route}}"),
        Panel::lines("changes")
            .unit("eps")
            .query("sum by (change) (rate(quell_suppressor_deltas_total[$__rate_interval]))", "{{change}}"),
    ]
}

fn processes() -> Vec<Panel> {
    let own = "job=~\"quell.*\"";
    vec![
        Panel::lines("memory").unit("bytes").query(&format!("process_resident_memory_bytes{{{own}}}"), "{{instance}}"),
        Panel::lines("processors")
            .query(&format!("rate(process_cpu_seconds_total{{{own}}}[$__rate_interval])"), "{{instance}}"),
        Panel::lines("open files").query(&format!("process_open_fds{{{own}}}"), "{{instance}}"),
        Panel::lines("up since")
            .unit("s")
            .query(&format!("time() - process_start_time_seconds{{{own}}}"), "{{instance}}"),
        Panel::lines("threads").query(&format!("process_threads{{{own}}}"), "{{instance}}"),
        Panel::lines("spans of traces")
            .unit("ops")
            .query("sum(rate(quell_traces_spans_total[$__rate_interval])) or on () vector(0)", "taken")
            .query("sum(rate(quell_traces_dropped_total[$__rate_interval])) or on () vector(0)", "dropped"),
        Panel::table("versions").wide(24).query("quell_build_info", ""),
    ]
}
