//! What providers are told, and how late.

use super::{ANY, OPT_OUT_SECONDS, or_zero, quantile};
use crate::{
    dashboard::{Dashboard, Row, Variable},
    panel::{ORANGE, Panel, YELLOW},
};

const CHOSEN: &str = "account=~\"$account\"";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "quell-sync",
        title: "Quell: sync-back",
        description: "What the providers' accounts are told, and how late. Opt-outs have to be in effect everywhere within two days.",
        variables: vec![Variable::many("account", "quell_syncer_pending")],
        rows: vec![
            Row { title: "", panels: figures() },
            Row { title: "What waits", panels: waiting() },
            Row { title: "What is told", panels: told() },
            Row { title: "Calls", panels: calls() },
            Row { title: "Subscribers", panels: subscribers() },
        ],
    }
}

fn figures() -> Vec<Panel> {
    let max = |metric: &str| or_zero(&format!("max({metric}{{{CHOSEN}}})"));
    vec![
        Panel::stat("not told yet", &or_zero(&format!("sum(quell_syncer_pending{{{CHOSEN}}})"))).help("Recipients."),
        Panel::stat("oldest", &max("quell_syncer_oldest_pending_seconds"))
            .unit("s")
            .limits(&[(1_800.0, YELLOW), (21_600.0, ORANGE)]),
        Panel::stat("oldest opt-out", &max("quell_syncer_oldest_optout_seconds")).unit("s").limits(&OPT_OUT_SECONDS),
        Panel::stat(
            "accounts blocked",
            &or_zero(&format!("sum(max by (account) (quell_syncer_account_blocked{{{CHOSEN}}}))")),
        )
        .limits(&ANY),
        Panel::stat(
            "told",
            &format!("sum(rate(quell_syncer_outcomes_total{{{CHOSEN}, result=\"done\"}}[$__rate_interval]))"),
        )
        .unit("ops"),
        Panel::stat(
            "refused",
            &or_zero(&format!("sum(increase(quell_syncer_outcomes_total{{{CHOSEN}, result=\"refused\"}}[1h]))")),
        )
        .limits(&[(1.0, YELLOW)])
        .help("Recipients that a provider would not take in the last hour."),
        Panel::stat("retries", &or_zero(&format!("sum(increase(quell_syncer_retries_total{{{CHOSEN}}}[1h]))")))
            .help("In the last hour."),
        Panel::stat("webhook to provider", &quantile("0.95", "quell_syncer_delta_delay_seconds", CHOSEN, ""))
            .unit("s")
            .help("All but one in twenty."),
    ]
}

fn waiting() -> Vec<Panel> {
    let by = |op: &str, metric: &str| format!("{op} by (account) ({metric}{{{CHOSEN}}})");
    vec![
        Panel::lines("recipients not told yet").query(&by("sum", "quell_syncer_pending"), "{{account}}"),
        Panel::lines("age of the oldest change")
            .unit("s")
            .query(&by("max", "quell_syncer_oldest_pending_seconds"), "{{account}}"),
        Panel::lines("age of the oldest opt-out")
            .unit("s")
            .limits(&OPT_OUT_SECONDS)
            .query(&by("max", "quell_syncer_oldest_optout_seconds"), "{{account}}")
            .help("Unsubscribes and complaints. The lines: half a day, and the two days that are allowed."),
        Panel::lines("deltas not read yet").query(
            "sum by (stage) (quell_stage_lag_records{stage=~\"quell[.](syncer|notifier|redeliver)[.].*\"})",
            "{{stage}}",
        ),
    ]
}

fn told() -> Vec<Panel> {
    vec![
        Panel::stack("by outcome").unit("ops").query(
            &format!(
                "sum by (account, action, result) (rate(quell_syncer_outcomes_total{{{CHOSEN}}}[$__rate_interval]))"
            ),
            "{{account}} {{action}} {{result}}",
        ),
        Panel::lines("delta to provider")
            .unit("s")
            .query(&quantile("0.5", "quell_syncer_provider_delay_seconds", CHOSEN, "account"), "{{account}} half")
            .query(&quantile("0.95", "quell_syncer_provider_delay_seconds", CHOSEN, "account"), "{{account}} 95 %")
            .help("Over Kafka from the delta's append; in quell up from the webhook."),
        Panel::lines("webhook to provider")
            .unit("s")
            .query(&quantile("0.5", "quell_syncer_delta_delay_seconds", CHOSEN, "account"), "{{account}} half")
            .query(&quantile("0.95", "quell_syncer_delta_delay_seconds", CHOSEN, "account"), "{{account}} 95 %"),
    ]
}

fn calls() -> Vec<Panel> {
    vec![
        Panel::stack("calls").unit("reqps").query(
            &format!("sum by (account) (rate(quell_syncer_call_seconds_count{{{CHOSEN}}}[$__rate_interval]))"),
            "{{account}}",
        ),
        Panel::lines("time of a call")
            .unit("s")
            .query(&quantile("0.5", "quell_syncer_call_seconds", CHOSEN, "account"), "{{account}} half")
            .query(&quantile("0.99", "quell_syncer_call_seconds", CHOSEN, "account"), "{{account}} 99 %"),
        Panel::stack("retries").unit("ops").query(
            &format!(
                "sum by (account, cause) (rate(quell_syncer_retries_total{{{CHOSEN}}}[$__rate_interval])) or on () vector(0)"
            ),
            "{{account}} {{cause}}",
        ),
        Panel::lines("calls left")
            .query(&format!("min by (account) (quell_syncer_budget_left{{{CHOSEN}}})"), "{{account}}")
            .help("In the provider's rate limit, where it tells."),
    ]
}

/// Those who are told of deltas by webhook. Nobody need be: 0 then.
fn subscribers() -> Vec<Panel> {
    vec![
        Panel::stack("posts, by outcome").unit("ops").query(
            "sum by (subscriber, outcome) (rate(quell_notifier_deliveries_total[$__rate_interval])) or on () vector(0)",
            "{{subscriber}} {{outcome}}",
        ),
        Panel::lines("time of a post, 99 %")
            .unit("s")
            .query(&or_zero(&quantile("0.99", "quell_notifier_post_seconds", "", "subscriber")), "{{subscriber}}"),
        Panel::lines("age of the oldest delta not taken")
            .unit("s")
            .query("max by (subscriber) (quell_notifier_oldest_pending_seconds) or on () vector(0)", "{{subscriber}}"),
        Panel::lines("given up, an hour; switched off")
            .limits(&ANY)
            .query(
                "sum by (subscriber) (increase(quell_notifier_dead_letters_total[1h])) or on () vector(0)",
                "{{subscriber}} given up",
            )
            .query("max by (subscriber) (quell_notifier_disabled) or on () vector(0)", "{{subscriber}} off"),
    ]
}
