//! One tenant.

use super::{BOUNCES, COMPLAINTS, bounce_rate, complaint_rate, or_zero};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, RED},
};

const CHOSEN: &str = "tenant=\"$tenant\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-tenant",
        title: "Quell: one tenant",
        description: "One customer's mail: what is sent, what bounces, who complains, whom it may no longer write to.",
        variables: vec![Variable::one("tenant", "quell_suppressor_events_total")],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "Rates", panels: rates() },
            Row { title: "Events", panels: events() },
            Row { title: "In force", panels: in_force() },
        ],
    }
}

fn figures() -> Vec<Panel> {
    let in_force = format!("sum(quell_suppressions_in_force{{{CHOSEN}}})");
    let budget = format!("({}) / 0.001", complaint_rate("7d", CHOSEN, ""));
    vec![
        Panel::stat("sent in an hour", &or_zero(&format!("sum(tenant_provider:quell_sends:increase1h{{{CHOSEN}}})"))),
        Panel::stat("sent in a day", &or_zero(&format!("sum(tenant_provider:quell_sends:increase1d{{{CHOSEN}}})")))
            .slow(),
        Panel::stat("bounces, an hour", &or_zero(&bounce_rate("1h", CHOSEN, ""))).unit("percentunit").limits(&BOUNCES),
        Panel::stat("bounces, a day", &or_zero(&bounce_rate("1d", CHOSEN, "")))
            .unit("percentunit")
            .limits(&BOUNCES)
            .slow(),
        Panel::stat("complaints, a day", &or_zero(&complaint_rate("1d", CHOSEN, "")))
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .slow(),
        Panel::stat("complaints, a week", &or_zero(&complaint_rate("7d", CHOSEN, "")))
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .slow(),
        Panel::stat("complaint budget", &or_zero(&budget))
            .unit("percentunit")
            .limits(&[(0.5, ORANGE), (1.0, RED)])
            .slow()
            .help("How much of the budget of complaints, 0.1 % of what is delivered, a week has spent."),
        Panel::stat("in force", &or_zero(&in_force)).help("Suppressions."),
    ]
}

fn rates() -> Vec<Panel> {
    let to = ("this provider", "/d/quell-provider?var-provider=${__field.labels.provider}&${__url_time_range}");
    vec![
        Panel::lines("hard bounces in an hour's mail")
            .unit("percentunit")
            .limits(&BOUNCES)
            .reaching(0.01)
            .query(&bounce_rate("1h", CHOSEN, "provider"), "{{provider}}")
            .to(to.0, to.1),
        Panel::lines("complaints in a day's mail")
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .reaching(0.004)
            .slow()
            .query(&complaint_rate("1d", CHOSEN, "provider"), "{{provider}}")
            .to(to.0, to.1),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::stack("events by kind").unit("eps").query(
            &format!("sum by (kind) (rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"),
            "{{kind}}",
        ),
        Panel::stack("events by provider").unit("eps").query(
            &format!("sum by (provider) (rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"),
            "{{provider}}",
        ),
        Panel::lines("sent in an hour, by provider")
            .query(&format!("tenant_provider:quell_sends:increase1h{{{CHOSEN}}}"), "{{provider}}"),
        Panel::bars("a day, by kind").query(
            &format!("sort_desc(sum by (kind) (tenant_provider_kind:quell_suppressor_events:increase1d{{{CHOSEN}}}))"),
            "{{kind}}",
        ),
    ]
}

fn in_force() -> Vec<Panel> {
    vec![
        Panel::stack("by reason")
            .query(&format!("sum by (reason) (quell_suppressions_in_force{{{CHOSEN}}})"), "{{reason}}"),
        Panel::stack("by scope")
            .query(&format!("sum by (scope) (quell_suppressions_in_force{{{CHOSEN}}})"), "{{scope}}"),
    ]
}
