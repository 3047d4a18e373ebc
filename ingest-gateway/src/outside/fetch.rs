//! The one way out of the gateway: a GET of a URL.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use providers::Certificate;
use service::http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::{fmt::Debug, sync::OnceLock, time::Duration};

/// From the call to the end of the answer. Senders of notifications wait 15 seconds.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Status.
    pub status: StatusCode,
    /// Body, whole.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Gets URLs. Production has one implementation, [`HttpFetch`]; tests give their own to a gateway that they build.
#[async_trait]
pub trait Fetch: Debug + Send + Sync {
    /// GETs a URL, within bounds of time and size, following no redirect.
    async fn get(&self, url: &str) -> Result<Fetched, FetchError>;
}

/// By https, and to public addresses alone. Neither is configurable. The client is made for the first call: a gateway that
/// makes none needs no roots of trust on its machine.
#[derive(Debug, Clone, Default)]
pub struct HttpFetch(OnceLock<HttpClient>);

impl HttpFetch {
    fn client(&self) -> Result<&HttpClient, HttpError> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let options = HttpClientOptions {
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            answer_bytes_max: Certificate::PEM_BYTES_MAX,
            idle_per_host_max: 1,
            allow_private: false,
            ..HttpClientOptions::default()
        };
        let client = HttpClient::new(&options)?;
        Ok(self.0.get_or_init(|| client))
    }
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        if !url.starts_with("https://") {
            return Err(FetchError("only https is called".to_owned()));
        }
        let call = HttpCall { method: Method::GET, url: url.to_owned(), headers: HeaderMap::new(), body: Bytes::new() };
        let failed = |error: HttpError| FetchError(error.to_string());
        let answer = self.client().map_err(failed)?.call(call).await.map_err(failed)?;
        Ok(Fetched { status: answer.status, body: answer.body })
    }
}

/// Gets nothing: for a gateway whose sources need nothing from outside.
#[derive(Debug, Clone, Copy)]
pub struct NoFetch;

#[async_trait]
impl Fetch for NoFetch {
    async fn get(&self, _: &str) -> Result<Fetched, FetchError> {
        Err(FetchError("this gateway calls nobody".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_only_https_and_only_public_addresses() {
        let fetch = HttpFetch::default();
        for url in ["http://sns.eu-west-1.amazonaws.com/a.pem", "file:///etc/passwd", "sns.eu-west-1.amazonaws.com", ""]
        {
            assert_eq!(fetch.get(url).await.unwrap_err().to_string(), "only https is called", "{url}");
        }
        for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1"] {
            let error = fetch.get(&format!("https://{host}:1/a.pem")).await.unwrap_err().to_string();
            assert!(error.contains("inner address"), "{host}: {error}");
        }
        assert!(NoFetch.get("https://example.com/").await.is_err());
    }
}
