//! `/metrics` of a running `quell up`.

use crate::instance::{Instance, read};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: u32 = 4;

/// The value of a series, written as it stands there.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
}

/// Reads the metrics until each of these series has a value that fits.
#[track_caller]
fn until(instance: &Instance, wanted: &[(&str, &dyn Fn(f64) -> bool)]) -> String {
    let began = Instant::now();
    loop {
        let text = instance.metrics();
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|(series, fits)| !value(&text, series).is_some_and(fits))
            .map(|(series, _)| *series)
            .collect();
        if missing.is_empty() {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "never: {missing:#?}\n{text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An instance with an account at a provider that is away, whose lane has begun. One that begins later has to tell what is
/// in force before it reads a delta, and the provider does not let it.
fn instance() -> Instance {
    let mut instance = Instance::prepare(PARTITIONS);
    let config =
        read(&instance.path("quell.toml")).replace("filter = \"warn\"", "filter = \"warn,event_log::runner=trace\"");
    let more = "[metrics]\nmailboxes = [\"example.com\"]\n\
                [[account]]\nname = \"away\"\nprovider = \"sendgrid\"\ncredential = \"env:CLI_WRITE\"\n\
                base_url = \"http://127.0.0.1:1\"\nallow_private = true\n";
    instance.write("quell.toml", &format!("{config}{more}"));
    instance.begin();
    let (began, log) = (Instant::now(), || read(&instance.path("log")));
    let is_ready = |line: &&str| line.contains("stage=\"syncer\" event=Ready(");
    while log().lines().filter(is_ready).count() < PARTITIONS as usize {
        assert!(began.elapsed() < PATIENCE, "the lane does not begin:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    instance
}

#[test]
fn a_signed_webhook_shows_in_every_family_on_its_way() {
    let instance = instance();
    // Late, and told twice.
    instance.drip_bounce("jane@mx.example.com", "2026-01-20T10:00:00Z");
    instance.drip_bounce("jane@mx.example.com", "2026-01-20T10:00:00Z");
    instance.until(1, &["check", "jane@mx.example.com"]);
    let (one, two, some, none) = (|n| n == 1.0, |n| n == 2.0, |n| n > 0.0, |n| n == 0.0);
    let wanted: &[(&str, &dyn Fn(f64) -> bool)] = &[
        (r#"quell_gateway_webhooks_total{cause="accepted",provider="drip",source="default",status="202"}"#, &two),
        (r#"quell_normalizer_events_total{kind="bounced_hard",provider="drip"}"#, &two),
        (r#"quell_normalizer_event_delay_seconds_count{provider="drip"}"#, &two),
        (r#"quell_suppressor_events_total{kind="bounced_hard",provider="drip",tenant="default"}"#, &one),
        (r#"quell_suppressor_events_total{kind="complaint",provider="drip",tenant="default"}"#, &none),
        (r#"quell_suppressor_mailbox_events_total{kind="bounced_hard",mailbox="example.com",provider="drip"}"#, &one),
        (r#"quell_suppressor_duplicates_total{provider="drip"}"#, &one),
        (r#"quell_suppressor_late_total{provider="drip"}"#, &one),
        (r#"quell_suppressor_out_of_order_total{provider="drip"}"#, &none),
        (r#"quell_suppressor_deltas_total{change="suppressed",reason="hard_bounce",scope="all"}"#, &one),
        (r#"quell_suppressor_delta_delay_seconds_count{provider="drip"}"#, &one),
        (r#"quell_suppressions_in_force{reason="hard_bounce",scope="all",tenant="default"}"#, &one),
        (r#"quell_stage_lag_seconds{stage="normalizer"}"#, &none),
        (r#"quell_stage_down{stage="suppressor-0"}"#, &none),
        (r#"quell_store_seconds_count{operation="apply"}"#, &some),
        (r#"quell_store_errors_total{operation="apply"}"#, &none),
        (r#"quell_lookup_requests_total{route="/v1/check",status="200"}"#, &some),
        (r#"quell_lookup_seconds_count{route="/v1/check"}"#, &some),
        (r#"quell_lookup_checked_total{answer="stopped"}"#, &some),
        (r#"quell_lookup_checked_total{answer="unreadable"}"#, &none),
        (r#"quell_syncer_pending{account="away"}"#, &one),
        (r#"quell_syncer_oldest_pending_seconds{account="away"}"#, &some),
        (r#"quell_syncer_oldest_optout_seconds{account="away"}"#, &none),
        ("quell_policy_version", &none),
        (concat!("quell_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), &one),
        ("process_start_time_seconds", &some),
        ("process_threads", &some),
    ];
    until(&instance, wanted);

    // An opt-out, behind an older time; one that cannot be read; what comes from inside.
    instance.generic(&json!([
        {"kind": "unsubscribed", "recipient": "john@elsewhere.com", "occurred_at": "2026-01-20T10:00:00Z"},
        {"kind": "bounced_hard", "recipient": "jane@mx.example.com", "occurred_at": "2026-01-19T10:00:00Z"},
        {"kind": "complaint", "recipient": "nobody", "occurred_at": "2026-01-20T10:00:00Z"},
    ]));
    instance.run(&["release", "jane@mx.example.com", "--note", "a test"]).with(0);
    let wanted: &[(&str, &dyn Fn(f64) -> bool)] = &[
        (r#"quell_normalizer_dead_letters_total{provider="generic",reason="unreadable_recipient"}"#, &one),
        (r#"quell_suppressor_mailbox_events_total{kind="unsubscribed",mailbox="other",provider="generic"}"#, &one),
        (r#"quell_suppressor_out_of_order_total{provider="generic"}"#, &one),
        (r#"quell_suppressor_events_total{kind="released_manually",provider="manual",tenant="default"}"#, &one),
        (r#"quell_suppressor_deltas_total{change="released",reason="hard_bounce",scope="all"}"#, &one),
        (r#"quell_suppressions_in_force{reason="hard_bounce",scope="all",tenant="default"}"#, &none),
        (r#"quell_suppressions_in_force{reason="unsubscribe",scope="marketing",tenant="default"}"#, &one),
        (r#"quell_syncer_pending{account="away"}"#, &|n| n >= 2.0),
        (r#"quell_syncer_oldest_optout_seconds{account="away"}"#, &some),
    ];
    let text = until(&instance, wanted);

    // What a real process shows is what the page lists.
    let page = include_str!("../../../../docs/metrics.md");
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let unlisted: Vec<_> = shown.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(unlisted.is_empty() && shown.len() > 40, "not in docs/metrics.md: {unlisted:?}");
}

/// A second start counts the store: nothing is in the deltas any more.
#[test]
fn what_is_in_force_is_counted_at_the_start() {
    let mut instance = Instance::start();
    let people = ["one", "two", "three"].map(|name| format!("{name}@example.com"));
    for who in &people {
        instance.drip_bounce(who, "2026-01-20T10:00:00Z");
    }
    // Each may lie in a partition of its own.
    for who in &people {
        instance.until(1, &["check", who]);
    }
    instance.stop();
    instance.begin();
    let in_force = r#"quell_suppressions_in_force{reason="hard_bounce",scope="all",tenant="default"}"#;
    let text = until(&instance, &[(in_force, &|n| n == 3.0)]);
    let suppressed = r#"quell_suppressor_deltas_total{change="suppressed",reason="hard_bounce",scope="all"}"#;
    assert_eq!(value(&text, suppressed), Some(0.0), "nothing was counted twice");
}

#[test]
fn who_was_erased_is_counted_still() {
    let mut instance = instance();
    for address in ["jane@example.com", "john@example.com"] {
        instance.drip_bounce(address, "2026-01-20T10:00:00Z");
        instance.until(1, &["check", address]);
    }
    let of =
        |tenant: &str| format!(r#"quell_suppressions_in_force{{reason="hard_bounce",scope="all",tenant="{tenant}"}}"#);
    let (own, other) = (of("default"), of("other"));
    let (one, two) = (|n| n == 1.0, |n| n == 2.0);
    until(&instance, &[(&own, &two)]);
    instance.run(&["erase", "jane@example.com", "--note", "asked to be forgotten", "--wait"]).with(0);
    until(&instance, &[(&own, &two)]);
    // Counted anew: whose they were is not kept.
    instance.stop();
    instance.begin();
    until(&instance, &[(&own, &one), (&other, &one)]);
    instance.run(&["check", "jane@example.com"]).with(1);
}
