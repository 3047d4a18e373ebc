//! Every answer the gateway gives, over real HTTP.

use crate::running::{Mode, Setup, bounce, mailgun, start};
use event_log::AppendError;
use flate2::{Compression, write::GzEncoder};
use ingest_gateway::Limits;
use schemas::ReceiptId;
use std::{io::Write as _, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_accepted_webhook_is_in_the_log_as_it_came() {
    let gateway = start(Setup::default()).await;
    let body = bounce("a@example.com");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = gateway
        .drip("/webhooks/drip?x=1", &body)
        .header("content-type", "application/json")
        .header("authorization", "Basic c2VjcmV0")
        .header("cookie", "secret=1")
        .header("traceparent", trace)
        .header("tracestate", "a=1")
        .header("tracestate", "b=2")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let answer: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["status"], "accepted");
    let receipt: ReceiptId = answer["receipt_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(location, format!("/v1/receipts/{receipt}"));
    assert_eq!((receipt.epoch(), receipt.partition(), receipt.offset()), (2, 3, 0));

    let raw = gateway.raw(0);
    assert_eq!(raw.receipt_id, receipt.inner());
    assert_eq!(raw.body, body);
    assert_eq!((raw.provider.as_str(), raw.source.as_str(), raw.tenant.as_str()), ("drip", "default", "acme"));
    assert_eq!((raw.method.as_str(), raw.url.as_str()), ("POST", "/webhooks/drip?x=1"));
    assert_eq!(raw.received_at, crate::running::NOW_S * 1_000_000);
    assert_eq!(raw.verified, "hmac-sha256");
    assert!(!raw.shadow);
    assert_eq!(raw.headers.keys().collect::<Vec<_>>(), ["content-type", "x-drip-signature"]);
    let records = gateway.log.records.lock().unwrap();
    assert_eq!(records[0].key, None);
    assert_eq!(records[0].timestamp_ms, crate::running::NOW_S * 1_000);
    let headers: Vec<_> =
        records[0].headers.iter().map(|header| (header.name.as_ref(), header.value.clone())).collect();
    assert_eq!(
        headers,
        [
            ("receipt-id", receipt.inner().as_bytes().to_vec().into()),
            ("traceparent", trace.as_bytes().to_vec().into()),
            ("tracestate", "a=1,b=2".into()),
        ]
    );
}

#[tokio::test]
async fn fixed_paths_mean_the_default_source() {
    let gateway = start(Setup::default()).await;
    for path in ["/webhooks/drip", "/webhooks/drip/default", "/webhooks/drip/bounce"] {
        assert_eq!(gateway.drip(path, &bounce("a@example.com")).send().await.unwrap().status(), 202, "{path}");
    }
    let status = "MessageSid=SM1&MessageStatus=undelivered&To=%2B15551234567&ErrorCode=30003";
    for path in ["/webhooks/twilio", "/webhooks/twilio/status"] {
        let request =
            gateway.client.post(gateway.url(path)).header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(request.body(status).send().await.unwrap().status(), 202, "{path}");
    }
    let sources: Vec<_> = (0..5).map(|at| gateway.raw(at).source).collect();
    assert_eq!(sources, ["default"; 5]);
    let event = gateway.client.post(gateway.url("/webhooks/email/events")).bearer_auth("token").body("{}");
    assert_ne!(event.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_provider_is_answered_as_it_expects() {
    let gateway = start(Setup::default()).await;
    let mandrill = gateway.url("/webhooks/mandrill");
    // How it tries an endpoint out, without a proof.
    assert_eq!(gateway.client.head(&mandrill).send().await.unwrap().status(), 200);
    assert_eq!(gateway.client.get(&mandrill).send().await.unwrap().status(), 405);
    assert_eq!(gateway.client.head(gateway.url("/webhooks/drip")).send().await.unwrap().status(), 405);
    assert_eq!(gateway.appended(), 0);
    // It takes nothing but 200 for a success.
    let form =
        "mandrill_events=%5B%7B%22event%22%3A%22open%22%2C%22msg%22%3A%7B%22email%22%3A%22a%40example.com%22%7D%7D%5D";
    let post = gateway.client.post(&mandrill).header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(post.try_clone().unwrap().send().await.unwrap().status(), 401);
    let response = post.bearer_auth("token").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("location"));
    assert_eq!((gateway.appended(), gateway.raw(0).body), (1, form.as_bytes().to_vec()));
}

#[tokio::test]
async fn a_body_may_be_compressed() {
    let gateway = start(Setup::default()).await;
    let body = bounce("a@example.com");
    let signed = gateway.drip("/webhooks/drip", &body).header("content-encoding", "gzip").body(gzip(&body));
    assert_eq!(signed.send().await.unwrap().status(), 202);
    assert_eq!(gateway.raw(0).body, body);
}

/// A request and its answer: status, the headers that matter, the document.
async fn row(table: &mut String, name: &str, request: reqwest::RequestBuilder) {
    let response = request.send().await.unwrap();
    table.push_str(&format!("{name}\n  {}\n", response.status().as_u16()));
    for (header, value) in response.headers() {
        if !matches!(header.as_str(), "date" | "content-length") {
            table.push_str(&format!("  {header}: {}\n", value.to_str().unwrap()));
        }
    }
    table.push_str(&format!("  {}\n\n", response.text().await.unwrap()));
}

#[tokio::test]
async fn the_table_of_refusals() {
    let gateway = start(Setup::default()).await;
    let (mut table, body) = (String::new(), bounce("a@example.com"));
    let table = &mut table;
    let post = |path: &str| gateway.client.post(gateway.url(path));
    let drip = || gateway.drip("/webhooks/drip", &body);
    let form = |body: &'static str| {
        post("/webhooks/twilio").header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let queued = "MessageSid=SM1&MessageStatus=queued&To=%2B15551234567";
    row(table, "ignored: an event that concerns nobody", form(queued)).await;
    row(table, "no JSON", gateway.drip("/webhooks/drip", b"{\"event\":")).await;
    row(table, "no address", gateway.drip("/webhooks/drip", br#"{"event":"subscriber.bounced","data":{}}"#)).await;
    row(table, "an empty body", gateway.drip("/webhooks/drip", b"")).await;
    row(table, "not coded as it says", drip().header("content-encoding", "gzip")).await;
    row(table, "no signature", post("/webhooks/drip").body(body.clone())).await;
    row(table, "a wrong signature", gateway.drip("/webhooks/drip", b"other").body(body.clone())).await;
    row(table, "no credentials", post("/webhooks/postmark").body("{}")).await;
    row(table, "wrong credentials", post("/webhooks/postmark").basic_auth("user", Some("wrong")).body("{}")).await;
    row(table, "no bearer token", post("/webhooks/generic").body("{}")).await;
    row(table, "no such provider", post("/webhooks/nobody").body("{}")).await;
    row(table, "a provider without a source", post("/webhooks/sendgrid").body("{}")).await;
    row(table, "no such source", post("/webhooks/drip/other").body("{}")).await;
    row(table, "no such path", gateway.client.get(gateway.url("/"))).await;
    row(table, "GET", gateway.client.get(gateway.url("/webhooks/drip"))).await;
    row(table, "HEAD", gateway.client.head(gateway.url("/webhooks/drip"))).await;
    row(table, "PUT on a fixed path", gateway.client.put(gateway.url("/webhooks/drip/bounce")).body("{}")).await;
    row(table, "too large", gateway.drip("/webhooks/drip", &[b' '; 4_097])).await;
    row(table, "far too large", gateway.drip("/webhooks/drip", &vec![b' '; 1_000_000])).await;
    let bomb = gzip(&vec![b' '; 1_000_000]);
    row(table, "too large once decoded", drip().header("content-encoding", "gzip").body(bomb)).await;
    row(table, "an unknown coding", drip().header("content-encoding", "br")).await;
    row(table, "a foreign type", drip().header("content-type", "image/png")).await;
    for (name, error) in [
        ("the log's queue is full", AppendError::Busy),
        ("the log cannot be written", AppendError::Unavailable("disk".into())),
        ("too large for the log", AppendError::TooLarge { bytes: 2, bytes_max: 1 }),
    ] {
        *gateway.log.mode.lock().unwrap() = Mode::Fails(error);
        row(table, name, drip()).await;
        let failed = "MessageSid=SM1&MessageStatus=undelivered&To=%2B15551234567&ErrorCode=30003";
        row(table, &format!("{name} (twilio)"), form(failed)).await;
    }
    insta::assert_snapshot!(table);
    assert_eq!(gateway.appended(), 0);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused() {
    let gateway = start(Setup::default()).await;
    let chunks = (0..200).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let response = gateway.client.post(gateway.url("/webhooks/drip")).body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_replayed_token_passes_only_with_its_first_body() {
    let gateway = start(Setup::default()).await;
    let send = async |path: &str, body: Vec<u8>| {
        let response = gateway.client.post(gateway.url(path)).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let first = mailgun("token-1", "a@example.com");
    assert_eq!(send("/webhooks/mailgun", first.clone()).await.0, 200);
    // The provider's retry.
    assert_eq!(send("/webhooks/mailgun", first).await.0, 200);
    let (status, text) = send("/webhooks/mailgun", mailgun("token-1", "victim@example.com")).await;
    assert_eq!(status, 401);
    assert!(text.contains(r#""reason":"replayed_token""#), "{text}");
    assert_eq!(send("/webhooks/mailgun", mailgun("token-2", "victim@example.com")).await.0, 200);
    assert_eq!(gateway.appended(), 3);

    // A body that is refused binds nothing.
    let senseless = mailgun("token-3", "");
    assert_eq!(send("/webhooks/mailgun", senseless).await.0, 400);
    assert_eq!(send("/webhooks/mailgun", mailgun("token-3", "a@example.com")).await.0, 200);

    // Where the source only reports, a replay is taken and marked.
    assert_eq!(send("/webhooks/mailgun/shadow", mailgun("token-1", "other@example.com")).await.0, 200);
    let raw = gateway.raw(4);
    assert_eq!((raw.shadow, raw.verified.as_str()), (true, "none"));
}

#[tokio::test]
async fn a_signed_time_grows_stale() {
    let gateway = start(Setup::default()).await;
    let send = async |token| {
        let request = gateway.client.post(gateway.url("/webhooks/mailgun")).body(mailgun(token, "a@example.com"));
        request.send().await.unwrap().status().as_u16()
    };
    gateway.clock.advance_micros(12 * 3_600 * 1_000_000);
    assert_eq!(send("token-1").await, 200);
    gateway.clock.advance_micros(1_000_000);
    assert_eq!(send("token-2").await, 401);
}

#[tokio::test]
async fn a_refusal_does_not_ask_for_the_body_that_a_client_holds_back() {
    let gateway = start(Setup::default()).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST /webhooks/drip HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_retry_after_a_failed_append_is_no_replay() {
    let gateway = start(Setup::default()).await;
    *gateway.log.mode.lock().unwrap() = Mode::Fails(AppendError::Busy);
    let body = mailgun("token-1", "a@example.com");
    let send = async || gateway.client.post(gateway.url("/webhooks/mailgun")).body(body.clone()).send().await.unwrap();
    assert_eq!(send().await.status(), 503);
    *gateway.log.mode.lock().unwrap() = Mode::Fine;
    assert_eq!(send().await.status(), 200);
}

#[tokio::test]
async fn without_a_token_store_nothing_bound_is_taken() {
    let tokens = std::sync::Arc::new(ingest_gateway::MemoryTokens::new(0));
    let gateway = start(Setup { tokens, ..Setup::default() }).await;
    let body = mailgun("token-1", "a@example.com");
    let response = gateway.client.post(gateway.url("/webhooks/mailgun")).body(body).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(gateway.appended(), 0);
    // Other providers need none.
    assert_eq!(gateway.drip("/webhooks/drip", &bounce("a@example.com")).send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_source_in_shadow_mode_reports_and_takes() {
    let gateway = start(Setup::default()).await;
    let body = bounce("a@example.com");
    let forged = gateway.client.post(gateway.url("/webhooks/drip/shadow")).body(body.clone());
    assert_eq!(forged.send().await.unwrap().status(), 202);
    assert_eq!(gateway.drip("/webhooks/drip/shadow", &body).send().await.unwrap().status(), 202);
    let told = |at| (gateway.raw(at).shadow, gateway.raw(at).verified);
    assert_eq!((told(0), told(1)), ((true, "none".into()), (false, "hmac-sha256".into())));
    let series = r#"quell_gateway_shadow_failures_total{provider="drip",reason="missing_signature",source="shadow"}"#;
    assert_eq!(gateway.count(series), 1);
}

#[tokio::test]
async fn beyond_its_bounds_it_refuses_at_once_and_recovers() {
    let limits = Limits { in_flight_max: 2, ..Setup::default().limits };
    let gateway = start(Setup { limits, ..Setup::default() }).await;
    let gate = gateway.log.gate.acquire_many(tokio::sync::Semaphore::MAX_PERMITS as u32).await.unwrap();
    gateway.log.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let body = bounce("a@example.com");
    let inside: Vec<_> = (0..2).map(|_| tokio::spawn(gateway.drip("/webhooks/drip", &body).send())).collect();
    while gateway.count("quell_gateway_in_flight_requests") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.count("quell_gateway_in_flight_bytes"), 2 * body.len() as u64);
    let refused = gateway.drip("/webhooks/drip", &body).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert!(refused.text().await.unwrap().contains(r#""reason":"too_many_requests""#));
    drop(gate);
    gateway.log.gate.add_permits(1_000);
    for task in inside {
        assert_eq!(task.await.unwrap().unwrap().status(), 202);
    }
    assert_eq!(gateway.drip("/webhooks/drip", &body).send().await.unwrap().status(), 202);
    assert_eq!(gateway.count("quell_gateway_in_flight_requests"), 0);
    assert_eq!(gateway.count("quell_gateway_in_flight_bytes"), 0);
}

#[tokio::test]
async fn bodies_share_bounded_memory() {
    let limits = Limits { in_flight_bytes_max: 100, ..Setup::default().limits };
    let gateway = start(Setup { limits, ..Setup::default() }).await;
    let response = gateway.drip("/webhooks/drip", &[b' '; 101]).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.text().await.unwrap().contains("too_many_bytes"));
}

#[tokio::test]
async fn a_panic_is_one_request_s_500() {
    let gateway = start(Setup::default()).await;
    *gateway.log.mode.lock().unwrap() = Mode::Panics;
    let body = bounce("a@example.com");
    let response = gateway.drip("/webhooks/drip", &body).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    *gateway.log.mode.lock().unwrap() = Mode::Fine;
    assert_eq!(gateway.drip("/webhooks/drip", &body).send().await.unwrap().status(), 202);
    let series = r#"quell_gateway_webhooks_total{cause="panic",provider="drip",source="default",status="500"}"#;
    assert_eq!(gateway.count(series), 1);
    assert_eq!(gateway.count("quell_gateway_in_flight_requests"), 0);
}

#[tokio::test]
async fn counts_by_status_and_cause_and_never_by_what_a_stranger_writes() {
    let gateway = start(Setup::default()).await;
    let body = bounce("a@example.com");
    gateway.drip("/webhooks/drip", &body).send().await.unwrap();
    gateway.client.post(gateway.url("/webhooks/drip")).body(body).send().await.unwrap();
    gateway.client.post(gateway.url("/webhooks/drip/made-up")).send().await.unwrap();
    gateway.client.post(gateway.url("/webhooks/made-up")).send().await.unwrap();
    let count = |provider, source, status, cause| {
        let labels = format!(r#"cause="{cause}",provider="{provider}",source="{source}",status="{status}""#);
        gateway.count(&format!("quell_gateway_webhooks_total{{{labels}}}"))
    };
    assert_eq!(count("drip", "default", 202, "accepted"), 1);
    assert_eq!(count("drip", "default", 401, "missing_signature"), 1);
    assert_eq!(count("unknown", "unknown", 404, "not_found"), 2);
    assert!(!gateway.metrics.render().contains("made-up"));
}

#[tokio::test]
async fn a_log_that_cannot_be_written_shows_in_readiness() {
    let gateway = start(Setup::default()).await;
    gateway.readiness.set("log", true);
    *gateway.log.mode.lock().unwrap() = Mode::Fails(AppendError::Unavailable("disk".into()));
    gateway.drip("/webhooks/drip", &bounce("a@example.com")).send().await.unwrap();
    assert!(!gateway.readiness.report().0);
}

/// What strangers may send: an answer in the 400s each time, or ignored; never a 500, and nothing is kept.
#[tokio::test]
async fn hostile_bodies_get_clear_refusals() {
    let gateway = start(Setup::default()).await;
    let deep = "[".repeat(4_000);
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 100],
        vec![0xff; 100],
        deep.into_bytes(),
        b"{\"event\":{\"event\":".repeat(200),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"[null,1,\"x\",{}]".to_vec(),
        b"{\"event\":1e999,\"data\":{\"email\":[]}}".to_vec(),
        b"{\"email\":\"\\ud800\"}".to_vec(),
        b"a=%zz&%%%&=&&==".to_vec(),
        bounce(&"x".repeat(3_000)),
    ];
    for body in &bodies {
        for path in
            ["/webhooks/drip", "/webhooks/mailgun", "/webhooks/postmark", "/webhooks/generic", "/webhooks/twilio"]
        {
            for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                let request =
                    gateway.drip(path, body).basic_auth("user", Some("password")).header("content-type", kind);
                let status = request.send().await.unwrap().status().as_u16();
                assert!(status == 200 || (400..500).contains(&status), "{path} {kind} {status}");
            }
        }
    }
    assert_eq!(gateway.appended(), 0);
}
