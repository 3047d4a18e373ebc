//! Slow clients, TLS and shutting down, over real sockets.

use crate::running::{Setup, bounce, start};
use service::serve::{Drained, ServerLimits, TlsFiles};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

#[tokio::test]
async fn a_body_that_stops_is_answered_408() {
    let server = ServerLimits { body_grace_ms: 100, ..ServerLimits::default() };
    let gateway = start(Setup { server, ..Setup::default() }).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = b"POST /webhooks/drip HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"eve";
    stream.write_all(head).await.unwrap();
    let (started, mut answer) = (Instant::now(), String::new());
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.contains("urn:quell:problem:slow_body"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_holds_nothing() {
    let gateway = start(Setup::default()).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"POST /webhooks/drip HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"eve").await.unwrap();
    while gateway.count("quell_gateway_in_flight_bytes") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    while gateway.count("quell_gateway_in_flight_requests") > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gateway.count("quell_gateway_in_flight_bytes"), 0);
    assert_eq!(gateway.appended(), 0);
}

#[tokio::test]
async fn shutting_down_finishes_what_was_begun() {
    let gateway = start(Setup::default()).await;
    gateway.log.gate.forget_permits(Semaphore::MAX_PERMITS);
    let begun: Vec<_> = (0..8)
        .map(|n| tokio::spawn(gateway.drip("/webhooks/drip", &bounce(&format!("a{n}@example.com"))).send()))
        .collect();
    while gateway.count("quell_gateway_in_flight_requests") < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.stop.cancel();
    // Nobody new gets in.
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if TcpStream::connect(gateway.address).await.is_err() {
            break;
        }
    }
    assert!(!gateway.server.is_finished());
    gateway.log.gate.add_permits(8);
    for request in begun {
        assert_eq!(request.await.unwrap().unwrap().status(), 202);
    }
    assert_eq!(gateway.appended(), 8);
    assert_eq!(gateway.server.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn answers_over_tls() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/service/tests/fixtures");
    let tls = Some(TlsFiles { certificate: fixtures.join("server.pem"), key: fixtures.join("server.key") });
    let gateway = start(Setup { tls, ..Setup::default() }).await;
    let root = reqwest::Certificate::from_pem(&std::fs::read(fixtures.join("ca.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().add_root_certificate(root).build().unwrap();
    let url = format!("https://localhost:{}/webhooks/drip", gateway.address.port());
    let (request, body) =
        (gateway.drip("/webhooks/drip", &bounce("a@example.com")).build().unwrap(), bounce("a@example.com"));
    let signed = client.post(url).headers(request.headers().clone()).body(body);
    let response = signed.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (202, http::Version::HTTP_2));
}
