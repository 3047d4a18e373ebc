use super::*;
use crate::serve::{Server, ServerLimits};
use axum::{Router, routing::any};
use std::net::SocketAddr;
use tokio_util::sync::{CancellationToken, DropGuard};

async fn serve(router: Router) -> (SocketAddr, DropGuard) {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind("test", any, None, ServerLimits::default()).await.unwrap();
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(server.run(router, stop.clone()));
    (address, stop.drop_guard())
}

fn client(edit: impl FnOnce(&mut HttpClientOptions)) -> HttpClient {
    let mut options = HttpClientOptions { allow_private: true, ..HttpClientOptions::default() };
    edit(&mut options);
    HttpClient::new(&options).unwrap()
}

fn get(url: String) -> HttpCall {
    HttpCall { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
}

#[tokio::test]
async fn sends_and_gives_back_what_there_is() {
    let echo = |method: Method, headers: HeaderMap, body: Bytes| async move {
        (StatusCode::IM_A_TEAPOT, [("x-method", method.to_string())], [headers["x-in"].as_bytes(), &body].concat())
    };
    let (address, _stop) = serve(Router::new().route("/", any(echo))).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-in", http::HeaderValue::from_static("in:"));
    let body = Bytes::from_static(b"body");
    let call = HttpCall { method: Method::DELETE, url: format!("http://{address}/"), headers, body };
    let answer = client(|_| ()).call(call).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (418, &b"in:body"[..]));
    assert_eq!(answer.headers["x-method"], "DELETE");
}

#[tokio::test]
async fn refuses_inner_addresses_by_number_and_by_name() {
    let (address, _stop) = serve(Router::new().route("/", any(|| async { "secret" }))).await;
    let guarded = client(|options| options.allow_private = false);
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let error = guarded.call(get(format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(error, HttpError::Inner(_)), "{host}: {error:?}");
        assert!(error.unsent());
    }
    let open = client(|_| ()).call(get(format!("http://localhost:{port}/"))).await;
    assert_eq!(open.unwrap().status, 200);
}

#[tokio::test]
async fn follows_no_redirect() {
    let redirect = || async { (StatusCode::FOUND, [("location", "http://169.254.169.254/")]) };
    let (address, _stop) = serve(Router::new().route("/", any(redirect))).await;
    let answer = client(|_| ()).call(get(format!("http://{address}/"))).await.unwrap();
    assert_eq!(answer.status, 302);
}

#[tokio::test]
async fn bounds_answers_and_waits() {
    let router = Router::new().route("/large", any(|| async { vec![b'x'; 10_001] })).route(
        "/slow",
        any(|| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            "late"
        }),
    );
    let (address, _stop) = serve(router).await;
    let large = client(|options| options.answer_bytes_max = 10_000)
        .call(get(format!("http://{address}/large")))
        .await
        .unwrap_err();
    assert_eq!(large, HttpError::TooLarge(10_000));
    let slow = client(|options| options.timeout = Duration::from_millis(200))
        .call(get(format!("http://{address}/slow")))
        .await
        .unwrap_err();
    assert_eq!(slow, HttpError::Timeout);
    assert!(!slow.unsent());
}

#[tokio::test]
async fn says_when_nothing_was_sent_and_never_what_was_called() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = client(|_| ()).call(get(format!("http://127.0.0.1:{port}/a@example.com"))).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)) && error.unsent(), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("a@example.com"), "{error}");
    for url in ["ftp://example.com/", "nonsense", "/path"] {
        assert!(matches!(client(|_| ()).call(get(url.into())).await, Err(HttpError::Invalid(_))), "{url}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_an_end() {
    let stream =
        |pieces: Vec<Result<Bytes, std::io::Error>>| axum::body::Body::from_stream(futures_util::stream::iter(pieces));
    let whole = move || async move { stream(vec![Ok("one ".into()), Ok("two".into())]) };
    let broken = move || async move { stream(vec![Ok("one ".into()), Err(std::io::Error::other("gone"))]) };
    let (address, _stop) = serve(Router::new().route("/whole", any(whole)).route("/broken", any(broken))).await;
    let small = client(|options| options.answer_bytes_max = 1);
    let mut answer = small.open(get(format!("http://{address}/whole"))).await.unwrap();
    let mut body = Vec::new();
    while let Some(piece) = answer.next().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    assert_eq!((answer.status, &body[..]), (StatusCode::OK, &b"one two"[..]));
    // Where it breaks before the head is out, opening it fails.
    let failed = match small.open(get(format!("http://{address}/broken"))).await {
        Ok(mut answer) => loop {
            match answer.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break false,
                Err(_) => break true,
            }
        },
        Err(_) => true,
    };
    assert!(failed);
}
