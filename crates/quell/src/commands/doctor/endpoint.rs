//! Endpoints of others that are posted to: whether they can be reached, told by a request that asks for nothing.

use super::Health;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use service::http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::time::Duration;

/// How long one endpoint may take, its name's resolution and TLS among it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks an endpoint what it takes (`OPTIONS`, RFC 9110 9.3.7). Any status is an answer, and its body is nobody's business.
pub(super) async fn ask(url: &str, allow_private: bool) -> Result<StatusCode, HttpError> {
    let options = HttpClientOptions {
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        allow_private,
        ..HttpClientOptions::default()
    };
    let client = HttpClient::new(&options)?;
    let call = HttpCall { method: Method::OPTIONS, url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
    client.open(call).await.map(|stream| stream.status)
}

/// What that says of an endpoint of webhooks; `key` is the URL's name in the configuration. The URL may hold a token.
pub(super) fn judge(key: &str, asked: &Result<StatusCode, HttpError>) -> (Health, String) {
    let status = match asked {
        Ok(status) => *status,
        Err(error) => return (Health::Fail, unreachable(key, error)),
    };
    match status.as_u16() {
        300..=399 => (
            Health::Warn,
            format!("it answers {status}, and redirections are not followed: write into {key} where it leads"),
        ),
        404 => (Health::Warn, format!("it answers {status}: compare the path of {key}, unless it only knows POST")),
        410 => (
            Health::Warn,
            format!("it answers {status}: what answers a webhook so is posted to no more; look at {key} and its owner"),
        ),
        // What it does not know how to answer it may take all the same.
        501 | 505 => (Health::Ok, format!("it can be reached (OPTIONS: {})", status.as_u16())),
        500..=599 => (
            Health::Warn,
            format!(
                "it can be reached and has a fault ({status}): what it does not take is posted again; ask its owner"
            ),
        ),
        _ => (Health::Ok, format!("it can be reached (OPTIONS: {})", status.as_u16())),
    }
}

/// Why nobody answers, and where to look.
pub(super) fn unreachable(key: &str, error: &HttpError) -> String {
    match error {
        HttpError::Invalid(_) => format!("{error}: mend {key}"),
        HttpError::Inner(_) => format!("{error}, beside {key}"),
        HttpError::Timeout => {
            format!(
                "no answer within {} s: look at the way there (firewall, proxy) and the host of {key}",
                PATIENCE.as_secs()
            )
        }
        HttpError::Connect(_) | HttpError::TooLarge(_) | HttpError::Broken(_) => {
            format!("it cannot be reached ({error}): look at the host of {key}, DNS, the firewall and its certificate")
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use axum::{Router, routing::any};
    use std::sync::{Arc, Mutex};

    /// What an endpoint got: method, and length of the body.
    pub(in super::super) type Got = Arc<Mutex<Vec<(Method, usize)>>>;

    /// An endpoint that answers everything with one status.
    pub(in super::super) async fn endpoint(status: u16) -> (String, Got) {
        let got = Got::default();
        let seen = got.clone();
        let answer = move |method: Method, body: Bytes| {
            seen.lock().unwrap().push((method, body.len()));
            async move { (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")]) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let router = Router::new().fallback(any(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, got)
    }

    #[tokio::test]
    async fn an_endpoint_is_asked_for_nothing_and_judged_by_what_it_says() {
        use Health::*;
        for (status, health, says) in [
            (200, Ok, "reached"),
            (204, Ok, "reached"),
            (401, Ok, "reached"),
            (405, Ok, "reached"),
            (501, Ok, "reached"),
            (301, Warn, "where it leads"),
            (404, Warn, "path"),
            (410, Warn, "no more"),
            (503, Warn, "fault"),
        ] {
            let (url, got) = endpoint(status).await;
            let (found, detail) = judge("subscriber.url", &ask(&format!("{url}?token=s3cret"), true).await);
            assert_eq!(found, health, "{status}: {detail}");
            assert!(detail.contains(says) && !detail.contains("s3cret"), "{status}: {detail}");
            assert_eq!(*got.lock().unwrap(), [(Method::OPTIONS, 0)]);
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told_within_a_bounded_time() {
        let judged = async |url: &str, allow_private| judge("alarms.url", &ask(url, allow_private).await);
        let check = |(health, detail): (Health, String), says: &str| {
            assert_eq!(health, Health::Fail, "{detail}");
            assert!(detail.contains(says) && !detail.contains("s3cret"), "{detail}");
        };
        check(judged("http://127.0.0.1:1/?token=s3cret", true).await, "cannot be reached");
        check(judged("http://nowhere.invalid/?token=s3cret", true).await, "DNS");
        check(judged("http://127.0.0.1:1/?token=s3cret", false).await, "allow_private");
        check(judged("http://[s3cret", true).await, "mend alarms.url");
        // Takes connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let began = std::time::Instant::now();
        check(
            judged(&format!("http://{}/?token=s3cret", silent.local_addr().unwrap()), true).await,
            "no answer within",
        );
        assert!(began.elapsed() < 2 * PATIENCE);
    }
}
