//! One provider.

use super::{BOUNCES, COMPLAINTS, SOME, bounce_rate, complaint_rate, or_zero, quantile};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, YELLOW},
};

const CHOSEN: &str = "provider=\"$provider\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-provider",
        title: "Quell: one provider",
        description: "What one provider tells: how much, how late, in what state, and what becomes of its mail.",
        variables: vec![Variable::one("provider", "quell_normalizer_events_total")],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "Webhooks", panels: webhooks() },
            Row { title: "Events", panels: events() },
            Row { title: "Its mail", panels: mail() },
        ],
    }
}

fn figures() -> Vec<Panel> {
    vec![
        Panel::stat(
            "webhooks",
            &format!("sum(rate(quell_gateway_webhooks_total{{{CHOSEN}, status=~\"2..\"}}[$__rate_interval]))"),
        )
        .unit("reqps"),
        Panel::stat(
            "refused",
            &or_zero(&format!("sum(provider_source_cause:quell_gateway_webhooks_refused:increase15m{{{CHOSEN}}})")),
        )
        .limits(&[(10.0, ORANGE)])
        .help("In fifteen minutes."),
        Panel::stat("events", &format!("sum(rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"))
            .unit("eps"),
        Panel::stat(
            "dead letters",
            &or_zero(&format!("sum(provider_reason:quell_normalizer_dead_letters:increase1h{{{CHOSEN}}})")),
        )
        .limits(&SOME)
        .help("In the last hour."),
        Panel::stat("told after", &quantile("0.95", "quell_normalizer_event_delay_seconds", CHOSEN, ""))
            .unit("s")
            .limits(&[(3_600.0, YELLOW), (86_400.0, ORANGE)])
            .help("From an event to its webhook, all but one in twenty."),
        Panel::stat("sent in a day", &or_zero(&format!("sum(tenant_provider:quell_sends:increase1d{{{CHOSEN}}})")))
            .slow(),
        Panel::stat("bounces, a day", &or_zero(&bounce_rate("1d", CHOSEN, "")))
            .unit("percentunit")
            .limits(&BOUNCES)
            .slow(),
        Panel::stat("complaints, a day", &or_zero(&complaint_rate("1d", CHOSEN, "")))
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .slow(),
    ]
}

fn webhooks() -> Vec<Panel> {
    vec![
        Panel::lines("webhooks an hour")
            .query(&format!("provider_source:quell_gateway_webhooks_taken:increase1h{{{CHOSEN}}}"), "{{source}} came")
            .query(
                &format!("provider_source:quell_gateway_webhooks_usual_week:increase1h{{{CHOSEN}}} or on () vector(0)"),
                "{{source}} usual",
            )
            .help("Usual is the least of this time yesterday and a week ago; 0 in the first week."),
        Panel::stack("answers, by source")
            .unit("reqps")
            .query(
                &format!(
                    "sum by (source, status, cause) (rate(quell_gateway_webhooks_total{{{CHOSEN}}}[$__rate_interval]))"
                ),
                "{{source}} {{status}} {{cause}}",
            )
            .to("ingest", "/d/quell-ingest?var-provider=${provider}&${__url_time_range}"),
        Panel::lines("event to webhook")
            .unit("s")
            .query(&quantile("0.5", "quell_normalizer_event_delay_seconds", CHOSEN, ""), "half")
            .query(&quantile("0.95", "quell_normalizer_event_delay_seconds", CHOSEN, ""), "95 %"),
        Panel::lines("duplicates, late, out of order, from the future")
            .unit("eps")
            .query(
                &or_zero(&format!("sum(rate(quell_suppressor_duplicates_total{{{CHOSEN}}}[$__rate_interval]))")),
                "duplicates",
            )
            .query(&or_zero(&format!("sum(rate(quell_suppressor_late_total{{{CHOSEN}}}[$__rate_interval]))")), "late")
            .query(
                &or_zero(&format!("sum(rate(quell_suppressor_out_of_order_total{{{CHOSEN}}}[$__rate_interval]))")),
                "out of order",
            )
            .query(
                &or_zero(&format!("sum(rate(quell_suppressor_clamped_total{{{CHOSEN}}}[$__rate_interval]))")),
                "from the future",
            ),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::stack("events by kind")
            .unit("eps")
            .query(&format!("sum by (kind) (rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"), "{{kind}}"),
        Panel::stack("left out, and dead letters")
            .unit("eps")
            .query(&format!("sum by (reason) (rate(quell_normalizer_ignored_total{{{CHOSEN}}}[$__rate_interval])) or on () vector(0)"), "out: {{reason}}")
            .query(&format!("sum by (reason) (rate(quell_normalizer_dead_letters_total{{{CHOSEN}}}[$__rate_interval])) or on () vector(0)"), "dead: {{reason}}"),
        Panel::bars("six hours, by kind")
            .query(&format!("sum by (kind) (tenant_provider_kind:quell_suppressor_events:increase6h{{{CHOSEN}}})"), "{{kind}}")
            .query(&format!("provider_kind:quell_suppressor_events_usual:increase6h{{{CHOSEN}}} or on () vector(0)"), "{{kind}} to be expected")
            .help("What came, and what was to be expected by the last week's shares. 0 until a week is known."),
        Panel::stack("events by tenant")
            .unit("eps")
            .query(&format!("sum by (tenant) (rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"), "{{tenant}}")
            .to("this tenant", "/d/quell-tenant?var-tenant=${__field.labels.tenant}&${__url_time_range}"),
    ]
}

fn mail() -> Vec<Panel> {
    vec![
        Panel::lines("hard bounces in an hour's mail, by tenant")
            .unit("percentunit")
            .limits(&BOUNCES)
            .reaching(0.01)
            .query(&bounce_rate("1h", CHOSEN, "tenant"), "{{tenant}}"),
        Panel::lines("complaints in a day's mail, by tenant")
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .reaching(0.004)
            .slow()
            .query(&complaint_rate("1d", CHOSEN, "tenant"), "{{tenant}}"),
        Panel::stack("hard bounces, by mailbox domain").unit("eps").query(
            &format!("sum by (mailbox) (rate(quell_suppressor_mailbox_events_total{{{CHOSEN}, kind=\"bounced_hard\"}}[$__rate_interval]))"),
            "{{mailbox}}",
        ),
        Panel::stack("complaints, by mailbox domain").unit("eps").query(
            &format!("sum by (mailbox) (rate(quell_suppressor_mailbox_events_total{{{CHOSEN}, kind=\"complaint\"}}[$__rate_interval])) or on () vector(0)"),
            "{{mailbox}}",
        ),
    ]
}
