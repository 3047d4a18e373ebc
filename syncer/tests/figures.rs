//! What a lane says of what waits in it, and what it counts.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::Stage as _;
use service::Clock as _;
use std::sync::Arc;
use support::{Direct, TokioClock, batch, config, fake_of, log_keeping};
use syncer::{Account, Lane, Metrics, Waiting};
use testkit::{
    Fault,
    builders::{BASE_SECONDS, delta},
    fake::FakeApi,
};

/// A lane to SendGrid whose figures can be read.
fn lane() -> (Lane, FakeApi, service::Metrics) {
    let (fake, shown) = (FakeApi::new(fake_of("sendgrid")), service::Metrics::new().unwrap());
    let metrics = Metrics::new(&shown).unwrap();
    let (api, log) = (Arc::new(Direct(fake.clone())), Arc::new(log_keeping(1_000)));
    let lane = Lane::new(Account::new(config("sendgrid")).unwrap(), api, log, Arc::new(TokioClock::default()), metrics);
    (lane, fake, shown)
}

fn bounced(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[(Scope::All, Reason::HardBounce)], ("drip", Kind::BouncedHard), position)
}

fn left(address: &str, position: u64) -> Delta {
    let in_force = [(Scope::Marketing, Reason::Unsubscribe)];
    delta(address, &Scope::Marketing, &in_force, ("drip", Kind::Unsubscribed), position)
}

/// A value of the account's; none where there is no such series.
fn figure(shown: &service::Metrics, name: &str) -> Option<f64> {
    let text = shown.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{account=\"sendgrid-main\"}} ")))?;
    line.parse().ok()
}

/// The age of what happened at these seconds of the builders, within some seconds.
#[track_caller]
fn is_age_of(shown: &service::Metrics, name: &str, seconds: i64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = figure(shown, name).unwrap();
    let expected = now - (BASE_SECONDS + seconds) as f64;
    assert!((expected - age).abs() < 10.0, "{name}: {age}, expected {expected}");
}

const PENDING: &str = "quell_syncer_pending";
const OLDEST: &str = "quell_syncer_oldest_pending_seconds";
const OPTOUT: &str = "quell_syncer_oldest_optout_seconds";

#[tokio::test(start_paused = true)]
async fn a_lane_begins_with_nothing() {
    let (_lane, _, shown) = lane();
    assert_eq!([PENDING, OLDEST, OPTOUT].map(|name| figure(&shown, name)), [Some(0.0); 3]);
    assert_eq!(figure(&shown, "quell_syncer_account_blocked"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_an_outage_is_told_and_gone_after_it() {
    let (mut lane, fake, shown) = lane();
    let waiting: Waiting = lane.waiting();
    fake.set_fault(Fault::Status(503));
    let deltas = [bounced("a@example.com", 100), bounced("b@example.com", 200), left("b@example.com", 300)];
    let batch = batch(&deltas);
    lane.process(&batch).await.unwrap_err();
    // The runner goes back: the records lie in the log again.
    waiting.behind(3);
    waiting.oldest(Some((BASE_SECONDS + 1) * 1_000));
    assert_eq!(figure(&shown, PENDING), Some(2.0), "two recipients");
    is_age_of(&shown, OLDEST, 101);
    is_age_of(&shown, OPTOUT, 301);
    // More came, which the lane does not read while it stands: it may be an opt-out as old as anything that waits.
    waiting.behind(7);
    assert_eq!(figure(&shown, PENDING), Some(6.0));
    is_age_of(&shown, OPTOUT, 301);

    fake.set_fault(Fault::None);
    waiting.behind(4);
    lane.process(&batch).await.unwrap();
    assert_eq!(figure(&shown, PENDING), Some(4.0), "what the batch has is settled");
    lane.committed(&batch).await.unwrap();
    is_age_of(&shown, OPTOUT, 1);
    waiting.behind(0);
    waiting.oldest(None);
    assert_eq!([PENDING, OLDEST, OPTOUT].map(|name| figure(&shown, name)), [Some(0.0); 3]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_holds_up_bounces_alone_holds_up_no_opt_out() {
    let (mut lane, fake, shown) = lane();
    fake.set_fault(Fault::Status(503));
    lane.process(&batch(&[bounced("a@example.com", 100)])).await.unwrap_err();
    lane.waiting().behind(1);
    lane.waiting().oldest(Some(BASE_SECONDS * 1_000));
    assert_eq!((figure(&shown, PENDING), figure(&shown, OPTOUT)), (Some(1.0), Some(0.0)));
    is_age_of(&shown, OLDEST, 101);
    // The partition is another's now, and nothing of it waits here.
    lane.waiting().revoked(&[0]);
    lane.waiting().behind(0);
    lane.waiting().oldest(None);
    assert_eq!((figure(&shown, PENDING), figure(&shown, OLDEST)), (Some(0.0), Some(0.0)));
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_commit_failed_counts_once() {
    let (mut lane, _, shown) = lane();
    let batch = batch(&[bounced("a@example.com", 100), bounced("b@example.com", 200)]);
    lane.process(&batch).await.unwrap();
    assert_eq!(figure(&shown, "quell_syncer_delta_delay_seconds_count"), None);
    lane.revoked(&[0]);
    lane.process(&batch).await.unwrap();
    lane.committed(&batch).await.unwrap();
    let text = shown.render();
    let done = "quell_syncer_outcomes_total{account=\"sendgrid-main\",action=\"suppress\",result=\"done\"} 2\n";
    assert!(text.contains(done), "{text}");
    assert_eq!(figure(&shown, "quell_syncer_delta_delay_seconds_count"), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn the_way_to_the_provider_is_told_since_the_receipt_and_since_the_delta_lay_in_the_log() {
    let (mut lane, _, shown) = lane();
    // Received a long time before; in the log an hour before, and by a clock that runs ahead.
    let now_ms = TokioClock::default().now_millis();
    let mut batch = batch(&[bounced("a@example.com", 100), bounced("b@example.com", 200)]);
    batch.records[0].record.timestamp_ms = now_ms - 3_600_000;
    batch.records[1].record.timestamp_ms = now_ms + 3_600_000;
    lane.process(&batch).await.unwrap();
    assert_eq!(figure(&shown, "quell_syncer_provider_delay_seconds_count"), None, "not committed");
    lane.committed(&batch).await.unwrap();
    let sum = |name: &str| figure(&shown, &format!("quell_syncer_{name}_seconds_sum")).unwrap();
    assert_eq!(figure(&shown, "quell_syncer_provider_delay_seconds_count"), Some(2.0));
    assert!((sum("provider_delay") - 3_600.0).abs() < 60.0, "{}", sum("provider_delay"));
    assert!(sum("delta_delay") > 86_400.0, "they are of another year");
}
