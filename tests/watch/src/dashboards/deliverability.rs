//! Who bounces and who complains: by provider, by the recipients' mailbox domain, by tenant.

use super::{BOUNCES, COMPLAINTS, SOME, bounce_rate, complaint_rate, or_zero};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, RED},
};

const CHOSEN: &str = "tenant=~\"$tenant\", provider=~\"$provider\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-deliverability",
        title: "Quell: deliverability",
        description: "Hard bounces and complaints against the lines that matter: 0.5 % of hard bounces; of complaints 0.02 %, \
                      the goal, 0.1 %, what mailbox providers ask for, and 0.3 %, where they refuse.",
        variables: vec![
            Variable::many("tenant", "quell_suppressor_events_total"),
            Variable::many("provider", "quell_suppressor_events_total"),
            Variable::many("mailbox", "quell_suppressor_mailbox_events_total"),
        ],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "By provider", panels: rates("provider") },
            Row { title: "By mailbox domain", panels: mailboxes() },
            Row { title: "By tenant", panels: rates("tenant") },
            Row { title: "What comes of it", panels: effects() },
        ],
    }
}

fn figures() -> Vec<Panel> {
    let rate = |title: &str, expr: &str, limits: &[(f64, &'static str)], help: &str| {
        Panel::stat(title, &or_zero(expr)).unit("percentunit").limits(limits).slow().help(help)
    };
    vec![
        Panel::stat("sent in a day", &or_zero(&format!("sum(tenant_provider:quell_sends:increase1d{{{CHOSEN}}})")))
            .slow()
            .help("Messages that providers accepted, or told an end of, whichever are more."),
        rate("bounces, an hour", &bounce_rate("1h", CHOSEN, ""), &BOUNCES, "Hard bounces in the last hour's mail."),
        rate(
            "bounces, a day",
            &bounce_rate("1d", CHOSEN, ""),
            &BOUNCES,
            "Hard bounces in a day's mail. The goal is less than 0.5 %.",
        ),
        rate("complaints, a day", &complaint_rate("1d", CHOSEN, ""), &COMPLAINTS, "Of what was delivered in a day."),
        rate("complaints, a week", &complaint_rate("7d", CHOSEN, ""), &COMPLAINTS, "The goal is less than 0.02 %."),
        Panel::stat("complaint budget", &or_zero(&format!("({}) / 0.001", complaint_rate("7d", CHOSEN, ""))))
            .unit("percentunit")
            .limits(&[(0.5, ORANGE), (1.0, RED)])
            .slow()
            .help("How much of the budget of complaints, 0.1 % of what is delivered, a week has spent."),
        Panel::stat("incidents", &or_zero("max(quell_guard_incidents_open)"))
            .limits(&SOME)
            .help("Groups of recipients that bounce far beyond their rhythm."),
        Panel::stat("held back", &or_zero("sum(increase(quell_guard_held_total[1d]))"))
            .limits(&SOME)
            .help("Bounces of a day held as provisional: nobody is told of them yet."),
    ]
}

/// Both rates by a label of events.
fn rates(by: &'static str) -> Vec<Panel> {
    let legend = format!("{{{{{by}}}}}");
    let (title, path) = match by {
        "provider" => {
            ("this provider", "/d/quell-provider?var-provider=${__field.labels.provider}&${__url_time_range}")
        }
        _ => ("this tenant", "/d/quell-tenant?var-tenant=${__field.labels.tenant}&${__url_time_range}"),
    };
    vec![
        Panel::lines("hard bounces in an hour's mail")
            .unit("percentunit")
            .limits(&BOUNCES)
            .reaching(0.01)
            .query(&bounce_rate("1h", CHOSEN, by), &legend)
            .to(title, path),
        Panel::lines("complaints in a day's mail")
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .reaching(0.004)
            .slow()
            .query(&complaint_rate("1d", CHOSEN, by), &legend)
            .to(title, path),
    ]
}

fn mailboxes() -> Vec<Panel> {
    vec![
        Panel::lines("hard bounces in an hour's mail")
            .unit("percentunit")
            .limits(&BOUNCES)
            .reaching(0.01)
            .query("mailbox:quell_bounces_hard:ratio1h{mailbox=~\"$mailbox\"}", "{{mailbox}}"),
        Panel::lines("complaints in a day's mail")
            .unit("percentunit")
            .limits(&COMPLAINTS)
            .reaching(0.004)
            .slow()
            .query("mailbox:quell_complaints:ratio1d{mailbox=~\"$mailbox\"}", "{{mailbox}}"),
        Panel::bars("sent in an hour")
            .query("sort_desc(mailbox:quell_sends:increase1h{mailbox=~\"$mailbox\"})", "{{mailbox}}"),
        Panel::bars("held back in a day").limits(&SOME).query(
            "sort_desc(sum by (mailbox) (increase(quell_guard_held_total{mailbox=~\"$mailbox\"}[1d]))) or on () vector(0)",
            "{{mailbox}}",
        ),
    ]
}

fn effects() -> Vec<Panel> {
    vec![
        Panel::stack("events by kind").unit("eps").query(
            &format!("sum by (kind) (rate(quell_suppressor_events_total{{{CHOSEN}}}[$__rate_interval]))"),
            "{{kind}}",
        ),
        Panel::stack("new suppressions, an hour")
            .query("reason:quell_suppressor_suppressed:increase1h", "{{reason}}")
            .limits(&[(100.0, ORANGE)])
            .help("Of every tenant and provider. The line is the alert's: 100."),
        Panel::stack("in force, by reason")
            .query("sum by (reason) (quell_suppressions_in_force{tenant=~\"$tenant\"})", "{{reason}}"),
        Panel::lines("changes")
            .unit("eps")
            .query("sum by (change) (rate(quell_suppressor_deltas_total[$__rate_interval]))", "{{change}}")
            .help("Of every tenant and provider."),
    ]
}
