//! Paths that look almost like a source's.

use crate::{
    bed::Bed,
    wire::{Raw, exchange},
};
use std::collections::BTreeSet;

#[test]
fn a_path_means_exactly_one_source_or_none() {
    let mut bed = Bed::start();
    let good = bed.keys.drip();
    let long = format!("/webhooks/drip/{}", "a".repeat(20_000));
    let deep = format!("/webhooks/drip{}", "/acme".repeat(2_000));
    let dots = format!("/webhooks/drip/{}acme", "../".repeat(500));
    for path in [
        "/webhooks/drip",
        "/webhooks/drip/",
        "/webhooks/drip/acme/",
        "/webhooks/drip/acme//",
        "/webhooks/drip//acme",
        "//webhooks/drip/acme",
        "/webhooks//drip/acme",
        "/webhooks/drip%2facme",
        "/webhooks/drip%2Facme",
        "/webhooks%2fdrip%2facme",
        "/webhooks/drip/%61cme",
        "/webhooks/drip/%2561cme",
        "/webhooks/drip/acm%65",
        "/webhooks/drip/acme%00",
        "/webhooks/drip/acme%20",
        "/webhooks/drip/acme%0d%0ax:y",
        "/webhooks/drip/acme%",
        "/webhooks/drip/acme;x=1",
        "/webhooks/drip;x=1/acme",
        "/webhooks/drip/acme,",
        "/webhooks/drip/acme.",
        "/webhooks/drip/acme.json",
        "/webhooks/drip/ACME",
        "/webhooks/Drip/acme",
        "/WEBHOOKS/drip/acme",
        "/webhooks/drip/./acme",
        "/webhooks/drip/../drip/acme",
        "/webhooks/drip/acme/..",
        "/webhooks/drip/x/../acme",
        "/webhooks/x/%2e%2e/drip/acme",
        "/webhooks/../webhooks/drip/acme",
        "/webhooks/drip\\acme",
        "/webhooks/drip/default",
        "/webhooks/drip/bounce",
        "/webhooks/drip/events",
        "/webhooks/drip/status",
        "/webhooks/drip/acme/v1",
        "/webhooks/drip/acme?/x/../..",
        "/webhooks/one-click",
        "/webhooks/one-click/default",
        "/unsubscribe/",
        "/unsubscribe/1.2026a.AAAA",
        "/webhooks/drip/аcme",
        "/webhooks/drip/acmé",
        "/webhooks/drip/acme\u{200b}",
        "/webhooks/drip/\u{202e}emca",
        "/v1/check",
        "/metrics",
        "/",
        &long,
        &deep,
        &dots,
    ] {
        if path == "/webhooks/drip/acme?/x/../.." {
            // What stands behind a question mark is no part of the path.
            bed.good(path, &good.clone().to(path));
            continue;
        }
        let shown: String = path.chars().take(80).collect();
        bed.refused(&shown, &good.clone().to(path), 404, "not_found");
    }
    for path in ["/webhooks/drip/acme\u{0}", "/webhooks/drip/ac me", "/webhooks/drip/acme\u{7f}", "/webhooks/\u{1}"] {
        bed.malformed(path, &good.clone().to(path).bytes(), 400);
    }
    let endless = format!("/webhooks/drip/{}", "a".repeat(100_000));
    let answers = exchange(bed.gateway, &good.clone().to(&endless).bytes());
    assert!(matches!(answers[..], [ref answer] if matches!(answer.status, 400 | 414 | 431)), "{answers:?}");
    bed.malformed_elsewhere(1);
    bed.good("the path itself", &good);
    // Whatever was asked for, labels are those of the configuration.
    let figures = bed.figures("quell_gateway_webhooks_total");
    let named: BTreeSet<&str> = figures.iter().map(|(labels, _)| labels["source"].as_str()).collect();
    assert_eq!(named, BTreeSet::from(["acme", "default", "unknown"]));
    bed.finish();
}

#[test]
fn a_source_is_not_reached_by_the_name_of_another() {
    let mut bed = Bed::start();
    let keys = bed.keys.clone();
    for (raw, path) in [(keys.generic(), "/webhooks/generic/acme"), (keys.drip(), "/webhooks/drip/generic")] {
        bed.refused(path, &raw.to(path), 404, "not_found");
    }
    let refused = bed.refused("told", &Raw::post("/webhooks/drip/script-of-ours", b"{}".to_vec()), 404, "not_found");
    assert!(!refused.body.contains("script-of-ours"), "nothing that was sent is sent back: {refused:?}");
    bed.finish();
}
