//! Webhooks coming in.

use super::{ANY, SOME, or_zero, quantile};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, RED, YELLOW},
};

const CHOSEN: &str = "provider=~\"$provider\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-ingest",
        title: "Quell: ingest",
        description: "Webhooks from the connection to the answer, and the spool behind it.",
        variables: vec![Variable::many("provider", "quell_gateway_webhooks_total")],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "Answers", panels: answers() },
            Row { title: "Rhythm", panels: rhythm() },
            Row { title: "The door", panels: door() },
            Row { title: "The spool", panels: spool() },
        ],
    }
}

fn figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "taken",
            &format!("sum(rate(quell_gateway_webhooks_total{{{CHOSEN}, status=~\"2..\"}}[$__rate_interval]))"),
        )
        .unit("reqps"),
        Panel::stat(
            "refused",
            &or_zero(&format!("sum(provider_source_cause:quell_gateway_webhooks_refused:increase15m{{{CHOSEN}}})")),
        )
        .limits(&[(10.0, ORANGE)])
        .help("In fifteen minutes, for what they said."),
        Panel::stat(
            "turned away",
            &or_zero(&format!("sum(provider:quell_gateway_webhooks_turned_away:increase5m{{{CHOSEN}}})")),
        )
        .limits(&ANY)
        .help("In five minutes, as there was no room or no log: the provider is to come again."),
        Panel::stat("answered in", &quantile("0.99", "quell_gateway_webhook_seconds", CHOSEN, ""))
            .unit("s")
            .limits(&[(1.0, YELLOW), (5.0, RED)])
            .help("All but one in a hundred."),
        Panel::stat("at work", "sum(quell_gateway_in_flight_requests)")
            .help("Webhooks that are being read or stored now."),
        Panel::stat("bytes held", "sum(quell_gateway_in_flight_bytes)").unit("bytes"),
        Panel::stat("spooled", &or_zero("sum(quell_gateway_spool_records)")).limits(&[(1.0, YELLOW), (10_000.0, RED)]),
        Panel::stat("oldest in spool", &or_zero("max(quell_gateway_spool_oldest_seconds)"))
            .unit("s")
            .limits(&[(300.0, ORANGE), (3_600.0, RED)]),
    ]
}

fn answers() -> Vec<Panel> {
    vec![
        Panel::stack("taken, by provider")
            .unit("reqps")
            .query(
                &format!("sum by (provider) (rate(quell_gateway_webhooks_total{{{CHOSEN}, status=~\"2..\"}}[$__rate_interval]))"),
                "{{provider}}",
            )
            .to("this provider", "/d/quell-provider?var-provider=${__field.labels.provider}&${__url_time_range}"),
        Panel::stack("not taken, by cause").unit("reqps").query(
            &format!(
                "sum by (status, cause) (rate(quell_gateway_webhooks_total{{{CHOSEN}, status!~\"2..\"}}[$__rate_interval])) or on () vector(0)"
            ),
            "{{status}} {{cause}}",
        ),
        Panel::lines("time to answer")
            .unit("s")
            .query(&quantile("0.5", "quell_gateway_webhook_seconds", CHOSEN, "outcome"), "half, {{outcome}}")
            .query(&quantile("0.99", "quell_gateway_webhook_seconds", CHOSEN, "outcome"), "99 %, {{outcome}}"),
        Panel::stack("bytes read")
            .unit("Bps")
            .query(&format!("sum by (provider) (rate(quell_gateway_body_bytes_total{{{CHOSEN}}}[$__rate_interval]))"), "{{provider}}"),
    ]
}

fn rhythm() -> Vec<Panel> {
    vec![
        Panel::lines("webhooks an hour")
            .query(&format!("provider_source:quell_gateway_webhooks_taken:increase1h{{{CHOSEN}}}"), "{{provider}} {{source}}")
            .query(&format!("provider_source:quell_gateway_webhooks_usual_week:increase1h{{{CHOSEN}}} or on () vector(0)"), "{{provider}} {{source}} usual")
            .help("What came, and what is usual at this time: the least of yesterday and a week ago. 0 in the first week."),
        Panel::lines("proofs that failed and were let pass").unit("reqps").query(
            &format!("sum by (provider, source, reason) (rate(quell_gateway_shadow_failures_total{{{CHOSEN}}}[$__rate_interval])) or on () vector(0)"),
            "{{provider}} {{source}} {{reason}}",
        )
        .help("Of sources with `shadow = true`."),
    ]
}

fn door() -> Vec<Panel> {
    vec![
        Panel::lines("open connections").query("sum by (listener) (quell_http_connections)", "{{listener}}"),
        Panel::stack("ended connections").unit("ops").query(
            "sum by (listener, cause) (rate(quell_http_connections_ended_total[$__rate_interval])) or on () vector(0)",
            "{{listener}} {{cause}}",
        ),
        Panel::lines("held at once")
            .query("sum by (instance) (quell_gateway_in_flight_requests)", "{{instance}} requests"),
        Panel::stack("calls of our own")
            .unit("ops")
            .query(
                "sum by (call, outcome) (rate(quell_gateway_outside_calls_total[$__rate_interval])) or on () vector(0)",
                "{{call}} {{outcome}}",
            )
            .help("For signing certificates and confirmations (SES)."),
    ]
}

fn spool() -> Vec<Panel> {
    vec![
        Panel::lines("webhooks in the spool")
            .query("sum by (instance) (quell_gateway_spool_records) or on () vector(0)", "{{instance}}")
            .query(
                "sum by (instance) (quell_gateway_spool_refused_records) or on () vector(0)",
                "{{instance}} too large",
            ),
        Panel::lines("bytes on disk")
            .unit("bytes")
            .query("sum by (instance) (quell_gateway_spool_bytes) or on () vector(0)", "{{instance}}")
            .query("sum by (instance) (quell_gateway_spool_limit_bytes) or on () vector(0)", "{{instance}} limit")
            .help("At its limit, gateway.spool.bytes_max, a spool turns webhooks away."),
        Panel::lines("in and out")
            .unit("ops")
            .query(
                "sum by (cause) (rate(quell_gateway_spooled_total[$__rate_interval])) or on () vector(0)",
                "in: {{cause}}",
            )
            .query("sum(rate(quell_gateway_drained_total[$__rate_interval])) or on () vector(0)", "out"),
        Panel::lines("log left alone")
            .limits(&SOME)
            .query("max by (instance) (quell_gateway_log_breaker_open) or on () vector(0)", "{{instance}}")
            .query(
                "sum(increase(quell_gateway_spool_receipts_untold_total[1h])) or on () vector(0)",
                "receipts untold, an hour",
            ),
    ]
}
