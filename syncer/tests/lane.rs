//! A lane against the fakes of its provider, with time paused.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{NextOffset, Stage as _, StageError, session::Assigned};
use std::{sync::Arc, time::Duration};
use support::{DOMAIN, Direct, PROVIDERS, STREAM, batch, config, dead_list, fake_of, lane_with, pair, shown};
use syncer::{Lane, RateLimit};
use testkit::{
    Fault,
    builders::delta,
    fake::{FakeApi, FakeProvider},
};
use tokio::time::Instant;

fn on(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[(Scope::All, Reason::HardBounce)], ("drip", Kind::BouncedHard), position)
}

fn off(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

fn many(n: u64) -> Vec<Delta> {
    (0..n).map(|number| on(&format!("user{number}@example.com"), number)).collect()
}

async fn run(lane: &mut Lane, deltas: &[Delta]) -> Result<Vec<String>, StageError> {
    let batch = batch(deltas);
    let outputs = lane.process(&batch).await?;
    lane.committed(&batch).await?;
    Ok(shown(&outputs))
}

#[tokio::test(start_paused = true)]
async fn suppressions_and_releases_reach_every_provider() {
    for provider in PROVIDERS {
        let (mut lane, fake) = pair(provider);
        let list = dead_list(provider);
        run(&mut lane, &[on("a+b/c%d@example.com", 1), on("b@example.com", 2)]).await.unwrap();
        assert_eq!(fake.addresses(&list), ["a+b/c%d@example.com", "b@example.com"], "{provider}");
        let said = run(&mut lane, &[off("a+b/c%d@example.com", 3)]).await.unwrap();
        assert!(said[0].starts_with("release done"), "{said:?}");
        assert_eq!(fake.addresses(&list), ["b@example.com"], "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn batches_are_as_large_as_the_provider_takes_and_spaced() {
    for (provider, largest, calls) in [("sendgrid", 1_000, 3), ("mailgun", 1_000, 3), ("postmark", 50, 50)] {
        let (mut lane, fake) = pair(provider);
        let begun = Instant::now();
        run(&mut lane, &many(2_500)).await.unwrap();
        assert_eq!((fake.held(), fake.largest_call(), fake.calls()), (2_500, largest, calls), "{provider}");
        assert!(begun.elapsed() >= Duration::from_millis(200 * (calls - 1)), "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_takes_off_what_the_provider_put_on_by_itself() {
    let (mut lane, fake) = pair("sendgrid");
    fake.bounced_by_itself("", "a@example.com");
    fake.complained_by_itself("", "a@example.com");
    let healed = delta("a@example.com", &Scope::All, &[], ("drip", Kind::Delivered), 1);
    run(&mut lane, &[healed]).await.unwrap();
    assert!(!fake.holds("bounces", "a@example.com") && fake.holds("spam_reports", "a@example.com"));
    run(&mut lane, &[off("a@example.com", 2)]).await.unwrap();
    assert_eq!(fake.held(), 0);

    let (mut lane, fake) = pair("mailgun");
    fake.unsubscribed_by_itself(DOMAIN, "a@example.com");
    fake.complained_by_itself(DOMAIN, "a@example.com");
    run(&mut lane, &[off("a@example.com", 1)]).await.unwrap();
    assert_eq!(fake.held(), 0);

    // Postmark keeps complaints, and says so.
    let (mut lane, fake) = pair("postmark");
    fake.complained_by_itself(STREAM, "a@example.com");
    fake.bounced_by_itself(STREAM, "b@example.com");
    let said = run(&mut lane, &[off("a@example.com", 1), off("b@example.com", 2)]).await.unwrap();
    assert!(said[0].starts_with("release refused suppressions You do not have"), "{said:?}");
    assert_eq!(fake.addresses(STREAM), ["a@example.com"]);
}

/// The provider put the address on its list itself, and an older release then took it off. Whoever takes the partition over
/// has to tell what the provider told us, whether the release was committed or not.
#[tokio::test(start_paused = true)]
async fn what_a_former_owner_removed_is_told_again_by_its_successor() {
    for is_committed in [true, false] {
        let (mut former, fake) = pair("mailgun");
        fake.bounced_by_itself(DOMAIN, "a@example.com");
        let healed = delta("a@example.com", &Scope::All, &[], ("drip", Kind::Delivered), 5_001);
        former.process(&batch(std::slice::from_ref(&healed))).await.unwrap();
        assert_eq!(fake.held(), 0);

        let mut lane = lane_with(config("mailgun"), Arc::new(Direct(fake.clone())));
        let in_force = [(Scope::All, Reason::HardBounce)];
        let bounced = delta("a@example.com", &Scope::All, &in_force, ("mailgun", Kind::BouncedHard), 5_002);
        let committed = Some(NextOffset::from_stored(if is_committed { 5_002 } else { 5_001 }));
        let assigned = Assigned { topic: Arc::from("quell.deltas.v1"), partition: 0, committed, epoch: 0, oldest: 0 };
        let from = lane.assigned(&assigned).await.unwrap();
        assert!(from.is_some_and(|from| (1..5_001).contains(&from)), "{from:?}");
        if is_committed {
            lane.reapply(&batch(&[healed]).records).await.unwrap();
            run(&mut lane, &[bounced]).await.unwrap();
        } else {
            run(&mut lane, &[healed, bounced]).await.unwrap();
        }
        assert!(fake.holds(&dead_list("mailgun"), "a@example.com"), "committed: {is_committed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_address_is_refused_alone() {
    for provider in PROVIDERS {
        let (mut lane, fake) = pair(provider);
        let mut deltas = many(100);
        deltas.push(on("j\u{fc}rgen@example.com", 100));
        deltas.extend((101..160).map(|number| on(&format!("user{number}@example.com"), number)));
        let said = run(&mut lane, &deltas).await.unwrap();
        assert_eq!(said.iter().filter(|line| line.contains("done")).count(), 159, "{provider}");
        assert!(said[100].starts_with("suppress refused") && !said[100].contains("rgen@"), "{}", said[100]);
        assert_eq!(fake.held(), 159, "{provider}");
        // Halving, not one by one.
        assert!(fake.calls() < 25, "{provider}: {}", fake.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed() {
    let (mut lane, fake) = pair("sendgrid");
    fake.next_faults([Fault::RateLimited(17), Fault::RateLimited(5)]);
    let begun = Instant::now();
    let said = run(&mut lane, &many(3)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(22) && begun.elapsed() < Duration::from_secs(40));
    assert_eq!(said, ["suppress done global"; 3]);
    assert_eq!(fake.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_not_sat_out_within_a_batch() {
    let (mut lane, fake) = pair("mailgun");
    fake.next_faults([Fault::RateLimited(3_600)]);
    let begun = Instant::now();
    for _ in 0..5 {
        assert!(matches!(run(&mut lane, &many(3)).await, Err(StageError::Unavailable(_))));
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(fake.calls(), 1);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    run(&mut lane, &many(3)).await.unwrap();
    assert_eq!(fake.held(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_providers_rate_limit_is_met_without_a_refusal() {
    let mut config = config("sendgrid");
    (config.spacing_ms, config.batch_max) = (0, Some(10));
    config.rate_limit = Some(RateLimit { calls: 5, seconds: 1 });
    let fake = FakeApi::new(fake_of("sendgrid"));
    fake.set_rate_limit(Some(10));
    let mut lane = lane_with(config.clone(), Arc::new(Direct(fake.clone())));
    let begun = Instant::now();
    run(&mut lane, &many(500)).await.unwrap();
    assert_eq!((fake.held(), fake.statuses().get(&429)), (500, None));
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    // Knowing no limit of its own, it heeds what the headers say.
    config.rate_limit = None;
    let fake = FakeApi::new(fake_of("sendgrid"));
    fake.set_rate_limit(Some(3));
    let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
    run(&mut lane, &many(500)).await.unwrap();
    assert_eq!((fake.held(), fake.statuses().get(&429)), (500, None));
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_are_sat_out() {
    for provider in PROVIDERS {
        let (mut lane, fake) = pair(provider);
        fake.next_faults([Fault::Status(500), Fault::Silent, Fault::Status(503), Fault::SilentAfterEffect]);
        let said = run(&mut lane, &many(10)).await.unwrap();
        assert!(said.iter().all(|line| line.starts_with("suppress done")), "{said:?}");
        assert_eq!((fake.held(), fake.calls()), (10, 5), "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_day_loses_nothing() {
    let (mut lane, fake) = pair("postmark");
    fake.set_fault(Fault::Status(503));
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(24 * 3_600) {
        assert!(matches!(run(&mut lane, &many(60)).await, Err(StageError::Unavailable(_))));
        lane.revoked(&[0]);
        assert!(lane.status().trouble().is_some());
        tokio::time::sleep(Duration::from_secs(120)).await;
        rounds += 1;
    }
    // Once it is known to be down, a round is one call.
    assert!(fake.calls() <= rounds + 5, "{} calls in {rounds} rounds", fake.calls());
    fake.set_fault(Fault::None);
    run(&mut lane, &many(60)).await.unwrap();
    assert_eq!((fake.held(), lane.status().trouble()), (60, None));
}

#[tokio::test(start_paused = true)]
async fn calls_that_succeeded_are_not_made_again_after_a_rewind() {
    let (mut lane, fake) = pair("postmark");
    let deltas = many(150);
    fake.next_faults([Fault::None, Fault::None]);
    fake.set_fault(Fault::Status(500));
    assert!(run(&mut lane, &deltas).await.is_err());
    lane.revoked(&[0]);
    let before = fake.calls();
    fake.set_fault(Fault::None);
    run(&mut lane, &deltas).await.unwrap();
    assert_eq!((fake.held(), fake.calls() - before), (150, 1));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_batch_after_a_rewind_still_ends_in_the_newest_state() {
    for provider in PROVIDERS {
        let (mut lane, fake) = pair(provider);
        let deltas = [on("a@example.com", 1), off("a@example.com", 2), on("a@example.com", 3)];
        // The whole batch is done, but not committed; then it comes again in parts.
        lane.process(&batch(&deltas)).await.unwrap();
        lane.revoked(&[0]);
        for delta in &deltas {
            run(&mut lane, std::slice::from_ref(delta)).await.unwrap();
        }
        assert!(fake.holds(&dead_list(provider), "a@example.com"), "{provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_stop_the_lane_and_lose_nothing() {
    let fake = FakeApi::new(FakeProvider::SendGrid { api_key: "another".to_owned(), groups: Vec::new() });
    let mut lane = lane_with(config("sendgrid"), Arc::new(Direct(fake.clone())));
    for _ in 0..20 {
        assert!(matches!(run(&mut lane, &many(3)).await, Err(StageError::Unavailable(_))));
    }
    assert_eq!(fake.calls(), 1);
    let trouble = lane.status().trouble().unwrap().to_string();
    assert!(trouble.contains("refuses this account") && trouble.contains("credential"), "{trouble}");
    // Tried again slowly, ever more so.
    for wait in [60, 120, 240, 480, 900, 900] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let before = fake.calls();
        for _ in 0..3 {
            assert!(run(&mut lane, &many(3)).await.is_err());
        }
        assert_eq!(fake.calls() - before, 1, "after {wait} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unclear_removal_is_read_back_before_it_is_repeated() {
    let (mut lane, fake) = pair("mailgun");
    run(&mut lane, &many(1)).await.unwrap();
    let healed = delta(
        "user0@example.com",
        &Scope::All,
        &[(Scope::Marketing, Reason::Unsubscribe)],
        ("drip", Kind::Delivered),
        9,
    );
    // The removal happens, its answer is lost; meanwhile nothing may be removed again.
    fake.next_faults([Fault::SilentAfterEffect]);
    let before = fake.calls();
    let said = run(&mut lane, &[healed]).await.unwrap();
    assert_eq!(said, ["release done bounces"]);
    // The removal, the reading back, and marketing written.
    assert_eq!(fake.calls() - before, 3);
    assert_eq!(fake.statuses().get(&404), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_plans_and_calls_nothing() {
    let mut config = config("mailgun");
    config.dry_run = true;
    let fake = FakeApi::new(fake_of("mailgun"));
    let mut lane = lane_with(config, Arc::new(Direct(fake.clone())));
    let said = run(&mut lane, &[on("a@example.com", 1)]).await.unwrap();
    assert_eq!((said, fake.calls()), (vec!["suppress skipped bounces dry_run".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_waits() {
    let (mut lane, fake) = pair("postmark");
    fake.set_fault(Fault::Status(500));
    let status = lane.status();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        status.stop();
    });
    let begun = Instant::now();
    assert!(matches!(run(&mut lane, &many(1)).await, Err(StageError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_goes_to_the_dead_letters() {
    let (mut lane, fake) = pair("sendgrid");
    let mut batch = batch(&[on("a@example.com", 1), on("b@example.com", 2), on("c@example.com", 3)]);
    batch.records[0].record.value = Some("nonsense".into());
    batch.records[1].record.value = None;
    let outputs = lane.process(&batch).await.unwrap();
    assert_eq!(
        shown(&outputs),
        [r#"Dead("malformed_delta") 1"#, r#"Dead("malformed_delta") 1"#, "suppress done global"]
    );
    assert_eq!(&*outputs.verdicts[0].outputs[0].topic, schemas::topics::DEAD_LETTER);
    assert_eq!(fake.held(), 1);
}
