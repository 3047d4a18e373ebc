//! The dashboards themselves, one a file.

mod deliverability;
mod ingest;
mod overview;
mod pipeline;
mod provider;
mod sync;
mod tenant;

use crate::{
    dashboard::Dashboard,
    panel::{ORANGE, RED, YELLOW},
};

/// Every dashboard.
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        deliverability::dashboard(),
        ingest::dashboard(),
        pipeline::dashboard(),
        sync::dashboard(),
        provider::dashboard(),
        tenant::dashboard(),
    ]
}

/// Shares of mail that bounces for good: the goal; what is high; where providers review an account.
const BOUNCES: [(f64, &str); 3] = [(0.005, YELLOW), (0.02, ORANGE), (0.05, RED)];
/// Shares of mail that is called spam: the goal; what mailbox providers ask for; where they refuse.
const COMPLAINTS: [(f64, &str); 3] = [(0.0002, YELLOW), (0.001, ORANGE), (0.003, RED)];
/// Ages of an opt-out that is not in effect everywhere: half a day, and the two days that are allowed.
const OPT_OUT_SECONDS: [(f64, &str); 2] = [(43_200.0, ORANGE), (172_800.0, RED)];
/// Any is one too many.
const ANY: [(f64, &str); 1] = [(1.0, RED)];
/// Any should be looked at.
const SOME: [(f64, &str); 1] = [(1.0, ORANGE)];
/// Records that nobody can process, of every stage; the normalizer's by provider.
const DEAD_LETTERS: &str = "provider_reason:quell_normalizer_dead_letters:increase1h \
    or on (stage, reason) stage_reason:quell_stage_dead_records:increase1h{stage!=\"normalizer\"}";
/// Ages of the oldest record that a stage has still to process.
const LAG_SECONDS: [(f64, &str); 2] = [(300.0, ORANGE), (1_800.0, RED)];

/// 0 where there is nothing: a quiet system shows no gaps.
fn or_zero(expr: &str) -> String {
    format!("({expr}) or on () vector(0)")
}

/// A quantile of a histogram, by these labels.
fn quantile(share: &str, histogram: &str, matchers: &str, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({share}, sum by ({by}) (rate({histogram}_bucket{{{matchers}}}[$__rate_interval])))")
}

/// The share of hard bounces in what was sent in a window, by these labels.
fn bounce_rate(window: &str, matchers: &str, by: &str) -> String {
    let more = if matchers.is_empty() { String::new() } else { format!(", {matchers}") };
    format!(
        "sum by ({by}) (tenant_provider_kind:quell_suppressor_events:increase{window}{{kind=\"bounced_hard\"{more}}}) \
         / (sum by ({by}) (tenant_provider:quell_sends:increase{window}{{{matchers}}}) > 0)"
    )
}

/// The share of complaints in what was delivered in a window, by these labels.
fn complaint_rate(window: &str, matchers: &str, by: &str) -> String {
    let more = if matchers.is_empty() { String::new() } else { format!(", {matchers}") };
    format!(
        "sum by ({by}) (tenant_provider_kind:quell_suppressor_events:increase{window}{{kind=\"complaint\"{more}}}) \
         / (sum by ({by}) (tenant_provider:quell_delivered:increase{window}{{{matchers}}}) > 0)"
    )
}
