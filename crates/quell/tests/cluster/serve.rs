//! `quell serve`, end to end.

use crate::bed::{Bed, Instance, MAILGUN_KEY, PATIENCE, SMALL};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::{
    payloads::{self, Told, What},
    servers::KafkaOptions,
    sign,
};

#[test]
fn a_bounce_becomes_a_suppression() {
    let bed = Bed::start_with_registry();
    bed.set_up();
    let mut instance = bed.serve("one", "gateway,normalizer,suppressor,syncer,lookup");
    instance.wait_ready();
    let receipt = instance.drip_bounce("jane@example.com", "2026-01-20T10:00:00Z");
    let suppressed = instance.until(1, &["check", "jane@example.com", "-o", "json"]).json();
    assert!(suppressed.to_string().contains("hard_bounce"), "{suppressed}");
    instance.run(&["check", "john@example.com"]).with(0);
    let why = instance.run(&["why", "jane@example.com"]).with(0).out;
    assert!(why.contains("drip") && why.contains(&receipt), "{why}");
    let shown = instance.run(&["receipt", &receipt]).with(0).out;
    assert!(shown.contains("drip"), "{shown}");
    assert_eq!(instance.terminate(), Some(0), "{}", instance.log());

    // Another start goes on where the first ended.
    let mut next = bed.serve("one", "gateway,normalizer,suppressor,syncer,lookup");
    next.wait_ready();
    next.run(&["check", "jane@example.com"]).with(1);
    next.drip_bounce("john@example.com", "2026-01-20T10:00:00Z");
    next.until(1, &["check", "john@example.com"]);
    assert_eq!(next.terminate(), Some(0), "{}", next.log());
}

/// The parts in processes of their own, started before there is a topic.
#[test]
fn parts_wait_for_what_they_need() {
    let bed = Bed::start();
    bed.run(&["store", "migrate", "--yes"]).with(0);
    let mut parts: Vec<_> =
        ["gateway", "normalizer", "suppressor", "lookup"].map(|role| bed.serve(role, role)).into_iter().collect();
    // With no account and no subscriber to tell, they are ready none the less.
    let mut idle = ["syncer", "notifier"].map(|role| bed.serve(role, role));
    bed.run(&[&["topics", "apply", "--yes"], SMALL.as_slice()].concat()).with(0);
    parts.iter_mut().chain(&mut idle).for_each(|part| part.wait_ready());
    parts[0].drip_bounce("jane@example.com", "2026-01-20T10:00:00Z");
    parts[3].until(1, &["check", "jane@example.com"]);
    each_shows_its_figures(&parts);
    for mut part in parts.into_iter().chain(idle) {
        assert_eq!(part.terminate(), Some(0), "{}", part.log());
    }
}

/// Pauses the broker while webhooks come, and sees whether a commit of the stages waits for it.
fn silence_in_a_commit(bed: &Bed, gateway: &Instance, stages: &Instance, round: u32) -> bool {
    /// A wait is told after ten seconds.
    const TOLD: Duration = Duration::from_secs(13);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (0..40)
                .for_each(|n| drop(gateway.drip_bounce(&format!("r{round}-{n}@example.com"), "2026-01-20T10:00:00Z")));
        });
        stages.until(1, &["check", &format!("r{round}-3@example.com")]);
        bed.kafka.pause().expect("it stops");
        sender.join().expect("the spool takes what the log does not");
    });
    let began = Instant::now();
    while began.elapsed() < TOLD {
        let log = stages.log();
        if log.contains("no broker takes the group's positions yet") || log.contains("a commit is not answered") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// docs/upgrade.md: a commit that the brokers do not answer holds up nobody's end.
#[test]
fn a_process_ends_well_while_a_commit_waits_for_a_silent_broker() {
    // The pauses are no death, neither the broker's nor the members': several may be needed.
    let settings = vec![("broker.session.timeout.ms".to_owned(), "60000".to_owned())];
    let mut bed = Bed::start_like(&KafkaOptions { settings, ..KafkaOptions::default() });
    bed.session_timeout_ms = 60_000;
    bed.set_up();
    let mut gateway = bed.serve("gateway", "gateway");
    let mut stages = bed.serve("stages", "normalizer,suppressor,lookup");
    [&mut gateway, &mut stages].into_iter().for_each(Instance::wait_ready);
    let mut round = 0;
    while !silence_in_a_commit(&bed, &gateway, &stages, round) {
        bed.kafka.resume().expect("it goes on");
        round += 1;
        assert!(round < 5, "no pause met a commit: {}", stages.log());
    }
    let began = Instant::now();
    let ended = stages.terminate();
    let took = began.elapsed();
    bed.kafka.resume().expect("it goes on");
    assert_eq!(ended, Some(0), "{}", stages.log());
    assert!(took < Duration::from_secs(20), "{took:?}: {}", stages.log());
    let mut next = bed.serve("stages", "normalizer,suppressor,lookup");
    next.wait_ready();
    next.until(1, &["check", &format!("r{round}-39@example.com")]);
    assert_eq!((next.terminate(), gateway.terminate()), (Some(0), Some(0)), "{}", next.log());
}

/// Each role shows what the page lists, and what went through it.
fn each_shows_its_figures(parts: &[Instance]) {
    let counted = [
        r#"quell_gateway_webhooks_total{cause="accepted",provider="drip",source="default",status="202"} 1"#,
        r#"quell_normalizer_events_total{kind="bounced_hard",provider="drip"} 1"#,
        r#"quell_suppressions_in_force{reason="hard_bounce",scope="all",tenant="default"} 1"#,
        r#"quell_lookup_requests_total{route="/v1/check",status="200"} "#,
    ];
    let page = include_str!("../../../../docs/metrics.md");
    for (part, counted) in parts.iter().zip(counted) {
        let began = Instant::now();
        // The count of the store begins a moment after the partitions are ours.
        let text = loop {
            let text = part.metrics();
            if text.lines().any(|line| line.starts_with(counted)) {
                break text;
            }
            assert!(began.elapsed() < PATIENCE, "never {counted}:\n{text}");
            std::thread::sleep(Duration::from_millis(100));
        };
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
        }
    }
}

/// A gateway needs the store for tokens alone: it starts without its tables, and takes them once they are there.
#[test]
fn tokens_hold_across_gateways() {
    let bed = Bed::start();
    bed.run(&[&["topics", "apply", "--yes"], SMALL.as_slice()].concat()).with(0);
    let mut one = bed.serve("one", "gateway");
    one.wait_ready();
    one.drip_bounce("jane@example.com", "2026-01-20T10:00:00Z");
    let unix =
        i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()).expect("soon");
    let send = |to: &Instance, token: u64, address: &str| {
        let told = Told { what: What::HardBounce, address, unix, number: 1 };
        let url = format!("{}/mailgun", to.webhooks());
        to.send(&sign::mailgun(&url, MAILGUN_KEY, &payloads::mailgun(&told), unix, &sign::mailgun_token(token)))
    };
    assert_eq!(send(&one, 1, "jane@example.com").0, 503, "no token can be bound");
    bed.run(&["store", "migrate", "--yes"]).with(0);
    let began = Instant::now();
    while send(&one, 1, "jane@example.com").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "it never saw the tables:\n{}", one.log());
        std::thread::sleep(Duration::from_millis(100));
    }

    let mut two = bed.serve("two", "gateway");
    two.wait_ready();
    let began = Instant::now();
    while send(&two, 2, "jane@example.com").0 != 200 {
        assert!(began.elapsed() < PATIENCE, "it never saw the store:\n{}", two.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(send(&two, 1, "jane@example.com").0, 200, "the provider's retry");
    let (status, answer) = send(&two, 1, "victim@example.com");
    assert_eq!(status, 401, "{answer}");
    assert!(answer.contains("replayed_token"), "{answer}");
}
