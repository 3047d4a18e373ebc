//! Lanes over real HTTP, against fakes as strict as the real providers.

#![expect(clippy::unwrap_used, reason = "tests: whatever fails ends them")]

mod support;

use domain::{Delta, Kind, Reason, Scope};
use event_log::{Stage as _, StageError};
use service::http_client::{HttpClient, HttpClientOptions};
use std::{sync::Arc, time::Duration};
use support::{PROVIDERS, batch, config, dead_list, fake_of, lane_with, shown};
use syncer::{HttpApi, Lane};
use testkit::{Fake, Fault, builders::delta};

fn on(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[(Scope::All, Reason::HardBounce)], ("drip", Kind::BouncedHard), position)
}

fn off(address: &str, position: u64) -> Delta {
    delta(address, &Scope::All, &[], ("quell", Kind::ReleasedManually), position)
}

async fn start(provider: &str, timeout_ms: u64) -> (Lane, Fake) {
    let fake = Fake::start(fake_of(provider)).await.unwrap();
    let mut config = config(provider);
    (config.base_url, config.spacing_ms, config.timeout_ms) = (Some(fake.url()), 1, timeout_ms);
    (lane_with(config, Arc::new(http(true))), fake)
}

fn http(allow_private: bool) -> HttpApi {
    let options = HttpClientOptions { allow_private, ..HttpClientOptions::default() };
    HttpApi::new(HttpClient::new(&options).unwrap())
}

#[tokio::test]
async fn the_fakes_take_what_is_sent() {
    for provider in PROVIDERS {
        let (mut lane, fake) = start(provider, 5_000).await;
        let odd = "odd+plus/slash%percent@example.com";
        let mut deltas: Vec<Delta> = (0..120).map(|number| on(&format!("user{number}@example.com"), number)).collect();
        deltas.push(on(odd, 120));
        lane.process(&batch(&deltas)).await.unwrap();
        assert_eq!(fake.addresses(&dead_list(provider)).len(), 121, "{provider}");
        let outputs = lane.process(&batch(&[off(odd, 121), off("user7@example.com", 122)])).await.unwrap();
        assert!(shown(&outputs).iter().all(|line| line.starts_with("release done")), "{:?}", shown(&outputs));
        assert!(!fake.holds(&dead_list(provider), odd), "{provider}");
        assert_eq!(fake.held(), 119, "{provider}");
        assert!(fake.statuses().keys().all(|status| matches!(status, 200 | 201 | 204 | 404)), "{:?}", fake.statuses());
    }
}

#[tokio::test]
async fn faults_on_the_wire_are_sat_out() {
    let (mut lane, fake) = start("sendgrid", 3_000).await;
    fake.next_faults([Fault::Silent, Fault::Slow(Duration::from_millis(100))]);
    lane.process(&batch(&[on("a@example.com", 1)])).await.unwrap();
    assert!(fake.holds("global", "a@example.com"));
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_provider_that_is_not_there_stops_its_lane() {
    let (mut lane, fake) = start("postmark", 300).await;
    drop(fake);
    let error = lane.process(&batch(&[on("a@example.com", 1)])).await.unwrap_err();
    assert!(matches!(&error, StageError::Unavailable(why) if why.contains("not sent")), "{error}");
}

#[tokio::test]
async fn inner_addresses_are_not_called_unless_allowed() {
    let fake = Fake::start(fake_of("sendgrid")).await.unwrap();
    let mut config = config("sendgrid");
    config.base_url = Some(fake.url());
    let mut lane = lane_with(config, Arc::new(http(false)));
    assert!(lane.process(&batch(&[on("a@example.com", 1)])).await.is_err());
    assert_eq!(fake.calls(), 0);
    assert!(lane.status().trouble().unwrap().to_string().contains("allow_private"));
}
