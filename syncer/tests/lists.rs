//! Lanes against the fakes of providers whose lists differ from each other in size of calls, number of entries and errors:
//! with time paused, and once each over real HTTP.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{Stage as _, StageError};
use service::http_client::{HttpClient, HttpClientOptions};
use std::{sync::Arc, time::Duration};
use support::{Direct, batch, config, fake_of, lane_with, pair, shown};
use syncer::{HttpApi, Lane};
use testkit::{Fake, Fault, builders::delta, fake::FakeApi};

/// A provider, the lists that a dead address is written on, and the most addresses a call takes.
const LISTS: [(&str, &[&str], usize); 3] = [
    ("resend", &["suppressions"], 100),
    ("sparkpost", &["transactional", "non_transactional"], 10_000),
    ("mandrill", &["rejects"], 1),
];

fn on(address: &str, scope: &Scope, position: u64) -> Delta {
    delta(address, scope, &[(scope.clone(), Reason::HardBounce)], ("drip", Kind::BouncedHard), position)
}

fn dead(address: &str, position: u64) -> Delta {
    on(address, &Scope::All, position)
}

fn off(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

fn many(n: u64) -> Vec<Delta> {
    (0..n).map(|number| dead(&format!("user{number}@example.com"), number)).collect()
}

async fn run(lane: &mut Lane, deltas: &[Delta]) -> Result<Vec<String>, StageError> {
    let batch = batch(deltas);
    let outputs = lane.process(&batch).await?;
    lane.committed(&batch).await?;
    Ok(shown(&outputs))
}

#[tokio::test(start_paused = true)]
async fn suppressions_and_releases_reach_every_list() {
    for (provider, lists, _) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &[dead("a+b/c%d@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
        for list in lists {
            assert_eq!(fake.addresses(list), ["a+b/c%d@example.com", "b@example.com"], "{provider} {list}");
        }
        let said = run(&mut lane, &[off("a+b/c%d@example.com", 3)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{said:?}");
        for list in lists {
            assert_eq!(fake.addresses(list), ["b@example.com"], "{provider} {list}");
        }
        // What is not there any more is as good as removed.
        let said = run(&mut lane, &[off("a+b/c%d@example.com", 4)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_as_large_as_the_provider_takes() {
    for (provider, lists, most) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &many(250)).await.unwrap();
        let calls = 250_usize.div_ceil(most) * lists.len();
        assert_eq!((fake.held(), fake.largest_call()), (250, most.min(250)), "{provider}");
        assert_eq!(fake.calls(), calls as u64, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_address_is_refused_alone() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        let mut deltas = many(40);
        deltas.push(dead("j\u{fc}rgen@example.com", 40));
        deltas.extend((41..60).map(|number| dead(&format!("user{number}@example.com"), number)));
        let said = run(&mut lane, &deltas).await.unwrap();
        assert_eq!(said.iter().filter(|line| line.contains("done")).count(), 59, "{provider}");
        assert!(said[40].starts_with("suppress refused") && !said[40].contains("rgen@"), "{provider}: {}", said[40]);
        assert_eq!(fake.held(), 59, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_sat_out() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        let faults = [Fault::Status(500), Fault::Silent, Fault::RateLimited(9), Fault::FailedAfterEffect];
        fake.next_faults(faults);
        let said = run(&mut lane, &many(10)).await.unwrap();
        assert!(said.iter().all(|line| line.starts_with("suppress done")), "{provider}: {said:?}");
        assert_eq!(fake.held(), 10, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unclear_removal_is_read_back() {
    for (provider, ..) in LISTS {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &many(1)).await.unwrap();
        fake.next_faults([Fault::SilentAfterEffect]);
        let said = run(&mut lane, &[off("user0@example.com", 9)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{provider}: {said:?}");
        assert_eq!(fake.held(), 0, "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_stop_the_lane() {
    for (provider, ..) in LISTS {
        let mut config = config(provider);
        config.credential = "another".to_owned();
        let fake = FakeApi::new(fake_of(provider));
        let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
        for _ in 0..5 {
            assert!(matches!(run(&mut lane, &many(3)).await, Err(StageError::Unavailable(_))));
        }
        assert_eq!((fake.calls(), fake.held()), (1, 0), "{provider}");
        let trouble = lane.status().trouble().unwrap().to_string();
        assert!(trouble.contains("refuses this account"), "{provider}: {trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn sparkpost_keeps_transactional_mail_going_after_an_opt_out() {
    let (mut lane, fake) = pair("sparkpost");
    run(&mut lane, &[on("a@example.com", &Scope::Marketing, 1), on("b@example.com", &Scope::NonCritical, 2)])
        .await
        .unwrap();
    assert_eq!(fake.addresses("non_transactional"), ["a@example.com", "b@example.com"]);
    assert!(fake.addresses("transactional").is_empty());
    // Dead and back: what it opted out of stays.
    let both = [(Scope::All, Reason::HardBounce), (Scope::Marketing, Reason::Unsubscribe)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &both, ("drip", Kind::BouncedHard), 3)]).await.unwrap();
    assert!(fake.holds("transactional", "a@example.com"));
    let healed = [(Scope::Marketing, Reason::Unsubscribe)];
    run(&mut lane, &[delta("a@example.com", &Scope::All, &healed, ("drip", Kind::Delivered), 4)]).await.unwrap();
    assert!(!fake.holds("transactional", "a@example.com") && fake.holds("non_transactional", "a@example.com"));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_will_not_change_is_said_so_and_stops_nothing() {
    let (mut lane, fake) = pair("sparkpost");
    fake.put_by_itself("transactional", "a@example.com", "Compliance");
    let said = run(&mut lane, &[off("a@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("release refused") && said[0].contains("Compliance"), "{said:?}");
    assert!(fake.holds("transactional", "b@example.com"));
    let (mut lane, fake) = pair("mandrill");
    fake.put_by_itself("allowlist", "a@example.com", "allowed");
    let said = run(&mut lane, &[dead("a@example.com", 1), dead("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("suppress refused") && said[0].contains("allow list"), "{said:?}");
    assert!(fake.holds("rejects", "b@example.com"));
}

#[tokio::test(start_paused = true)]
async fn mandrill_is_told_what_it_told_us_as_its_own_entries_expire() {
    let told = |provider: &str| {
        let in_force = [(Scope::All, Reason::HardBounce)];
        delta("a@example.com", &Scope::All, &in_force, (provider, Kind::BouncedHard), 1)
    };
    for (provider, written) in [("mandrill", 1), ("resend", 0), ("sparkpost", 0)] {
        let (mut lane, fake) = pair(provider);
        run(&mut lane, &[told(provider)]).await.unwrap();
        assert_eq!(fake.calls(), written, "{provider}");
    }
}

#[tokio::test]
async fn the_fakes_take_what_is_sent_over_http() {
    for (provider, lists, _) in LISTS {
        let fake = Fake::start(fake_of(provider)).await.unwrap();
        let mut config = config(provider);
        (config.base_url, config.spacing_ms, config.timeout_ms) = (Some(fake.url()), 1, 5_000);
        let options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
        let mut lane = lane_with(config, Arc::new(HttpApi::new(HttpClient::new(&options).unwrap())));
        let odd = "odd+plus/slash%percent@example.com";
        let mut deltas = many(20);
        deltas.push(dead(odd, 20));
        fake.next_faults([Fault::Slow(Duration::from_millis(20))]);
        lane.process(&batch(&deltas)).await.unwrap();
        assert_eq!(fake.addresses(lists[0]).len(), 21, "{provider}");
        let outputs = lane.process(&batch(&[off(odd, 21)])).await.unwrap();
        assert!(shown(&outputs).iter().all(|line| line.starts_with("release done")), "{:?}", shown(&outputs));
        assert_eq!(fake.held(), 20, "{provider}");
        assert!(fake.statuses().keys().all(|status| matches!(status, 200 | 201 | 204)), "{:?}", fake.statuses());
    }
}
