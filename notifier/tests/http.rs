//! Lanes over real HTTP: signatures verified by another implementation, refusals, inner addresses.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests: whatever fails ends them")]

mod support;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use notifier::{HttpReceiver, SubscriberConfig, Way};
use service::http_client::{HttpClient, HttpClientOptions};
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Bed, OTHER_SECRET, SECRET, config, expected, off, on};

/// What a receiver keeps: an id and its body, and how often it came.
#[derive(Debug, Default)]
struct Kept {
    bodies: BTreeMap<String, Vec<Vec<u8>>>,
    order: Vec<String>,
    n_refused: usize,
    answers: Vec<(u16, Option<&'static str>)>,
}

type Shared = Arc<Mutex<Kept>>;

/// Verifies as the specification says: any of the signatures, by a key of its own, over `id.timestamp.body`.
fn verifies(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    use base64_of_tests::decode;
    let text = |name: &str| headers[name].to_str().unwrap();
    let key = decode(secret.strip_prefix("whsec_").unwrap());
    text("webhook-signature").split(' ').any(|signature| {
        let Some(("v1", signature)) = signature.split_once(',') else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes());
        mac.update(body);
        mac.verify_slice(&decode(signature)).is_ok()
    })
}

/// A few lines of base64, so that nothing is shared with what is tested.
mod base64_of_tests {
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            (bits, held) = ((bits << 6) | u32::from(value(byte)), held + 6);
            if held >= 8 {
                held -= 8;
                out.push(((bits >> held) & 0xff) as u8);
            }
        }
        out
    }
}

async fn take(State(kept): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap();
    let fresh = {
        let sent: i64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        (sent - support::BEGIN).abs() < 300
    };
    if !fresh || !verifies(SECRET, &headers, &body) || !verifies(OTHER_SECRET, &headers, &body) {
        kept.n_refused += 1;
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some((status, after)) = kept.answers.pop() {
        let status = StatusCode::from_u16(status).unwrap();
        return match after {
            Some(after) => (status, [("retry-after", after)]).into_response(),
            None => status.into_response(),
        };
    }
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    kept.bodies.entry(id.clone()).or_default().push(body.to_vec());
    kept.order.push(id);
    // A body that nobody asked for.
    (StatusCode::OK, "thanks".repeat(100)).into_response()
}

async fn start() -> (String, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks?token=t0ken", listener.local_addr().unwrap());
    let kept = Shared::default();
    let app = Router::new().route("/hooks", post(take)).with_state(Arc::clone(&kept));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, kept)
}

fn to(url: &str) -> SubscriberConfig {
    SubscriberConfig { url: url.to_owned(), secrets: vec![OTHER_SECRET.to_owned(), SECRET.to_owned()], ..config("crm") }
}

fn http(allow_private: bool) -> HttpReceiver {
    let options = HttpClientOptions { allow_private, ..HttpClientOptions::default() };
    HttpReceiver::new(HttpClient::new(&options).unwrap())
}

#[tokio::test]
async fn each_delta_arrives_signed_by_every_active_secret() {
    let deltas: Vec<_> = (0..40)
        .map(|number| {
            let address = format!("user{}@example.com", number % 10);
            if number < 30 { on(&address, number) } else { off(&address, number) }
        })
        .collect();
    let bed = Bed::new(&deltas);
    let (url, kept) = start().await;
    kept.lock().unwrap().answers = vec![(500, None), (429, Some("1"))];
    bed.finish(bed.lane(to(&url), Way::Deltas, http(true))).await;
    let kept = kept.lock().unwrap();
    assert_eq!(kept.n_refused, 0, "signatures and times are right");
    assert_eq!(kept.bodies.len(), deltas.len());
    assert!(kept.bodies.values().all(|bodies| bodies.len() == 1), "none twice");
    for delta in &deltas {
        let body: serde_json::Value = serde_json::from_slice(&kept.bodies[&delta.delta_id.to_string()][0]).unwrap();
        assert_eq!(body["data"], schemas::json::delta(delta));
    }
    for (address, ids) in expected(&deltas) {
        let order: Vec<&String> = kept.order.iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(order, ids.iter().collect::<Vec<_>>(), "{address}");
    }
}

#[tokio::test]
async fn what_is_posted_again_is_the_same_under_the_same_id() {
    let bed = Bed::new(&[on("a@example.com", 1), on("b@example.com", 2)]);
    let (url, kept) = start().await;
    let mut commits = 0;
    let crash = |phase| {
        commits += usize::from(phase == event_log::runner::PhaseName::Commit);
        commits == 1
    };
    assert!(!bed.run(bed.lane(to(&url), Way::Deltas, http(true)), Way::Deltas, crash).await);
    bed.finish(bed.lane(to(&url), Way::Deltas, http(true))).await;
    let kept = kept.lock().unwrap();
    assert_eq!(kept.bodies.len(), 2);
    assert!(kept.bodies.values().all(|bodies| bodies.len() == 2 && bodies[0] == bodies[1]), "{:?}", kept.order);
}

#[tokio::test]
async fn inner_addresses_are_not_called_unless_allowed() {
    let bed = Bed::new(&[on("a@example.com", 1)]);
    let (url, kept) = start().await;
    let lane = bed.lane(to(&url), Way::Deltas, http(false));
    let status = lane.status();
    let run = bed.run(lane, Way::Deltas, |_| false);
    assert!(tokio::time::timeout(Duration::from_secs(2), run).await.is_err(), "it is tried again for ever");
    assert!(status.trouble().is_none_or(|trouble| !trouble.to_string().contains("t0ken")));
    let kept = kept.lock().unwrap();
    assert_eq!((kept.bodies.len(), kept.n_refused), (0, 0));
    assert!(bed.metric("quell_notifier_deliveries_total{outcome=\"unusable\",subscriber=\"crm\"}").unwrap() >= 1.0);
}

#[tokio::test]
async fn redirects_are_not_followed_and_no_answer_is_a_failure() {
    async fn elsewhere() -> impl IntoResponse {
        (StatusCode::FOUND, [("location", "/other")])
    }
    async fn never() {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app =
        Router::new().route("/moved", post(elsewhere)).route("/other", post(|| async {})).route("/never", post(never));
    tokio::spawn(async move { axum::serve(listener, app).await });
    for (path, outcome, timeout_ms) in [("moved", "redirected", 30_000), ("never", "no_answer", 200)] {
        let bed = Bed::new(&[on("a@example.com", 1)]);
        let mut config = to(&format!("http://{address}/{path}"));
        config.timeout_ms = timeout_ms;
        let line = format!("quell_notifier_deliveries_total{{outcome=\"{outcome}\",subscriber=\"crm\"}}");
        let run = async { bed.run(bed.lane(config, Way::Deltas, http(true)), Way::Deltas, |_| false).await };
        let counted = async {
            while bed.metric(&line).is_none_or(|count| count < 1.0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = run => panic!("{path}: it is tried again for ever"),
            counted = tokio::time::timeout(Duration::from_secs(30), counted) => counted.expect(path),
        }
    }
}
