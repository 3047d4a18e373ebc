//! The gateway while its log is away, over real HTTP.

use crate::running::{Running, Setup, bounce, start};
use ingest_gateway::{Limits, SpoolConfig};
use schemas::{Receipt, wire::RawWebhook};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

fn setup(directory: &std::path::Path, bytes_max: u64) -> Setup {
    let spool = SpoolConfig { directory: directory.to_owned(), bytes_max, wait_ms: 50, ..SpoolConfig::default() };
    let limits = Limits { body_bytes_max: 300_000, decoded_bytes_max: 300_000, ..Limits::default() };
    Setup { spool: Some(spool), limits, ..Setup::default() }
}

fn hang(gateway: &Running) {
    gateway.log.gate.forget_permits(Semaphore::MAX_PERMITS);
}

async fn receipt(response: reqwest::Response) -> String {
    let answer: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    answer["receipt_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_log_that_hangs_is_no_reason_to_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(setup(folder.path(), 1 << 20)).await;
    let logged = gateway.drip("/webhooks/drip", &bounce("a@example.com")).send().await.unwrap();
    assert!(receipt(logged).await.starts_with("r2.3.0."));

    hang(&gateway);
    let response = gateway.drip("/webhooks/drip", &bounce("b@example.com")).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let told = receipt(response).await;
    assert_eq!(location, format!("/v1/receipts/{told}"));
    let Ok(Receipt::Spooled(id)) = told.parse() else { panic!("{told}") };
    assert_eq!(gateway.appended(), 1);
    assert_eq!(gateway.count("quell_gateway_spool_records"), 1);
    assert!(gateway.readiness.report().0);

    gateway.log.gate.add_permits(1_000);
    let drain = tokio::spawn({
        let (spooling, stop) = (gateway.spooling.clone().unwrap(), gateway.stop.clone());
        async move { spooling.drain(stop).await }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.appended() < 2 {
        assert!(Instant::now() < deadline, "it was never drained");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let raw: RawWebhook = gateway.raw(1);
    assert_eq!((raw.receipt_id.as_str(), raw.body), (id.inner(), bounce("b@example.com")));
    gateway.stop.cancel();
    drain.await.unwrap();
}

#[tokio::test]
async fn a_full_spool_is_refused_in_the_provider_s_way() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(setup(folder.path(), 1 << 20)).await;
    gateway.readiness.set("log", true);
    hang(&gateway);
    let mut body = bounce("a@example.com");
    body.resize(280_000, b' ');
    for _ in 0..3 {
        assert_eq!(gateway.drip("/webhooks/drip", &body).send().await.unwrap().status(), 202);
    }
    assert!(gateway.readiness.report().0);
    for provider in ["drip", "twilio"] {
        let request = match provider {
            "drip" => gateway.drip("/webhooks/drip", &body),
            _ => {
                let mut form =
                    b"MessageSid=SM1&MessageStatus=undelivered&To=%2B15551234567&ErrorCode=30003&x=".to_vec();
                form.resize(280_000, b'x');
                let request = gateway.client.post(gateway.url("/webhooks/twilio"));
                request.header("content-type", "application/x-www-form-urlencoded").body(form)
            }
        };
        let begun = Instant::now();
        let response = request.send().await.unwrap();
        let expected = match providers::by_name(provider).unwrap().overload() {
            providers::Overload::TooManyRequests => 429,
            providers::Overload::ServiceUnavailable => 503,
        };
        assert_eq!(response.status(), expected, "{provider}");
        assert!(response.headers().contains_key("retry-after"));
        assert!(response.text().await.unwrap().contains(r#""reason":"spool_full""#));
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert!(!gateway.readiness.report().0);
}
