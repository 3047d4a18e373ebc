//! Calls to the child, over loopback.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use service::http_client::{HttpCall, HttpClient, HttpClientOptions, HttpError};
use std::time::Duration;
use testkit::SignedRequest;

/// A client for a number of connections at once.
#[derive(Debug, Clone)]
pub(crate) struct Http(HttpClient);

/// What a webhook was answered.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// `Retry-After`, where it is in seconds.
    pub(crate) retry_after: Option<Duration>,
}

/// A webhook as a call.
pub(crate) fn call(request: &SignedRequest) -> anyhow::Result<HttpCall> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in &request.headers {
        headers.insert(*name, value.parse()?);
    }
    let body = Bytes::from(request.body.clone());
    Ok(HttpCall { method: http::Method::POST, url: request.url.clone(), headers, body })
}

impl Http {
    pub(crate) fn new(connections: usize) -> anyhow::Result<Self> {
        let options = HttpClientOptions {
            allow_private: true,
            idle_per_host_max: connections,
            answer_bytes_max: 64 << 20,
            ..HttpClientOptions::default()
        };
        Ok(Self(HttpClient::new(&options)?))
    }

    /// Sends a webhook once.
    pub(crate) async fn send(&self, call: HttpCall) -> Result<Answered, HttpError> {
        let answer = self.0.call(call).await?;
        let header = answer.headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answered { status: answer.status.as_u16(), retry_after: header.map(Duration::from_secs) })
    }

    /// The body of a 200; anything else is an error.
    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<String> {
        let headers = http::HeaderMap::new();
        let call = HttpCall { method: http::Method::GET, url: url.to_owned(), headers, body: Bytes::new() };
        let answer = self.0.call(call).await.with_context(|| format!("GET {url}"))?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status != http::StatusCode::OK {
            bail!("GET {url} was answered {}: {body}", answer.status);
        }
        Ok(body)
    }
}
