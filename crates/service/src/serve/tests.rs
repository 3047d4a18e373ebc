use super::*;
use axum::Router;
use axum::routing::get;
use std::{path::PathBuf, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    task::JoinHandle,
};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<Drained>,
}

async fn start(limits: ServerLimits, tls: Option<TlsFiles>, router: Router) -> Running {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind("test", any, tls.as_ref(), limits).await.unwrap();
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    Running { address, stop: stop.clone(), server: tokio::spawn(server.run(router, stop)) }
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Sends text on a new connection and reads until the server closes it.
async fn exchange(address: SocketAddr, text: &str) -> (String, Duration) {
    let (started, mut stream, mut answer) = (Instant::now(), TcpStream::connect(address).await.unwrap(), Vec::new());
    stream.write_all(text.as_bytes()).await.unwrap();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
}

#[tokio::test]
async fn who_never_sends_a_head_is_dropped() {
    let limits = ServerLimits { head_timeout_ms: 100, ..ServerLimits::default() };
    let running = start(limits, None, hello()).await;
    for text in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let (answer, took) = exchange(running.address, text).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(took < Duration::from_secs(5), "{text:?} {took:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = ServerLimits { head_timeout_ms: 100, idle_timeout_ms: 150, ..ServerLimits::default() };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        "late"
    };
    let running = start(limits, None, hello().route("/slow", get(slow))).await;
    let (answer, took) = exchange(running.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let (answer, took) = exchange(running.address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.ends_with("late"), "{answer}");
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn a_head_that_trickles_in_behind_an_answer_counts_as_idling() {
    let limits = ServerLimits { head_timeout_ms: 1_000, idle_timeout_ms: 1_500, ..ServerLimits::default() };
    let running = start(limits, None, hello()).await;
    let (mut read, mut write) = TcpStream::connect(running.address).await.unwrap().into_split();
    write.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let trickle = tokio::spawn(async move {
        let mut n_written = 0;
        for byte in b"GET /second HTTP/1.1\r\nhost: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                return n_written;
            }
            n_written += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        n_written
    });
    let mut answers = Vec::new();
    // It may end by a reset, as bytes come that nobody reads any more.
    let _ended = tokio::time::timeout(Duration::from_secs(20), read.read_to_end(&mut answers)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK").count(), 1);
    assert!(trickle.await.unwrap() >= 5, "it was served for a while");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let running = start(ServerLimits::default(), None, hello()).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(64 * 1_024));
    let (answer, _) = exchange(running.address, &head).await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let limits = ServerLimits { connections_max: 1, idle_timeout_ms: 200, ..ServerLimits::default() };
    let running = start(limits, None, hello()).await;
    let first = tokio::spawn(exchange(running.address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    let (answer, _) = exchange(running.address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(first.await.unwrap().0.ends_with("hello"));
}

#[tokio::test]
async fn a_connection_at_rest_gives_way_to_a_new_one() {
    // Long enough that nothing ends by itself within the test.
    let limits = ServerLimits {
        connections_max: 8,
        head_timeout_ms: 600_000,
        idle_timeout_ms: 600_000,
        ..ServerLimits::default()
    };
    let metrics = crate::Metrics::new().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind("test", any, None, limits).await.unwrap();
    let server = server.counted(ServerMetrics::register(&metrics).unwrap());
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    let begun = Arc::new(tokio::sync::Notify::new());
    let (told, go_on) = (begun.clone(), Arc::new(tokio::sync::Notify::new()));
    let gate = go_on.clone();
    let busy = move || async move {
        told.notify_one();
        gate.notified().await;
        "whole"
    };
    let running = tokio::spawn(server.run(hello().route("/busy", get(busy)), stop.clone()));
    let busy = tokio::spawn(exchange(address, "GET /busy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
    begun.notified().await;
    // Some never speak, some have begun to, some have spoken and stay.
    let mut held = Vec::new();
    for number in 0..64 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text: &[u8] = [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"][number % 3];
        stream.write_all(text).await.unwrap();
        held.push(stream);
    }
    for _ in 0..8 {
        let (answer, _) = exchange(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
    go_on.notify_one();
    let (answer, _) = busy.await.unwrap();
    assert!(answer.ends_with("whole"), "who is at work stays: {answer}");
    drop(held);
    stop.cancel();
    assert_eq!(running.await.unwrap(), Drained { cut: 0 });
    let text = metrics.render();
    assert!(text.contains("quell_http_connections_ended_total{cause=\"made_room\",listener=\"test\"} "), "{text}");
    assert!(text.contains("quell_http_connections{listener=\"test\"} 0"), "{text}");
}

#[tokio::test]
async fn an_answer_does_not_wait_for_what_follows() {
    let running = start(ServerLimits::default(), None, hello()).await;
    for rest in ["GET / HT", "no request\r\n\r\n"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n\r\n{rest}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !String::from_utf8_lossy(&answer).contains("\r\n\r\nhello") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{rest}: {}", String::from_utf8_lossy(&answer));
        }
    }
}

#[tokio::test]
async fn a_body_whose_end_is_in_doubt_is_refused_and_the_connection_ends() {
    let answers = async |framing: &str| {
        let running = start(ServerLimits::default(), None, hello()).await;
        let next = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let text = format!("GET / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n1\r\nx\r\n0\r\n\r\n{next}");
        let (answer, _) = exchange(running.address, &text).await;
        answer.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(answers("transfer-encoding: chunked").await, ["200", "200"]);
    assert_eq!(answers("Transfer-Encoding:  Chunked ").await, ["200", "200"]);
    for framing in [
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: , chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
    ] {
        assert_eq!(answers(framing).await, ["400"], "{framing}");
    }
    // The coding decides, and nothing behind it is read (RFC 9112, 6.3).
    assert_eq!(answers("content-length: 2\r\ntransfer-encoding: chunked").await, ["200"]);
    assert_eq!(answers("transfer-encoding: chunked\r\ncontent-length: 2").await, ["200"]);
}

#[tokio::test]
async fn what_no_handler_sees_is_counted() {
    let limits = ServerLimits { head_timeout_ms: 100, ..ServerLimits::default() };
    let metrics = crate::Metrics::new().unwrap();
    let server = Server::bind("test", "127.0.0.1:0".parse().unwrap(), None, limits).await.unwrap();
    let server = server.counted(ServerMetrics::register(&metrics).unwrap());
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    let running = tokio::spawn(server.run(hello(), stop.clone()));
    let large = format!("GET / HTTP/1.1\r\nx-large: {}\r\n\r\n", "x".repeat(64 * 1_024));
    for (text, status, cause) in [
        ("GET /\u{0} HTTP/1.1\r\n\r\n", "400", "malformed_head"),
        (large.as_str(), "431", "head_too_large"),
        ("GET / HT", "", "slow_head"),
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "200", "closed"),
    ] {
        let (answer, _) = exchange(address, text).await;
        assert_eq!(answer.get(9..12).unwrap_or_default(), status, "{answer}");
        let counted = format!("quell_http_connections_ended_total{{cause=\"{cause}\",listener=\"test\"}} 1");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !metrics.render().contains(&counted) {
            assert!(Instant::now() < deadline, "{cause}: {}", metrics.render());
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_panic_is_a_500_and_nothing_more() {
    let panics = || async {
        if true {
            panic!("planted");
        }
    };
    let running = start(ServerLimits::default(), None, hello().route("/panic", get(panics))).await;
    let close = "host: x\r\nconnection: close\r\n\r\n";
    let (answer, _) = exchange(running.address, &format!("GET /panic HTTP/1.1\r\n{close}")).await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("application/problem+json"), "{answer}");
    let (answer, _) = exchange(running.address, &format!("GET / HTTP/1.1\r\n{close}")).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_panic_before_there_is_anything_to_wait_for_is_one_too() {
    let panics = tower::service_fn(|request: Request<Body>| {
        assert_ne!(request.uri().path(), "/panic", "planted");
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::from("hello"))))
    });
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind("test", any, None, ServerLimits::default()).await.unwrap().short_answers();
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(server.run(panics, stop.clone()));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let (answer, _) = exchange(address, &ask("/panic")).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    let (answer, _) = exchange(address, &ask("/")).await;
    assert!(answer.ends_with("hello"), "{answer}");
    stop.cancel();
    assert_eq!(task.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn draining_finishes_what_was_begun_and_cuts_what_never_ends() {
    let limits = ServerLimits { drain_timeout_ms: 5_000, ..ServerLimits::default() };
    let begun = Arc::new(Semaphore::new(0));
    let sleep = |ms| {
        let begun = Arc::clone(&begun);
        move || async move {
            begun.add_permits(1);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            "done"
        }
    };
    let router = hello().route("/short", get(sleep(300))).route("/endless", get(sleep(3_600_000)));
    let running = start(limits, None, router).await;
    let short = tokio::spawn(exchange(running.address, "GET /short HTTP/1.1\r\nhost: x\r\n\r\n"));
    let endless = tokio::spawn(exchange(running.address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n"));
    // An idle connection does not hold up the end.
    let _idle = TcpStream::connect(running.address).await.unwrap();
    let _both = begun.acquire_many(2).await.unwrap();
    running.stop.cancel();
    assert!(short.await.unwrap().0.ends_with("done"));
    assert_eq!(running.server.await.unwrap(), Drained { cut: 1 });
    assert!(!endless.await.unwrap().0.contains("200 OK"));
    assert!(TcpStream::connect(running.address).await.is_err());
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[tokio::test]
async fn speaks_both_versions_over_tls_and_plain() {
    let tls = TlsFiles { certificate: fixture("server.pem"), key: fixture("server.key") };
    let secure = start(ServerLimits::default(), Some(tls), hello()).await;
    let plain = start(ServerLimits::default(), None, hello()).await;
    let root = reqwest::Certificate::from_pem(&std::fs::read(fixture("ca.pem")).unwrap()).unwrap();
    let builder = || reqwest::Client::builder().no_proxy().add_root_certificate(root.clone());
    let check = async |client: reqwest::Client, url: String, version| {
        let response = client.get(url).send().await.unwrap();
        assert_eq!(response.version(), version);
        assert_eq!(response.text().await.unwrap(), "hello");
    };
    let (secure, plain) =
        (format!("https://localhost:{}/", secure.address.port()), format!("http://{}/", plain.address));
    check(builder().build().unwrap(), secure.clone(), http::Version::HTTP_2).await;
    check(builder().http1_only().build().unwrap(), secure, http::Version::HTTP_11).await;
    check(builder().build().unwrap(), plain.clone(), http::Version::HTTP_11).await;
    check(builder().http2_prior_knowledge().build().unwrap(), plain, http::Version::HTTP_2).await;
}

#[tokio::test]
async fn who_never_shakes_hands_is_dropped() {
    let tls = TlsFiles { certificate: fixture("server.pem"), key: fixture("server.key") };
    let limits = ServerLimits { head_timeout_ms: 100, ..ServerLimits::default() };
    let running = start(limits, Some(tls), hello()).await;
    for text in ["", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let (answer, took) = exchange(running.address, text).await;
        assert!(!answer.contains("hello"), "{answer}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn wrong_files_are_errors_that_name_them() {
    let check = async |certificate: PathBuf, key: PathBuf, expected: &str| {
        let any = "127.0.0.1:0".parse().unwrap();
        let files = TlsFiles { certificate, key };
        let error = Server::bind("test", any, Some(&files), ServerLimits::default()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("/no/such.pem".into(), fixture("server.key"), "cannot read the certificate from /no/such.pem").await;
    check(fixture("server.key"), fixture("server.key"), "it holds none").await;
    check(fixture("server.pem"), fixture("ca.pem"), "cannot read the private key from").await;
    check(fixture("ca.pem"), fixture("server.key"), "cannot use certificate and key").await;
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let running = start(ServerLimits::default(), None, hello()).await;
    let error = Server::bind("gateway", running.address, None, ServerLimits::default()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {} for gateway", running.address)), "{error}");
}
